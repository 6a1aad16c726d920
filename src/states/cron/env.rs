//! `cron.env_present` and `cron.env_absent`.

use super::{check_user, read, write};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Change, Context, Decision, StateFunction};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a variable is set in a user's crontab, for the jobs below it: `MAILTO`, `PATH`, `SHELL`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvPresent {
    /// The variable.
    name: String,
    /// Its value; none for an empty one (`MAILTO` without a value sends no mail).
    value: Option<String>,
    /// Whose crontab it is.
    user: String,
}

/// Ensures that a variable is not set in a user's crontab. Only lines below Salt's line are looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvAbsent {
    /// The variable.
    name: String,
    /// Whose crontab it is.
    user: String,
}

impl Default for EnvPresent {
    fn default() -> EnvPresent {
        EnvPresent {
            name: String::new(),
            value: None,
            user: "root".to_owned(),
        }
    }
}

impl Default for EnvAbsent {
    fn default() -> EnvAbsent {
        EnvAbsent {
            name: String::new(),
            user: "root".to_owned(),
        }
    }
}

fn check(name: &str, user: &str) -> Result<()> {
    check_user(user)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::usage(format!("`{name}` cannot be a variable's name")));
    }
    Ok(())
}

impl StateFunction for EnvPresent {
    fn check(&self) -> Result<()> {
        check(&self.name, &self.user)?;
        if self.value.as_ref().is_some_and(|value| value.contains('\n')) {
            return Err(Error::usage("the `value` must be one line"));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Crontab { user: self.user.clone() }])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (name, user) = (&self.name, &self.user);
        let value = self.value.as_deref().filter(|value| !value.is_empty()).unwrap_or("\"\"");
        let mut tab = read(seen, user)?;
        let change = match tab.env(name) {
            Some((_, now)) if now == value => return Ok(Decision::Holds(format!("Cron env {name} already present"))),
            Some(_) => Change::new(
                format!("Cron env {name} is set to be updated"),
                format!("Cron env {name} updated"),
            ),
            None => Change::new(
                format!("Cron env {name} is set to be added"),
                format!("Cron env {name} added to {user}'s crontab"),
            ),
        };
        tab.set_env(name, value);
        Ok(write(change.change(user.as_str(), name.as_str()), seen, user, &tab)?.into())
    }
}

impl StateFunction for EnvAbsent {
    fn check(&self) -> Result<()> {
        check(&self.name, &self.user)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Crontab { user: self.user.clone() }])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (name, user) = (&self.name, &self.user);
        let mut tab = read(seen, user)?;
        if tab.env(name).is_none() {
            return Ok(Decision::Holds(format!("Cron env {name} already absent")));
        }
        while let Some((place, _)) = tab.env(name) {
            tab.remove(&[place]);
        }
        let change = Change::new(
            format!("Cron env {name} is set to be removed"),
            format!("Cron env {name} removed from {user}'s crontab"),
        );
        Ok(write(change.change(user.as_str(), name.as_str()), seen, user, &tab)?.into())
    }
}

#[cfg(test)]
mod tests {
    use crate::probe::Fact;
    use crate::states::testing::{refusal, state};

    #[test]
    fn settings_come_and_go() {
        let tab = "# Lines below here are managed by Salt, do not edit\nMAILTO=root\n@daily x\n";
        for (function, arguments, expected) in [
            (
                "cron.env_present",
                "{name: MAILTO, value: root}",
                Err("holds: Cron env MAILTO already present"),
            ),
            (
                "cron.env_absent",
                "{name: SHELL}",
                Err("holds: Cron env SHELL already absent"),
            ),
            (
                "cron.env_present",
                "{name: MAILTO}",
                Ok(("Cron env MAILTO updated", tab.replace("root", "\"\""))),
            ),
            (
                "cron.env_present",
                "{name: SHELL, value: /bin/sh}",
                Ok((
                    "Cron env SHELL added to root's crontab",
                    tab.replace("root\n", "root\nSHELL=/bin/sh\n"),
                )),
            ),
            (
                "cron.env_absent",
                "{name: MAILTO}",
                Ok((
                    "Cron env MAILTO removed from root's crontab",
                    tab.replace("MAILTO=root\n", ""),
                )),
            ),
        ] {
            let case = state(function, arguments).sees([Fact::Crontab("root".into(), Some(tab.into()))]);
            let shown = case.shows();
            match expected {
                Err(comment) => assert_eq!(shown, comment),
                Ok((did, text)) => {
                    let change = case.change();
                    assert_eq!((change.did.as_str(), change.diffs[0].new.as_str()), (did, text.as_str()));
                }
            }
        }
        assert_eq!(
            refusal("cron.env_present", "{name: 'a b'}"),
            "`a b` cannot be a variable's name"
        );
    }
}
