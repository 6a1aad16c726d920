//! Accounts in the files of a root file system that nobody runs: `passwd`, `shadow`, `group`, `gshadow`, changed as text, passwd(5)
//! to gshadow(5).

use super::files::{Files, text};
use super::{Account, USUAL_GROUPS};
use crate::flash::change::Change;

/// The first of the numbers that are people's: `UID_MIN` of login.defs.
const FIRST: u32 = 1000;

pub(super) struct Accounts<'a> {
    root: &'a dyn Files,
    passwd: Vec<String>,
    shadow: Vec<String>,
    group: Vec<String>,
    gshadow: Option<Vec<String>>,
}

/// Who an account is.
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
    /// It was not there before.
    pub(super) new: bool,
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn find<'a>(lines: &'a [String], name: &str) -> Option<Vec<&'a str>> {
    lines.iter().map(|line| fields(line)).find(|fields| fields[0] == name)
}

/// A number from `FIRST` on that is in field 2 of no line.
fn free(lines: &[&Vec<String>]) -> u32 {
    let used: Vec<u32> = lines
        .iter()
        .flat_map(|lines| lines.iter())
        .filter_map(|line| fields(line).get(2)?.parse().ok())
        .collect();
    (FIRST..60_000).find(|id| !used.contains(id)).unwrap_or(FIRST)
}

