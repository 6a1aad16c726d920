//! `user.present`.

use super::differences::{Differences, REDACTED, days};
use super::script::{Add, Set, age, make_home, modify, set_password};
use super::{NOT_YET, is_name};
use crate::error::{Error, Result};
use crate::probe::{Account, Fact, FileKind, GroupSeen, Observed, Probe, Resource, UserSeen};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, StateFunction, decision};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// Ensures that a user exists, with what is said here; what is not said is left as it is.
///
/// Passwords are given as hashes (`mkpasswd -m sha-512`, `openssl passwd -6`), or in clear with `hash_password: True`. They never
/// stand on a command line, in a difference or in a log. Whether they were set is read back from `/etc/shadow`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Present {
    /// The user.
    pub(super) name: String,
    /// The number; by default the next that is free.
    pub(super) uid: Option<u32>,
    /// The primary group, by name or number; it must exist.
    pub(super) gid: Option<String>,
    /// The primary group is the one with the user's name; it must exist.
    pub(super) gid_from_name: bool,
    /// Whether a new user gets a group of their own; by default what the minion's tools do.
    pub(super) usergroup: Option<bool>,
    /// The supplementary groups; they must exist. An empty list takes the user out of all.
    pub(super) groups: Option<OneOrMany<String>>,
    /// Supplementary groups that may be missing on the minion.
    pub(super) optional_groups: Option<OneOrMany<String>>,
    /// Take the user out of groups that are not listed.
    pub(super) remove_groups: bool,
    /// The home folder.
    pub(super) home: Option<String>,
    /// Make the home folder where it is missing, from `/etc/skel`.
    pub(super) createhome: bool,
    /// The password's hash, as in `/etc/shadow`; `!` or `*` locks it.
    pub(super) password: Option<String>,
    /// `password` is in clear: picloud hashes it (SHA-512), and sets it again only if the stored hash is another password's.
    pub(super) hash_password: bool,
    /// `False`: leave the password of a user alone who has one.
    pub(super) enforce_password: bool,
    /// The user needs no password to log in.
    pub(super) empty_password: bool,
    /// The login shell.
    pub(super) shell: Option<String>,
    /// `False`: the uid may be another user's too.
    pub(super) unique: bool,
    /// A system user: a uid from the range for those. Only said at the creation.
    pub(super) system: bool,
    /// The first part of the comment: the person's name.
    pub(super) fullname: Option<String>,
    /// The second part of the comment.
    pub(super) roomnumber: Option<String>,
    /// The third part of the comment.
    pub(super) workphone: Option<String>,
    /// The fourth part of the comment.
    pub(super) homephone: Option<String>,
    /// The rest of the comment.
    pub(super) other: Option<String>,
    /// The login class: known to BSD only, without effect elsewhere.
    pub(super) loginclass: Option<String>,
    /// Do not note a new user in the logs of logins (`useradd -l`).
    pub(super) nologinit: bool,
    /// Let the uid of a user who exists be changed. Their files keep the old number.
    pub(super) allow_uid_change: bool,
    /// Let the primary group of a user who exists be changed.
    pub(super) allow_gid_change: bool,
    /// When the password was last changed: days since 1970, or `YYYY-MM-DD`.
    pub(super) date: Option<String>,
    /// Days before the password may be changed again.
    pub(super) mindays: Option<i64>,
    /// Days after which the password must be changed.
    pub(super) maxdays: Option<i64>,
    /// Days after the password's end until the account is locked.
    pub(super) inactdays: Option<i64>,
    /// Days before the password's end from which the user is warned.
    pub(super) warndays: Option<i64>,
    /// When the account ends: days since 1970, or `YYYY-MM-DD`.
    pub(super) expire: Option<String>,
    /// Accepted, and without effect as in Salt; the group is called `gid`.
    #[schemars(with = "Option<Json>")]
    pub(super) guid: Option<Value>,
    /// For Windows only: refused.
    #[schemars(with = "Option<Json>")]
    pub(super) win_homedrive: Option<Value>,
    /// For Windows only: refused.
    #[schemars(with = "Option<Json>")]
    pub(super) win_profile: Option<Value>,
    /// For Windows only: refused.
    #[schemars(with = "Option<Json>")]
    pub(super) win_logonscript: Option<Value>,
    /// For Windows only: refused.
    #[schemars(with = "Option<Json>")]
    pub(super) win_description: Option<Value>,
}

