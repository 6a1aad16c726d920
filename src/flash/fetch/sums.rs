//! Checksums: what they are, how vendors write files of them, and the hashing of a stream.

use crate::error::{Error, Result};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// A checksum that was read somewhere or computed.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Sum {
    Sha256([u8; 32]),
    Sha512(Box<[u8; 64]>),
    /// Guards against damage, not against somebody who means it: taken where a vendor publishes nothing else.
    Md5([u8; 16]),
}

impl Sum {
    /// Reads a checksum in hexadecimal digits; its length says which one it is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Sum> {
        let bytes = unhex(text.trim()).unwrap_or_default();
        if let Ok(sum) = <[u8; 32]>::try_from(bytes.as_slice()) {
            return Ok(Sum::Sha256(sum));
        }
        if let Ok(sum) = <[u8; 64]>::try_from(bytes.as_slice()) {
            return Ok(Sum::Sha512(Box::new(sum)));
        }
        <[u8; 16]>::try_from(bytes.as_slice()).map(Sum::Md5).map_err(|_| {
            Error::usage(format!("`{text}` is no checksum")).hint("a SHA-256 has 64 hexadecimal digits, a SHA-512 128")
        })
    }

    /// The algorithm, as it is usually written.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Sum::Sha256(_) => "SHA-256",
            Sum::Sha512(_) => "SHA-512",
            Sum::Md5(_) => "MD5",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Sum::Sha256(sum) => sum,
            Sum::Sha512(sum) => &sum[..],
            Sum::Md5(sum) => sum,
        }
    }
}

