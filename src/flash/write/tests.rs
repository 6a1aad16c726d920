//! The engine on disks in memory: what ends up on them, what is told, and everything that can go wrong.

use super::fake::{Fake, noise};
use super::*;
use crate::flash::event::{Event, Phase};
use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const MIB: usize = 1 << 20;
const TABLE: &str = "the partition table";

/// An image of so many chunks and some bytes, no two of its chunks alike.
fn image(chunks: usize, more: usize) -> Vec<u8> {
    let mut image = noise(chunks * CHUNK + more);
    image[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    image
}

/// Chunks that are not needed.
struct Free(Vec<u64>);

impl Map for Free {
    fn feed(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn needed(&self, offset: u64, _: u64) -> bool {
        !self.0.contains(&(offset / CHUNK as u64))
    }

    fn estimate(&self, _: Option<u64>) -> Option<u64> {
        None
    }
}

/// What is done at each event.
type Hears<'a> = Box<dyn Fn(&Event) + Send + Sync + 'a>;

/// A run in the making.
struct Run<'a> {
    image: &'a [u8],
    size: Option<u64>,
    reader: Option<Box<dyn Read + Send + 'a>>,
    map: Box<dyn Map>,
    block_size: usize,
    options: Options,
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
    hears: Option<Hears<'a>>,
}

impl<'a> Run<'a> {
    fn of(image: &'a [u8]) -> Run<'a> {
        Run {
            image,
            size: Some(image.len() as u64),
            reader: None,
            map: Box::new(Everything),
            block_size: CHUNK,
            options: Options {
                capacity_test: false,
                ..Options::default()
            },
            stop: Arc::default(),
            events: Arc::default(),
            hears: None,
        }
    }

    fn cards(self, cards: Vec<Card<'_>>) -> Vec<Result<Done>> {
        let image = Image {
            reader: self.reader.unwrap_or_else(|| Box::new(self.image)),
            size: self.size,
            identity: "sha256:0123".to_owned(),
            map: self.map,
            starved: None,
        };
        let (events, hears) = (self.events.clone(), self.hears);
        let listener = move |event: &Event| {
            events.lock().unwrap().push(event.clone());
            if let Some(hears) = &hears {
                hears(event);
            }
        };
        let outcomes = flash(image, cards, &self.options, &listener, &self.stop);
        outcomes.into_iter().map(|outcome| outcome.result).collect()
    }

    fn on(self, fake: &Fake) -> Result<Done> {
        let card = card(fake, self.block_size);
        self.cards(vec![card]).remove(0)
    }
}

fn card(fake: &Fake, block_size: usize) -> Card<'static> {
    Card {
        name: "card".to_owned(),
        target: fake.target(),
        block_size,
        personalize: None,
        inspect: None,
    }
}

/// Neither a table nor anything else that could be mistaken for a finished card.
fn is_unfinished(fake: &Fake) -> bool {
    marker::is_of(&fake.contents(), "sha256:0123")
}

#[test]
fn an_image_is_written_whole_with_any_block_size() {
    for (chunks, more, block_size) in [
        (5, 0, CHUNK),
        (5, 512, CHUNK),
        (4, 4097, 65536),
        (6, 12_800, 2 * CHUNK),
        (7, 0, 3 * CHUNK),
        (0, 1024, CHUNK),
    ] {
        let bytes = image(chunks, more);
        let fake = Fake::new(40 * MIB);
        fake.fill(&vec![0xee; 40 * MIB]);
        let run = Run {
            block_size,
            ..Run::of(&bytes)
        };
        let done = run.on(&fake).unwrap();
        let held = fake.contents();
        assert!(held[..bytes.len()] == bytes, "{chunks} {more} {block_size}");
        let rest = bytes.len().next_multiple_of(4096);
        let tail = 39 * MIB;
        assert!(held[bytes.len()..rest].iter().all(|b| *b == 0));
        assert!(held[rest.max(128 << 10).min(tail)..tail].iter().all(|b| *b == 0xee));
        assert!(held[tail..].iter().all(|b| *b == 0), "a stale table at the end");
        assert_eq!(done.written + CHUNK.min(bytes.len()) as u64, bytes.len() as u64);
        let largest = fake.with(|state| state.writes.iter().map(|(_, length)| *length).max().unwrap());
        assert!(largest <= block_size.max(CHUNK), "{largest}");
        if block_size < CHUNK {
            let own = fake.with(|state| {
                state
                    .writes
                    .iter()
                    .filter(|(at, _)| *at >= CHUNK as u64 && *at < tail as u64)
                    .all(|(_, n)| *n <= block_size)
            });
            assert!(own);
        }
    }
}

#[test]
fn the_table_comes_last() {
    let bytes = image(4, 0);
    let fake = Fake::new(24 * MIB);
    Run::of(&bytes).on(&fake).unwrap();
    let writes = fake.with(|state| std::mem::take(&mut state.writes));
    let offsets: Vec<u64> = writes.iter().map(|(offset, _)| *offset / 4096).collect();
    let chunk = CHUNK as u64 / 4096;
    assert_eq!(offsets, [23 * 256, 0, chunk, 2 * chunk, 3 * chunk, 1, 0]);
    assert_eq!(writes.last().unwrap().1, 4096);
}

#[test]
fn what_is_free_is_skipped_and_never_because_it_is_zero() {
    let mut bytes = image(6, 0);
    bytes[3 * CHUNK..4 * CHUNK].fill(0);
    let fake = Fake::new(40 * MIB);
    fake.fill(&vec![0xee; 40 * MIB]);
    let run = Run {
        map: Box::new(Free(vec![0, 2, 4])),
        ..Run::of(&bytes)
    };
    let done = run.on(&fake).unwrap();
    let held = fake.contents();
    assert_eq!((done.written, done.skipped), (3 * CHUNK as u64, 2 * CHUNK as u64));
    for chunk in [0, 1, 3, 5] {
        let range = chunk * CHUNK..(chunk + 1) * CHUNK;
        assert!(held[range.clone()] == bytes[range], "{chunk}");
    }
    assert!(held[2 * CHUNK..3 * CHUNK].iter().all(|b| *b == 0xee));
}

#[test]
fn a_range_that_fails_is_tried_again_and_then_named() {
    let bytes = image(4, 0);
    let fake = Fake::new(24 * MIB);
    fake.with(|state| state.bad_writes.push((2 * CHUNK as u64..2 * CHUNK as u64 + 1, 2)));
    let run = Run::of(&bytes);
    let events = run.events.clone();
    run.on(&fake).unwrap();
    let warned = events
        .lock()
        .unwrap()
        .iter()
        .any(|event| matches!(event, Event::Warning { message, .. } if message.contains("attempt 3")));
    assert!(warned && fake.contents()[..bytes.len()] == bytes);

    let fake = Fake::new(24 * MIB);
    fake.with(|state| state.bad_writes.push((2 * CHUNK as u64..2 * CHUNK as u64 + 1, 3)));
    let error = Run::of(&bytes).on(&fake).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad range: 4194304 bytes at 8388608 (Input/output error (os error 5)) cannot be written, tried 3 times"
    );
    assert!(is_unfinished(&fake));
}

