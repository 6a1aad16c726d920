//! `picloud demo`: all of it, on throwaway minions of its own. Tells the story, and checks that it goes as told.

use super::app::App;
use crate::demo::{Cluster, Kind, Minion};
use crate::error::{Error, Result};
use crate::project::StateOutput;
use crate::report::{Bars, Report, bold, duration, plural, text, wrap};
use crate::run::{Event, Listener, Manner, StateOutcome};
use crate::shell::quote;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// See it work, on throwaway minions.
///
/// Starts minions inside this process, each with a root of its own, brings them to the states of a small project, breaks one, and
/// repairs it. Needs neither root, sshd nor a network, changes nothing on this machine, and leaves nothing behind.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many minions to start.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=100))]
    minions: u16,
}

/// What tells the state of the web site, for a comparison.
const LOOK: &str = "cat www/index.html && readlink current";

/// How it is broken.
const BREAK: &str = "rm current && echo oops >>www/index.html";

pub fn run(app: &App, args: Args) -> Result<u8> {
    let stop = Arc::new(AtomicBool::new(false));
    // Whichever way it ends, what was started is dropped, and gone with that.
    app.block_on(async {
        tokio::select! {
            told = tell(app, usize::from(args.minions), &stop) => told,
            () = interrupted_twice(&stop) => Err(stopped()),
        }
    })?
    .map(|()| 0)
}

/// The first Ctrl-C lets the run under way come to its end, the second does not.
async fn interrupted_twice(stop: &AtomicBool) {
    for _ in 0..2 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        stop.store(true, Ordering::Relaxed);
    }
}

fn stopped() -> Error {
    Error::state("stopped by Ctrl-C")
}

async fn tell(app: &App, count: usize, stop: &Arc<AtomicBool>) -> Result<()> {
    let started = Instant::now();
    let cluster = Cluster::start(count).await?;
    let story = Story {
        app,
        cluster: &cluster,
        stop,
    };
    story.introduction();

    story.chapter("What would they change?", "picloud apply --test");
    let report = story.apply(true, StateOutput::Terse).await?;
    expect(&report, |_| true)?;
    for minion in cluster.minions() {
        let none = format!("[ ! -e {} ]", quote(&Cluster::site(minion)));
        let kept = cluster.run(minion, &none).await;
        kept.map_err(|_| wrong("the dry run has changed something").minion(minion.name()))?;
    }

    story.chapter("Now for real. Whatever is changed is observed again.", "picloud apply");
    let report = story.apply(false, StateOutput::Terse).await?;
    expect(&report, |_| true)?;

    story.chapter("Once more: nothing is left to do.", "picloud apply");
    let report = story.apply(false, StateOutput::Terse).await?;
    expect(&report, |_| false)?;
    story.cost(&report);

    let broken = &cluster.minions()[count / 2];
    let name = broken.name();
    let site = Cluster::site(broken);
    let before = cluster.run(broken, &within(&site, LOOK)).await?;
    story.chapter(
        &format!("Somebody breaks {name}."),
        &format!("picloud run {name} -- '{}'", story.short(broken, &within(&site, BREAK))),
    );
    cluster.run(broken, &within(&site, BREAK)).await?;

    story.chapter("It is found...", "picloud apply --test");
    let report = story.apply(true, StateOutput::Changes).await?;
    expect(&report, |minion| minion == name)?;

    story.chapter("... and repaired.", "picloud apply");
    let report = story.apply(false, StateOutput::Terse).await?;
    expect(&report, |minion| minion == name)?;
    match cluster.run(broken, &within(&site, LOOK)).await? == before {
        true => story.end(started),
        false => return Err(wrong("after the repair it is not as it was before").minion(name)),
    }
    Ok(())
}

/// `commands` in the folder `site`.
fn within(site: &str, commands: &str) -> String {
    format!("cd {} && {commands}", quote(site))
}

fn wrong(what: &str) -> Error {
    Error::state(format!("the demo did not go as told: {what}"))
}

/// Everything went well, and exactly the minions that `changed` names had something to change.
fn expect(report: &Report, changed: impl Fn(&str) -> bool) -> Result<()> {
    if report.exit_code() != 0 {
        return Err(wrong("see the report above"));
    }
    for (id, minion) in &report.minions {
        let counts = minion.counts();
        let changes = counts.changed + counts.may_change;
        match (changes > 0, changed(id)) {
            (true, false) => {
                return Err(wrong(&format!(
                    "{} changed where there was none to change",
                    plural(changes, "state")
                ))
                .minion(id));
            }
            (false, true) => return Err(wrong("nothing changed where something had to").minion(id)),
            _ => {}
        }
    }
    Ok(())
}

struct Story<'a> {
    app: &'a App,
    cluster: &'a Cluster,
    stop: &'a Arc<AtomicBool>,
}

