//! `picloud trust`: makes host keys known, after they were shown.

use super::app::App;
use super::land;
use super::prompt::Terminal;
use super::target::TargetArgs;
use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::ssh::known_hosts::Verdict;
use crate::ssh::{ShownKey, host_key, trust};
use serde_json::{Map, Value as Json, json};

/// Show the host keys of minions, and accept those that are not known yet.
///
/// Compare a fingerprint with what the minion's own console says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which minions: an id, a glob, a list or a compound expression.
    target: String,
    /// Accept without asking.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    targets: TargetArgs,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, inventory, minions) = land::minions(app, &args.targets, Some(&args.target), false)?;
    let reach = land::over_ssh(app, &project, &inventory)?;
    let terminal = Terminal { bars: app.multi() };
    let mut said = Map::new();
    let mut errors = Vec::new();
    for minion in &minions {
        let shown = reach
            .endpoint(minion)
            .and_then(|endpoint| app.block_on(host_key(&endpoint, &reach.shared))?);
        let done = shown.and_then(|shown| one(minion, &shown, args.yes, &terminal).map(|what| (shown, what)));
        match done {
            Ok((shown, what)) => {
                if app.global.out == super::app::Out::Text {
                    app.print(&format!("{}  {}  {what}\n", minion.id, shown.fingerprint));
                }
                said.insert(
                    minion.id.to_string(),
                    json!({"fingerprint": shown.fingerprint, "result": what}),
                );
            }
            Err(error) => errors.push(error.minion(minion.id.as_str())),
        }
    }
    if app.global.out != super::app::Out::Text {
        app.result(|| Json::Object(said), String::new);
    }
    Error::all(errors).map_or(Ok(0), Err)
}

/// What became of one minion's key, in words.
fn one(minion: &Minion, shown: &ShownKey, yes: bool, terminal: &Terminal) -> Result<String> {
    let file = crate::tree::shown(&shown.file).name();
    match &shown.verdict {
        Verdict::Known => return Ok("is known already".to_owned()),
        Verdict::Unknown => {}
        Verdict::Changed { at } => {
            return Err(
                Error::unreachable(format!("its host key has changed: it shows {}", shown.fingerprint))
                    .at(*at)
                    .hint("if the minion was set up anew, take that line away and try again; else somebody may be in between"),
            );
        }
        Verdict::Revoked { at } => {
            return Err(Error::unreachable(format!("its host key {} is revoked", shown.fingerprint)).at(*at));
        }
        Verdict::Invalid { at, why } => {
            return Err(Error::unreachable(format!("its host certificate does not hold: {why}")).at(*at));
        }
    }
    let question = format!("{} at {} shows {}. Trust it?", minion.id, minion.address, shown.fingerprint);
    if !yes {
        match terminal.yes(&question) {
            Some(true) => {}
            Some(false) => return Ok("not trusted".to_owned()),
            None => {
                return Err(
                    Error::usage(format!("it shows {}, and there is nobody to ask", shown.fingerprint))
                        .hint("`--yes` accepts it without asking"),
                );
            }
        }
    }
    trust(shown)?;
    Ok(format!("is known now, in {file}"))
}
