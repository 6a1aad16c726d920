//! The final report of a run: what changed on whom, a table of all minions, and last what failed and why.

use super::changes::{capped, changes};
use super::collect::{MinionReport, Report};
use super::diagnostic::draw;
use super::diff::{Shown, unified};
use super::paint::{BLUE, BOLD, CYAN, DIM, GREEN, Paper, RED, Table, YELLOW, duration, paint, plural, safe, width, wrap};
use crate::error::Kind;
use crate::project::StateOutput;
use crate::run::StateOutcome;
use anstyle::Style;
use indexmap::IndexMap;
use std::fmt::Write;

/// Lines of a diff, or of a changed value, before the rest is counted only.
const LINES: usize = 40;

/// The report of `run`.
pub fn text(run: &Report, how: StateOutput, paper: Paper) -> String {
    let sheet = Sheet {
        how,
        paper,
        test: run.started.test,
    };
    let mut out = sheet.blocks(run);
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&sheet.table(run));
    let _ = writeln!(out, "{}", sheet.totals(run));
    let failures = sheet.failures(run);
    if !failures.is_empty() {
        out.push('\n');
        out.push_str(&failures);
    }
    if let Some(errors) = run.errors() {
        out.push('\n');
        out.push_str(&draw(&errors, paper));
    }
    out
}

struct Sheet {
    how: StateOutput,
    paper: Paper,
    test: bool,
}

/// What a state came to, in a word that needs no colour.
fn word(outcome: &StateOutcome, test: bool) -> (&'static str, Style) {
    match outcome.result {
        // What it requires failed: it counts as failed, as in Salt, and is not the one to look at.
        Some(false) if !outcome.ran => ("not run", YELLOW),
        Some(false) => ("failed", RED),
        None if outcome.may_change => ("may change", YELLOW),
        None => ("would change", YELLOW),
        Some(true) if outcome.changed() && test => ("would change", YELLOW),
        Some(true) if outcome.changed() => ("changed", CYAN),
        Some(true) if !outcome.ran => ("skipped", DIM),
        Some(true) => ("ok", GREEN),
    }
}

impl Sheet {
    /// What was done to each minion; minions to which the same was done share a block.
    fn blocks(&self, run: &Report) -> String {
        let mut blocks: IndexMap<String, Vec<&str>> = IndexMap::new();
        for (id, minion) in &run.minions {
            let block: String = minion.outcomes.iter().map(|outcome| self.state(outcome)).collect();
            if !block.is_empty() {
                blocks.entry(block).or_default().push(id);
            }
        }
        let mut out = String::new();
        for (block, ids) in &blocks {
            if !out.is_empty() {
                out.push('\n');
            }
            let count = if ids.len() > 3 {
                format!(" ({} minions)", ids.len())
            } else {
                String::new()
            };
            for line in wrap(&format!("{}{count}", ids.join(", ")), self.paper.width, 0) {
                let _ = writeln!(out, "{}", paint(BOLD, line));
            }
            out.push_str(block);
        }
        out
    }

    /// One state, with what changed; nothing if it is not to be shown.
    fn state(&self, outcome: &StateOutcome) -> String {
        let changed = outcome.changed() || outcome.result == Some(false);
        let full = self.how == StateOutput::Full;
        if !changed && outcome.warnings.is_empty() && !full {
            return String::new();
        }
        let mut out = String::new();
        let (word, style) = word(outcome, self.test);
        let column = if self.test { 12 } else { 7 };
        let word = format!("{}{}", paint(style, word), " ".repeat(column - word.len().min(column)));
        let id = if outcome.id == outcome.name {
            String::new()
        } else {
            paint(DIM, format!(" ({})", safe(&outcome.id)))
        };
        let time = match full {
            true => paint(
                DIM,
                format!("  {}, {}", outcome.sls, duration(outcome.duration_ms.round() as u64)),
            ),
            false => String::new(),
        };
        let _ = writeln!(out, "  {word}  {}{id}{time}", safe(&outcome.title()));
        for warning in &outcome.warnings {
            self.lines(&mut out, &format!("warning: {warning}"), YELLOW);
        }
        if self.how == StateOutput::Terse {
            return out;
        }
        let shown = if full { Shown::All } else { Shown::Lines(LINES) };
        let mut details: Vec<String> = capped(changes(outcome, full), shown);
        for diff in &outcome.diffs {
            // The path has just been said.
            let heading = if diff.name == outcome.name { 2 } else { 0 };
            details.extend(unified(diff, shown).into_iter().skip(heading));
        }
        // Why it failed is told at the end, where it can be read alone.
        let told = outcome.result == Some(false) && !full;
        if !outcome.comment.is_empty() && !told && (full || details.is_empty()) {
            self.lines(&mut out, &outcome.comment, Style::new());
        }
        for line in details {
            let _ = writeln!(out, "      {line}");
        }
        out
    }

