//! Filters and functions that hash, encode and draw lots.

use super::Filter;
use crate::template::args::Args;
use crate::template::context::shared;
use crate::template::value::{as_int, fail, items, list, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};
use sha2::{Digest, Sha256, Sha512};

pub const FILTERS: &[(&str, Filter)] = &[
    ("base64_encode", |_, value, _| Ok(STANDARD.encode(bytes(&value)).into())),
    ("base64_decode", |_, value, _| base64_decode(&value)),
    ("md5", |_, value, _| Ok(digest("md5", &bytes(&value))?.into())),
    ("sha1", |_, value, _| Ok(digest("sha1", &bytes(&value))?.into())),
    ("sha256", |_, value, _| Ok(digest("sha256", &bytes(&value))?.into())),
    ("sha512", |_, value, _| Ok(digest("sha512", &bytes(&value))?.into())),
    ("hmac", |_, value, args| {
        let (secret, challenge) = (args.text("shared_secret")?, args.text("challenge_hmac")?);
        Ok((STANDARD.encode(hmac_sha256(secret.as_bytes(), &bytes(&value))) == challenge).into())
    }),
    ("hmac_compute", |_, value, args| {
        let secret = args.text("shared_secret")?;
        Ok(STANDARD.encode(hmac_sha256(secret.as_bytes(), &bytes(&value))).into())
    }),
    ("uuid", |_, value, _| Ok(uuid(&text(&value)).into())),
    ("random", |state, value, _| {
        let all = items(&value)?;
        if all.is_empty() {
            return Err(fail("`|random` of an empty list"));
        }
        let at = shared(state)?.random.below(all.len() as u64) as usize;
        Ok(all[at].clone())
    }),
    ("random_hash", |state, value, args| {
        let size = as_int(&value).unwrap_or(9_999_999_999);
        let algorithm = args.text_or("hash_type", "sha256")?;
        let drawn = shared(state)?.random.below(size.unsigned_abs().max(1));
        Ok(digest(&algorithm, drawn.to_string().as_bytes())?.into())
    }),
    ("rand_str", |state, value, args| {
        let size = as_int(&value).unwrap_or(9_999_999_999);
        let algorithm = args.text_or("hash_type", "md5")?;
        let drawn = shared(state)?.random.below(size.unsigned_abs().max(1));
        Ok(digest(&algorithm, drawn.to_string().as_bytes())?.into())
    }),
    ("random_str", |state, value, _| {
        let size = as_int(&value).unwrap_or(32).clamp(0, 4096) as usize;
        let mut encoded = STANDARD.encode(shared(state)?.random.bytes(size));
        encoded.truncate(size);
        Ok(encoded.into())
    }),
    ("random_sample", |state, value, args| {
        let size = usize::try_from(args.int("size", 1)?).unwrap_or(0);
        let random = lots(state, args)?;
        let mut all = shuffled(&value, &random)?;
        if size > all.len() {
            return Err(fail(format!("`|random_sample`: {size} of {} items", all.len())));
        }
        all.truncate(size);
        Ok(list(all))
    }),
    ("random_shuffle", |state, value, args| {
        let random = lots(state, args)?;
        Ok(list(shuffled(&value, &random)?))
    }),
    ("shuffle", |state, value, args| {
        let random = lots(state, args)?;
        Ok(list(shuffled(&value, &random)?))
    }),
];

/// The bytes that a value stands for.
pub fn bytes(value: &Value) -> Vec<u8> {
    match value.kind() {
        ValueKind::Bytes => value.as_bytes().unwrap_or_default().to_vec(),
        _ => text(value).into_bytes(),
    }
}

/// Text where the bytes are UTF-8, else bytes.
pub fn text_or_bytes(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(not) => Value::from_bytes(not.into_bytes()),
    }
}

pub fn base64_decode(value: &Value) -> Result<Value, Error> {
    let mut written = bytes(value);
    // Python's decoder leaves out what is not of the alphabet.
    written.retain(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    STANDARD
        .decode(&written)
        .map(text_or_bytes)
        .map_err(|why| fail(format!("this is not Base64: {why}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        out.push_str(&format!("{byte:02x}"));
        out
    })
}

/// The digest as lower-case hexadecimal.
///
/// # Errors
/// An algorithm that is not known here.
pub fn digest(algorithm: &str, data: &[u8]) -> Result<String, Error> {
    Ok(match algorithm {
        "sha256" => hex(&Sha256::digest(data)),
        "sha512" => hex(&Sha512::digest(data)),
        "sha224" => hex(&sha2::Sha224::digest(data)),
        "sha384" => hex(&sha2::Sha384::digest(data)),
        "md5" => hex(&md5::compute(data).0),
        "sha1" => hex(&sha1::Sha1::digest(data)),
        other => {
            return Err(fail(format!(
                "unknown hash algorithm `{other}`; there are md5, sha1, sha224, sha256, sha384 and sha512"
            )));
        }
    })
}

/// RFC 2104 over SHA-256.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut padded = if key.len() > BLOCK {
        Sha256::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    padded.resize(BLOCK, 0);
    let keyed = |with: u8| padded.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(data).finalize();
    Sha256::new()
        .chain_update(keyed(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

/// The name-based UUID (version 5) of `name` in Salt's own namespace.
pub fn uuid(name: &str) -> String {
    const NAMESPACE: [u8; 16] = [
        0x91, 0x63, 0x3e, 0xbf, 0x1c, 0x86, 0x5e, 0x33, 0x93, 0x5a, 0x28, 0x06, 0x1f, 0x4b, 0x48, 0x0e,
    ];
    let mut data = NAMESPACE.to_vec();
    data.extend(name.as_bytes());
    let mut id = sha1::Sha1::digest(&data);
    id[6] = (id[6] & 0x0f) | 0x50;
    id[8] = (id[8] & 0x3f) | 0x80;
    let id = hex(&id[..16]);
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

/// Lots drawn from a seed that was given, or else from the minion's own.
fn lots(state: &State, args: &mut Args) -> Result<std::sync::Arc<crate::template::random::Random>, Error> {
    Ok(match args.optional("seed")? {
        Some(seed) => std::sync::Arc::new(crate::template::random::Random::new(&text(&seed))),
        None => shared(state)?.random.clone(),
    })
}

fn shuffled(value: &Value, random: &crate::template::random::Random) -> Result<Vec<Value>, Error> {
    let mut all = items(value)?;
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_that_others_compute() {
        // Known answers of RFC 1321, FIPS 180-4 and RFC 4231.
        let table = [
            ("md5", "abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("md5", "", "d41d8cd98f00b204e9800998ecf8427e"),
            ("sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "sha256",
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ];
        for (algorithm, data, expected) in table {
            assert_eq!(digest(algorithm, data.as_bytes()).unwrap(), expected);
        }
        let long = vec![b'a'; 1000];
        assert_eq!(digest("md5", &long).unwrap(), "cabe45dcc9ae5b66ba86600cca6b8ba8");
        assert_eq!(digest("sha1", &long).unwrap(), "291e9a6c66994949b57ba5e650361e98fc36b1ba");
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
