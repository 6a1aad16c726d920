//! Progress of flashing: one bar for each card and one for the download on a terminal, lines without one, events as JSON.

use super::paint::{duration, safe};
use crate::flash::device::human;
use crate::flash::event::{Bottleneck, Event, Listener, Phase};
use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bar for each card: bytes that the device has acknowledged, rate, time left, and what everything waits for.
pub struct FlashBars {
    multi: MultiProgress,
    bars: Mutex<IndexMap<String, ProgressBar>>,
}

/// A plain line for each phase and each tenth of it.
pub struct FlashLines<W: Write + Send = std::io::Stderr> {
    inner: Mutex<Lines<W>>,
}

struct Lines<W> {
    out: W,
    /// Of each card and each download: the tenth that was told last.
    tenths: IndexMap<String, u64>,
}

/// Each event as one line of JSON.
pub struct FlashJson<W: Write + Send = std::io::Stdout> {
    out: Mutex<W>,
}

/// A poisoned lock means that another thread panicked while it drew: what is drawn is still worth drawing.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Testing => "tests the card",
        Phase::Writing => "writes",
        Phase::Verifying => "verifies",
        Phase::Personalizing => "personalizes",
        Phase::Inspecting => "inspects",
    }
}

fn limit(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Network => "limit: network",
        Bottleneck::Decoding => "limit: decoder",
        Bottleneck::Card => "limit: card",
    }
}

impl FlashBars {
    /// Bars that are drawn through `multi`, as everything must be that is printed while they are there.
    pub fn new(multi: MultiProgress) -> FlashBars {
        FlashBars {
            multi,
            bars: Mutex::default(),
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        for (_, bar) in held(&self.bars).drain(..) {
            bar.finish_and_clear();
        }
        let _ = self.multi.clear();
    }

    fn bar(&self, name: &str) -> ProgressBar {
        let mut bars = held(&self.bars);
        if let Some(bar) = bars.get(name) {
            return bar.clone();
        }
        let bar = self.multi.add(ProgressBar::new(0));
        // Decimal, as cards are sold; the rate of indicatif is a moving average.
        let template = "{prefix:.cyan} {bar:12} {sizes} {speed} {left} {wide_msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .progress_chars("━━─")
            .with_key("sizes", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = match state.len() {
                    Some(of @ 1..) => write!(out, "{} of {}", human(state.pos()), human(of)),
                    _ => write!(out, "{}", human(state.pos())),
                };
            })
            .with_key("speed", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}/s", human(state.per_sec() as u64));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = match state.eta().as_secs() {
                    0 => Ok(()),
                    left @ 1..60 => write!(out, "{left} s left"),
                    left => write!(out, "{} left", duration(left * 1000)),
                };
            });
        bar.set_style(style);
        bar.set_prefix(safe(name).into_owned());
        bars.insert(name.to_owned(), bar.clone());
        bar
    }
}

impl Listener for FlashBars {
    fn hear(&self, event: &Event) {
        match event {
            Event::Fetched { name, bytes, of } => {
                let bar = self.bar(name);
                bar.set_length(of.unwrap_or(0));
                bar.set_position(*bytes);
                bar.set_message("downloads");
                if of.is_some_and(|of| *bytes >= of) {
                    bar.finish_and_clear();
                }
            }
            Event::Retrying { name, attempt, why } => {
                self.bar(name).set_message(format!("tries again ({attempt}): {}", safe(why)));
            }
            Event::Phase { card, phase } => {
                let bar = self.bar(card);
                bar.reset();
                bar.set_length(0);
                bar.set_message(verb(*phase));
            }
            Event::Progress {
                card,
                bytes,
                of,
                bottleneck,
            } => {
                let bar = self.bar(card);
                bar.set_length(*of);
                bar.set_position(*bytes);
                let message = bar.message();
                let phase = message.split(',').next().unwrap_or_default();
                let message = match bottleneck {
                    Some(bottleneck) => format!("{phase}, {}", limit(*bottleneck)),
                    None => phase.to_owned(),
                };
                bar.set_message(message);
            }
            Event::Stalled { card, seconds } => {
                self.bar(card)
                    .set_message(format!("the card has not answered for {seconds} s"));
            }
            Event::Warning { card, message } => {
                let _ = self.multi.println(warning(card.as_deref(), message));
            }
        }
    }
}