    fn lines(&self, out: &mut String, text: &str, style: Style) {
        for line in wrap(&safe(text), self.paper.width.saturating_sub(6), 0) {
            let line = if style == Style::new() { line } else { paint(style, line) };
            let _ = writeln!(out, "      {line}");
        }
    }

    fn table(&self, run: &Report) -> String {
        let may = run.minions.values().any(|minion| minion.counts().may_change > 0);
        let mut heading = vec!["minion", "ok", if self.test { "would change" } else { "changed" }];
        heading.extend(may.then_some("may change"));
        heading.extend(["failed", "skipped", "time", ""]);
        let right: Vec<usize> = (1..heading.len() - 1).collect();
        let mut table = Table::new(&heading, &right);
        for (id, minion) in &run.minions {
            if let Some(note) = not_run(minion) {
                table.row([id.clone(), note]).style(1, RED);
                continue;
            }
            let counts = minion.counts();
            let mut row = vec![id.clone(), counts.ok.to_string(), counts.changed.to_string()];
            row.extend(may.then(|| counts.may_change.to_string()));
            let failed = row.len();
            row.extend([counts.failed, counts.skipped].map(|n| n.to_string()));
            row.push(minion.done.as_ref().map_or(String::new(), |done| duration(done.elapsed_ms)));
            row.push(note(minion));
            table.row(row);
            if counts.changed > 0 {
                table.style(2, if self.test { YELLOW } else { CYAN });
            }
            if counts.failed > 0 {
                table.style(failed, RED.bold());
            }
        }
        table.draw(self.paper)
    }

    /// `3 minions in 4.2 s: 1 changed, 1 unchanged, 1 failed`.
    fn totals(&self, run: &Report) -> String {
        let mut kinds: [(&str, Style, usize); 7] = [
            ("unreachable", RED, 0),
            ("not compiled", RED, 0),
            ("failed", RED, 0),
            ("stopped", YELLOW, 0),
            (if self.test { "would change" } else { "changed" }, CYAN, 0),
            ("may change", YELLOW, 0),
            ("unchanged", GREEN, 0),
        ];
        for minion in run.minions.values() {
            let counts = minion.counts();
            let kind = match minion.error().map(|error| error.kind()) {
                Some(Kind::Unreachable) => 0,
                Some(Kind::Usage) => 1,
                Some(Kind::State) => 2,
                None if counts.failed > 0 => 2,
                None if minion.stopped().is_some() || minion.done.is_none() => 3,
                None if counts.changed > 0 => 4,
                None if counts.may_change > 0 => 5,
                None => 6,
            };
            kinds[kind].2 += 1;
        }
        let parts: Vec<String> = kinds
            .iter()
            .filter(|(.., n)| *n > 0)
            .map(|(word, style, n)| paint(*style, format!("{n} {word}")))
            .collect();
        let time = run
            .done
            .as_ref()
            .map_or(String::new(), |done| format!(" in {}", duration(done.elapsed_ms)));
        let mut line = format!("{}{time}: {}", plural(run.minions.len(), "minion"), parts.join(", "));
        if self.test {
            let dry = "nothing was changed, this was a dry run";
            let columns = width(&anstream::adapter::strip_str(&line).to_string()) + 2 + width(dry);
            line.push_str(if columns > self.paper.width { "\n" } else { "; " });
            line.push_str(dry);
        }
        if let Some(why) = run.done.as_ref().and_then(|done| done.stopped.as_deref()) {
            let _ = write!(line, "\n{} {}", paint(YELLOW.bold(), "stopped:"), safe(why));
        }
        line
    }

