//! How many bytes a file decodes to, read from its own index without decoding anything. It is only the file's word.

use super::Compression;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest index of an xz stream that is read, in bytes: a million blocks.
const INDEX: u64 = 16 << 20;

/// How many streams or blocks are looked at before giving up.
const STEPS: usize = 4 << 20;

/// The decoded size of `file`; `None` where it does not say, or says something odd.
pub(super) fn of(compression: Compression, file: &File) -> Option<u64> {
    let length = file.metadata().ok().filter(|m| m.is_file())?.len();
    match compression {
        Compression::None => Some(length),
        Compression::Xz => xz(file, length),
        Compression::Zstd => zstd(file, length),
        // A zip's is found with its list of files; gzip has it modulo 4 GiB, bzip2 not at all.
        Compression::Zip | Compression::Gzip | Compression::Bzip2 => None,
    }
}

fn bytes<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// The sum of all blocks of all streams, from the last to the first (the .xz file format, 2.1 to 4).
fn xz(file: &File, length: u64) -> Option<u64> {
    let mut end = length;
    let mut total = 0u64;
    for _ in 0..STEPS {
        if end == 0 {
            return Some(total);
        }
        let footer: [u8; 12] = bytes(file, end.checked_sub(12)?).ok()?;
        if footer == [0; 12] || footer[8..] == [0; 4] {
            // Padding, in units of four bytes.
            end = end.checked_sub(4)?;
            continue;
        }
        if footer[10..] != *b"YZ" {
            return None;
        }
        let backward = u32::from_le_bytes(footer[4..8].try_into().ok()?);
        let index_size = (u64::from(backward) + 1) * 4;
        let index_at = end.checked_sub(12)?.checked_sub(index_size)?;
        if index_size > INDEX {
            return None;
        }
        let mut index = vec![0; index_size as usize];
        file.read_exact_at(&mut index, index_at).ok()?;
        let mut rest = index.strip_prefix(&[0])?;
        let records = number(&mut rest)?;
        let mut blocks = 0u64;
        for _ in 0..records {
            // Blocks are padded to multiples of four.
            blocks = blocks.checked_add(number(&mut rest)?.checked_next_multiple_of(4)?)?;
            total = total.checked_add(number(&mut rest)?)?;
        }
        end = index_at.checked_sub(blocks)?.checked_sub(12)?;
    }
    None
}

/// A number of variable length (the .xz file format, 1.2).
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for n in 0..9 {
        let (first, more) = rest.split_first()?;
        *rest = more;
        number |= u64::from(first & 0x7f) << (7 * n);
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The sum of all frames, where all of them tell (RFC 8878, 3.1).
fn zstd(file: &File, length: u64) -> Option<u64> {
    let mut at = 0u64;
    let mut total = 0u64;
    let mut steps = 0;
    while at < length {
        let magic = u32::from_le_bytes(bytes(file, at).ok()?);
        if (0x184d_2a50..=0x184d_2a5f).contains(&magic) {
            let skip = u32::from_le_bytes(bytes(file, at + 4).ok()?);
            at = at.checked_add(8)?.checked_add(u64::from(skip))?;
        } else {
            let mut head = [0; 18];
            let there = usize::try_from(length - at).unwrap_or(usize::MAX).min(head.len());
            file.read_exact_at(&mut head[..there], at).ok()?;
            total = total.checked_add(zstd::zstd_safe::get_frame_content_size(&head[..there]).ok()??)?;
            let descriptor = head[4];
            let single = descriptor >> 5 & 1 == 1;
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let content = match descriptor >> 6 {
                0 => u64::from(single),
                1 => 2,
                2 => 4,
                _ => 8,
            };
            at += 5 + u64::from(!single) + dictionary + content;
            loop {
                steps += 1;
                if steps > STEPS {
                    return None;
                }
                let [a, b, c] = bytes(file, at).ok()?;
                let block = u32::from_le_bytes([a, b, c, 0]);
                // A block of the second kind is one byte, repeated.
                let size = if block >> 1 & 3 == 1 { 1 } else { block >> 3 };
                at = at.checked_add(3)?.checked_add(u64::from(size))?;
                if block & 1 == 1 {
                    break;
                }
            }
            at += if descriptor >> 2 & 1 == 1 { 4 } else { 0 };
        }
        steps += 1;
        if steps > STEPS {
            return None;
        }
    }
    (at == length).then_some(total)
}
