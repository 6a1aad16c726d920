//! `group.*`: groups, by shadow's tools or, on Alpine, busybox's.

use super::user::{NOT_YET, is_name};
use super::{Change, Conclusion, Context, Decision, Function, Functions, StateFunction, Step, decision};
use crate::error::{Error, Result};
use crate::probe::{Fact, GroupSeen, Observed, Probe, Resource};
use crate::shell::{Answer, quote};
use crate::yaml::OneOrMany;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("group.present", false),
    Function::of::<Absent>("group.absent", false),
];

/// Ensures that a group exists, with these members.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Present {
    /// The group.
    name: String,
    /// The number; by default the next that is free. The number of a group that exists is changed; files keep the old one.
    gid: Option<u32>,
    /// A system group: a number from the range for those. Only said at the creation.
    system: bool,
    /// Just these members; not together with `addusers` and `delusers`. They must exist.
    members: Option<OneOrMany<String>>,
    /// Users who are to be members, whoever else is.
    addusers: Option<OneOrMany<String>>,
    /// Users who are not to be members.
    delusers: Option<OneOrMany<String>>,
    /// The number may be another group's too.
    non_unique: bool,
}

/// Ensures that a group does not exist.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Absent {
    /// The group.
    name: String,
}

fn check(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::usage(format!("`{name}` cannot be a group's name")))
}

impl Present {
    /// The members that there are to be, those there are now being `now`; `None` where nothing is said of them.
    fn wanted(&self, now: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        if let Some(members) = &self.members {
            return Some(members.iter().cloned().collect());
        }
        if self.addusers.is_none() && self.delusers.is_none() {
            return None;
        }
        let mut all = now.clone();
        all.extend(self.addusers.iter().flat_map(|users| users.iter().cloned()));
        all.retain(|user| !self.delusers.iter().any(|users| users.contains(user)));
        Some(all)
    }

    /// Shell that makes the members `all`, those now being `now`.
    fn set_members(&self, now: &BTreeSet<String>, all: &BTreeSet<String>) -> Step {
        let name = quote(&self.name);
        let list = all.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let mut lines: Vec<String> = Vec::new();
        lines.extend(all.difference(now).map(|user| format!("addgroup {} {name}", quote(user))));
        lines.extend(now.difference(all).map(|user| format!("delgroup {} {name}", quote(user))));
        Step::shell(
            "setting the members",
            format!(
                "if command -v gpasswd >/dev/null; then\ngpasswd -M {} {name}\nelse\n{}\nfi",
                quote(&list),
                lines.join(" &&\n")
            ),
        )
    }
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        check(&self.name)?;
        if self.members.is_some() && (self.addusers.is_some() || self.delusers.is_some()) {
            return Err(Error::usage(
                "`members` says it all: it cannot be given together with `addusers` or `delusers`",
            ));
        }
        let lists = [&self.members, &self.addusers, &self.delusers];
        let mut users = lists.into_iter().flatten().flat_map(|users| users.iter());
        if let Some(user) = users.find(|user| !is_name(user)) {
            return Err(Error::usage(format!("`{user}` cannot be a user's name")));
        }
        let both = self.addusers.iter().flat_map(|users| users.iter());
        if let Some(user) = both
            .into_iter()
            .find(|user| self.delusers.iter().any(|users| users.contains(user)))
        {
            return Err(Error::usage(format!("`{user}` is in `addusers` and in `delusers`")));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Group { name: self.name.clone() }])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let name = &self.name;
        let quoted = quote(name);
        let group = seen.group(name)?;
        let now: BTreeSet<String> = group.members.iter().cloned().collect();
        let members = self.wanted(&now).filter(|all| *all != now);
        let after = |gid: u32| {
            let members = members.as_ref().unwrap_or(&now);
            let seen = GroupSeen {
                gid: Some(gid),
                members: members.iter().cloned().collect(),
            };
            Fact::Group(name.clone(), seen)
        };
        let listed = |members: &BTreeSet<String>| Json::from(members.iter().cloned().collect::<Vec<_>>());
        let Some(gid) = group.gid else {
            let mut groupadd = String::from("groupadd");
            let mut addgroup = String::from("addgroup");
            if let Some(gid) = self.gid {
                groupadd += &format!(" -g {gid}");
                addgroup += &format!(" -g {gid}");
            }
            if self.system {
                groupadd += " -r";
                addgroup += " -S";
            }
            if self.non_unique && self.gid.is_some() {
                groupadd += " -o";
            }
            let script =
                format!("if command -v groupadd >/dev/null; then\n{groupadd} -- {quoted}\nelse\n{addgroup} {quoted}\nfi");
            let mut change = Change::new(format!("Group {name} set to be added"), format!("New group {name} created"))
                .change("name", name.as_str())
                .step(Step::shell("groupadd", script));
            if let Some(gid) = self.gid {
                change = change.change("gid", gid);
            }
            if let Some(members) = &members {
                change = change
                    .change("members", listed(members))
                    .step(self.set_members(&now, members));
            }
            return Ok(change.predict(after(self.gid.unwrap_or(NOT_YET))).into());
        };
        let new_gid = self.gid.filter(|wanted| *wanted != gid);
        if new_gid.is_none() && members.is_none() {
            return Ok(Decision::Holds(format!("Group {name} is present and up to date")));
        }
        let mut would = "The following group attributes are set to be changed:".to_owned();
        let mut change = Change::new("", format!("Updated group {name}"));
        if let Some(new) = new_gid {
            would += &format!("\ngid: {new}");
            let shared = if self.non_unique { " -o" } else { "" };
            // busybox has no groupmod.
            let script = format!(
                "if command -v groupmod >/dev/null; then\ngroupmod -g {new}{shared} -- {quoted}\nelse\nt=$(N={quoted} awk -F: 'BEGIN {{ OFS = \":\" }} $1 == ENVIRON[\"N\"] {{ $3 = {new} }} {{ print }}' /etc/group) && printf '%s\\n' \"$t\" >/etc/group\nfi"
            );
            change = change.change("gid", new).step(Step::shell("groupmod", script));
        }
        if let Some(members) = &members {
            would += &format!(
                "\nmembers: {}",
                members.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            );
            change = change
                .change("members", listed(members))
                .step(self.set_members(&now, members));
        }
        change.would = would;
        Ok(change.predict(after(new_gid.unwrap_or(gid))).into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let mut conclusion = decision::conclude(self, change, acted, after, context)?;
        let group = after.group(&self.name)?;
        if let (true, Some(gid)) = (change.changes.contains_key("name"), group.gid) {
            let told = json!({"name": self.name, "gid": gid, "members": group.members, "passwd": "x"});
            if let Json::Object(told) = told {
                conclusion.changes = told;
            }
        }
        Ok(conclusion)
    }
}

