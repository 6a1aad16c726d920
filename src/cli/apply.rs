//! `picloud apply`: brings minions to their states.

use super::app::App;
use super::land::{self, Where};
use super::target::{TARGET_HELP, TargetArgs};
use crate::error::{Error, Result};
use crate::inventory::{Minion, Sudo};
use crate::project::StateOutput;
use crate::report::{Bars, Plain, Report, report_json, text};
use crate::run::{self, Event, Gate, Here, Land, Listener, Manner, Reach, Recorder, Shared};
use crate::sls::Which;
use indicatif::MultiProgress;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bring minions to their states, verify it, and report.
///
/// Nothing is changed on any minion before the states of all that answered have compiled.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  picloud apply --test                       what would change, with diffs
  picloud apply 'pi[0-3]' docker,swap -b 25%  some minions, some SLS, in batches
  picloud apply --local --root states base   this machine, without SSH")]
pub struct Args {
    #[arg(help = TARGET_HELP)]
    target: Option<String>,
    /// The SLS to apply, separated by commas; what top.sls assigns where they are left out.
    #[arg(value_delimiter = ',')]
    sls: Vec<String>,
    /// Change nothing: show what would change.
    #[arg(short, long)]
    test: bool,
    /// Change at most this many minions at a time (3, or 25%), and go no further when one has failed.
    #[arg(short, long, value_name = "N")]
    batch: Option<Batch>,
    /// Stop a minion at its first state that fails.
    #[arg(long)]
    failhard: bool,
    /// Fetch http(s) sources here rather than on each minion.
    #[arg(long)]
    through_master: bool,
    /// Ask for the sudo password once, where the inventory says `sudo: true`.
    #[arg(long)]
    ask_sudo_pass: bool,
    #[arg(
        long,
        value_name = "HOW",
        hide_possible_values = true,
        help = "How much of each state is reported: full, changes or terse"
    )]
    state_output: Option<StateOutput>,
    /// Bring this machine to its states, without SSH; then there is no target, and the first argument is the SLS.
    #[arg(long)]
    local: bool,
    /// Take the states from this folder alone.
    #[arg(long, value_name = "TREE")]
    root: Option<PathBuf>,
    /// Take the pillar from this YAML file, for all minions.
    #[arg(long, value_name = "FILE")]
    pillar_file: Option<PathBuf>,
    #[command(flatten)]
    targets: TargetArgs,
}

/// `3` or `25%`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Batch {
    Count(usize),
    Percent(usize),
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Batch, String> {
        let batch = match text.strip_suffix('%') {
            Some(number) => number.parse().ok().filter(|n| (1..=100).contains(n)).map(Batch::Percent),
            None => text.parse().ok().filter(|n| *n > 0).map(Batch::Count),
        };
        batch.ok_or_else(|| "a batch is a number of minions, or a percentage: 3, 25%".to_owned())
    }
}

impl Batch {
    /// How many of `minions` that is: at least one.
    fn of(self, minions: usize) -> usize {
        match self {
            Batch::Count(count) => count,
            Batch::Percent(percent) => (minions * percent).div_ceil(100).max(1),
        }
    }
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (target, sls) = split(args.local, args.target.clone(), args.sls.clone())?;
    let what = what(&args, target.as_deref(), &sls);
    let which = if sls.is_empty() { Which::Top } else { Which::Sls(sls) };
    let place = Where {
        local: args.local,
        root: args.root.clone(),
        pillar_file: args.pillar_file.clone(),
    };
    let (land, mut minions) = land::open(app, &place, which, args.through_master, &args.targets, target.as_deref())?;
    if args.ask_sudo_pass {
        minions
            .iter_mut()
            .filter(|minion| minion.sudo == Sudo::Yes)
            .for_each(|minion| minion.sudo = Sudo::Password);
    }
    let config = &land.project.config;
    let how = args.state_output.unwrap_or(config.state_output);
    let manner = Manner {
        test: args.test,
        failhard: config.failhard || args.failhard,
        ..Manner::default()
    };
    let batch = args.batch.map(|batch| batch.of(minions.len()));
    let report = go(app, land, minions, manner, batch, what, args.local)?;
    warnings(app, &report);
    app.result(|| report_json(&report), || text(&report, how, app.paper()));
    Ok(report.exit_code())
}