#[test]
fn what_cannot_be_read_may_be_written_all_the_same() {
    let bytes = image(4, 0);
    let fake = Fake::new(24 * MIB);
    // Once more than a request is tried: the old contents of the start and of the first chunk.
    fake.with(|state| state.bad_reads.extend([(0..512, 3), (CHUNK as u64..CHUNK as u64 + 512, 3)]));
    Run::of(&bytes).on(&fake).unwrap();
    assert!(fake.contents()[..bytes.len()] == bytes);
}

#[test]
fn a_card_that_fails_leaves_the_others_alone() {
    let bytes = image(12, 0);
    let good = [Fake::new(64 * MIB), Fake::new(64 * MIB)];
    let (bad, pulled) = (Fake::new(64 * MIB), Fake::new(64 * MIB));
    bad.with(|state| state.bad_writes.push((3 * CHUNK as u64..4 * CHUNK as u64, u32::MAX)));
    pulled.with(|state| state.pulled_after = Some(20 * MIB as u64));
    let small = Fake::new(16 * MIB);
    let fakes = [&good[0], &bad, &pulled, &small, &good[1]];
    let cards = fakes.iter().map(|fake| card(fake, CHUNK)).collect();
    let run = Run {
        size: None,
        ..Run::of(&bytes)
    };
    let results = run.cards(cards);
    for n in [0, 4] {
        assert!(results[n].is_ok(), "{:?}", results[n]);
        assert!(fakes[n].contents()[..bytes.len()] == bytes);
    }
    for (n, says) in [(1, "cannot be written"), (2, "pulled out"), (3, "larger than the card")] {
        let error = results[n].as_ref().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(is_unfinished(fakes[n]));
    }
}

