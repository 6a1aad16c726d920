//! The elevated writer: no input makes it panic, or reach beyond the disk that it opened, or open one twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud::error::Result;
use picloud::flash::write::Target;
use picloud::flash::write::protocol::{Answer, Request};
use picloud::flash::write::serve::serve;
use picloud::flash::write::target::Fault;

const SIZE: u64 = 1 << 16;

struct Memory(Vec<u8>);

impl Target for Memory {
    fn capacity(&self) -> Option<u64> {
        Some(SIZE)
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn write(&mut self, offset: u64, pieces: &[&[u8]]) -> Result<(), Fault> {
        let mut at = offset as usize;
        for piece in pieces {
            self.0[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Fault> {
        let at = offset as usize;
        into.copy_from_slice(&self.0[at..at + into.len()]);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

const OPEN: &str = r#"{"path":"/dev/sdb","number":[8,16],"size":65536,"diskseq":1,"serial":null,"cid":null,"image":0,
    "allow":{"fixed":false,"large":false,"unmount":false,"named":false}}"#;

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (opened, bytes) = input;
    let mut stream = Vec::new();
    if opened {
        // Far enough in for the fuzzer to find the rest.
        stream.push(1);
        stream.extend_from_slice(&0_u64.to_le_bytes());
        stream.extend_from_slice(&(OPEN.len() as u32).to_le_bytes());
        stream.extend_from_slice(OPEN.as_bytes());
    }
    stream.extend_from_slice(&bytes);
    let mut opens = 0;
    let _ = serve(&stream[..], std::io::sink(), |_| {
        opens += 1;
        Ok(Box::new(Memory(vec![0; SIZE as usize])))
    });
    assert!(opens <= 1);

    // And the other side, which need not trust the writer either.
    let _ = Answer::receive(&mut &bytes[..]);
    let _ = Request::receive(&mut &bytes[..]);
});
