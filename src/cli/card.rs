//! `picloud card`: the disks that are there, and how good a card is.

use super::app::App;
use super::prompt::Terminal;
use super::screen::{Screen, interrupts};
use crate::error::{Error, Result};
use crate::flash::card::{self, Entry, Filled, History, Speeds};
use crate::flash::device::open::Confirmed;
use crate::flash::device::rules::{Allow, judge};
use crate::flash::device::{self, Device, human};
use crate::flash::write::capacity::Capacity;
use crate::flash::write::{Elevate, Target, block_size, open};
use crate::project::Cache;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

/// List the disks that could be flashed, and test cards.
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(ListArgs),
    Test(TestArgs),
}

/// Show the disks of this machine, and whether picloud would write to them.
#[derive(clap::Args, Debug)]
struct ListArgs {}

/// Test a card: its real capacity, its speed, a verdict in words.
///
/// Nothing on the card is lost: what is written is what was read before, and tags that find counterfeits are taken away
/// again. But do not pull it out meanwhile. With --full all of it is overwritten.
#[derive(clap::Args, Debug)]
struct TestArgs {
    /// The card, such as /dev/sdb or /dev/mmcblk0.
    device: PathBuf,
    /// Overwrite all of it, to find out what it really holds.
    #[arg(long)]
    full: bool,
    /// Ask nothing.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    disk: DiskArgs,
}

/// What has to be said about a disk explicitly.
#[derive(clap::Args, Debug, Default)]
pub struct DiskArgs {
    /// Take a disk that is not removable, too.
    #[arg(long)]
    pub fixed: bool,
    /// Take a disk of more than 256 GB, too.
    #[arg(long)]
    pub large: bool,
    /// Unmount what is mounted of it.
    #[arg(long)]
    pub unmount: bool,
    /// How to get the right to write to it: sudo, doas, run0, pkexec, never or auto.
    #[arg(long, value_name = "HOW", default_value = "auto", hide_default_value = true)]
    pub elevate: String,
}

impl DiskArgs {
    /// What may be done with a disk that was `named` on the command line.
    pub fn allow(&self, named: bool) -> Allow {
        Allow {
            fixed: self.fixed,
            large: self.large,
            unmount: self.unmount,
            named,
        }
    }

    /// # Errors
    /// `--elevate` names none.
    pub fn elevate(&self) -> Result<Elevate> {
        Elevate::parse(&self.elevate)
    }
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    match args.command {
        Command::List(_) => list(app),
        Command::Test(args) => test(app, &args),
    }
}

/// Lines about what a disk is used for; a server has hundreds of mounts.
const USES: usize = 5;

fn list(app: &App) -> Result<u8> {
    let devices = device::list()?;
    let refused = |device: &Device| judge(device, 0, Allow::default()).err();
    let json = || {
        let refused = |device: &Device| {
            let error = refused(device)?;
            let said: Vec<&str> = error.diagnostics().iter().map(|d| d.message.as_str()).collect();
            Some(said.join("; "))
        };
        let all = devices
            .iter()
            .map(|device| json!({"device": device, "refused": refused(device)}));
        Json::Array(all.collect())
    };
    let text = || {
        let mut text = String::new();
        for device in &devices {
            text += &format!("{}\n", device.line());
            for used in device.uses.iter().take(USES) {
                text += &format!("    {used}\n");
            }
            if device.uses.len() > USES {
                text += &format!("    and {} uses more\n", device.uses.len() - USES);
            }
            // What weighs most comes first.
            if let Some(why) = refused(device).as_ref().map(|error| error.diagnostics())
                && let Some(first) = why.first()
            {
                let mut told = first.message.clone();
                if let ([_], Some(hint)) = (why, first.hints.first()) {
                    told += &format!("; {hint}");
                }
                let reasons = match why.len() - 1 {
                    0 => String::new(),
                    1 => " (and for another reason)".to_owned(),
                    more => format!(" (and for {more} other reasons)"),
                };
                text += &format!("    not written: {told}{reasons}\n");
            }
        }
        match devices.is_empty() {
            true => "there is no disk here\n".to_owned(),
            false => text,
        }
    };
    app.result(json, text);
    Ok(0)
}