impl Default for Present {
    fn default() -> Present {
        Present {
            name: String::new(),
            uid: None,
            gid: None,
            gid_from_name: false,
            usergroup: None,
            groups: None,
            optional_groups: None,
            remove_groups: true,
            home: None,
            createhome: true,
            password: None,
            hash_password: false,
            enforce_password: true,
            empty_password: false,
            shell: None,
            unique: true,
            system: false,
            fullname: None,
            roomnumber: None,
            workphone: None,
            homephone: None,
            other: None,
            loginclass: None,
            nologinit: false,
            allow_uid_change: false,
            allow_gid_change: false,
            date: None,
            mindays: None,
            maxdays: None,
            inactdays: None,
            warndays: None,
            expire: None,
            guid: None,
            win_homedrive: None,
            win_profile: None,
            win_logonscript: None,
            win_description: None,
        }
    }
}

impl Present {
    /// The home folder to look at: the one that is said, else the usual one.
    pub(super) fn home_path(&self) -> String {
        let usual = || {
            if self.name == "root" {
                "/root".to_owned()
            } else {
                format!("/home/{}", self.name)
            }
        };
        self.home.clone().filter(|home| home.starts_with('/')).unwrap_or_else(usual)
    }

    pub(super) fn required_groups(&self) -> impl Iterator<Item = &String> {
        self.groups.iter().flat_map(|groups| groups.iter())
    }

    pub(super) fn optional_groups(&self) -> impl Iterator<Item = &String> {
        self.optional_groups.iter().flat_map(|groups| groups.iter())
    }

    /// The account as it will be.
    fn predicted(&self, before: Option<&Account>, changes: &Differences, seen: &Observed) -> Result<Account> {
        let mut account = before.cloned().unwrap_or_default();
        if before.is_none() {
            account.uid = self.uid.unwrap_or(NOT_YET);
            account.gid = match self.primary(seen)? {
                Some(Ok(gid)) => gid,
                _ => seen.group(&self.name)?.gid.unwrap_or(account.uid),
            };
            let named = self.gid.clone().filter(|gid| gid.parse::<u32>().is_err());
            account.group = named.unwrap_or_else(|| self.name.clone());
            account.home = self.home.clone().unwrap_or_else(|| self.home_path());
            account.shell = self.shell.clone().unwrap_or_else(|| "/bin/sh".to_owned());
            account.gecos = self.gecos("").0;
            account.groups = self
                .wanted_groups(seen, &account.group)?
                .unwrap_or_default()
                .into_iter()
                .collect();
            account.password = Some("!".to_owned());
            account.shadow = vec![String::new(); 7];
        }
        for set in &changes.sets {
            match set {
                Set::Uid { uid, .. } => account.uid = *uid,
                Set::Gid(gid) => {
                    account.gid = *gid;
                    account.group = self.gid.clone().unwrap_or_else(|| self.name.clone());
                }
                Set::Home(home) => account.home.clone_from(home),
                Set::Shell(shell) => account.shell.clone_from(shell),
                Set::Gecos(gecos) => account.gecos.clone_from(gecos),
                Set::Groups { all, .. } => account.groups.clone_from(all),
            }
        }
        if let Some(hash) = &changes.password {
            account.password = Some(hash.clone());
        }
        account.shadow.resize(7, String::new());
        for (place, _, _, value) in self.wanted_ages() {
            account.shadow[place] = value.to_string();
        }
        Ok(account)
    }

