//! Lots that are drawn the same way for the same minion: a template that uses them must not change at every run.

use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};

/// A stream of bytes that follows from a seed.
#[derive(Debug)]
pub struct Random {
    seed: String,
    /// What is rendered, and how many blocks it has taken.
    place: Mutex<(String, u64)>,
}

impl Random {
    pub fn new(seed: &str) -> Random {
        Random {
            seed: seed.to_owned(),
            place: Mutex::default(),
        }
    }

    fn block(&self) -> [u8; 32] {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.1 += 1;
        let seed = format!("{}\0{}\0{}", self.seed, place.0, place.1);
        Sha256::digest(seed).into()
    }

    /// Begins anew for `what`: the lots of a file do not depend on what was rendered before it.
    pub fn begin(&self, what: &str) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = (what.to_owned(), 0);
    }

    pub fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 32);
        while bytes.len() < count {
            bytes.extend(self.block());
        }
        bytes.truncate(count);
        bytes
    }

    /// A number from 0 up to `limit`, which it is not.
    pub fn below(&self, limit: u64) -> u64 {
        let block = self.block();
        let number = u128::from_le_bytes(std::array::from_fn(|at| block[at]));
        (number % u128::from(limit.max(1))) as u64
    }
}

/// A number from 0 up to `limit` that follows from `seed` alone.
pub fn number_of(seed: &str, limit: u64) -> u64 {
    Random::new(seed).below(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_follow_from_the_seed() {
        let (a, b) = (Random::new("pi0"), Random::new("pi0"));
        assert_eq!(a.bytes(40), b.bytes(40));
        assert_ne!(a.bytes(8), Random::new("pi1").bytes(8));
        a.begin("web");
        b.begin("web");
        assert_eq!(a.below(1000), b.below(1000));
        assert!(a.below(7) < 7);
    }
}
