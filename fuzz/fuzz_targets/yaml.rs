//! YAML: no bytes make the reader panic, and what it has read survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud::error::FileId;
use picloud::yaml::{emit, parse_bytes};
use serde_json::Value as Json;

fuzz_target!(|bytes: &[u8]| {
    let file = FileId::of("fuzz");
    match parse_bytes(file, bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(value) => {
            let written = emit(&value);
            let again = parse_bytes(file, written.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{written}"));
            assert_eq!(Json::from(&again), Json::from(&value), "{written}");
        }
    }
});
