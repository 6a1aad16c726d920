//! `cron.*`: jobs and settings in users' crontabs, in the form in which Salt keeps them.

mod env;
mod job;
mod tab;

use self::tab::Tab;
use super::{Change, Function, Functions, RunShell, Step, TextDiff};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed};
use crate::shell::quote;

pub static FUNCTIONS: Functions = &[
    Function::of::<job::Present>("cron.present", false),
    Function::of::<job::Absent>("cron.absent", false),
    Function::of::<env::EnvPresent>("cron.env_present", false),
    Function::of::<env::EnvAbsent>("cron.env_absent", false),
];

/// Refuses what no user is called.
fn check_user(user: &str) -> Result<()> {
    if super::user::is_name(user) {
        return Ok(());
    }
    Err(Error::usage(format!("`{user}` cannot be a user's name")))
}

/// A user's crontab as it is.
fn read(seen: &Observed, user: &str) -> Result<Tab> {
    Ok(Tab::read(seen.crontab(user)?.unwrap_or_default()))
}

/// `change` with the step that makes `tab` the user's crontab. Only root may name another user.
fn write(change: Change, seen: &Observed, user: &str, tab: &Tab) -> Result<Change> {
    let quoted = quote(user);
    let (old, new) = (seen.crontab(user)?.unwrap_or_default(), tab.text());
    let mut change = change
        .step(Step::Shell(RunShell {
            label: "crontab".to_owned(),
            script: format!(
                "command -v crontab >/dev/null || {{ echo 'there is no crontab on this minion: install cron' >&2; exit 1; }}\n\
                 if [ \"$(id -un)\" = {quoted} ]; then crontab -; else crontab -u {quoted} -; fi"
            ),
            stdin: Some(new.as_str().into()),
        }))
        .predict(Fact::Crontab(user.to_owned(), Some(new.clone())));
    change.diffs.push(TextDiff {
        name: format!("crontab of {user}"),
        old: old.to_owned(),
        new,
    });
    Ok(change)
}
