//! Progress on a terminal: the minions that are at work, as many as there is room for, and one line that sums up.
//!
//! Nothing scrolls, and nothing is left when the run has ended: the report is printed then.

use super::paint::{cut, plural, safe, width};
use crate::run::{Event, Listener, Phase};
use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::time::Duration;

/// Rows of the terminal that are left alone, one of them for the summary.
const SPARED: usize = 4;

/// The bars of a run.
pub struct Bars {
    multi: MultiProgress,
    summary: ProgressBar,
    /// The minions at work, oldest first, and the bars of those that have one.
    active: IndexMap<String, (String, Option<ProgressBar>)>,
    /// How many minions the run has.
    all: usize,
    done: usize,
    failed: usize,
    changed: usize,
    test: bool,
    /// The widest name.
    column: usize,
    /// The terminal's rows, now.
    rows: fn() -> usize,
}

fn terminal_rows() -> usize {
    let rows = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_row));
    if rows == 0 { 24 } else { rows }
}

impl Bars {
    /// Bars that are drawn through `multi`, as everything must be that is printed while they are there.
    pub fn new(multi: MultiProgress) -> Bars {
        Bars {
            summary: ProgressBar::hidden(),
            multi,
            active: IndexMap::new(),
            all: 0,
            done: 0,
            failed: 0,
            changed: 0,
            test: false,
            column: 0,
            rows: terminal_rows,
        }
    }

    fn set(&mut self, minion: &str, text: String) {
        let entry = self.active.entry(minion.to_owned()).or_default();
        entry.0 = text;
        if let (text, Some(bar)) = entry {
            bar.set_message(text.clone());
        } else {
            self.fill();
        }
    }

    /// Gives bars to the oldest that have none, as long as there is room.
    fn fill(&mut self) {
        let room = (self.rows)().saturating_sub(SPARED).max(1);
        let shown = self.active.values().filter(|(_, bar)| bar.is_some()).count();
        let without = self.active.iter_mut().filter(|(_, (_, bar))| bar.is_none());
        for (minion, (text, bar)) in without.take(room.saturating_sub(shown)) {
            let fill = " ".repeat(self.column.saturating_sub(width(minion)));
            let made = self.multi.insert_before(&self.summary, ProgressBar::new_spinner());
            made.set_style(style("{prefix:.cyan}  {wide_msg}"));
            made.set_prefix(format!("{minion}{fill}"));
            made.set_message(text.clone());
            *bar = Some(made);
        }
    }

    fn sum_up(&self) {
        let mut text = format!("{} of {} done", self.done, plural(self.all, "minion"));
        let hidden = self.active.values().filter(|(_, bar)| bar.is_none()).count();
        for (n, word) in [
            (hidden, "more at work"),
            (self.changed, if self.test { "would change" } else { "changed" }),
            (self.failed, "failed"),
        ] {
            if n > 0 {
                text.push_str(&format!(", {n} {word}"));
            }
        }
        self.summary.set_message(text);
    }
}

/// A template of ours, which is known to be well-formed.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Listener for Bars {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RunStarted(started) => {
                self.all = started.minions.len();
                self.test = started.test;
                self.column = started.minions.iter().map(|id| width(id)).max().unwrap_or(0).min(30);
                self.summary = self.multi.add(ProgressBar::new_spinner());
                self.summary.set_style(style("{spinner} {wide_msg} {elapsed}"));
                self.summary.enable_steady_tick(Duration::from_millis(250));
            }
            Event::Phase {
                phase: Phase::Waiting, ..
            } => {}
            Event::Phase { minion, phase } => self.set(minion, describe(phase)),
            Event::StateDone { outcome, .. } => {
                self.failed += usize::from(outcome.result == Some(false));
                self.changed += usize::from(outcome.changed() && outcome.result != Some(false));
            }
            Event::MinionDone(done) => {
                self.done += 1;
                self.failed += usize::from(done.error.is_some());
                if let Some((_, Some(bar))) = self.active.shift_remove(&done.minion) {
                    bar.finish_and_clear();
                    self.multi.remove(&bar);
                }
                self.fill();
            }
            Event::RunDone(_) => {
                for (_, (_, bar)) in self.active.drain(..) {
                    bar.into_iter().for_each(|bar| bar.finish_and_clear());
                }
                self.summary.finish_and_clear();
                let _ = self.multi.clear();
                return;
            }
            Event::Warning { .. } => return,
        }
        self.sum_up();
    }
}

