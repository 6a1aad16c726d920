//! How good a card is: its real capacity, its speed in the ways that matter, a verdict in words, and how it was before.
//!
//! Speed is measured by writing back what was just read, so that nothing on the card is lost; only [`fill`] overwrites it.

use super::device::human;
use super::event::{Event, Listener, Phase};
use super::write::buffer::{Buffer, PAGE};
use super::write::capacity::{self, Capacity};
use super::write::target::{Fault, Target};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// The sizes of requests that are compared, in bytes.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20];

/// One measurement takes no longer.
const LONGEST: Duration = Duration::from_secs(4);

/// What was measured, in bytes or requests a second.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Speeds {
    /// In requests of 4 MiB.
    pub write: f64,
    pub read: f64,
    /// Writes of 4 KiB, each on the card before the next: what databases and package managers do.
    pub small_synchronous: f64,
    /// Bytes a second by the size of requests.
    pub by_size: Vec<(usize, f64)>,
}

/// What [`fill`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Filled {
    /// Bytes that were found again.
    pub good: u64,
    /// Bytes that hold what was written elsewhere.
    pub wrapped: u64,
    /// Bytes that hold something else, or cannot be read or written.
    pub lost: u64,
}

/// Looks whether the card has what it claims to have.
///
/// # Errors
/// It cannot be read or written.
pub fn quick(target: &mut dyn Target) -> Result<Capacity> {
    capacity::test(target, &nonce()?).map_err(|fault| fault.error())
}

fn nonce() -> Result<[u8; 32]> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|e| Error::state(format!("the system has no random numbers: {e}")))?;
    Ok(nonce)
}

fn go_on(stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Error::state("stopped; what was on the card is still there")),
        false => Ok(()),
    }
}

/// Measures the card by writing back what it holds.
///
/// # Errors
/// It cannot be read or written; `stop` was set.
pub fn speeds(target: &mut dyn Target, stop: &AtomicBool) -> Result<Speeds> {
    let capacity = target.capacity().unwrap_or_default() / (4 * MIB) * (4 * MIB);
    if capacity < 16 * MIB {
        return Err(Error::usage(format!(
            "a card of {} is too small to be measured",
            human(capacity)
        )));
    }
    let failed = |fault: Fault| fault.error();
    let mut buffer = Buffer::new(4 << 20);
    let (mut written, mut writing) = (0_u64, Duration::ZERO);
    let (mut read, mut reading) = (0_u64, Duration::ZERO);
    // Three places: some cards have a fast area at the start.
    for place in [0, capacity / 2, capacity / 4 * 3] {
        let start = place / (4 * MIB) * (4 * MIB);
        let since = Instant::now();
        for n in 0..8 {
            let at = start + n * 4 * MIB;
            if at + 4 * MIB > capacity || since.elapsed() > LONGEST {
                break;
            }
            go_on(stop)?;
            let before = Instant::now();
            target.read(at, &mut buffer).map_err(failed)?;
            let between = Instant::now();
            target.write(at, &[&buffer]).map_err(failed)?;
            target.sync().map_err(failed)?;
            reading += between - before;
            writing += between.elapsed();
            (read, written) = (read + 4 * MIB, written + 4 * MIB);
        }
    }
    let rate = |bytes: u64, time: Duration| bytes as f64 / time.as_secs_f64().max(1e-6);
    let mut by_size = Vec::new();
    for size in SIZES {
        let start = capacity / 2 / (4 * MIB) * (4 * MIB);
        target.read(start, &mut buffer).map_err(failed)?;
        let (mut bytes, since) = (0, Instant::now());
        for block in buffer.chunks(size).take(256) {
            if since.elapsed() > LONGEST {
                break;
            }
            go_on(stop)?;
            target.write(start + bytes, &[block]).map_err(failed)?;
            bytes += block.len() as u64;
        }
        target.sync().map_err(failed)?;
        by_size.push((size, rate(bytes, since.elapsed())));
    }
    Ok(Speeds {
        write: rate(written, writing),
        read: rate(read, reading),
        small_synchronous: small_synchronous(target, capacity, stop)?,
        by_size,
    })
}