/// All that a test has found.
struct Found {
    capacity: Capacity,
    filled: Option<Filled>,
    speeds: Option<Speeds>,
    history: Vec<Entry>,
}

fn test(app: &App, args: &TestArgs) -> Result<u8> {
    let (device, note) = device::find(&args.device)?;
    if let Some(note) = note {
        app.note(&note);
    }
    let allow = args.disk.allow(true);
    judge(&device, 0, allow)?;
    if args.full && !args.yes {
        let question = format!("{}\nAll of it will be overwritten. Go on?", device.line());
        match (Terminal { bars: app.multi() }).yes(&question) {
            Some(true) => {}
            Some(false) => return Ok(1),
            None => return Err(Error::usage("there is nobody to ask").hint("`--yes` overwrites the card without asking")),
        }
    }
    let stop = interrupts(app, "stopping: the card is put in order")?;
    let mut target = open(&Confirmed::of(&device, 0, allow), &args.disk.elevate()?)?;
    let mut found = measure(app, &mut *target, &device, args.full, &stop)?;
    for note in target.notes() {
        app.note(&note);
    }
    target.close()?;
    if let Some(card) = device.identity() {
        let history = History::at(Cache::of_user().folder("cards")?);
        let entry = Entry {
            when: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            write: found.speeds.as_ref().map(|speeds| speeds.write),
            read: found.speeds.as_ref().map(|speeds| speeds.read),
            small_synchronous: found.speeds.as_ref().map(|speeds| speeds.small_synchronous),
        };
        // What is not remembered is no reason to withhold the verdict.
        if let Err(error) = history.add(&card, &entry) {
            app.warn(&error);
        }
        found.history = history.of(&card);
    }
    report(app, &device, &found);
    let good = found.capacity.is_honest() && found.filled.is_none_or(|filled| filled.wrapped + filled.lost == 0);
    Ok(if good { 0 } else { 2 })
}

fn measure(app: &App, target: &mut dyn Target, device: &Device, full: bool, stop: &AtomicBool) -> Result<Found> {
    app.note(&format!("testing {}", device.line()));
    let capacity = card::quick(target)?;
    let mut found = Found {
        capacity,
        filled: None,
        speeds: None,
        history: Vec::new(),
    };
    // A counterfeit keeps what it was given neither here nor there: to measure it would lose what is on it.
    if capacity.is_honest() {
        found.speeds = Some(card::speeds(target, stop)?);
    }
    if full {
        let screen = Screen::beside_result(app);
        let filled = card::fill(target, &device.path.to_string_lossy(), &*screen.listener, stop);
        screen.clear();
        found.filled = Some(filled?);
    }
    Ok(found)
}

fn report(app: &App, device: &Device, found: &Found) {
    let verdict = card::verdict(found.capacity, found.filled, found.speeds.as_ref(), &found.history);
    let (size, why) = block_size(Some(device), None);
    let json = || {
        json!({
            "device": device,
            "claimed": found.capacity.claimed,
            "real": found.filled.map_or(found.capacity.real, |filled| filled.good),
            "filled": found.filled,
            "speeds": found.speeds,
            "block_size": size,
            "verdict": verdict,
        })
    };
    let text = || {
        let mut text = format!("{}\n", device.line());
        if let Some(speeds) = &found.speeds {
            let rate = |rate: f64| format!("{}/s", human(rate as u64));
            text += &format!("  sequential write   {}\n", rate(speeds.write));
            text += &format!("  sequential read    {}\n", rate(speeds.read));
            text += &format!("  synchronous 4 KiB  {:.0} writes/s\n", speeds.small_synchronous);
            for (size, speed) in &speeds.by_size {
                text += &format!("  in blocks of {:>4} KiB  {}\n", size >> 10, rate(*speed));
            }
        }
        text += &format!("  block size         {} MiB: {why}\n", size >> 20);
        if let Some(why) = found.speeds.as_ref().and_then(card::why_block_size) {
            text += &format!("                     {why}\n");
        }
        for sentence in &verdict {
            text += &format!("{sentence}\n");
        }
        text
    };
    app.result(json, text);
}
