//! What is told while cards are flashed: bars, plain lines and JSON are listeners.

use serde::Serialize;

/// What a card is going through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Tags are written at growing offsets and read again: does it hold what it claims to?
    Testing,
    Writing,
    /// What was written is read back.
    Verifying,
    /// The minion's files are put on it and read back.
    Personalizing,
    /// Would it boot?
    Inspecting,
}

/// What everything waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    Network,
    Decoding,
    Card,
}

/// Something that happened. `card` is the name that the run gave it: a device or a file.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Bytes of the image's file that are here, of all where that is known.
    Fetched {
        name: String,
        bytes: u64,
        of: Option<u64>,
    },
    /// The download broke and goes on.
    Retrying {
        name: String,
        attempt: u32,
        why: String,
    },
    Phase {
        card: String,
        phase: Phase,
    },
    /// Bytes that the device has acknowledged in this phase, of those that there will be as far as is known by now.
    Progress {
        card: String,
        bytes: u64,
        of: u64,
        bottleneck: Option<Bottleneck>,
    },
    /// One request has been under way for so many seconds.
    Stalled {
        card: String,
        seconds: u64,
    },
    /// Something the user should know that is no failure: buffered writing, a range that was written again.
    Warning {
        card: Option<String>,
        message: String,
    },
}

/// Who is told. Called from several threads.
pub trait Listener: Send + Sync {
    fn hear(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Listener for F {
    fn hear(&self, event: &Event) {
        self(event);
    }
}
