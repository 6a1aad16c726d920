//! SHA-512 crypt, the `$6$` hashes of `/etc/shadow` (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", 2007).
//!
//! For `hash_password: True`: the master hashes, and tells whether a stored hash is that of the password. All Linux systems that
//! picloud manages know these hashes, musl's too.

use sha2::{Digest, Sha512};

const DEFAULT_ROUNDS: u32 = 5000;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The hash of `password` with a salt that `seed` decides.
pub fn hash(password: &str, seed: &str) -> String {
    let digest = Sha512::digest(seed.as_bytes());
    let salt: String = digest[..16]
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
        .collect();
    format!(
        "$6${salt}${}",
        sha512_crypt(password.as_bytes(), salt.as_bytes(), DEFAULT_ROUNDS)
    )
}

/// Whether `stored` is a `$6$` hash of `password`. Other kinds of hashes cannot be told.
pub fn matches(password: &str, stored: &str) -> bool {
    let Some(rest) = stored.strip_prefix("$6$") else {
        return false;
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((rounds, rest)) => (rounds.parse().unwrap_or(DEFAULT_ROUNDS), rest),
        None => (DEFAULT_ROUNDS, rest),
    };
    let Some((salt, expected)) = rest.split_once('$') else {
        return false;
    };
    // A hash that would take minutes is nobody's own.
    rounds <= 1_000_000 && sha512_crypt(password.as_bytes(), salt.as_bytes(), rounds.max(1000)) == expected
}

/// `length` bytes of `digest` over and over.
fn repeated(digest: &[u8], length: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(length).collect()
}

fn sha512_crypt(password: &[u8], salt: &[u8], rounds: u32) -> String {
    let salt = &salt[..salt.len().min(16)];
    let second = Sha512::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Sha512::new().chain_update(password).chain_update(salt);
    first.update(repeated(&second, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update(second);
        } else {
            first.update(password);
        }
        bits >>= 1;
    }
    let mut digest = first.finalize();

    let mut passwords = Sha512::new();
    (0..password.len()).for_each(|_| passwords.update(password));
    let p = repeated(&passwords.finalize(), password.len());
    let mut salts = Sha512::new();
    (0..16 + usize::from(digest[0])).for_each(|_| salts.update(salt));
    let s = repeated(&salts.finalize(), salt.len());

    for round in 0..rounds {
        let mut next = Sha512::new();
        if round % 2 == 1 {
            next.update(&p);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(&s);
        }
        if round % 7 != 0 {
            next.update(&p);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(&p);
        }
        digest = next.finalize();
    }

    let mut text = String::with_capacity(86);
    let mut encode = |value: u32, letters: usize| {
        (0..letters).for_each(|n| text.push(char::from(ALPHABET[(value >> (6 * n) & 63) as usize])));
    };
    // Three bytes at a time, from each third of the digest, which takes the lead in turn.
    for n in 0..21usize {
        let mut thirds = [n, n + 21, n + 42];
        thirds.rotate_left(n % 3);
        let byte = |at: usize| u32::from(digest[thirds[at]]);
        encode(byte(0) << 16 | byte(1) << 8 | byte(2), 4);
    }
    encode(u32::from(digest[63]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_c_library() {
        // The first is from the specification, checked against OpenSSL; the others are from glibc's crypt(3).
        for (password, stored) in [
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "",
                "$6$abcdefghij$7T7df8XBkLMdUu88CTm53FLArDdGmq/nn55CVn9CMt4.MJaFsXu6CQpbmL9UbX0J.C3AX1MkPKvniLL00lAMz0",
            ),
            (
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "$6$rounds=1500$abc$HM5lDniVJ39r9caaY3GbY/hgVd0wEakwu6XSHWbFHJ9goJEyf8HOgeSJdd7wGLBTzfnWjd/KYvgjK4xTY8TtH.",
            ),
        ] {
            assert!(matches(password, stored), "{password}");
            assert!(!matches("x", stored));
        }
        assert!(!matches("x", "$y$j9T$x$y"));
        let hashed = hash("secret", "pi0/deploy");
        assert!(
            hashed.starts_with("$6$") && hashed.len() == 106 && matches("secret", &hashed),
            "{hashed}"
        );
        assert_ne!(hashed, hash("secret", "pi1/deploy"));
    }
}