/// Writes of 4 KiB a second, each flushed, in no order within 64 MiB.
fn small_synchronous(target: &mut dyn Target, capacity: u64, stop: &AtomicBool) -> Result<f64> {
    let failed = |fault: Fault| fault.error();
    let pages = (64 * MIB).min(capacity) / PAGE as u64;
    let mut page = Buffer::new(PAGE);
    let (mut count, mut time) = (0, Duration::ZERO);
    while count < 256 && time < LONGEST {
        go_on(stop)?;
        // A step that shares no factor with a power of two meets every page once.
        let at = (count * 2_654_435_761 % pages) * PAGE as u64;
        target.read(at, &mut page).map_err(failed)?;
        let since = Instant::now();
        target.write(at, &[&page]).map_err(failed)?;
        target.sync().map_err(failed)?;
        time += since.elapsed();
        count += 1;
    }
    Ok(count as f64 / time.as_secs_f64().max(1e-6))
}

/// Writes the whole card with bytes that stand nowhere else on it, and looks for them: what it held is lost.
///
/// # Errors
/// It was pulled out; `stop` was set.
pub fn fill(target: &mut dyn Target, card: &str, listener: &dyn Listener, stop: &AtomicBool) -> Result<Filled> {
    let nonce = nonce()?;
    let capacity = target.capacity().unwrap_or_default() / PAGE as u64 * PAGE as u64;
    let mut filled = Filled::default();
    let mut bad: Vec<u64> = Vec::new();
    let stopped = || match stop.load(Ordering::Relaxed) {
        true => Err(Error::state("stopped; what was on the card is gone")),
        false => Ok(()),
    };
    let told = |phase, bytes| {
        listener.hear(&Event::Progress {
            card: card.to_owned(),
            bytes,
            of: capacity,
            bottleneck: None,
        });
        if bytes == 0 {
            listener.hear(&Event::Phase {
                card: card.to_owned(),
                phase,
            });
        }
    };
    let chunks = || (0..capacity).step_by(4 << 20);
    let length = |at: u64| (capacity - at).min(4 * MIB) as usize;
    let mut expected = Buffer::new(4 << 20);
    for at in chunks() {
        stopped()?;
        told(Phase::Writing, at);
        pattern(&nonce, at, &mut expected[..length(at)]);
        match target.write(at, &[&expected[..length(at)]]) {
            Ok(()) => {}
            Err(fault) if fault.gone => return Err(fault.error()),
            Err(fault) => bad.push(fault.offset),
        }
    }
    target.sync().map_err(|fault| fault.error())?;
    let mut read = Buffer::new(4 << 20);
    for at in chunks() {
        stopped()?;
        told(Phase::Verifying, at);
        let read = &mut read[..length(at)];
        match target.read(at, read) {
            Ok(()) if !bad.contains(&at) => {}
            Err(fault) if fault.gone => return Err(fault.error()),
            _ => {
                filled.lost += read.len() as u64;
                continue;
            }
        }
        let expected = &mut expected[..read.len()];
        pattern(&nonce, at, expected);
        if read == expected {
            filled.good += read.len() as u64;
            continue;
        }
        for (n, page) in read.chunks(PAGE).enumerate() {
            let own = &expected[n * PAGE..n * PAGE + page.len()];
            let length = page.len() as u64;
            match page {
                _ if page == own => filled.good += length,
                _ if page[..16] == own[..16] => filled.wrapped += length,
                _ => filled.lost += length,
            }
        }
    }
    Ok(filled)
}

/// Fills pages with what belongs at `offset`: the run's sign (16 bytes), then the page's own.
fn pattern(nonce: &[u8; 32], offset: u64, into: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_keyed(nonce);
    hasher.update(&offset.to_le_bytes());
    hasher.finalize_xof().fill(into);
    for page in into.chunks_mut(PAGE) {
        page[..16].copy_from_slice(&nonce[..16]);
    }
}

/// What is remembered of one test or flash.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub when: u64,
    /// Bytes a second.
    pub write: Option<f64>,
    pub read: Option<f64>,
    /// Writes a second.
    pub small_synchronous: Option<f64>,
}

