//! Questions to the person at the terminal: passphrases, passwords, yes or no.

use crate::inventory::Secret;
use crate::ssh::Prompt;
use indicatif::MultiProgress;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

/// Asks at `/dev/tty`, so that it works while standard input and output are pipes.
pub struct Terminal {
    /// The bars, which must not draw over a question.
    pub bars: MultiProgress,
}

impl Terminal {
    fn tty() -> Option<File> {
        File::options().read(true).write(true).open("/dev/tty").ok()
    }

    /// Whether the answer to `question` is yes. `None`: there is nobody to ask.
    pub fn yes(&self, question: &str) -> Option<bool> {
        let answer = self.ask(&format!("{question} [y/N] "), true)?;
        Some(matches!(answer.reveal().trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

impl Prompt for Terminal {
    fn ask(&self, question: &str, echo: bool) -> Option<Secret> {
        let mut tty = Terminal::tty()?;
        self.bars.suspend(|| {
            tty.write_all(question.as_bytes()).ok()?;
            let quiet = if echo { None } else { Quiet::new(&tty) };
            if !echo && quiet.is_none() {
                // What cannot be hidden is not asked for.
                return None;
            }
            let mut line = String::new();
            let read = BufReader::new(&tty).read_line(&mut line);
            drop(quiet);
            if !echo {
                let _ = tty.write_all(b"\n");
            }
            let read = read.ok()?;
            (read > 0).then(|| Secret::new(line.trim_end_matches(['\n', '\r'])))
        })
    }
}

/// Keeps the terminal from showing what is typed, until it is dropped.
struct Quiet {
    tty: File,
    before: rustix::termios::Termios,
}

impl Quiet {
    fn new(tty: &File) -> Option<Quiet> {
        let tty = tty.try_clone().ok()?;
        let before = tcgetattr(&tty).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&tty, OptionalActions::Flush, &quiet).ok()?;
        Some(Quiet { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}