/// Runs it, with bars or lines meanwhile, and a record.
fn go(
    app: &App,
    land: Land,
    minions: Vec<Minion>,
    manner: Manner,
    batch: Option<usize>,
    what: String,
    local: bool,
) -> Result<Report> {
    let cache = land.project.cache.clone();
    let run = run::new_run(&cache)?;
    let bars = app.bars();
    let mut ears = Ears {
        plain: bars.is_none().then(|| Plain::new(app.global.verbose > 0)),
        bars,
        recorder: Recorder::new(&cache, &run)?,
        report: Report::default(),
    };
    let reach: Box<dyn Reach> = match local {
        true => Box::new(Here),
        false => Box::new(land::over_ssh(app, &land.project, &land.inventory)?),
    };
    let stop = manner.stop.clone();
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let gate = Gate::new(minions.len(), batch);
    let shared = Shared {
        land,
        reach,
        manner,
        gate,
        run,
        who: land::who(),
        events,
    };
    app.block_on(async {
        let interrupted = tokio::spawn(interrupts(stop, app.multi()));
        run::apply(shared, what, minions, heard, &mut ears).await;
        interrupted.abort();
    })?;
    Ok(ears.report)
}

/// The first Ctrl-C lets what is under way be finished; the second gives up at once.
async fn interrupts(stop: Arc<AtomicBool>, bars: MultiProgress) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if stop.swap(true, Ordering::Relaxed) {
            bars.suspend(|| eprintln!("given up: what was under way on the minions may be half done"));
            std::process::exit(130);
        }
        bars.suspend(|| eprintln!("finishing what is under way, beginning nothing more; Ctrl-C again gives up at once"));
    }
}

/// All who hear of a run.
struct Ears {
    bars: Option<Bars>,
    plain: Option<Plain>,
    recorder: Recorder,
    report: Report,
}

impl Listener for Ears {
    fn hear(&mut self, event: &Event) {
        self.recorder.hear(event);
        self.report.hear(event);
        self.bars.iter_mut().for_each(|bars| bars.hear(event));
        self.plain.iter_mut().for_each(|plain| plain.hear(event));
    }
}

/// Prints the warnings of a run; without bars they have been printed as they came.
fn warnings(app: &App, report: &Report) {
    let warnings = Error::all(report.warnings.iter().map(|(minion, text)| {
        let warning = Error::usage(text.clone());
        match minion {
            Some(minion) => warning.minion(minion),
            None => warning,
        }
    }));
    if let Some(warnings) = warnings.filter(|_| app.bars().is_some()) {
        app.warn(&warnings);
    }
}

/// The target and the SLS: with `--local` there is only the latter.
fn split(local: bool, target: Option<String>, sls: Vec<String>) -> Result<(Option<String>, Vec<String>)> {
    match (local, target) {
        (false, target) => Ok((target, sls)),
        (true, None) => Ok((None, Vec::new())),
        (true, Some(first)) if sls.is_empty() => Ok((None, first.split(',').map(str::to_owned).collect())),
        (true, Some(first)) => Err(Error::usage(format!("`{first}`: with --local there is no target"))
            .hint(format!("write `picloud apply --local {}`", sls.join(",")))),
    }
}

/// The run in the words of the command line.
fn what(args: &Args, target: Option<&str>, sls: &[String]) -> String {
    let mut words = vec!["apply".to_owned()];
    words.extend(args.local.then(|| "--local".to_owned()));
    words.extend(target.map(|target| crate::shell::quote(target).into_owned()));
    words.extend((!sls.is_empty()).then(|| sls.join(",")));
    words.join(" ")
}