impl<'a> Accounts<'a> {
    /// `None` where there is no `/etc/passwd` or no `/etc/shadow`.
    pub(super) fn read(root: &'a dyn Files) -> Option<Accounts<'a>> {
        let lines = |path: &str| text(root, path).map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        Some(Accounts {
            passwd: lines("/etc/passwd")?,
            shadow: lines("/etc/shadow")?,
            group: lines("/etc/group")?,
            gshadow: lines("/etc/gshadow"),
            root,
        })
    }

    /// Sets a password's hash, and that it does not expire. Armbian's images have an expired one for root, which would keep even a
    /// key from logging in.
    pub(super) fn set_password(&mut self, name: &str, hash: &str) {
        let line = format!("{name}:{hash}::0:99999:7:::");
        match self.shadow.iter_mut().find(|line| fields(line)[0] == name) {
            Some(old) => *old = line,
            None => self.shadow.push(line),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        find(&self.passwd, name).is_some()
    }

    /// Makes `account`, or what it lacks of it.
    pub(super) fn ensure(&mut self, account: &Account, shell: &str) -> Who {
        let name = account.name.as_str();
        let number = |field: Option<&&str>| field.and_then(|text| text.parse().ok());
        let there = find(&self.passwd, name).map(|fields| Who {
            uid: number(fields.get(2)).unwrap_or(FIRST),
            gid: number(fields.get(3)).unwrap_or(FIRST),
            home: fields
                .get(5)
                .filter(|home| home.starts_with('/'))
                .map_or_else(|| format!("/home/{name}"), |home| (*home).to_owned()),
            new: false,
        });
        let who = there.unwrap_or_else(|| {
            let id = free(&[&self.passwd, &self.group]);
            // Its own group may be there without it.
            let gid = find(&self.group, name)
                .and_then(|fields| number(fields.get(2)))
                .unwrap_or_else(|| {
                    self.group.push(format!("{name}:x:{id}:"));
                    if let Some(gshadow) = &mut self.gshadow {
                        gshadow.push(format!("{name}:!::"));
                    }
                    id
                });
            let home = format!("/home/{name}");
            self.passwd.push(format!("{name}:x:{id}:{gid}::{home}:{shell}"));
            Who {
                uid: id,
                gid,
                home,
                new: true,
            }
        });
        // `*` is no password, and unlike `!` it locks nobody out who has a key.
        let hash = account.password.as_ref().map_or("*", |hash| hash.reveal()).to_owned();
        self.set_password(name, &hash);
        if name != "root" {
            let usual: Vec<String> = USUAL_GROUPS.map(str::to_owned).to_vec();
            for group in account.groups.as_ref().unwrap_or(&usual) {
                self.join(name, group);
            }
        }
        who
    }

    /// Puts `name` into `group`, if there is such a group.
    pub(super) fn join(&mut self, name: &str, group: &str) {
        let add = |line: &mut String| {
            let members = fields(line).get(3).copied().unwrap_or_default().to_owned();
            if !members.split(',').any(|member| member == name) {
                let comma = if members.is_empty() { "" } else { "," };
                line.push_str(comma);
                line.push_str(name);
            }
        };
        let of = |lines: &mut Vec<String>| {
            lines
                .iter_mut()
                .filter(|line| fields(line)[0] == group && fields(line).len() == 4)
                .for_each(add);
        };
        of(&mut self.group);
        self.gshadow.iter_mut().for_each(of);
    }

    /// The files that differ now, with the mode and group that their system gives them (`shadow`: the group of that name).
    pub(super) fn changes(&self) -> Vec<Change> {
        let gid = find(&self.group, "shadow").and_then(|fields| fields.get(2)?.parse().ok());
        let mut out = Vec::new();
        let mut add = |path: &str, lines: &[String], mode: u16, gid: u32| {
            let new = lines.join("\n") + "\n";
            if text(self.root, path).as_deref() != Some(new.as_str()) {
                out.push(Change::Write {
                    path: path.to_owned(),
                    bytes: new.into_bytes(),
                    mode,
                    uid: 0,
                    gid,
                });
            }
        };
        let secret = if gid.is_some() { 0o640 } else { 0o600 };
        add("/etc/passwd", &self.passwd, 0o644, 0);
        add("/etc/group", &self.group, 0o644, 0);
        add("/etc/shadow", &self.shadow, secret, gid.unwrap_or(0));
        if let Some(gshadow) = &self.gshadow {
            add("/etc/gshadow", gshadow, secret, gid.unwrap_or(0));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::table::{files, shown};
    use super::*;

    #[test]
    fn an_account_is_made_with_what_goes_with_it() {
        let root = files([
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nalarm:x:1000:1000::/home/alarm:/bin/bash\n",
            ),
            ("/etc/shadow", "root:$6$x$y:0:0:99999:7:::\nalarm:$6$x$y:19000::::::\n"),
            (
                "/etc/group",
                "root:x:0:\nshadow:x:42:\nsudo:x:27:alarm\nvideo:x:44:\nalarm:x:1000:\n",
            ),
            ("/etc/gshadow", "sudo:*::alarm\nvideo:*::\n"),
        ]);
        let mut accounts = Accounts::read(&root).unwrap();
        let account = Account {
            name: "pi".into(),
            groups: None,
            keys: Vec::new(),
            password: None,
            sudo: true,
        };
        let who = accounts.ensure(&account, "/bin/bash");
        assert_eq!((who.uid, who.gid, who.home.as_str(), who.new), (1001, 1001, "/home/pi", true));
        accounts.set_password("root", "*");
        assert_eq!(
            shown(&accounts.changes()),
            "== /etc/passwd 0644 0:0\nroot:x:0:0:root:/root:/bin/bash\nalarm:x:1000:1000::/home/alarm:/bin/bash\npi:x:1001:1001::/home/pi:/bin/bash\n\
             == /etc/group 0644 0:0\nroot:x:0:\nshadow:x:42:\nsudo:x:27:alarm,pi\nvideo:x:44:pi\nalarm:x:1000:\npi:x:1001:\n\
             == /etc/shadow 0640 0:42\nroot:*::0:99999:7:::\nalarm:$6$x$y:19000::::::\npi:*::0:99999:7:::\n\
             == /etc/gshadow 0640 0:42\nsudo:*::alarm,pi\nvideo:*::pi\npi:!::\n"
        );
        // One that is there keeps its numbers.
        let mut accounts = Accounts::read(&root).unwrap();
        let who = accounts.ensure(
            &Account {
                name: "alarm".into(),
                groups: Some(vec!["video".into()]),
                ..account
            },
            "/bin/sh",
        );
        assert_eq!((who.uid, who.new), (1000, false));
        assert!(shown(&accounts.changes()).contains("video:x:44:alarm\n"));
    }
}