/// What is remembered of cards, in a folder of the user's cache.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// So many entries are kept of a card.
    const KEPT: usize = 200;

    /// `folder` is there already.
    pub fn at(folder: impl Into<PathBuf>) -> History {
        History { folder: folder.into() }
    }

    fn path(&self, card: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = card.chars().map(plain).take(100).collect();
        self.folder.join(format!("{name}.json"))
    }

    /// What is known of the card that calls itself `card` (see [`Device::identity`](super::device::Device::identity)), the oldest first.
    pub fn of(&self, card: &str) -> Vec<Entry> {
        let text = std::fs::read_to_string(self.path(card)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Remembers `entry`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn add(&self, card: &str, entry: &Entry) -> Result<()> {
        let mut entries = self.of(card);
        entries.push(entry.clone());
        let old = entries.len().saturating_sub(History::KEPT);
        let lines = entries.drain(old..).filter_map(|entry| serde_json::to_string(&entry).ok());
        let text: String = lines.map(|line| line + "\n").collect();
        write_whole(&self.path(card), &text)
    }
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e| Error::usage(format!("cannot write {}: {e}", path.display())))
}

/// Whether the card has become slow: the last entry against the best of the earlier ones, in words.
pub fn slowed(entries: &[Entry]) -> Option<String> {
    let (last, earlier) = entries.split_last()?;
    let said = |what: &str, of: fn(&Entry) -> Option<f64>| {
        let now = of(last)?;
        let best = earlier.iter().filter_map(of).fold(0.0, f64::max);
        let how = match now / best {
            ratio if best == 0.0 || ratio > 0.75 => return None,
            ratio if ratio > 0.55 => "by a third",
            ratio if ratio > 0.3 => "by half",
            _ => "to less than a third",
        };
        Some(format!(
            "this card has slowed down {how}: it {what} {} a second, and {} once",
            human(now as u64),
            human(best as u64)
        ))
    };
    said("writes", |entry| entry.write).or_else(|| said("reads", |entry| entry.read))
}

/// What is to be thought of the card, a sentence each.
pub fn verdict(capacity: Capacity, filled: Option<Filled>, speeds: Option<&Speeds>, history: &[Entry]) -> Vec<String> {
    let mut said = Vec::new();
    let claimed = human(capacity.claimed);
    match filled {
        Some(filled) if filled.wrapped > 0 || filled.good < capacity.claimed / 2 => said.push(format!(
            "a counterfeit: it says {claimed} and holds {}; give it back",
            human(filled.good)
        )),
        Some(filled) if filled.lost > 0 => said.push(format!(
            "worn out: {} of {claimed} are lost; do not use it",
            human(filled.lost)
        )),
        Some(_) => said.push(format!("all of its {claimed} hold what is written to them")),
        None if capacity.is_honest() => said.push(format!(
            "it seems to have the {claimed} that it claims; `--full` would prove it"
        )),
        None => said.push(format!(
            "a counterfeit: it says {claimed}, but what is written at {} and above is lost; give it back",
            human(capacity.real)
        )),
    }
    if let Some(speeds) = speeds {
        let seconds = 3e9 / speeds.write.max(1.0);
        let takes = match seconds {
            ..90.0 => format!("{seconds:.0} seconds"),
            _ => format!("{:.0} minutes", seconds / 60.0),
        };
        let class = match speeds.write / 1e6 {
            90.0.. => "very fast",
            30.0.. => "fast (video speed class V30 and better)",
            10.0.. => "usual (class 10)",
            4.0.. => "slow (below class 10)",
            _ => "very slow: try another reader or port, then another card",
        };
        said.push(format!("writing is {class}: an image of 3 GB takes {takes}"));
        said.push(match speeds.small_synchronous {
            500.0.. => "small synchronous writes are quick (application class A1 asks for 500 a second)".to_owned(),
            100.0.. => "small synchronous writes are fair: packages install, databases wait".to_owned(),
            _ => "small synchronous writes crawl: installing packages, docker and k3s will be slow on it".to_owned(),
        });
    }
    said.extend(slowed(history));
    said
}

