//! `user.absent`.

use super::is_name;
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, Probe, Resource, UserSeen};
use crate::shell::quote;
use crate::states::{Change, Context, Decision, StateFunction, Step};
use schemars::JsonSchema;
use serde::Deserialize;

/// Ensures that a user does not exist.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Absent {
    /// The user.
    name: String,
    /// Remove the home folder and the mail too.
    purge: bool,
    /// Remove the user even while they are logged in.
    force: bool,
}

impl StateFunction for Absent {
    fn check(&self) -> Result<()> {
        if is_name(&self.name) {
            return Ok(());
        }
        Err(Error::usage(format!("`{}` cannot be a user's name", self.name)))
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::User { name: self.name.clone() }])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let name = &self.name;
        let Some(account) = &seen.user(name)?.account else {
            return Ok(Decision::Holds(format!("User {name} is not present")));
        };
        if account.uid == 0 {
            return Ok(Decision::Fails(format!("user {name} has the number 0: root is not removed")));
        }
        let mut userdel = String::from("userdel");
        for (wanted, flag) in [(self.purge, " -r"), (self.force, " -f")] {
            if wanted {
                userdel += flag;
            }
        }
        let quoted = quote(name);
        let home = if self.purge { " --remove-home" } else { "" };
        let script = format!("if command -v userdel >/dev/null; then\n{userdel} -- {quoted}\nelse\ndeluser{home} {quoted}\nfi");
        let mut writes = vec![Resource::Accounts];
        if self.purge {
            writes.push(Resource::Tree(account.home.clone()));
        }
        let mut change = Change::new(format!("User {name} set for removal"), format!("Removed user {name}"))
            .change(name.as_str(), "removed")
            .step(Step::shell("userdel", script))
            .predict(Fact::User(name.clone(), UserSeen::default()));
        change.writes = Some(writes);
        Ok(change.into())
    }
}

#[cfg(test)]
mod tests {
    use crate::states::testing::{state, user};

    #[test]
    fn who_is_there_goes() {
        for (arguments, expected) in [
            ("{name: nobody-there}", "holds: User nobody-there is not present"),
            ("{name: root}", "fails: user root has the number 0: root is not removed"),
            (
                "{name: bob, purge: True, force: True}",
                "would: User bob set for removal\ndid: Removed user bob\nchanges: {\"bob\":\"removed\"}\nsh userdel\n  if command -v userdel >/dev/null; then\n  userdel -r -f -- bob\n  else\n  deluser --remove-home bob\n  fi\n",
            ),
        ] {
            assert_eq!(
                state("user.absent", arguments).sees([user("bob", 1001)]).shows(),
                expected,
                "{arguments}"
            );
        }
    }
}