#[test]
fn an_image_that_is_too_large_is_refused_before_anything_is_written() {
    let bytes = image(5, 0);
    let fake = Fake::new(16 * MIB);
    assert!(
        Run::of(&bytes)
            .on(&fake)
            .unwrap_err()
            .to_string()
            .contains("larger than the card")
    );
    assert_eq!(fake.with(|state| state.written), 0);
}

#[test]
fn what_reads_back_wrong_fails_the_card() {
    let bytes = image(5, 0);
    for at in [CHUNK as u64 + 5, 3 * CHUNK as u64, 100] {
        let fake = Fake::new(24 * MIB);
        fake.with(|state| state.flips.push(at));
        let error = Run::of(&bytes).on(&fake).unwrap_err();
        let chunk = at / CHUNK as u64 * CHUNK as u64;
        assert!(error.to_string().contains(&format!("4194304 bytes at {chunk}")), "{error}");
        assert!(is_unfinished(&fake), "{at}");
    }
}

#[test]
fn a_flush_that_fails_is_never_tried_again() {
    let bytes = image(3, 0);
    let fake = Fake::new(24 * MIB);
    fake.with(|state| state.bad_sync = true);
    let error = Run::of(&bytes).on(&fake).unwrap_err();
    assert!(error.to_string().contains("did not confirm"), "{error}");
    assert_eq!(fake.with(|state| state.syncs), 1);
}

#[test]
fn without_direct_access_it_flushes_and_says_so() {
    let bytes = image(12, 0);
    let fake = Fake::new(64 * MIB);
    fake.with(|state| state.no_direct = true);
    let run = Run::of(&bytes);
    let events = run.events.clone();
    let done = run.on(&fake).unwrap();
    let told = events
        .lock()
        .unwrap()
        .iter()
        .filter(|event| matches!(event, Event::Warning { message, .. } if message.contains("page cache")))
        .count();
    assert_eq!((done.direct, told), (false, 1));
    assert!(fake.contents()[..bytes.len()] == bytes);
    assert!(fake.with(|state| state.syncs) >= 4);
}

#[test]
fn a_bad_image_leaves_the_card_unfinished() {
    /// Gives its bytes, then an error.
    struct Breaks<'a>(&'a [u8], fn() -> io::Error);
    impl Read for Breaks<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.is_empty() {
                true => Err(self.1()),
                false => self.0.read(into),
            }
        }
    }
    let bytes = image(5, 0);
    type Case<'a> = (Option<Box<dyn Read + Send + 'a>>, Option<u64>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            Some(Box::new(Breaks(&bytes, || io::Error::other("corrupt block")))),
            None,
            "the image cannot be read: corrupt block",
        ),
        (
            Some(Box::new(Breaks(&bytes, || io::Error::other(Error::usage("wrong checksum"))))),
            None,
            "wrong checksum",
        ),
        (
            Some(Box::new(&bytes[..3 * CHUNK])),
            Some(bytes.len() as u64),
            "the image ends after 12582912 of 20971520 bytes",
        ),
        (
            None,
            Some(5 * CHUNK as u64 - 1),
            "the image is longer than the 20971519 bytes",
        ),
        (Some(Box::new(io::empty())), None, "the image is empty"),
    ];
    for (reader, size, says) in cases {
        let fake = Fake::new(64 * MIB);
        let run = Run {
            reader,
            size,
            ..Run::of(&bytes)
        };
        let error = run.on(&fake).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(is_unfinished(&fake), "{says}");
    }
}