    /// Each state that failed, once for all minions on which it failed in the same way.
    fn failures(&self, run: &Report) -> String {
        let mut failed: IndexMap<(&str, String, &str), Vec<&str>> = IndexMap::new();
        let mut behind: IndexMap<String, Vec<&str>> = IndexMap::new();
        for (id, minion) in &run.minions {
            for outcome in minion.outcomes.iter().filter(|outcome| outcome.result == Some(false)) {
                if outcome.ran {
                    failed
                        .entry((&outcome.at, outcome.title(), &outcome.comment))
                        .or_default()
                        .push(id);
                } else {
                    behind.entry(outcome.title()).or_default().push(id);
                }
            }
        }
        let mut out = String::new();
        for ((at, title, comment), ids) in &failed {
            if !out.is_empty() {
                out.push('\n');
            }
            let _ = writeln!(out, "{}{}", paint(RED.bold(), "failed: "), paint(BOLD, safe(title)));
            if !at.is_empty() {
                let _ = writeln!(out, " {} {}", paint(BLUE, "-->"), safe(at));
            }
            for (n, line) in wrap(&ids.join(", "), self.paper.width.saturating_sub(6), 2)
                .iter()
                .enumerate()
            {
                let start = if n == 0 {
                    format!("  {} on ", paint(BLUE, "="))
                } else {
                    "    ".to_owned()
                };
                let _ = writeln!(out, "{start}{line}");
            }
            for line in comment
                .lines()
                .flat_map(|line| wrap(&safe(line), self.paper.width.saturating_sub(4), 0))
            {
                let _ = writeln!(out, "    {line}");
            }
        }
        if !behind.is_empty() {
            let titles: Vec<String> = behind
                .iter()
                .map(|(title, ids)| {
                    if run.minions.len() > 1 {
                        format!("{title} on {}", ids.join(", "))
                    } else {
                        title.clone()
                    }
                })
                .collect();
            let _ = writeln!(
                out,
                "\n{}",
                paint(YELLOW.bold(), "not run, as something that they require failed:")
            );
            for title in titles {
                self.lines(&mut out, &title, Style::new());
            }
        }
        for (id, minion) in &run.minions {
            if let (Some(why), None) = (minion.stopped(), run.done.as_ref().and_then(|done| done.stopped.as_deref())) {
                let _ = writeln!(
                    out,
                    "{}",
                    wrap(
                        &format!("{}{id}: {}", paint(YELLOW.bold(), "stopped: "), safe(why)),
                        self.paper.width,
                        0
                    )
                    .join("\n  ")
                );
            }
        }
        out
    }
}

/// In a row of the table, why a minion has no counts.
fn not_run(minion: &MinionReport) -> Option<String> {
    let error = minion.error()?;
    if !minion.outcomes.is_empty() {
        return None;
    }
    let first = error.diagnostics().first()?;
    let message = first.message.lines().next().unwrap_or_default();
    Some(match error.kind() {
        Kind::Unreachable => format!("not reached: {message}"),
        _ => match error.diagnostics().len() {
            1 => format!("not compiled: {message}"),
            n => format!("not compiled: {}", plural(n, "error")),
        },
    })
}