    /// The facts that a change leaves behind: the account, its home, its groups.
    fn predict(&self, change: &mut Change, account: Account, home: Option<&str>, seen: &Observed) -> Result<()> {
        if let Some(home) = home {
            let entry = crate::probe::Entry {
                kind: FileKind::Directory,
                mode: 0o755,
                uid: account.uid,
                gid: account.gid,
                user: self.name.clone(),
                group: account.group.clone(),
                ..crate::probe::Entry::default()
            };
            let there = crate::probe::PathSeen {
                entry: Some(entry),
                ..Default::default()
            };
            change.predicts.push(Fact::Path(home.to_owned(), there));
        }
        let mut groups: BTreeSet<&String> = self.required_groups().chain(self.optional_groups()).collect();
        groups.insert(&self.name);
        for name in groups {
            let now = seen.group(name)?;
            if now.gid.is_none() && *name == account.group {
                let seen = GroupSeen {
                    gid: Some(account.gid),
                    members: Vec::new(),
                };
                change.predicts.push(Fact::Group(name.clone(), seen));
            } else if now.gid.is_some() {
                let mut members: BTreeSet<String> = now.members.iter().filter(|member| **member != self.name).cloned().collect();
                if account.groups.contains(name) {
                    members.insert(self.name.clone());
                }
                let seen = GroupSeen {
                    gid: now.gid,
                    members: members.into_iter().collect(),
                };
                change.predicts.push(Fact::Group(name.clone(), seen));
            }
        }
        change
            .predicts
            .push(Fact::User(self.name.clone(), UserSeen { account: Some(account) }));
        Ok(())
    }

    fn create(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let name = &self.name;
        let primary = match self.primary(seen)? {
            Some(_) if self.gid.is_some() => self.gid.clone(),
            Some(_) => Some(name.clone()),
            // The tools refuse to make a group of the user's own where there is one of that name.
            None => (seen.group(name)?.gid.is_some() && self.usergroup != Some(false)).then(|| name.clone()),
        };
        let groups = self
            .wanted_groups(seen, primary.as_deref().unwrap_or(name))?
            .unwrap_or_default();
        let home = self.home_path();
        let makes_home = self.createhome && seen.entry(&home)?.is_none();
        let add = Add {
            name,
            uid: self.uid,
            shared_uid: !self.unique,
            group: primary,
            own_group: self.usergroup,
            groups: groups.iter().cloned().collect(),
            home: self.home.as_deref(),
            make_home: self.createhome,
            shell: self.shell.as_deref(),
            gecos: self.gecos("").0,
            system: self.system,
            no_login_log: self.nologinit,
        };
        let mut change = Change::new(format!("User {name} set to be added"), format!("New user {name} created"))
            .change("name", name.as_str())
            .step(add.step());
        let mut said = |key: &str, value: Option<Json>| {
            if let Some(value) = value {
                change.changes.insert(key.to_owned(), value);
            }
        };
        said("uid", self.uid.map(Json::from));
        said("gid", self.gid.clone().map(Json::from));
        said(
            "groups",
            (!groups.is_empty()).then(|| groups.iter().cloned().collect::<Vec<_>>().into()),
        );
        said("home", self.home.clone().map(Json::from));
        said("shell", self.shell.clone().map(Json::from));
        for (key, value) in self.gecos("").1 {
            said(key, Some(value.into()));
        }
        let mut found = Differences {
            password: self.wanted_password(Some("!"), context)?,
            ..Differences::default()
        };
        if let Some(hash) = &found.password {
            said("passwd", Some(REDACTED.into()));
            change = change.step(set_password(name, hash));
        }
        found.ages = self
            .wanted_ages()
            .into_iter()
            .map(|(_, _, flag, value)| (flag, value.to_string()))
            .collect();
        if !found.ages.is_empty() {
            change = change.step(age(name, &found.ages));
        }
        let account = self.predicted(None, &found, seen)?;
        self.predict(&mut change, account, makes_home.then_some(&home), seen)?;
        Ok(change.into())
    }

