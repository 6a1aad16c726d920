//! The shell text that changes accounts: with shadow's tools (`useradd`, `usermod`), with busybox's where those are missing.
//!
//! No password is in any of it: hashes go to `chpasswd` on standard input.

use crate::shell::quote;
use crate::states::{RunShell, Step};

/// A new account.
#[derive(Clone, Debug, Default)]
pub struct Add<'a> {
    pub name: &'a str,
    pub uid: Option<u32>,
    /// Do not refuse a uid that is taken.
    pub shared_uid: bool,
    /// A name or a number.
    pub group: Option<String>,
    /// `Some(true)`: a group of its own; `Some(false)`: not.
    pub own_group: Option<bool>,
    pub groups: Vec<String>,
    pub home: Option<&'a str>,
    pub make_home: bool,
    pub shell: Option<&'a str>,
    pub gecos: String,
    pub system: bool,
    pub no_login_log: bool,
}

impl Add<'_> {
    pub fn step(&self) -> Step {
        let mut shadow = String::from("useradd");
        let mut busybox = String::from("adduser -D");
        let mut both = |flag: &str, other: &str, value: &str| {
            shadow += &format!(" {flag} {}", quote(value));
            busybox += &format!(" {other} {}", quote(value));
        };
        if let Some(uid) = self.uid {
            both("-u", "-u", &uid.to_string());
        }
        if let Some(home) = self.home {
            both("-d", "-h", home);
        }
        if let Some(shell) = self.shell {
            both("-s", "-s", shell);
        }
        if !self.gecos.trim_matches(',').is_empty() {
            both("-c", "-g", &self.gecos);
        }
        if let Some(group) = &self.group {
            shadow += &format!(" -g {}", quote(group));
            // busybox wants a name.
            busybox += &match group.parse::<u32>() {
                Ok(gid) => format!(" -G \"$(awk -F: '$3 == {gid} {{ print $1; exit }}' /etc/group)\""),
                Err(_) => format!(" -G {}", quote(group)),
            };
        }
        for (wanted, flag) in [
            (self.shared_uid && self.uid.is_some(), " -o"),
            (self.own_group == Some(true) && self.group.is_none(), " -U"),
            (self.own_group == Some(false) && self.group.is_none(), " -N"),
            (self.system, " -r"),
            (self.no_login_log, " -l"),
            (self.make_home, " -m"),
            (!self.make_home, " -M"),
        ] {
            if wanted {
                shadow += flag;
            }
        }
        for (wanted, flag) in [(self.system, " -S"), (!self.make_home, " -H")] {
            if wanted {
                busybox += flag;
            }
        }
        let name = quote(self.name);
        let joins: String = self
            .groups
            .iter()
            .map(|group| format!(" && addgroup {name} {}", quote(group)))
            .collect();
        if !self.groups.is_empty() {
            shadow += &format!(" -G {}", quote(&self.groups.join(",")));
        }
        Step::shell(
            "useradd",
            format!("if command -v useradd >/dev/null; then\n{shadow} -- {name}\nelse\n{busybox} {name}{joins}\nfi"),
        )
    }
}

/// One thing to change of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Set {
    Uid {
        uid: u32,
        shared: bool,
    },
    /// The primary group's number.
    Gid(u32),
    Home(String),
    Shell(String),
    Gecos(String),
    /// Groups to join and to leave.
    Groups {
        join: Vec<String>,
        leave: Vec<String>,
        all: Vec<String>,
    },
}

/// Changes one field of the user's line in `/etc/passwd`, for minions without `usermod`.
const FIELD: &str = r#"field() {
  t=$(N=$n F=$1 V=$2 awk -F: 'BEGIN { OFS = ":" } $1 == ENVIRON["N"] { $(ENVIRON["F"] + 0) = ENVIRON["V"] } { print }' /etc/passwd) &&
    printf '%s\n' "$t" >/etc/passwd
}
"#;