impl StateFunction for Absent {
    fn check(&self) -> Result<()> {
        check(&self.name)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Group { name: self.name.clone() }])
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Accounts]
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let name = &self.name;
        let Some(gid) = seen.group(name)?.gid else {
            return Ok(Decision::Holds("Group not present".to_owned()));
        };
        if gid == 0 {
            return Ok(Decision::Fails(format!(
                "group {name} has the number 0: root's group is not removed"
            )));
        }
        let quoted = quote(name);
        let script = format!("if command -v groupdel >/dev/null; then\ngroupdel -- {quoted}\nelse\ndelgroup {quoted}\nfi");
        Ok(
            Change::new(format!("Group {name} is set for removal"), format!("Removed group {name}"))
                .change(name.as_str(), "")
                .step(Step::shell("groupdel", script))
                .predict(Fact::Group(name.clone(), GroupSeen::default()))
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::{answer, refusal, state};

    fn group(gid: Option<u32>, members: &[&str]) -> Fact {
        let members = members.iter().map(|m| (*m).to_owned()).collect();
        Fact::Group("web".into(), GroupSeen { gid, members })
    }

    #[test]
    fn groups_come_and_go() {
        for (function, arguments, seen, expected) in [
            (
                "group.present",
                "{name: web}",
                group(Some(7), &["bob"]),
                "holds: Group web is present and up to date",
            ),
            (
                "group.present",
                "{name: web, gid: 7, members: bob}",
                group(Some(7), &["bob"]),
                "holds: Group web is present and up to date",
            ),
            (
                "group.present",
                "{name: web, addusers: [bob], delusers: [eve]}",
                group(Some(7), &["bob", "al"]),
                "holds: Group web is present and up to date",
            ),
            ("group.absent", "{name: web}", group(None, &[]), "holds: Group not present"),
            (
                "group.absent",
                "{name: web}",
                group(Some(7), &[]),
                "would: Group web is set for removal\ndid: Removed group web\nchanges: {\"web\":\"\"}\nsh groupdel\n  if command -v groupdel >/dev/null; then\n  groupdel -- web\n  else\n  delgroup web\n  fi\n",
            ),
            (
                "group.present",
                "{name: web, gid: 700, system: True, members: [bob, al]}",
                group(None, &[]),
                "would: Group web set to be added\ndid: New group web created\nchanges: {\"name\":\"web\",\"gid\":700,\"members\":[\"al\",\"bob\"]}\n\
                 sh groupadd\n  if command -v groupadd >/dev/null; then\n  groupadd -g 700 -r -- web\n  else\n  addgroup -g 700 -S web\n  fi\n\
                 sh setting the members\n  if command -v gpasswd >/dev/null; then\n  gpasswd -M 'al,bob' web\n  else\n  addgroup al web &&\n  addgroup bob web\n  fi\n",
            ),
            (
                "group.present",
                "{name: web, addusers: [bob], delusers: [eve]}",
                group(Some(7), &["eve", "al"]),
                "would: The following group attributes are set to be changed:\nmembers: al, bob\ndid: Updated group web\nchanges: {\"members\":[\"al\",\"bob\"]}\n\
                 sh setting the members\n  if command -v gpasswd >/dev/null; then\n  gpasswd -M 'al,bob' web\n  else\n  addgroup bob web &&\n  delgroup eve web\n  fi\n",
            ),
        ] {
            assert_eq!(
                state(function, arguments).sees([seen]).shows(),
                expected.replace("'al,bob'", "al,bob"),
                "{function} {arguments}"
            );
        }
        let new = state("group.present", "{name: web}").sees([group(None, &[])]);
        let done = new.concludes(&[answer(0, "", "")], [group(Some(999), &[])]);
        assert_eq!(
            (done.ok, Json::from(done.changes).to_string().as_str()),
            (true, r#"{"name":"web","gid":999,"members":[],"passwd":"x"}"#)
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for (arguments, expected) in [
            (
                "{name: web, members: [a], addusers: [b]}",
                "`members` says it all: it cannot be given together with `addusers` or `delusers`",
            ),
            (
                "{name: web, addusers: [a], delusers: [a]}",
                "`a` is in `addusers` and in `delusers`",
            ),
            ("{name: 'a b'}", "`a b` cannot be a group's name"),
        ] {
            assert_eq!(refusal("group.present", arguments), expected);
        }
    }
}