fn note(minion: &MinionReport) -> String {
    match (&minion.done, minion.error(), minion.stopped()) {
        (None, ..) => "not ended".to_owned(),
        (_, Some(error), _) if error.kind() == Kind::Unreachable => "lost".to_owned(),
        (_, Some(_), _) => "error".to_owned(),
        (Some(done), _, Some(_)) => format!("stopped after {} of {}", minion.outcomes.len(), done.states),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::run::{Event, Listener, MinionDone, RunDone, RunStarted};
    use crate::states::TextDiff;
    use serde_json::Value as Json;

    fn outcome(function: &str, name: &str, result: Option<bool>, comment: &str, changes: Json) -> StateOutcome {
        StateOutcome {
            id: name.to_owned(),
            name: name.to_owned(),
            function: function.to_owned(),
            sls: "web".to_owned(),
            at: "states/web.sls:3:3".to_owned(),
            result,
            ran: true,
            comment: comment.to_owned(),
            changes: changes.as_object().cloned().unwrap_or_default(),
            duration_ms: 12.0,
            ..StateOutcome::default()
        }
    }

    fn run(test: bool, minions: Vec<(&str, Vec<StateOutcome>, MinionDone)>) -> Report {
        let mut run = Report::default();
        let ids = minions.iter().map(|(id, ..)| (*id).to_owned()).collect();
        run.hear(&Event::RunStarted(RunStarted {
            test,
            minions: ids,
            ..RunStarted::default()
        }));
        for (id, outcomes, done) in minions {
            for outcome in outcomes {
                run.hear(&Event::StateDone {
                    minion: id.to_owned(),
                    outcome: Box::new(outcome),
                });
            }
            run.hear(&Event::MinionDone(Box::new(MinionDone {
                minion: id.to_owned(),
                elapsed_ms: 1200,
                ..done
            })));
        }
        run.hear(&Event::RunDone(RunDone {
            elapsed_ms: 2300,
            stopped: None,
        }));
        run
    }

    fn plain(run: &Report, how: StateOutput) -> String {
        anstream::adapter::strip_str(&text(run, how, Paper::wide(80))).to_string()
    }

    fn motd() -> StateOutcome {
        let diff = TextDiff {
            name: "/etc/motd".into(),
            old: "a\n".into(),
            new: "b\n".into(),
        };
        let changes = serde_json::json!({"diff": "...", "mode": {"old": "0600", "new": "0644"}});
        StateOutcome {
            diffs: vec![diff],
            ..outcome("file.managed", "/etc/motd", Some(true), "File /etc/motd updated", changes)
        }
    }

    fn mixed() -> Report {
        let holds = || {
            outcome(
                "pkg.installed",
                "haproxy",
                Some(true),
                "All packages are installed",
                Json::Null,
            )
        };
        let failed = outcome(
            "service.running",
            "haproxy",
            Some(false),
            "haproxy.service did not start:\n  bind: address in use",
            Json::Null,
        );
        let behind = StateOutcome {
            ran: false,
            ..outcome(
                "cmd.run",
                "warm",
                Some(false),
                "One or more requisite failed: web.haproxy",
                Json::Null,
            )
        };
        let lost = Error::unreachable("connection refused").hint("is sshd running at 10.0.0.3:22?");
        run(
            false,
            vec![
                ("pi0", vec![holds(), motd()], MinionDone::default()),
                ("pi1", vec![holds(), motd()], MinionDone::default()),
                ("pi2", vec![holds(), failed, behind], MinionDone::default()),
                (
                    "pi3",
                    vec![],
                    MinionDone {
                        error: Some(lost),
                        ..MinionDone::default()
                    },
                ),
            ],
        )
    }

    #[test]
    fn what_changed_comes_first_and_what_failed_last() {
        let expected = "\
pi0, pi1
  changed  file.managed /etc/motd
      mode: 0600 -> 0644
      @@ -1 +1 @@
      -a
      +b

pi2
  failed   service.running haproxy
  not run  cmd.run warm

minion  ok  changed  failed  skipped   time
pi0      1        1       0        0  1.2 s
pi1      1        1       0        0  1.2 s
pi2      1        0       2        0  1.2 s
pi3     not reached: connection refused
4 minions in 2.3 s: 1 unreachable, 1 failed, 2 changed

failed: service.running haproxy
 --> states/web.sls:3:3
  = on pi2
    haproxy.service did not start:
      bind: address in use

not run, as something that they require failed:
      cmd.run warm on pi2

error: connection refused
  = minion: pi3
hint: is sshd running at 10.0.0.3:22?
";
        assert_eq!(plain(&mixed(), StateOutput::Changes), expected);
        assert_eq!(mixed().exit_code(), 3);
    }

    #[test]
    fn a_dry_run_says_what_would_change() {
        let would = StateOutcome { result: None, ..motd() };
        let may = StateOutcome {
            may_change: true,
            ..outcome("cmd.run", "reload", None, "depends on a change that was not made", Json::Null)
        };
        let expected = "\
pi0
  would change  file.managed /etc/motd
  may change    cmd.run reload

minion  ok  would change  may change  failed  skipped   time
pi0      0             1           1       0        0  1.2 s
1 minion in 2.3 s: 1 would change; nothing was changed, this was a dry run
";
        let run = run(true, vec![("pi0", vec![would, may], MinionDone::default())]);
        assert_eq!(plain(&run, StateOutput::Terse), expected);
        assert_eq!(run.exit_code(), 0);
    }

    #[test]
    fn the_full_report_shows_every_state() {
        let changes = serde_json::json!({"docker": {"old": "", "new": "1.2"}, "stdout": "a\nb\n", "list": ["x", "y"], "deep": {"k": {"l": 1}}});
        let installed = StateOutcome {
            id: "docker".into(),
            ..outcome("pkg.installed", "docker.io", Some(true), "1 package was installed", changes)
        };
        let skipped = StateOutcome {
            ran: false,
            ..outcome("cmd.run", "x", Some(true), "unless condition is true", Json::Null)
        };
        let expected = "\
pi0
  changed  pkg.installed docker.io (docker)  web, 12 ms
      1 package was installed
      docker: (nothing) -> 1.2
      stdout:
        a
        b
      list: x, y
      deep:
        k:
          l: 1
  skipped  cmd.run x  web, 12 ms
      unless condition is true

minion  ok  changed  failed  skipped   time
pi0      0        1       0        1  1.2 s
1 minion in 2.3 s: 1 changed
";
        let run = run(false, vec![("pi0", vec![installed, skipped], MinionDone::default())]);
        assert_eq!(plain(&run, StateOutput::Full), expected);
    }
}