impl Story<'_> {
    fn say(&self, text: &str) {
        let lines = wrap(text, self.app.paper().width, 0);
        self.app.print(&format!("{}\n", lines.join("\n")));
    }

    fn introduction(&self) {
        let minions = self.cluster.minions();
        let names = match minions {
            [only] => only.name().to_owned(),
            [first, last] => format!("{} and {}", first.name(), last.name()),
            [first, .., last] => format!("{} to {}", first.name(), last.name()),
            [] => return,
        };
        // They are on the same machine: one is as the other, but for bad luck in between.
        let Some(least) = minions.iter().max_by_key(|minion| rank(minion.kind())) else {
            return;
        };
        let root = match least.kind() {
            Kind::Overlay => "a private copy-on-write root: this machine's files, copied when they are written to",
            Kind::Copy => "a private root: this machine's programs, and a copy of its /etc",
            Kind::Folder => "a private folder, ~ in what follows, which the states of this demo keep to",
        };
        self.say(&format!(
            "{} in this process ({names}), reached by SSH through memory. Each has {root}. Nothing that follows changes this \
             machine.",
            plural(minions.len(), "minion"),
        ));
        if let Some(why) = least.root().why() {
            self.say(&format!("(No better: {why}.)"));
        }
        self.say(match (least.kind(), self.cluster.has_users()) {
            (Kind::Folder, _) => "Their states: a web site. (What picloud ships would need a root: time zone, users, docker...)",
            (_, true) => "Their states: a web site, a greeting, and `base`, which picloud ships.",
            (_, false) => {
                "Their states: a web site, a greeting, and `base`, which picloud ships; without its users, as there can be no \
                 account here but root's."
            }
        });
    }

    /// What happens next, and the command that would do it in a project.
    fn chapter(&self, what: &str, command: &str) {
        self.app.print("\n");
        self.say(what);
        self.app.print(&format!("{}\n", bold(&format!("$ {command}"))));
    }

    /// A run over all minions, and its report as `picloud apply` prints it.
    async fn apply(&self, test: bool, how: StateOutput) -> Result<Report> {
        let mut ears = Ears {
            bars: self.app.bars(),
            report: Report::default(),
        };
        let manner = Manner {
            test,
            stop: self.stop.clone(),
            ..Manner::default()
        };
        self.cluster.apply(manner, &mut ears).await?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let Ears { bars, mut report } = ears;
        drop(bars);
        for minion in self.cluster.minions() {
            if let Some(told) = report.minions.get_mut(minion.name()) {
                told.outcomes.iter_mut().for_each(|outcome| self.shorten(minion, outcome));
            }
        }
        self.app.print(&text(&report, how, self.app.paper()));
        Ok(report)
    }

    /// `text` with the folder that `minion` keeps to, if it has but that, written as `~`.
    fn short(&self, minion: &Minion, text: &str) -> String {
        match minion.root().base() {
            "" => text.to_owned(),
            base => text.replace(base, "~"),
        }
    }

    /// So that what was done to all of them in the same way reads the same.
    fn shorten(&self, minion: &Minion, outcome: &mut StateOutcome) {
        if minion.kind().is_private() {
            return;
        }
        for text in [&mut outcome.id, &mut outcome.name, &mut outcome.comment] {
            *text = self.short(minion, text);
        }
        for diff in &mut outcome.diffs {
            diff.name = self.short(minion, &diff.name);
        }
        // Its keys are paths, too.
        let changes = self.short(
            minion,
            &serde_json::Value::Object(std::mem::take(&mut outcome.changes)).to_string(),
        );
        outcome.changes = serde_json::from_str(&changes).unwrap_or_default();
    }

    /// What a run without changes cost, if it was the same for all.
    fn cost(&self, report: &Report) {
        let done: Vec<_> = report.minions.values().filter_map(|minion| minion.done.as_ref()).collect();
        if let Some(first) = done.first()
            && done
                .iter()
                .all(|done| (done.states, done.execs, done.batches) == (first.states, first.execs, first.batches))
        {
            self.say(&format!(
                "Each minion was asked about its {} at once, by {} in {}.",
                plural(first.states, "state"),
                plural(first.execs as usize, "command"),
                plural(first.batches as usize, "round trip"),
            ));
        }
    }

    fn end(&self, started: Instant) {
        self.app.print("\n");
        self.say(&format!(
            "That was all of it, in {}; nothing of it is left.",
            duration(started.elapsed().as_millis() as u64)
        ));
        self.say("With machines of your own, which need nothing but sshd and sh:");
        for (command, what) in [
            ("picloud init mycluster && cd mycluster", "a project to start from"),
            ("vi inventory/minions.yaml", "their addresses"),
            ("picloud ping", "who can be reached, or why not"),
            ("picloud apply --test", "and so on, as above"),
            ("picloud doc", "all that a state can be"),
        ] {
            self.app.print(&format!(
                "  {}{}{what}\n",
                bold(&format!("$ {command}")),
                " ".repeat(42 - command.len().min(40))
            ));
        }
    }
}

/// How little private a root is.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Overlay => 0,
        Kind::Copy => 1,
        Kind::Folder => 2,
    }
}

/// The report of a run, and its bars meanwhile.
struct Ears {
    bars: Option<Bars>,
    report: Report,
}

impl Listener for Ears {
    fn hear(&mut self, event: &Event) {
        self.report.hear(event);
        self.bars.iter_mut().for_each(|bars| bars.hear(event));
    }
}