#[test]
fn a_decoder_that_crashes_is_no_end() {
    struct Crashes<'a>(&'a [u8]);
    impl Read for Crashes<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "a crash, as intended");
            self.0.read(into)
        }
    }
    let bytes = image(3, 0);
    let fake = Fake::new(64 * MIB);
    let run = Run {
        reader: Some(Box::new(Crashes(&bytes))),
        size: None,
        ..Run::of(&bytes)
    };
    assert!(run.on(&fake).unwrap_err().to_string().contains("crashed"));
    assert!(is_unfinished(&fake));
}

#[test]
fn a_map_that_finds_a_wrong_checksum_fails_all_cards() {
    struct Wrong;
    impl Map for Wrong {
        fn feed(&mut self, offset: u64, _: &[u8]) -> Result<()> {
            match offset {
                0 => Ok(()),
                _ => Err(Error::state("a range has another checksum than the bmap says")),
            }
        }
        fn needed(&self, _: u64, _: u64) -> bool {
            true
        }
        fn estimate(&self, _: Option<u64>) -> Option<u64> {
            None
        }
    }
    let bytes = image(5, 0);
    let fake = Fake::new(64 * MIB);
    let run = Run {
        map: Box::new(Wrong),
        ..Run::of(&bytes)
    };
    assert!(run.on(&fake).unwrap_err().to_string().contains("bmap"));
    assert!(is_unfinished(&fake));
}

#[test]
fn stopped_it_can_go_on_without_writing_twice() {
    let bytes = image(40, 0);
    let fake = Fake::new(200 * MIB);
    let run = Run::of(&bytes);
    let stop = run.stop.clone();
    fake.with(|state| {
        state.on_write = Some(Box::new(move |written| {
            if written >= 80 * MIB as u64 {
                stop.store(true, Ordering::Relaxed);
            }
        }));
    });
    let error = run.on(&fake).unwrap_err();
    assert!(error.to_string().starts_with("stopped"), "{error}");
    assert!(is_unfinished(&fake));
    fake.with(|state| state.on_write = None);
    let done = Run::of(&bytes).on(&fake).unwrap();
    assert!(fake.contents()[..bytes.len()] == bytes);
    assert!(done.equal >= 76 * MIB as u64 && done.written <= 84 * MIB as u64, "{done:?}");
}

#[test]
fn the_same_image_again_is_only_compared() {
    let bytes = image(40, 0);
    let folder = tempfile::tempdir().unwrap();
    for known in [None, Some(folder.path().join("chunks"))] {
        let fake = Fake::new(200 * MIB);
        let options = Options {
            known: known.clone(),
            ..Run::of(&bytes).options
        };
        let run = || Run {
            options: options.clone(),
            ..Run::of(&bytes)
        };
        let first = run().on(&fake).unwrap();
        assert_eq!(first.equal, 0);
        // It was used since.
        fake.with(|state| {
            state.bytes[100..200].fill(1);
            state.bytes[7 * CHUNK + 5] ^= 1;
            state.bytes[30 * CHUNK] ^= 1;
            (state.written, state.read) = (0, 0);
        });
        let again = run().on(&fake).unwrap();
        assert!(fake.contents()[..bytes.len()] == bytes);
        assert_eq!(again.equal + again.written, 39 * CHUNK as u64);
        assert!(again.written <= 3 * CHUNK as u64, "{again:?}");
        let full = Run {
            options: Options {
                full: true,
                ..options.clone()
            },
            ..Run::of(&bytes)
        };
        assert_eq!(full.on(&fake).unwrap().equal, 0);
        assert!(known.is_none_or(|path| Known::load(&path).unwrap().chunks.len() == 40));
    }
}

