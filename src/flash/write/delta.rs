//! Whether a chunk is read before it is written, because the card may hold it already. Pure.
//!
//! Reading an equal chunk is its verification as well. At four times the speed of writing, reading first pays as long as more than one
//! chunk in five is equal. A card with something else on it must not pay for it: it is only asked now and then.

/// Points that comparing may lose before it is given up: so many different chunks in a row.
const PATIENCE: u32 = 32;

/// One equal chunk is worth as many different ones.
const GAIN: u32 = 4;

/// How seldom a card that holds something else is asked, in chunks: reading costs a fifth of writing and verifying, so 0.3 %.
const SELDOM: u64 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    /// It most likely holds something else.
    Writing,
    /// It most likely holds this image.
    Comparing {
        points: u32,
    },
}

/// The decision for one card.
#[derive(Clone, Debug)]
pub struct Delta {
    mode: Mode,
    /// Chunks since the mode began.
    count: u64,
}

impl Delta {
    /// Never reads.
    pub fn off() -> Delta {
        Delta {
            mode: Mode::Off,
            count: 0,
        }
    }

    /// `likely`: something says that the card holds this image.
    pub fn new(likely: bool) -> Delta {
        let mode = match likely {
            true => Mode::Comparing { points: PATIENCE },
            false => Mode::Writing,
        };
        Delta { mode, count: 0 }
    }

    /// Whether the next chunk should be read first.
    pub fn reads(&mut self) -> bool {
        self.count += 1;
        match self.mode {
            Mode::Off => false,
            Mode::Comparing { .. } => true,
            // Often at first: the first chunks tell the most.
            Mode::Writing if self.count < SELDOM => self.count.is_power_of_two(),
            Mode::Writing => self.count.is_multiple_of(SELDOM),
        }
    }

    /// What came of reading. `telling`: it is no chunk of zeros, which many cards have.
    pub fn found(&mut self, equal: bool, telling: bool) {
        match &mut self.mode {
            Mode::Comparing { points } if equal => *points = (*points + GAIN).min(PATIENCE),
            Mode::Comparing { points } => {
                *points -= 1;
                if *points == 0 {
                    // As seldom as on a card that was foreign from the start.
                    *self = Delta {
                        mode: Mode::Writing,
                        count: SELDOM,
                    };
                }
            }
            Mode::Writing if equal && telling => self.mode = Mode::Comparing { points: PATIENCE / 2 },
            Mode::Writing | Mode::Off => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `chunks` are read, where `equal` says which the card holds.
    fn reads(mut delta: Delta, chunks: u64, equal: impl Fn(u64) -> bool) -> (u64, u64) {
        let (mut read, mut spared) = (0, 0);
        for n in 0..chunks {
            if delta.reads() {
                read += 1;
                delta.found(equal(n), true);
                spared += u64::from(equal(n));
            }
        }
        (read, spared)
    }

    #[test]
    fn what_is_read_on_which_card() {
        // A foreign card, of 2 GiB: 488 chunks, of which a hundredth costs 24 reads (a read is a fifth of writing and verifying).
        let (read, _) = reads(Delta::new(false), 488, |_| false);
        assert!(read <= 14, "{read}");
        // The same image: nothing is spared but the first chunks.
        assert_eq!(reads(Delta::new(true), 488, |_| true), (488, 488));
        let (_, spared) = reads(Delta::new(false), 488, |n| n > 0);
        assert!(spared >= 485, "{spared}");
        // A used card: a few chunks in a row differ.
        let (_, spared) = reads(Delta::new(true), 488, |n| n % 100 > 10);
        assert_eq!(spared, (0..488).filter(|n| n % 100 > 10).count() as u64);
        // Interrupted at two thirds.
        let (read, spared) = reads(Delta::new(true), 3000, |n| n < 2000);
        assert_eq!(spared, 2000);
        assert!(read < 2000 + 60, "{read}");
        // The next version of an image: one in ten is equal.
        let (read, _) = reads(Delta::new(true), 3000, |n| n % 10 == 0);
        assert!(read < 300, "{read}");
        assert_eq!(reads(Delta::off(), 3000, |_| true), (0, 0));
    }

    #[test]
    fn zeros_tell_nothing() {
        let mut delta = Delta::new(false);
        let read = (0..640).filter(|_| {
            let reads = delta.reads();
            if reads {
                delta.found(true, false);
            }
            reads
        });
        assert!(read.count() < 20);
    }
}