fn warning(card: Option<&str>, message: &str) -> String {
    let mut line = String::from("warning: ");
    if let Some(card) = card {
        let _ = write!(line, "{}: ", safe(card));
    }
    line + &safe(message)
}

impl FlashLines {
    pub fn new() -> FlashLines {
        FlashLines::to(std::io::stderr())
    }
}

impl Default for FlashLines {
    fn default() -> FlashLines {
        FlashLines::new()
    }
}

impl<W: Write + Send> FlashLines<W> {
    fn to(out: W) -> FlashLines<W> {
        FlashLines {
            inner: Mutex::new(Lines {
                out,
                tenths: IndexMap::new(),
            }),
        }
    }
}

impl<W: Write> Lines<W> {
    // A log that cannot be written must not stop a card half way.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{}", safe(text));
    }

    /// Whether `name` has come to another tenth of `of`.
    fn tenth(&mut self, name: &str, bytes: u64, of: u64) -> bool {
        let tenth = bytes.saturating_mul(10) / of.max(1);
        self.tenths.insert(name.to_owned(), tenth) != Some(tenth) && tenth > 0
    }
}

impl<W: Write + Send> Listener for FlashLines<W> {
    fn hear(&self, event: &Event) {
        let lines = &mut *held(&self.inner);
        match event {
            Event::Fetched { name, bytes, of } => {
                if let Some(of) = of
                    && lines.tenth(name, *bytes, *of)
                {
                    lines.line(&format!("{name}: downloaded {} of {}", human(*bytes), human(*of)));
                }
            }
            Event::Retrying { name, attempt, why } => lines.line(&format!("{name}: tries again ({attempt}): {why}")),
            Event::Phase { card, phase } => {
                lines.tenths.shift_remove(card);
                lines.line(&format!("{card}: {}", verb(*phase)));
            }
            Event::Progress { card, bytes, of, .. } => {
                if lines.tenth(card, *bytes, *of) {
                    lines.line(&format!("{card}: {} of {}", human(*bytes), human(*of)));
                }
            }
            Event::Stalled { card, seconds } => lines.line(&format!("{card}: the card has not answered for {seconds} s")),
            Event::Warning { card, message } => lines.line(&warning(card.as_deref(), message)),
        }
    }
}

impl FlashJson {
    pub fn new() -> FlashJson {
        FlashJson {
            out: Mutex::new(std::io::stdout()),
        }
    }
}

impl Default for FlashJson {
    fn default() -> FlashJson {
        FlashJson::new()
    }
}

impl<W: Write + Send> Listener for FlashJson<W> {
    fn hear(&self, event: &Event) {
        if let Ok(json) = serde_json::to_string(event) {
            let _ = writeln!(held(&self.out), "{json}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: &[Event]) -> String {
        let listener = FlashLines::to(Vec::new());
        events.iter().for_each(|event| listener.hear(event));
        String::from_utf8(listener.inner.into_inner().unwrap().out).unwrap()
    }

    #[test]
    fn a_log_has_a_line_for_each_phase_and_tenth() {
        let progress = |bytes| Event::Progress {
            card: "sdb".into(),
            bytes,
            of: 1_000_000_000,
            bottleneck: Some(Bottleneck::Card),
        };
        let phase = |phase| Event::Phase {
            card: "sdb".into(),
            phase,
        };
        let mut events = vec![phase(Phase::Writing)];
        events.extend((0..=20).map(|n| progress(n * 10_000_000)));
        events.extend([
            Event::Stalled {
                card: "sdb".into(),
                seconds: 10,
            },
            Event::Warning {
                card: Some("sdb".into()),
                message: "a\x1b[2Jb".into(),
            },
            phase(Phase::Verifying),
        ]);
        assert_eq!(
            lines(&events),
            "sdb: writes\nsdb: 100 MB of 1.0 GB\nsdb: 200 MB of 1.0 GB\nsdb: the card has not answered for 10 s\n\
             warning: sdb: a^[[2Jb\nsdb: verifies\n"
        );
    }
}