/// Why small requests are not used, from what was measured: the smallest size that brings nine tenths of the best rate.
pub fn why_block_size(speeds: &Speeds) -> Option<String> {
    let best = speeds.by_size.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let enough = speeds.by_size.iter().find(|(_, rate)| *rate >= best * 0.9)?;
    let (smallest, slow) = speeds.by_size.first()?;
    Some(format!(
        "requests of {} KiB reach nine tenths of its best rate; with {} KiB it would be {:.1} times slower",
        enough.0 >> 10,
        smallest >> 10,
        best / slow.max(1.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::write::fake::{Fake, noise};
    use super::*;

    const SIZE: usize = 40 << 20;

    #[test]
    fn measuring_leaves_what_is_there() {
        let fake = Fake::new(SIZE);
        fake.fill(&noise(SIZE));
        let mut target = fake.target();
        assert!(quick(&mut *target).unwrap().is_honest());
        let speeds = speeds(&mut *target, &AtomicBool::new(false)).unwrap();
        assert!(speeds.write > 0.0 && speeds.read > 0.0 && speeds.small_synchronous > 0.0);
        assert_eq!(speeds.by_size.len(), SIZES.len());
        assert!(fake.contents() == noise(SIZE));
    }

    #[test]
    fn filling_finds_what_a_card_holds() {
        const HALF: u64 = SIZE as u64 / 2;
        for (real, wraps, bad, found) in [
            (SIZE, false, None, (SIZE as u64, 0, 0)),
            (SIZE / 2, false, None, (HALF, 0, HALF)),
            (SIZE / 2, true, None, (HALF, HALF, 0)),
            (SIZE, false, Some(5 << 20), (SIZE as u64 - (4 << 20), 0, 4 << 20)),
        ] {
            let fake = Fake::new(SIZE);
            fake.with(|state| {
                (state.real, state.wraps) = (real, wraps);
                state.bad_writes.extend(bad.map(|at: u64| (at..at + 1, u32::MAX)));
            });
            let filled = fill(&mut *fake.target(), "card", &|_: &Event| {}, &AtomicBool::new(false)).unwrap();
            assert_eq!((filled.good, filled.wrapped, filled.lost), found, "{real} {wraps}");
        }
    }

    #[test]
    fn a_card_that_slows_down_is_noticed() {
        let entry = |write: f64| Entry {
            write: Some(write * 1e6),
            ..Entry::default()
        };
        for (rates, says) in [
            (vec![20.0], None),
            (vec![20.0, 19.0], None),
            (vec![20.0, 18.0, 14.0], Some("by a third")),
            (
                vec![20.0, 18.0, 10.0],
                Some("by half: it writes 10.0 MB a second, and 20.0 MB once"),
            ),
            (vec![20.0, 5.0], Some("to less than a third")),
            (vec![20.0, 5.0, 19.0], None),
        ] {
            let entries: Vec<Entry> = rates.iter().map(|rate| entry(*rate)).collect();
            let said = slowed(&entries);
            match says {
                None => assert_eq!(said, None, "{rates:?}"),
                Some(says) => assert!(said.as_ref().is_some_and(|said| said.contains(says)), "{said:?}"),
            }
        }
    }

    #[test]
    fn history_is_kept_for_each_card() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::at(folder.path());
        let entry = |when| Entry {
            when,
            ..Entry::default()
        };
        for when in 0..205 {
            history.add("serial-a/../b", &entry(when)).unwrap();
        }
        let kept = history.of("serial-a/../b");
        assert_eq!((kept.len(), kept[0].when, kept[199].when), (200, 5, 204));
        assert!(history.of("other").is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_verdict_is_in_words() {
        const GB: u64 = 1_000_000_000;
        let honest = Capacity {
            claimed: 32 * GB,
            real: 32 * GB,
        };
        let fake = Capacity {
            claimed: 64 * GB,
            real: 8 * GB,
        };
        let speeds = Speeds {
            write: 12e6,
            read: 80e6,
            small_synchronous: 40.0,
            by_size: vec![(4096, 1e6), (65536, 11e6), (4 << 20, 12e6)],
        };
        let said = verdict(honest, None, Some(&speeds), &[]);
        assert_eq!(
            said,
            [
                "it seems to have the 32.0 GB that it claims; `--full` would prove it",
                "writing is usual (class 10): an image of 3 GB takes 4 minutes",
                "small synchronous writes crawl: installing packages, docker and k3s will be slow on it",
            ]
        );
        assert!(verdict(fake, None, None, &[])[0].starts_with("a counterfeit: it says 64.0 GB"));
        let worn = Filled {
            good: 31 * GB,
            wrapped: 0,
            lost: GB,
        };
        assert!(verdict(honest, Some(worn), None, &[])[0].starts_with("worn out"));
        assert_eq!(
            why_block_size(&speeds).unwrap(),
            "requests of 64 KiB reach nine tenths of its best rate; with 4 KiB it would be 12.0 times slower"
        );
    }
}
