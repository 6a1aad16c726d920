//! Questions to the person at the terminal: passphrases, passwords, yes or no.

use crate::inventory::Secret;
use crate::ssh::Prompt;
use indicatif::MultiProgress;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

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
            match echo {
                true => {
                    let mut line = String::new();
                    let read = BufReader::new(&tty).read_line(&mut line).ok()?;
                    (read > 0).then(|| Secret::new(line.trim_end_matches(['\n', '\r'])))
                }
                false => {
                    // What cannot be hidden is not asked for.
                    let quiet = Quiet::new(&tty)?;
                    let line = hidden_line(&tty);
                    drop(quiet);
                    let _ = tty.write_all(b"\n");
                    line
                }
            }
        })
    }
}

/// What is typed up to Enter. `None`: given up, by Ctrl-C or Ctrl-D.
fn hidden_line(tty: &File) -> Option<Secret> {
    let mut line = Vec::new();
    for byte in BufReader::new(tty).bytes() {
        match byte.ok()? {
            b'\n' | b'\r' => return String::from_utf8(line).ok().map(Secret::new),
            0x03 => return None,
            0x04 if line.is_empty() => return None,
            // Backspace takes a whole character, of which all bytes but the first begin with the bits 10.
            0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => line.clear(),
            byte => line.push(byte),
        }
    }
    None
}

/// Keeps the terminal from showing what is typed, until it is dropped. Ctrl-C is a character meanwhile, so that no signal can end the
/// program and leave the terminal mute.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File) -> Option<Quiet> {
        let tty = tty.try_clone().ok()?;
        let before = tcgetattr(&tty).ok()?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&tty, OptionalActions::Flush, &quiet).ok()?;
        Some(Quiet { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}