impl fmt::Display for Sum {
    /// Its hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Hashes a stream: always by SHA-256, which is what the cache calls a file, and by what else a checksum wants.
#[derive(Clone)]
pub(super) struct Hasher {
    sha256: Sha256,
    other: Other,
}

#[derive(Clone)]
enum Other {
    None,
    Sha512(Sha512),
    Md5(md5::Context),
}

impl Hasher {
    /// One that can be compared with `expected`.
    pub(super) fn of(expected: Option<&Sum>) -> Hasher {
        Hasher {
            sha256: Sha256::new(),
            other: match expected {
                Some(Sum::Sha512(_)) => Other::Sha512(Sha512::new()),
                Some(Sum::Md5(_)) => Other::Md5(md5::Context::new()),
                Some(Sum::Sha256(_)) | None => Other::None,
            },
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        match &mut self.other {
            Other::None => {}
            Other::Sha512(hasher) => hasher.update(bytes),
            Other::Md5(hasher) => hasher.consume(bytes),
        }
    }

    /// The SHA-256, and the checksum in the algorithm that was expected (the same where that is SHA-256).
    pub(super) fn finish(self) -> (Sum, Sum) {
        let sha256 = Sum::Sha256(self.sha256.finalize().into());
        let other = match self.other {
            Other::None => sha256.clone(),
            Other::Sha512(hasher) => Sum::Sha512(Box::new(hasher.finalize().into())),
            Other::Md5(hasher) => Sum::Md5(hasher.finalize().0),
        };
        (sha256, other)
    }
}

/// One line of a checksum file: a sum, and the name of the file if it says one.
fn entry(line: &str) -> Option<(Sum, Option<&str>)> {
    let line = line.trim_end_matches(['\r', '\n']);
    // BSD: `SHA256 (name) = sum`.
    if let Some((algorithm, rest)) = line.split_once(" (")
        && let Some((name, sum)) = rest.rsplit_once(") = ")
    {
        let sum = Sum::parse(sum).ok()?;
        let same = algorithm
            .replace('-', "")
            .eq_ignore_ascii_case(&sum.algorithm().replace('-', ""));
        return same.then_some((sum, Some(name)));
    }
    // GNU: `sum  name`, `sum *name`; with a backslash before it where the name has escapes, which no image's has.
    let line = line.trim_start();
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let sum = Sum::parse(&line[..end]).ok()?;
    let name = line[end..].trim_start().trim_start_matches('*').trim_end();
    Some((sum, (!name.is_empty()).then_some(name)))
}

/// The checksum that the checksum file `text` gives for one of `names`, the first that it has. A file with but one checksum in it is
/// about the file that it lies beside, whatever it calls that. `shown` is what messages call the checksum file.
///
/// # Errors
/// There is none, or two that differ.
pub(super) fn find(text: &str, names: &[&str], shown: &str) -> Result<Sum> {
    let entries: Vec<(Sum, Option<&str>)> = text.lines().filter_map(entry).collect();
    let base = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    for name in names {
        let mut found: Vec<&Sum> = entries
            .iter()
            .filter(|(_, written)| written.is_some_and(|written| base(written) == **name))
            .map(|(sum, _)| sum)
            .collect();
        // Of several algorithms in one file, the best.
        found.sort_by_key(|sum| std::cmp::Reverse(sum.bytes().len().min(33) / 16));
        found.dedup();
        match found.as_slice() {
            [] => {}
            [first, second, ..] if first.algorithm() == second.algorithm() => {
                return Err(Error::state(format!("{shown} has two different checksums for `{name}`")));
            }
            [first, ..] => return Ok((*first).clone()),
        }
    }
    match entries.as_slice() {
        [(sum, _)] => Ok(sum.clone()),
        [] => Err(Error::state(format!("{shown} has no checksum in it"))),
        [..] => {
            let name = names.first().copied().unwrap_or_default();
            let error = Error::state(format!("{shown} has no checksum for `{name}`"));
            let known: Vec<String> = entries.iter().filter_map(|(_, name)| name.map(base)).collect();
            Err(error.did_you_mean(name, known.iter().map(String::as_str)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const B: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn checksum_files_are_understood() {
        let names = ["pi.img.xz"];
        for (text, expected) in [
            (format!("{A}  pi.img.xz\n"), Ok(A)),
            (format!("{B} *other.img\r\n{A} *pi.img.xz\r\n"), Ok(A)),
            (format!("{B}  ./a/other.img\n{A}  ./a/pi.img.xz\n"), Ok(A)),
            (format!("SHA256 (other.img) = {B}\nSHA256 (pi.img.xz) = {A}\n"), Ok(A)),
            (format!("{}\n", A.to_uppercase()), Ok(A)),
            (format!("# all\n\n{A}  2026-pi.img.xz\n"), Ok(A)),
            (
                format!("d41d8cd98f00b204e9800998ecf8427e  pi.img.xz\n{A}  pi.img.xz\n"),
                Ok(A),
            ),
            (format!("{A}  pi.img.xz\n{A}  pi.img.xz\n"), Ok(A)),
            (
                format!("{A}  pi.img.xz\n{B}  pi.img.xz\n"),
                Err("SUMS has two different checksums for `pi.img.xz`"),
            ),
            (
                format!("{A}  pj.img.xz\n{B}  other\n"),
                Err("SUMS has no checksum for `pi.img.xz`"),
            ),
            ("<html>404</html>".to_owned(), Err("SUMS has no checksum in it")),
            (format!("SHA512 (pi.img.xz) = {A}\n"), Err("SUMS has no checksum in it")),
        ] {
            let found = find(&text, &names, "SUMS");
            match expected {
                Ok(sum) => assert_eq!(found.unwrap().to_string(), sum, "{text}"),
                Err(error) => assert_eq!(found.unwrap_err().to_string(), error, "{text}"),
            }
        }
    }

    #[test]
    fn a_hasher_computes_what_is_expected() {
        for (sum, expected) in [
            (None, B),
            (Some(Sum::parse(B).unwrap()), B),
            (
                Some(Sum::parse("900150983cd24fb0d6963f7d28e17f72").unwrap()),
                "900150983cd24fb0d6963f7d28e17f72",
            ),
            (
                Some(Sum::Sha512(Box::new([0; 64]))),
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let mut hasher = Hasher::of(sum.as_ref());
            hasher.update(b"a");
            hasher.update(b"bc");
            let (sha256, other) = hasher.finish();
            assert_eq!((sha256.to_string().as_str(), other.to_string().as_str()), (B, expected));
        }
        assert!(Sum::parse("abc").is_err());
        assert!(Sum::parse(&"é".repeat(32)).is_err());
    }
}
