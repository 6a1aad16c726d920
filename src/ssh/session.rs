//! The persistent shell of one minion: batches of sections over its standard input, framed answers from its outputs.

use crate::error::{Error, Result};
use crate::shell::{Answer, Content, Section};

/// Sections that go in one round trip.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub sections: Vec<Section>,
}

/// A running `sh` on a minion, whatever it is reached by: an SSH channel, or a process of this machine.
pub struct Session {}

impl Session {
    /// Runs `batch` and waits for all of its answers, one for each section. `heard` is told of every answer as it comes.
    ///
    /// # Errors
    /// The connection died or the shell ended: kind `Unreachable`, saying which section it was at.
    pub async fn run(&mut self, _batch: &Batch, _heard: &mut (dyn FnMut(usize, &Answer) + Send)) -> Result<Vec<Answer>> {
        Err(Error::unreachable("not written yet"))
    }

    /// Writes `content` to `path` (created with mode 0600, replaced when it is there) through a channel of its own, with the
    /// session's privileges; returns when the minion has all of it.
    pub async fn upload(&mut self, _content: &Content, _path: &str) -> Result<()> {
        Err(Error::unreachable("not written yet"))
    }

    /// How many `exec`s and batches there were: asserted by tests.
    pub fn counts(&self) -> (u32, u32) {
        (0, 0)
    }
}