    fn change(&self, account: &Account, found: Differences, seen: &Observed) -> Result<Decision> {
        let name = &self.name;
        let listed: String = found
            .changes
            .iter()
            .map(|(key, value)| format!("\n{key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let mut change = Change::new(
            format!("The following user attributes are set to be changed:{listed}"),
            format!("Updated user {name}"),
        );
        if !found.sets.is_empty() {
            change = change.step(modify(name, &found.sets));
        }
        if let Some(home) = &found.home {
            change = change.step(make_home(name, home));
        }
        if let Some(hash) = &found.password {
            change = change.step(set_password(name, hash));
        }
        if !found.ages.is_empty() {
            change = change.step(age(name, &found.ages));
        }
        let after = self.predicted(Some(account), &found, seen)?;
        self.predict(&mut change, after, found.home.as_deref(), seen)?;
        change.changes = found.changes;
        Ok(change.into())
    }
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        if !is_name(&self.name) {
            return Err(Error::usage(format!("`{}` cannot be a user's name", self.name)));
        }
        let windows = [
            ("win_homedrive", &self.win_homedrive),
            ("win_profile", &self.win_profile),
            ("win_logonscript", &self.win_logonscript),
            ("win_description", &self.win_description),
        ];
        if let Some((key, _)) = windows.iter().find(|(_, value)| value.is_some()) {
            return Err(Error::usage(format!("`{key}` is for Windows only")));
        }
        for group in self.required_groups().chain(self.optional_groups()).chain(&self.gid) {
            if !is_name(group) {
                return Err(Error::usage(format!("`{group}` cannot be a group's name")));
            }
        }
        if self.gid.is_some() && self.gid_from_name {
            return Err(Error::usage("`gid` and `gid_from_name` cannot be given together"));
        }
        for (key, date) in [("date", &self.date), ("expire", &self.expire)] {
            if let Some(date) = date.as_deref().filter(|date| days(date).is_none()) {
                return Err(Error::usage(format!(
                    "`{key}` must be days since 1970 or a date such as 2030-12-31, not `{date}`"
                )));
            }
        }
        for (key, text) in [
            ("fullname", &self.fullname),
            ("roomnumber", &self.roomnumber),
            ("workphone", &self.workphone),
            ("homephone", &self.homephone),
            ("other", &self.other),
            ("home", &self.home),
            ("shell", &self.shell),
        ] {
            let commas = !matches!(key, "other" | "home" | "shell");
            if let Some(text) = text
                .as_ref()
                .filter(|text| text.contains([':', '\n']) || (commas && text.contains(',')))
            {
                return Err(Error::usage(format!(
                    "`{key}` must not contain a colon, a comma or a line's end: `{text}`"
                )));
            }
        }
        if let Some(password) = self.password.as_deref().filter(|_| !self.hash_password) {
            // DES hashes have 13 characters of a small alphabet; all others begin with a mark.
            let des = password.len() == 13 && password.bytes().all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b));
            let hash = password.is_empty() || password.starts_with(['$', '!', '*', '_']) || password == "x" || des;
            if !hash || password.contains([':', '\n']) {
                return Err(
                    Error::usage("`password` is not a hash as `/etc/shadow` has them: nobody could log in with it")
                        .hint("`openssl passwd -6` makes one; or let picloud hash it: `hash_password: True`"),
                );
            }
        }
        if self.password.as_deref().is_some_and(|password| password.contains('\n')) {
            return Err(Error::usage("`password` must be one line"));
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let group = |name: &String| Probe::Group { name: name.clone() };
        let mut probes = vec![
            Probe::User { name: self.name.clone() },
            group(&self.name),
            Probe::meta(self.home_path()),
        ];
        let named = self.gid.iter().filter(|gid| gid.parse::<u32>().is_err());
        probes.extend(self.required_groups().chain(self.optional_groups()).chain(named).map(group));
        Ok(probes)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Accounts, Resource::Tree(self.home_path())]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let mut missing = Vec::new();
        for group in self.required_groups() {
            if seen.group(group)?.gid.is_none() {
                missing.push(group.as_str());
            }
        }
        if !missing.is_empty() {
            return Ok(Decision::Fails(format!(
                "The following group(s) are not present: {}",
                missing.join(",")
            )));
        }
        if let Some(Err(group)) = self.primary(seen)? {
            return Ok(Decision::Fails(format!("Default group \"{group}\" is not present")));
        }
        let Some(account) = &seen.user(&self.name)?.account else {
            return self.create(seen, context);
        };
        let found = self.differences(account, seen, context)?;
        if !found.refused.is_empty() {
            return Ok(Decision::Fails(found.refused.join("\n")));
        }
        if found.changes.is_empty() {
            return Ok(Decision::Holds(format!("User {} is present and up to date", self.name)));
        }
        self.change(account, found, seen)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let mut conclusion = decision::conclude(self, change, acted, after, context)?;
        // Of a new user all is told, as Salt does.
        if let (true, Some(account)) = (change.changes.contains_key("name"), &after.user(&self.name)?.account) {
            let parts: Vec<&str> = account.gecos.splitn(5, ',').chain(std::iter::repeat("")).take(5).collect();
            let mut told = json!({
                "name": self.name, "uid": account.uid, "gid": account.gid, "groups": account.groups, "home": account.home,
                "shell": account.shell, "fullname": parts[0], "roomnumber": parts[1], "workphone": parts[2], "homephone": parts[3],
                "other": parts[4], "passwd": "x",
            });
            if let (Some(told), Some(password)) = (told.as_object_mut(), change.changes.get("passwd")) {
                told.insert("password".to_owned(), password.clone());
            }
            if let Json::Object(told) = told {
                conclusion.changes = told;
            }
        }
        Ok(conclusion)
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypt;
    use super::*;
    use crate::states::testing::{Case, answer, dir, group, refusal, state};

    const BOB: &str = "{name: bob, shell: /bin/bash}";

    fn account(change: impl FnOnce(&mut Account)) -> Fact {
        let mut account = Account {
            uid: 1001,
            gid: 1001,
            group: "bob".into(),
            gecos: "Bob,,,".into(),
            home: "/home/bob".into(),
            shell: "/bin/bash".into(),
            groups: vec!["adm".into()],
            password: Some("!".into()),
            shadow: ["19000", "0", "99999", "7", "", "", ""].map(String::from).to_vec(),
        };
        change(&mut account);
        Fact::User("bob".into(), UserSeen { account: Some(account) })
    }

    fn case(arguments: &str, bob: Fact) -> Case {
        let facts = [bob, dir("/home/bob"), group("adm", 4), group("bob", 1001), group("web", 33)];
        state("user.present", arguments).sees(facts)
    }

    fn bob(arguments: &str) -> Case {
        case(arguments, account(|_| ()))
    }

    #[test]
    fn what_is_as_said_holds() {
        let good = "holds: User bob is present and up to date";
        for arguments in [
            BOB,
            "{name: bob, uid: 1001, gid: 1001, home: /home/bob, fullname: Bob}",
            "{name: bob, gid: bob}",
            "{name: bob, gid_from_name: True}",
            "{name: bob, groups: [adm, bob]}",
            "{name: bob, groups: [], remove_groups: False}",
            "{name: bob, optional_groups: [adm, none-such]}",
            "{name: bob, password: '!', maxdays: 99999, expire: -1}",
        ] {
            assert_eq!(bob(arguments).shows(), good, "{arguments}");
        }
        let hashed = crypt::hash("secret", "x");
        let with = |arguments: &str, password: &str| case(arguments, account(|a| a.password = Some(password.into()))).shows();
        assert_eq!(with("{name: bob, password: secret, hash_password: True}", &hashed), good);
        assert_eq!(
            with("{name: bob, password: $6$x$y, enforce_password: False}", "$6$other$z"),
            good
        );
        assert_eq!(with("{name: bob, empty_password: True}", ""), good);
    }

    #[test]
    fn what_differs_is_changed() {
        for (arguments, expected) in [
            (
                "{name: bob, shell: /bin/sh, fullname: Robert, homephone: 12, groups: [web]}",
                "would: The following user attributes are set to be changed:\ngroups: [\"web\"]\nshell: /bin/sh\nfullname: Robert\nhomephone: 12\n\
                 did: Updated user bob\nchanges: {\"groups\":[\"web\"],\"shell\":\"/bin/sh\",\"fullname\":\"Robert\",\"homephone\":\"12\"}\n\
                 sh usermod\n  n=bob\n  if command -v usermod >/dev/null; then\n  usermod -G web -s /bin/sh -c 'Robert,,,12' -- bob\n  else\n  field() {\n    \
                 t=$(N=$n F=$1 V=$2 awk -F: 'BEGIN { OFS = \":\" } $1 == ENVIRON[\"N\"] { $(ENVIRON[\"F\"] + 0) = ENVIRON[\"V\"] } { print }' /etc/passwd) &&\n      \
                 printf '%s\\n' \"$t\" >/etc/passwd\n  }\n  addgroup bob web &&\n  delgroup bob adm &&\n  field 7 /bin/sh &&\n  field 5 'Robert,,,12'\n  fi\n",
            ),
            (
                "{name: bob, groups: web, remove_groups: False}",
                "would: The following user attributes are set to be changed:\ngroups: [\"adm\",\"web\"]\ndid: Updated user bob\nchanges: {\"groups\":[\"adm\",\"web\"]}\n\
                 sh usermod\n  n=bob\n  if command -v usermod >/dev/null; then\n  usermod -G 'adm,web' -- bob\n  else\n  addgroup bob web\n  fi\n",
            ),
            (
                "{name: bob, password: $6$salt$hash, maxdays: 90, expire: 2030-01-01}",
                "would: The following user attributes are set to be changed:\npasswd: XXX-REDACTED-XXX\nmax: 90\nexpire: 21915\ndid: Updated user bob\n\
                 changes: {\"passwd\":\"XXX-REDACTED-XXX\",\"max\":90,\"expire\":21915}\nsh chpasswd\n  chpasswd -e\n  <<< \"bob:$6$salt$hash\\n\"\n\
                 sh chage\n  command -v chage >/dev/null || { echo 'there is no chage on this minion: install the package shadow' >&2; exit 1; }\n  chage -M 90 -E 21915 -- bob\n",
            ),
            (
                "{name: bob, uid: 1002, allow_uid_change: True, gid: web, allow_gid_change: True}",
                "would: The following user attributes are set to be changed:\nuid: 1002\ngid: 33\ndid: Updated user bob\nchanges: {\"uid\":1002,\"gid\":33}\n\
                 sh usermod\n  n=bob\n  if command -v usermod >/dev/null; then\n  usermod -u 1002 -g 33 -- bob\n  else\n  field() {\n    \
                 t=$(N=$n F=$1 V=$2 awk -F: 'BEGIN { OFS = \":\" } $1 == ENVIRON[\"N\"] { $(ENVIRON[\"F\"] + 0) = ENVIRON[\"V\"] } { print }' /etc/passwd) &&\n      \
                 printf '%s\\n' \"$t\" >/etc/passwd\n  }\n  field 3 1002 &&\n  field 4 33\n  fi\n",
            ),
            (
                "{name: bob, uid: 1002}",
                "fails: Changing uid (1001 -> 1002) not permitted, set allow_uid_change to True to force this change. Note that this will not change file ownership.",
            ),
            (
                "{name: bob, groups: [adm, none-such, nor-this]}",
                "fails: The following group(s) are not present: none-such,nor-this",
            ),
            (
                "{name: bob, gid: none-such}",
                "fails: Default group \"none-such\" is not present",
            ),
        ] {
            assert_eq!(
                bob(arguments).shows(),
                expected
                    .replace("'adm,web'", "adm,web")
                    .replace("'Robert,,,12'", "Robert,,,12"),
                "{arguments}"
            );
        }
    }

    #[test]
    fn a_new_user_is_made_whole() {
        let absent = |arguments| state("user.present", arguments).sees([group("web", 33), group("adm", 4)]);
        assert_eq!(
            absent("{name: al, uid: 1500, home: /srv/al, shell: /bin/bash, groups: [web], optional_groups: [adm, none], fullname: Al B, system: True, password: $6$x$y}").shows(),
            "would: User al set to be added\ndid: New user al created\n\
             changes: {\"name\":\"al\",\"uid\":1500,\"groups\":[\"adm\",\"web\"],\"home\":\"/srv/al\",\"shell\":\"/bin/bash\",\"fullname\":\"Al B\",\"passwd\":\"XXX-REDACTED-XXX\"}\n\
             sh useradd\n  if command -v useradd >/dev/null; then\n  useradd -u 1500 -d /srv/al -s /bin/bash -c 'Al B' -r -m -G adm,web -- al\n  else\n  \
             adduser -D -u 1500 -h /srv/al -s /bin/bash -g 'Al B' -S al && addgroup al adm && addgroup al web\n  fi\nsh chpasswd\n  chpasswd -e\n  <<< \"al:$6$x$y\\n\"\n"
        );
        let shown = absent("{name: web, createhome: False, usergroup: True}").shows();
        assert!(
            shown.contains("  useradd -g web -M -- web\n"),
            "its group is there already: {shown}"
        );
        let change = absent("{name: al}").change();
        let Some(Fact::User(_, UserSeen { account: Some(account) })) = change.predicts.last() else {
            panic!("{:?}", change.predicts)
        };
        assert_eq!(
            (account.uid, account.group.as_str(), account.home.as_str()),
            (NOT_YET, "al", "/home/al")
        );

        let done = case("{name: bob, password: $6$x$y}", Fact::User("bob".into(), UserSeen::default()))
            .concludes(&[answer(0, "", ""), answer(0, "", "")], [account_with_password("$6$x$y")]);
        assert_eq!(
            (done.ok, Json::from(done.changes).to_string().as_str()),
            (
                true,
                r#"{"name":"bob","uid":1001,"gid":1001,"groups":["adm"],"home":"/home/bob","shell":"/bin/bash","fullname":"Bob","roomnumber":"","workphone":"","homephone":"","other":"","passwd":"x","password":"XXX-REDACTED-XXX"}"#
            )
        );
    }

    fn account_with_password(password: &str) -> Fact {
        account(|account| account.password = Some(password.to_owned()))
    }

    #[test]
    fn a_missing_home_is_made() {
        let shown = state("user.present", "{name: bob}")
            .sees([account(|_| ()), group("bob", 1001)])
            .shows();
        assert!(
            shown.contains("changes: {\"homeDoesNotExist\":\"/home/bob\"}\nsh making the home folder\n"),
            "{shown}"
        );
        let elsewhere = account(|account| account.home = "/nonexistent".into());
        let daemon = state("user.present", "{name: bob}").sees([elsewhere, group("bob", 1001)]);
        assert_eq!(daemon.shows(), "holds: User bob is present and up to date");
    }

    #[test]
    fn clear_passwords_and_windows_are_refused() {
        for (arguments, expected) in [
            (
                "{name: bob, password: secret}",
                "`password` is not a hash as `/etc/shadow` has them: nobody could log in with it\nhint: `openssl passwd -6` makes one; or let picloud hash it: `hash_password: True`",
            ),
            ("{name: bob, win_homedrive: 'H:'}", "`win_homedrive` is for Windows only"),
            ("{name: 'a:b'}", "`a:b` cannot be a user's name"),
            (
                "{name: bob, fullname: 'a,b'}",
                "`fullname` must not contain a colon, a comma or a line's end: `a,b`",
            ),
            (
                "{name: bob, expire: soon}",
                "`expire` must be days since 1970 or a date such as 2030-12-31, not `soon`",
            ),
            ("{name: bob, password: secret, hash_password: True}", "(accepted)"),
        ] {
            assert_eq!(refusal("user.present", arguments), expected);
        }
    }
}
