//! Does a card hold what it claims to? Tags at growing offsets tell in a second: a counterfeit card of 8 GB that says it has 64 loses
//! what is written above, or puts it over what is below.
//!
//! Such cards drop the upper bits of an address, or forget what lies above their flash memory; so the tags stand at the powers of two,
//! at the start and at the end. What stood there is put back.

use super::buffer::{Buffer, PAGE};
use super::target::{Fault, Target};

/// The first tag after that at the start, in bytes: below, even the smallest card is real.
const FROM: u64 = 4 << 20;

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Bytes that it says it has.
    pub claimed: u64,
    /// What was written below this offset was found again; `claimed` for an honest card.
    pub real: u64,
}

impl Capacity {
    pub fn is_honest(&self) -> bool {
        self.real == self.claimed
    }
}

/// Where the tags stand on a card of so many bytes, ascending.
fn offsets(capacity: u64) -> Vec<u64> {
    let page = PAGE as u64;
    let last = (capacity / page).saturating_sub(1) * page;
    let powers = (0..64).map(|n| 1_u64 << n).filter(|at| (FROM..last).contains(at));
    let mut all: Vec<u64> = [0].into_iter().chain(powers).chain([last]).collect();
    all.dedup();
    all
}

/// Bytes that stand nowhere else.
fn tag(nonce: &[u8; 32], offset: u64) -> Buffer {
    let mut tag = Buffer::new(PAGE);
    let mut hasher = blake3::Hasher::new_keyed(nonce);
    hasher.update(&offset.to_le_bytes());
    hasher.finalize_xof().fill(&mut tag);
    tag
}

/// Tests `target` with tags that `nonce` makes unique. What stood there is put back, also where it fails.
///
/// # Errors
/// It cannot be read or written.
pub fn test(target: &mut dyn Target, nonce: &[u8; 32]) -> Result<Capacity, Fault> {
    let claimed = target.capacity().unwrap_or_default();
    if claimed < FROM {
        return Ok(Capacity { claimed, real: claimed });
    }
    let mut saved = Vec::new();
    for offset in offsets(claimed) {
        let mut before = Buffer::new(PAGE);
        target.read(offset, &mut before)?;
        saved.push((offset, before));
    }
    let found = look(target, nonce, &saved);
    // All of it, whatever fails: on a card that is pulled out nothing is lost by trying. Backwards, so that where two places are one, the
    // one that is real gets its own contents last.
    let mut restored = Ok(());
    for (offset, before) in saved.iter().rev() {
        let done = target.write(*offset, &[before]);
        restored = restored.and(done);
    }
    let restored = restored.and(target.sync());
    let real = found?;
    restored?;
    Ok(Capacity {
        claimed,
        real: real.unwrap_or(claimed),
    })
}

/// The offset of the first tag that is not found again.
fn look(target: &mut dyn Target, nonce: &[u8; 32], saved: &[(u64, Buffer)]) -> Result<Option<u64>, Fault> {
    for (offset, _) in saved {
        target.write(*offset, &[&tag(nonce, *offset)])?;
    }
    target.sync()?;
    let mut read = Buffer::new(PAGE);
    let mut lost = Vec::new();
    for (offset, _) in saved {
        target.read(*offset, &mut read)?;
        if read[..] != tag(nonce, *offset)[..] {
            lost.push(*offset);
        }
    }
    // Where addresses wrap, it is the tag at the start that was overwritten, by the first one that wraps around.
    Ok(match lost.as_slice() {
        [] => None,
        [0, next, ..] => Some(*next),
        [0] => Some(whose_tag(target, nonce, saved)?),
        [first, ..] => Some(*first),
    })
}

/// Which tag stands at the start.
fn whose_tag(target: &mut dyn Target, nonce: &[u8; 32], saved: &[(u64, Buffer)]) -> Result<u64, Fault> {
    let mut read = Buffer::new(PAGE);
    target.read(0, &mut read)?;
    let owner = saved.iter().find(|(offset, _)| tag(nonce, *offset)[..] == read[..]);
    Ok(owner.map_or(0, |(offset, _)| *offset))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, noise};
    use super::*;

    const MIB: usize = 1 << 20;
    const NONCE: [u8; 32] = [9; 32];

    #[test]
    fn counterfeits_are_found_and_contents_stay() {
        // claimed, real, whether addresses wrap; what is found
        for (claimed, real, wraps, found) in [
            (64, 64, false, 64),
            (37, 37, false, 37),
            (64, 8, true, 8),
            (64, 16, true, 16),
            (64, 32, true, 32),
            (64, 8, false, 8),
            (64, 12, false, 16),
            (64, 63, false, 64),
        ] {
            let fake = Fake::new(claimed * MIB);
            fake.with(|state| (state.real, state.wraps) = (real * MIB, wraps));
            fake.fill(&noise(real * MIB));
            let seen = test(&mut *fake.target(), &NONCE).unwrap();
            let honest = claimed == real;
            assert_eq!(seen.is_honest(), honest, "{claimed} {real} {wraps}: {seen:?}");
            if found < 64 {
                assert_eq!(seen.real, (found * MIB) as u64, "{claimed} {real} {wraps}");
            }
            assert!(fake.contents() == noise(real * MIB), "{claimed} {real} {wraps}");
        }
    }

    #[test]
    fn contents_are_put_back_when_it_fails() {
        let fake = Fake::new(64 * MIB);
        fake.fill(&noise(64 * MIB));
        fake.with(|state| state.bad_writes.push((16 * MIB as u64..17 * MIB as u64, 3)));
        assert!(test(&mut *fake.target(), &NONCE).is_err());
        assert!(fake.contents() == noise(64 * MIB));
    }
}
