//! Frames: a shell's output is read the same in whatever pieces it comes, and a section can print what it likes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud::shell::Section;
use picloud::ssh::frame::{Decoder, Nonce, Part};

fn decode(stream: &[u8], sections: &[Section], mut piece: impl FnMut() -> usize) -> (Vec<Part>, bool) {
    // Short, so that the fuzzer finds it.
    let mut decoder = Decoder::new(&Nonce::fixed("NN"), sections);
    let (mut parts, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        parts.extend(decoder.feed(now));
        rest = later;
    }
    (parts, decoder.done())
}

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (count, piece, stream) = input;
    let section = Section {
        keep: 64,
        ..Section::new("")
    };
    let sections = vec![section; usize::from(count % 5)];
    let whole = decode(&stream, &sections, || usize::MAX);
    assert_eq!(whole, decode(&stream, &sections, || 1));
    assert_eq!(whole, decode(&stream, &sections, || usize::from(piece)));
    assert!(whole.0.len() <= sections.len());

    // As the shell would frame it, with a nonce that the section does not know.
    if !stream.windows(2).any(|pair| pair == b"NN") {
        let mut framed = b"greetings\n\nNN s\n".to_vec();
        framed.extend_from_slice(&stream);
        framed.extend_from_slice(b"\nNN 0 7\n");
        let sections = [Section {
            keep: stream.len(),
            ..Section::new("")
        }];
        let (parts, done) = decode(&framed, &sections, || usize::from(piece));
        assert!(done);
        assert_eq!((parts[0].status, &parts[0].bytes, parts[0].dropped), (7, &stream, 0));
    }
});