/// The step that makes `changes` to the account of `name`.
pub fn modify(name: &str, changes: &[Set]) -> Step {
    let mut shadow = String::from("usermod");
    let mut busybox = Vec::new();
    let quoted = quote(name);
    for change in changes {
        let (flag, field, value) = match change {
            Set::Uid { uid, shared } => {
                if *shared {
                    shadow += " -o";
                }
                ("-u", 3, uid.to_string())
            }
            Set::Gid(gid) => ("-g", 4, gid.to_string()),
            Set::Gecos(gecos) => ("-c", 5, gecos.clone()),
            Set::Home(home) => ("-d", 6, home.clone()),
            Set::Shell(shell) => ("-s", 7, shell.clone()),
            Set::Groups { join, leave, all } => {
                shadow += &format!(" -G {}", quote(&all.join(",")));
                busybox.extend(join.iter().map(|group| format!("addgroup {quoted} {}", quote(group))));
                busybox.extend(leave.iter().map(|group| format!("delgroup {quoted} {}", quote(group))));
                continue;
            }
        };
        shadow += &format!(" {flag} {}", quote(&value));
        busybox.push(format!("field {field} {}", quote(&value)));
    }
    let field = if busybox.iter().any(|line| line.starts_with("field")) {
        FIELD
    } else {
        ""
    };
    Step::shell(
        "usermod",
        format!(
            "n={quoted}\nif command -v usermod >/dev/null; then\n{shadow} -- {quoted}\nelse\n{field}{}\nfi",
            busybox.join(" &&\n")
        ),
    )
}

/// Makes the home folder of an account that exists, from `/etc/skel`, with the mode that new homes have here.
pub fn make_home(name: &str, home: &str) -> Step {
    Step::shell(
        "making the home folder",
        format!(
            "n={}\nh={}\n{}",
            quote(name),
            quote(home),
            r#"m=$(sed -n 's/^[[:space:]]*HOME_MODE[[:space:]]*\([0-7]*\).*/\1/p' /etc/login.defs 2>/dev/null)
case $h in */*/*) mkdir -p "${h%/*}" || exit 1 ;; esac
if [ -d /etc/skel ]; then cp -R /etc/skel "$h"; else mkdir "$h"; fi &&
chown -R "$n:$(id -g "$n")" "$h" &&
chmod "${m:-0755}" "$h""#
        ),
    )
}

/// Sets a hash as it is; an empty one opens the account to everybody.
pub fn set_password(name: &str, hash: &str) -> Step {
    if hash.is_empty() {
        return Step::shell("passwd -d", format!("passwd -d {} >/dev/null", quote(name)));
    }
    Step::Shell(RunShell {
        label: "chpasswd".to_owned(),
        script: "chpasswd -e".to_owned(),
        stdin: Some(format!("{name}:{hash}\n").into()),
    })
}

/// Sets fields of `/etc/shadow`: `chage`'s options and values.
pub fn age(name: &str, options: &[(&str, String)]) -> Step {
    let options: String = options
        .iter()
        .map(|(flag, value)| format!(" {flag} {}", quote(value)))
        .collect();
    Step::shell(
        "chage",
        format!(
            "command -v chage >/dev/null || {{ echo 'there is no chage on this minion: install the package shadow' >&2; exit 1; }}\nchage{options} -- {}",
            quote(name)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::pkg::shells;
    use std::process::Command;

    #[test]
    fn all_scripts_are_shell() {
        let add = Add {
            name: "deploy",
            uid: Some(1),
            groups: vec!["a b".into()],
            ..Add::default()
        };
        let sets = [
            Set::Gecos("it's".into()),
            Set::Groups {
                join: vec!["a".into()],
                leave: vec!["b".into()],
                all: vec!["a".into()],
            },
        ];
        for step in [
            add.step(),
            modify("x", &sets),
            make_home("x", "/srv/x"),
            age("x", &[("-M", "9".into())]),
        ] {
            let Step::Shell(step) = step else {
                unreachable!("a shell step")
            };
            for shell in shells() {
                let out = Command::new(shell[0])
                    .args(&shell[1..])
                    .args(["-n", "-c", &step.script])
                    .output()
                    .unwrap();
                assert!(
                    out.status.success(),
                    "{shell:?} {}\n{}",
                    String::from_utf8_lossy(&out.stderr),
                    step.script
                );
            }
        }
    }

    #[test]
    fn a_field_of_passwd_is_changed_without_usermod() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        for shell in shells() {
            std::fs::write(
                &passwd,
                "root:x:0:0:root:/root:/bin/sh\nx:x:9:9:x:/home/x:/bin/sh\nxx:x:8:8::/:/bin/sh\n",
            )
            .unwrap();
            let script = format!("n=x\n{FIELD}field 5 'A & B,\\1'").replace("/etc/passwd", &passwd.to_string_lossy());
            let out = Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", &script])
                .output()
                .unwrap();
            assert!(out.status.success(), "{shell:?} {out:?}");
            assert_eq!(
                std::fs::read_to_string(&passwd).unwrap(),
                "root:x:0:0:root:/root:/bin/sh\nx:x:9:9:A & B,\\1:/home/x:/bin/sh\nxx:x:8:8::/:/bin/sh\n"
            );
        }
    }
}