#[test]
fn a_card_with_something_else_is_hardly_read() {
    let (bytes, other) = (image(40, 0), vec![0x77; 160 * MIB]);
    let fake = Fake::new(200 * MIB);
    fake.fill(&other);
    Run::of(&bytes).on(&fake).unwrap();
    let compared = fake.with(|state| state.read) - 160 * MIB as u64;
    assert!(compared <= 6 * CHUNK as u64 + 4096, "{compared}");
}

#[test]
fn what_is_put_on_a_card_is_on_it_and_read_back() {
    let bytes = image(5, 0);
    let fake = Fake::new(64 * MIB);
    let mut one = card(&fake, CHUNK);
    one.personalize = Some(Box::new(|blocks: &mut dyn Blocks| {
        assert_eq!(blocks.size(), 5 * CHUNK as u64);
        let mut title = [0; TABLE.len()];
        blocks.read_at(0, &mut title).unwrap();
        assert_eq!(title, TABLE.as_bytes());
        blocks.write_at(1000, b"pi3").unwrap();
        blocks.write_at(CHUNK as u64 - 2, b"over the border").unwrap();
        assert!(blocks.write_at(5 * CHUNK as u64 - 1, b"beyond").is_err());
        Ok(())
    }));
    one.inspect = Some(Box::new(|blocks: &mut dyn Blocks| {
        let mut read = [0; 15];
        blocks.read_at(CHUNK as u64 - 2, &mut read).unwrap();
        assert_eq!(&read, b"over the border");
        Ok(())
    }));
    let run = Run::of(&bytes);
    let events = run.events.clone();
    run.cards(vec![one]).remove(0).unwrap();
    let mut expected = bytes.clone();
    expected[1000..1003].copy_from_slice(b"pi3");
    expected[CHUNK - 2..CHUNK + 13].copy_from_slice(b"over the border");
    assert!(fake.contents()[..bytes.len()] == expected);
    let phases: Vec<Phase> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Phase { phase, .. } => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(
        phases,
        [Phase::Writing, Phase::Verifying, Phase::Personalizing, Phase::Inspecting]
    );
}

#[test]
fn a_card_that_would_not_boot_is_not_finished() {
    let bytes = image(5, 0);
    let fake = Fake::new(64 * MIB);
    let mut one = card(&fake, CHUNK);
    one.inspect = Some(Box::new(|_: &mut dyn Blocks| {
        Err(Error::state("would not boot: no start4.elf"))
    }));
    let error = Run::of(&bytes).cards(vec![one]).remove(0).unwrap_err();
    assert!(error.to_string().contains("would not boot"));
    assert!(is_unfinished(&fake));
}

#[test]
fn a_counterfeit_card_is_refused_and_left_as_it_was() {
    let bytes = image(2, 0);
    let fake = Fake::new(64 * MIB);
    fake.with(|state| (state.real, state.wraps) = (16 * MIB, true));
    fake.fill(&[5; 16 * MIB]);
    let run = Run {
        options: Options::default(),
        ..Run::of(&bytes)
    };
    let error = run.on(&fake).unwrap_err();
    assert!(error.to_string().contains("counterfeit"), "{error}");
    assert!(fake.contents().iter().all(|byte| *byte == 5));
    // An honest one passes.
    let fake = Fake::new(64 * MIB);
    let run = Run {
        options: Options::default(),
        ..Run::of(&bytes)
    };
    run.on(&fake).unwrap();
    assert!(fake.contents()[..bytes.len()] == bytes);
}

