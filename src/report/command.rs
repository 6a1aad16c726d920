//! The output of a command on many minions, as it comes.

use super::paint::{CYAN, paint, safe, width};
use crate::run::{Event, Listener};
use std::collections::HashMap;
use std::io::Write;

/// Prints what each minion says, line by line: standard output to ours, and so standard error. Lines bear their minion's name, unless
/// there is only one.
pub struct CommandText {
    /// The widest name; 0 where lines bear none.
    column: usize,
    /// Minions that have said something, and the unfinished last line of each stream.
    heard: HashMap<String, [String; 2]>,
    /// Between the lines and the bars, which must not write into each other.
    bars: Option<indicatif::MultiProgress>,
}

impl CommandText {
    pub fn new(bars: Option<indicatif::MultiProgress>) -> CommandText {
        CommandText {
            column: 0,
            heard: HashMap::new(),
            bars,
        }
    }

    fn print(&self, minion: &str, stderr: bool, line: &str) {
        let line = match self.column {
            0 => safe(line).into_owned(),
            column => {
                let name = paint(CYAN, minion);
                format!("{name}{} | {}", " ".repeat(column.saturating_sub(width(minion))), safe(line))
            }
        };
        // Nobody reads any more (`| head`): the run goes on, as it is not to be cut off in the middle.
        let write = || match stderr {
            true => drop(writeln!(anstream::stderr(), "{line}")),
            false => drop(writeln!(anstream::stdout(), "{line}")),
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

impl Listener for CommandText {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted(started) if started.minions.len() > 1 => {
                self.column = started.minions.iter().map(|id| width(id)).max().unwrap_or(0);
            }
            Event::Output { minion, stderr, text } => {
                let rest = &mut self.heard.entry(minion.clone()).or_default()[usize::from(*stderr)];
                rest.push_str(text);
                let mut lines: Vec<String> = Vec::new();
                while let Some(end) = rest.find('\n') {
                    lines.push(rest[..end].to_owned());
                    rest.drain(..=end);
                }
                lines.iter().for_each(|line| self.print(minion, *stderr, line));
            }
            Event::MinionDone(done) => {
                let minion = &done.minion;
                let silent = match self.heard.remove(minion) {
                    None => true,
                    Some(rests) => {
                        for (stderr, rest) in rests.iter().enumerate().filter(|(_, rest)| !rest.is_empty()) {
                            self.print(minion, stderr == 1, rest);
                        }
                        false
                    }
                };
                match (&done.error, done.status) {
                    // The reasons are drawn at the end.
                    (Some(_), _) => self.print(minion, true, "(no answer)"),
                    (None, Some(0)) if silent && self.column > 0 => self.print(minion, false, "(no output)"),
                    (None, Some(0)) => {}
                    (None, Some(status)) => self.print(minion, true, &format!("exited with status {status}")),
                    (None, None) => self.print(minion, true, done.stopped.as_deref().unwrap_or("(not run)")),
                }
            }
            _ => {}
        }
    }
}
