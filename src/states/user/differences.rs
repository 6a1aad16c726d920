//! What `user.present` says of an account, against the account as it is.

use super::crypt;
use super::present::Present;
use super::script::Set;
use crate::error::{Error, Result};
use crate::probe::{Account, Observed};
use crate::states::Context;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// What stands for a password in what is shown.
pub(super) const REDACTED: &str = "XXX-REDACTED-XXX";

/// Days since 1970, from a number or `YYYY-MM-DD`.
pub(super) fn days(text: &str) -> Option<i64> {
    if let Ok(days) = text.parse() {
        return Some(days);
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    Some(i64::from(epoch.until(date).ok()?.get_days()))
}

/// What is to be changed of an account that exists.
#[derive(Default)]
pub(super) struct Differences {
    pub(super) sets: Vec<Set>,
    pub(super) ages: Vec<(&'static str, String)>,
    pub(super) password: Option<String>,
    pub(super) home: Option<String>,
    pub(super) changes: Map<String, Json>,
    /// Changes that were not allowed.
    pub(super) refused: Vec<String>,
}

impl Present {
    /// The primary group's number; `None` where nothing is said of it. The inner error names a group that does not exist.
    pub(super) fn primary(&self, seen: &Observed) -> Result<Option<Result<u32, String>>> {
        let name = match &self.gid {
            Some(gid) => match gid.parse() {
                Ok(number) => return Ok(Some(Ok(number))),
                Err(_) => gid,
            },
            None if self.gid_from_name => &self.name,
            None => return Ok(None),
        };
        Ok(Some(seen.group(name)?.gid.ok_or_else(|| name.clone())))
    }

    /// The supplementary groups that the user is to be in; `None` where nothing is said of them.
    pub(super) fn wanted_groups(&self, seen: &Observed, primary: &str) -> Result<Option<BTreeSet<String>>> {
        let mut wanted: BTreeSet<String> = self.required_groups().cloned().collect();
        for group in self.optional_groups() {
            if seen.group(group)?.gid.is_some() {
                wanted.insert(group.clone());
            }
        }
        wanted.remove(primary);
        Ok((self.groups.is_some() || !wanted.is_empty()).then_some(wanted))
    }

    /// The hash that is to be set, unless `stored` is good.
    pub(super) fn wanted_password(&self, stored: Option<&str>, context: &Context) -> Result<Option<String>> {
        if self.empty_password {
            return Ok((stored != Some("")).then(String::new));
        }
        let Some(password) = self.password.as_deref().filter(|password| !password.is_empty()) else {
            return Ok(None);
        };
        let Some(stored) = stored else {
            return Err(Error::state(format!("the password of user {} cannot be read", self.name))
                .hint("only root may: `sudo: true` in the inventory"));
        };
        // A new account has `!` or `*` until it is given a password.
        let unset = matches!(stored, "" | "!" | "!!" | "*" | "x");
        if !self.enforce_password && !unset {
            return Ok(None);
        }
        if self.hash_password {
            let seed = format!("{}/{}/{}", context.run, context.minion, self.name);
            return Ok((!crypt::matches(password, stored)).then(|| crypt::hash(password, &seed)));
        }
        Ok((stored != password).then(|| password.to_owned()))
    }

    /// The comment field, with what is said here in place of what is there.
    pub(super) fn gecos(&self, now: &str) -> (String, Vec<(&'static str, String)>) {
        let mut parts: Vec<String> = now.splitn(5, ',').map(str::to_owned).collect();
        parts.resize(5, String::new());
        let mut changed = Vec::new();
        let said = [
            ("fullname", &self.fullname),
            ("roomnumber", &self.roomnumber),
            ("workphone", &self.workphone),
            ("homephone", &self.homephone),
            ("other", &self.other),
        ];
        for (part, (key, said)) in parts.iter_mut().zip(said) {
            if let Some(said) = said
                && said != part
            {
                part.clone_from(said);
                changed.push((key, said.clone()));
            }
        }
        let text = parts.join(",");
        (text.trim_end_matches(',').to_owned(), changed)
    }

    /// The fields of `/etc/shadow` that are wanted: place after the hash, name, `chage`'s option, value.
    pub(super) fn wanted_ages(&self) -> Vec<(usize, &'static str, &'static str, i64)> {
        let date = |text: &Option<String>| text.as_deref().and_then(days);
        [
            (0, "lstchg", "-d", date(&self.date)),
            (1, "min", "-m", self.mindays),
            (2, "max", "-M", self.maxdays),
            (3, "warn", "-W", self.warndays),
            (4, "inact", "-I", self.inactdays),
            (5, "expire", "-E", date(&self.expire)),
        ]
        .into_iter()
        .filter_map(|(place, key, flag, value)| Some((place, key, flag, value?)))
        .collect()
    }

    /// What is not as said.
    pub(super) fn differences(&self, account: &Account, seen: &Observed, context: &Context) -> Result<Differences> {
        let mut found = Differences::default();
        let mut change = |key: &str, value: Json| drop(found.changes.insert(key.to_owned(), value));
        if let Some(uid) = self.uid.filter(|uid| *uid != account.uid) {
            if self.allow_uid_change {
                change("uid", uid.into());
                found.sets.push(Set::Uid {
                    uid,
                    shared: !self.unique,
                });
            } else {
                found.refused.push(format!(
                    "Changing uid ({} -> {uid}) not permitted, set allow_uid_change to True to force this change. Note that this will not change file ownership.",
                    account.uid
                ));
            }
        }
        if let Some(Ok(gid)) = self.primary(seen)?
            && gid != account.gid
        {
            if self.allow_gid_change || self.gid_from_name {
                change("gid", gid.into());
                found.sets.push(Set::Gid(gid));
            } else {
                found.refused.push(format!(
                    "Changing gid ({} -> {gid}) not permitted, set allow_gid_change to True to force this change. Note that this will not change file ownership.",
                    account.gid
                ));
            }
        }
        let primary = self
            .gid
            .as_deref()
            .filter(|gid| gid.parse::<u32>().is_err())
            .unwrap_or(&account.group);
        if let Some(wanted) = self.wanted_groups(seen, primary)? {
            let now: BTreeSet<String> = account.groups.iter().filter(|group| *group != primary).cloned().collect();
            let all: BTreeSet<String> = if self.remove_groups {
                wanted
            } else {
                wanted.union(&now).cloned().collect()
            };
            if all != now {
                change("groups", all.iter().cloned().collect::<Vec<_>>().into());
                found.sets.push(Set::Groups {
                    join: all.difference(&now).cloned().collect(),
                    leave: now.difference(&all).cloned().collect(),
                    all: all.into_iter().collect(),
                });
            }
        }
        if let Some(home) = self.home.as_ref().filter(|home| **home != account.home) {
            change("home", home.clone().into());
            found.sets.push(Set::Home(home.clone()));
        }
        if let Some(shell) = self.shell.as_ref().filter(|shell| **shell != account.shell) {
            change("shell", shell.clone().into());
            found.sets.push(Set::Shell(shell.clone()));
        }
        let (gecos, parts) = self.gecos(&account.gecos);
        if !parts.is_empty() {
            parts.into_iter().for_each(|(key, value)| change(key, value.into()));
            found.sets.push(Set::Gecos(gecos));
        }
        let path = self.home_path();
        if self.createhome && (self.home.is_some() || account.home == path) && seen.entry(&path)?.is_none() {
            change("homeDoesNotExist", path.clone().into());
            found.home = Some(path);
        }
        if let Some(hash) = self.wanted_password(account.password.as_deref(), context)? {
            change("passwd", REDACTED.into());
            found.password = Some(hash);
        }
        for (place, key, flag, value) in self.wanted_ages() {
            // An empty field means "never", which `chage` writes as -1.
            let now = account.shadow.get(place).map(|field| field.parse::<i64>().unwrap_or(-1));
            if now != Some(value) {
                change(key, value.into());
                found.ages.push((flag, value.to_string()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days() {
        assert_eq!(
            [days("1970-01-02"), days("2000-01-01"), days("-1"), days("x")],
            [Some(1), Some(10957), Some(-1), None]
        );
    }
}