#[test]
fn a_stall_is_told_while_it_lasts() {
    let bytes = image(3, 0);
    let fake = Fake::new(64 * MIB);
    let (release, stall) = std::sync::mpsc::channel();
    fake.with(|state| state.stall = Some(stall));
    let release = Mutex::new(Some(release));
    let mut run = Run {
        hears: Some(Box::new(move |event| {
            if matches!(event, Event::Stalled { .. }) {
                // Dropped, it lets the write go on: which it does not before this is told.
                release.lock().unwrap().take();
            }
        })),
        ..Run::of(&bytes)
    };
    run.options.stall = std::time::Duration::from_millis(5);
    run.on(&fake).unwrap();
}

#[test]
fn progress_grows_to_what_was_said() {
    let bytes = image(8, 0);
    let fake = Fake::new(64 * MIB);
    let run = Run {
        map: Box::new(Free(vec![3, 4])),
        ..Run::of(&bytes)
    };
    let events = run.events.clone();
    run.on(&fake).unwrap();
    let mut last = 0;
    let mut end = (0, 0);
    for event in events.lock().unwrap().iter() {
        match event {
            Event::Phase { .. } => last = 0,
            Event::Progress { bytes, of, .. } => {
                assert!(last <= *bytes && bytes <= of);
                (last, end) = (*bytes, (*bytes, *of));
            }
            _ => {}
        }
    }
    assert_eq!(end, (5 * CHUNK as u64, 5 * CHUNK as u64));
}

#[test]
fn an_image_file_is_sparse_and_whole_or_not_there() {
    let mut bytes = image(6, 1000);
    bytes[2 * CHUNK..4 * CHUNK].fill(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pi3.img");
    let card = || Card {
        name: "pi3.img".to_owned(),
        target: Box::new(ImageFile::create(&path, true).unwrap()),
        block_size: CHUNK,
        personalize: Some(Box::new(|blocks: &mut dyn Blocks| {
            blocks.write_at(6 * CHUNK as u64 + 990, b"the end!").unwrap();
            Ok(())
        })),
        inspect: None,
    };
    let done = Run::of(&bytes).cards(vec![card()]).remove(0).unwrap();
    let mut expected = bytes.clone();
    expected[6 * CHUNK + 990..6 * CHUNK + 998].copy_from_slice(b"the end!");
    assert!(std::fs::read(&path).unwrap() == expected);
    assert_eq!(done.equal, 2 * CHUNK as u64);
    use std::os::unix::fs::MetadataExt;
    let blocks = std::fs::metadata(&path).unwrap().blocks() * 512;
    assert!(blocks < 6 * CHUNK as u64, "{blocks}");
    std::fs::remove_file(&path).unwrap();
    let short = Run {
        size: Some(u64::MAX),
        ..Run::of(&bytes)
    };
    assert!(short.cards(vec![card()]).remove(0).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn through_the_elevated_writer_it_is_the_same() {
    let bytes = image(12, 512);
    let fake = Fake::new(64 * MIB);
    let mut one = card(&fake, 2 * CHUNK);
    one.target = Box::new(remote::tests::pair(&fake).unwrap());
    one.personalize = Some(Box::new(|blocks: &mut dyn Blocks| {
        blocks.write_at(9_000_000, b"pi3").unwrap();
        Ok(())
    }));
    let done = Run::of(&bytes).cards(vec![one]).remove(0).unwrap();
    let mut expected = bytes.clone();
    expected[9_000_000..9_000_003].copy_from_slice(b"pi3");
    assert!(fake.contents()[..bytes.len()] == expected);
    assert_eq!(done.written + CHUNK as u64, bytes.len() as u64);

    let fake = Fake::new(64 * MIB);
    fake.with(|state| state.pulled_after = Some(20 * MIB as u64));
    let mut one = card(&fake, CHUNK);
    one.target = Box::new(remote::tests::pair(&fake).unwrap());
    let error = Run::of(&bytes).cards(vec![one]).remove(0).unwrap_err();
    assert!(error.to_string().contains("pulled out"), "{error}");
}
