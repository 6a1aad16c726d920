//! `picloud ca`: the project's host authority.

use super::app::App;
use crate::error::{Error, Result};
use crate::flash::identity::ca::{self, Ca};
use crate::ssh::Defaults;
use crate::ssh::known_hosts::fingerprint;
use crate::tree::shown;
use serde_json::json;

/// Have the host keys of flashed minions certified, and show by whom.
#[derive(clap::Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Init(InitArgs),
    Show(ShowArgs),
}

/// Make the project's host authority.
///
/// From then on every minion that is flashed gets a host certificate, and whoever has the project knows them all by one line
/// in its known_hosts. The private key is ca/host_ca, which git is told to ignore: keep a copy of it in a safe place.
#[derive(clap::Args, Debug)]
struct InitArgs {}

/// Show the public key of the project's host authority.
#[derive(clap::Args, Debug)]
struct ShowArgs {}

pub fn run(app: &App, args: Args) -> Result<u8> {
    match args.command {
        Command::Init(_) => init(app),
        Command::Show(_) => show(app),
    }
}

fn init(app: &App) -> Result<u8> {
    let project = app.project()?;
    // What is wrong with these is better known before there is a key.
    let inventory = app.inventory(&project)?;
    let defaults = Defaults::of_user()?;
    let made = Ca::init(&project)?;
    let trusted = ca::trust(&project, &inventory, &defaults)?;
    let print = fingerprint(made.public());
    let (file, count) = trusted.map_or_else(Default::default, |(file, count)| (shown(&file).name(), count));
    let json = || {
        json!({
            "public": ca::public_line(made.public()).unwrap_or_default(),
            "fingerprint": print,
            "known_hosts": file,
            "minions": count,
        })
    };
    app.result(json, || {
        format!(
            "ca/host_ca      the private key: keep it to yourself, and a copy of it in a safe place\n\
             ca/host_ca.pub  {print}\n\
             {file}  trusts it for the inventory's minions ({count})\n"
        )
    });
    app.note("minions that are flashed from now on get a host certificate");
    Ok(0)
}

fn show(app: &App) -> Result<u8> {
    let project = app.project()?;
    let Some(key) = ca::public(&project)? else {
        return Err(Error::usage("the project has no host authority").hint("`picloud ca init` makes one"));
    };
    let (line, print) = (ca::public_line(&key)?, fingerprint(&key));
    app.result(
        || json!({"public": line, "fingerprint": print}),
        || format!("{line}\n{print}\n"),
    );
    Ok(0)
}