fn describe(phase: &Phase) -> String {
    match phase {
        Phase::Waiting => "waits for its turn".to_owned(),
        Phase::Connecting => "connects".to_owned(),
        Phase::Retrying { attempt, why } => format!("tries again ({attempt}): {}", one_line(why)),
        Phase::Grains => "collects grains".to_owned(),
        Phase::Compiling => "compiles".to_owned(),
        Phase::Ready => "has compiled, waits for the others".to_owned(),
        Phase::Probing => "looks".to_owned(),
        Phase::Running { done, total, current } => {
            const CELLS: usize = 16;
            let full = done * CELLS / (*total).max(1);
            format!(
                "{}{} {done}/{total}  {}",
                "━".repeat(full),
                "─".repeat(CELLS - full.min(CELLS)),
                one_line(current)
            )
        }
        Phase::Command => "runs the command".to_owned(),
        Phase::Stopping => "finishes the step under way".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    safe(&cut(text.lines().next().unwrap_or_default(), 200)).replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{MinionDone, RunDone, RunStarted};
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::io;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_phase_is_one_line() {
        for (phase, expected) in [
            (Phase::Connecting, "connects"),
            (
                Phase::Retrying {
                    attempt: 2,
                    why: "refused\nbecause".into(),
                },
                "tries again (2): refused",
            ),
            (
                Phase::Running {
                    done: 8,
                    total: 32,
                    current: "cmd.run a\x1b[2J\nb".into(),
                },
                "━━━━──────────── 8/32  cmd.run a^[[2J",
            ),
            (
                Phase::Running {
                    done: 0,
                    total: 0,
                    current: String::new(),
                },
                "──────────────── 0/0  ",
            ),
        ] {
            assert_eq!(describe(&phase), expected);
        }
    }

    const ROWS: usize = 10;

    /// A terminal of ten rows that remembers what it scrolled away.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<Inner>>);

    #[derive(Debug, Default)]
    struct Inner {
        lines: Vec<String>,
        row: usize,
        /// The most lines that were ever there.
        tallest: usize,
    }

    impl Screen {
        fn with(&self, change: impl FnOnce(&mut Inner)) -> io::Result<()> {
            let mut inner = self.0.lock().unwrap();
            change(&mut inner);
            let used = inner
                .lines
                .iter()
                .rposition(|line| !line.is_empty())
                .map_or(0, |last| last + 1);
            inner.tallest = inner.tallest.max(used);
            Ok(())
        }

        fn text(&self) -> String {
            let lines = self.0.lock().unwrap().lines.join("\n");
            anstream::adapter::strip_str(&lines).to_string()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }

        fn height(&self) -> u16 {
            ROWS as u16
        }

        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.with(|inner| inner.row = inner.row.saturating_sub(n))
        }

        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.with(|inner| inner.row += n)
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.with(|inner| inner.row += 1)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.with(|inner| {
                let row = inner.row;
                let rows = inner.lines.len().max(row + 1);
                inner.lines.resize(rows, String::new());
                inner.lines[row].push_str(text.trim_end());
            })
        }

        fn clear_line(&self) -> io::Result<()> {
            self.with(|inner| {
                let row = inner.row;
                if let Some(line) = inner.lines.get_mut(row) {
                    line.clear();
                }
            })
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn thirty_minions_fit_on_ten_rows_and_leave_nothing() {
        let screen = Screen::default();
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        let mut bars = Bars {
            rows: || ROWS,
            ..Bars::new(multi)
        };
        let minions: Vec<String> = (0..30).map(|n| format!("pi{n}")).collect();
        bars.hear(&Event::RunStarted(RunStarted {
            minions: minions.clone(),
            ..RunStarted::default()
        }));
        for minion in &minions {
            bars.hear(&Event::Phase {
                minion: minion.clone(),
                phase: Phase::Connecting,
            });
        }
        let text = screen.text();
        assert!(
            text.contains("pi0   connects") && text.contains("pi5   connects") && !text.contains("pi6 "),
            "{text}"
        );
        assert!(text.contains("0 of 30 minions done, 24 more at work"), "{text}");
        for minion in &minions {
            bars.hear(&Event::MinionDone(Box::new(MinionDone {
                minion: minion.clone(),
                ..MinionDone::default()
            })));
        }
        bars.hear(&Event::RunDone(RunDone::default()));
        assert_eq!(screen.text().trim(), "");
        assert!(screen.0.lock().unwrap().tallest < ROWS);
    }
}
