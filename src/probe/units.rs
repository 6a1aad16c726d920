//! Services: one `systemctl show` for all of them; where systemd does not run, OpenRC's state, or the init scripts themselves.

use super::{Fact, Manager, Probe, UnitSeen};
use crate::error::{Error, Result};
use crate::shell::words;
use std::collections::BTreeMap;

/// `$1` names are units of systemd's with all their suffixes, the next `$2` are templates (`foo@.service`, which can only be
/// enabled), the rest the bare names again, for the other managers. The first line names who answers:
/// - `systemd`: `Key=value` for each unit, an empty line after each; then lines that begin with a tab: a kind, a unit, a value;
/// - `openrc`, `sysv`: lines with a tab between kind, name and value.
const SCRIPT: &str = r#"LF='
'
set -f
links() {
set +f
case $2 in rc) set -- "$1" /etc/rc[2345].d/S[0-9][0-9]"$1" ;; *) set -- "$1" /etc/runlevels/*/"$1" ;; esac
set -f
l=$1
shift
for p; do if [ -e "$p" ]; then printf '\tlinks\t%s\tyes\n' "$l"; return; fi; done
}
reloads() {
[ $# = 0 ] || grep -l -E '(^|[^a-z-])reload([^a-z-]|$)' "$@" /dev/null 2>/dev/null | while read -r f; do printf '\treloads\t%s\tyes\n' "${f##*/}"; done
}
booted() {
s=$1 t=$2
shift 2
r=
if [ $s != 0 ]; then
n=0 a= b=
for u; do n=$((n + 1)); [ $n -gt $s ] || a="$a \"\${$n}\""; done
r=$(eval "systemctl show --no-pager -p Id -p Names -p LoadState -p ActiveState -p SubState -p Type -p MainPID -p Result -p NRestarts -p CanReload -p UnitFileState -p RemainAfterExit -p NeedDaemonReload -p SourcePath -- $a")
printf '%s\n' "$r"
IFS=$LF
for x in $r; do
case $x in
Id=*) i=${x#Id=} ;;
SourcePath=/etc/init.d/*) links "${x#SourcePath=/etc/init.d/}" rc ;;
ActiveState=failed | SubState=auto-restart) case "$b " in *" $i "*) ;; *) b="$b $i" ;; esac ;;
esac
done
IFS=' '
for u in $b; do
j=$(journalctl -q --no-pager --no-hostname -n 20 -u "$u" 2>/dev/null)
IFS=$LF
for x in $j; do printf '\tjournal\t%s\t%s\n' "$u" "$x"; done
IFS=' '
done
shift $s
fi
if [ $t != 0 ]; then
n=0 a=
for u; do n=$((n + 1)); [ $n -gt $t ] || a="$a \"\${$n}\""; done
IFS=$LF
for x in $(eval "systemctl list-unit-files --no-legend --no-pager -- $a" 2>/dev/null); do
IFS=' '
set -- $x
printf '\ttemplate\t%s\t%s\n' "$1" "$2"
done
fi
}
openrc() {
echo openrc
f=
for n; do
[ -e "/etc/init.d/$n" ] || continue
printf '\texists\t%s\tyes\n' "$n"
f="$f /etc/init.d/$n"
links "$n" runlevels
for d in started starting stopping failed; do
if [ -e "/run/openrc/$d/$n" ]; then printf '\tstate\t%s\t%s\n' "$n" $d; fi
done
IFS= read -r h <"/etc/init.d/$n"
case $h in *openrc-run* | *runscript*) ;; *) "/etc/init.d/$n" status >/dev/null 2>&1; printf '\tstatus\t%s\t%s\n' "$n" $? ;; esac
done
reloads $f
rc-status -C -s 2>/dev/null
}
sysv() {
echo sysv
f=
for n; do
if [ -e "/etc/init.d/$n" ]; then
printf '\texists\t%s\tyes\n' "$n"
f="$f /etc/init.d/$n"
links "$n" rc
"/etc/init.d/$n" status >/dev/null 2>&1
printf '\tstatus\t%s\t%s\n' "$n" $?
elif command -v systemctl >/dev/null; then
x=$(systemctl is-enabled -- "$n" 2>/dev/null)
case $x in '' | not-found) ;; *) printf '\toffline\t%s\t%s\n' "$n" "$x" ;; esac
fi
done
reloads $f
}
units() {
if [ -d /run/systemd/system ]; then
echo systemd
booted "$@"
return
fi
shift $(($1 + $2 + 2))
if [ -d /run/openrc ] || command -v rc-service >/dev/null; then openrc "$@"; else sysv "$@"; fi
}
"#;

/// What systemd calls the kinds of units.
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "timer",
    "target",
    "mount",
    "automount",
    "path",
    "swap",
    "slice",
    "scope",
    "device",
];

/// The name with its suffix, as systemd would complete it.
fn full(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, suffix)) if SUFFIXES.contains(&suffix) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

/// The name that an init script would have.
fn bare(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}

fn is_template(full: &str) -> bool {
    full.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with('@'))
}

/// Names that no service can have are not asked for: one of them would spoil the answer about all.
fn valid(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    !name.is_empty() && name.len() < 200 && !name.starts_with(['-', '.']) && !name.starts_with('@') && name.bytes().all(plain)
}

pub(super) fn script(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| valid(name)).collect();
    let (templates, units): (Vec<String>, Vec<String>) = names.iter().map(|name| full(name)).partition(|name| is_template(name));
    let all = units
        .iter()
        .chain(&templates)
        .map(String::as_str)
        .chain(names.iter().map(|name| bare(name)));
    format!("{SCRIPT}units {} {} {}\n", units.len(), templates.len(), words(all))
}

/// # Errors
/// systemd did not answer for each unit.
pub(super) fn parse(names: &[String], text: &str) -> Result<Vec<(Probe, Fact)>> {
    let (manager, text) = text.split_once('\n').unwrap_or((text, ""));
    let answer = Said::read(text);
    let units = names.iter().filter(|name| valid(name) && !is_template(&full(name))).count();
    if manager == "systemd" && answer.shown.len() != units {
        let shown = answer.shown.len();
        return Err(Error::state(format!(
            "systemd was asked about {units} units and answered about {shown}"
        )));
    }
    let mut shown = answer.shown.iter();
    let facts = names.iter().map(|name| {
        let seen = if !valid(name) {
            UnitSeen::default()
        } else if manager != "systemd" {
            answer.scripted(bare(name), manager)
        } else if is_template(&full(name)) {
            answer.template(&full(name))
        } else {
            shown.next().map_or_else(UnitSeen::default, |unit| answer.unit(unit))
        };
        (Probe::Unit { name: name.clone() }, Fact::Unit(name.clone(), seen))
    });
    Ok(facts.collect())
}

/// The answer's lines, sorted.
#[derive(Default)]
struct Said<'a> {
    /// What `systemctl show` printed, unit by unit.
    shown: Vec<BTreeMap<&'a str, &'a str>>,
    /// `(kind, name)` to values.
    told: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
    /// `rc-status`: service to what stands in its brackets.
    listed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Said<'a> {
    fn read(text: &'a str) -> Said<'a> {
        let mut said = Said::default();
        let mut fresh = true;
        for line in text.lines() {
            if let Some(told) = line.strip_prefix('\t') {
                let mut fields = told.splitn(3, '\t');
                if let (Some(kind), Some(name), Some(value)) = (fields.next(), fields.next(), fields.next()) {
                    said.told.entry((kind, name)).or_default().push(value);
                }
            } else if line.is_empty() {
                fresh = true;
            } else if let Some((service, state)) = line.strip_suffix(']').and_then(|line| line.split_once(" [")) {
                said.listed.insert(service.trim(), state.trim());
            } else if let Some((key, value)) = line.split_once('=') {
                if fresh {
                    said.shown.push(BTreeMap::new());
                    fresh = false;
                }
                if let Some(unit) = said.shown.last_mut() {
                    unit.insert(key, value);
                }
            }
        }
        said
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.told.contains_key(&(kind, name))
    }

    fn unit(&self, shown: &BTreeMap<&str, &str>) -> UnitSeen {
        let get = |key: &str| shown.get(key).copied().unwrap_or_default();
        let yes = |key: &str| get(key) == "yes";
        let script = get("SourcePath").strip_prefix("/etc/init.d/");
        let file_state = get("UnitFileState");
        UnitSeen {
            manager: Manager::Systemd,
            exists: !matches!(get("LoadState"), "not-found" | ""),
            id: get("Id").to_owned(),
            file_state: file_state.to_owned(),
            enabled: match script {
                Some(script) => Some(self.has("links", script)),
                None => enabled(file_state),
            },
            masked: get("LoadState") == "masked" || file_state.starts_with("masked"),
            active: get("ActiveState").to_owned(),
            sub: get("SubState").to_owned(),
            kind: get("Type").to_owned(),
            main_pid: get("MainPID").parse().unwrap_or(0),
            result: get("Result").to_owned(),
            restarts: get("NRestarts").parse().unwrap_or(0),
            can_reload: yes("CanReload"),
            remain_after_exit: yes("RemainAfterExit"),
            need_daemon_reload: yes("NeedDaemonReload"),
            from_init_script: script.is_some(),
            journal: self
                .told
                .get(&("journal", get("Id")))
                .map_or_else(String::new, |lines| lines.join("\n")),
        }
    }

    fn template(&self, name: &str) -> UnitSeen {
        let state = self
            .told
            .get(&("template", name))
            .and_then(|states| states.first())
            .copied()
            .unwrap_or_default();
        UnitSeen {
            exists: !state.is_empty(),
            id: name.to_owned(),
            file_state: state.to_owned(),
            enabled: enabled(state),
            masked: state.starts_with("masked"),
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
            ..UnitSeen::default()
        }
    }

    /// A service of OpenRC's or sysvinit's, or of systemd's where systemd does not run.
    fn scripted(&self, name: &str, manager: &str) -> UnitSeen {
        let offline = self.told.get(&("offline", name)).and_then(|states| states.first()).copied();
        let status = self.told.get(&("status", name)).and_then(|status| status.first()).copied();
        let (active, sub, restarts) = match manager {
            // `rc-status` alone knows what has crashed, but it does not list everything.
            // Of scripts of another kind (Debian's) OpenRC does not know how they are after boot: they are asked.
            "openrc" if status.is_none() => match (
                self.listed.get(name),
                self.told.get(&("state", name)).and_then(|states| states.last()),
            ) {
                (Some(listed), Some(_)) => rc_status(listed),
                (_, state) => rc_status(state.copied().unwrap_or_default()),
            },
            _ => match status {
                Some("0") => ("active", "running", 0),
                // LSB: dead, and a file that says otherwise is still there.
                Some("1" | "2") => ("failed", "failed", 0),
                _ => ("inactive", "dead", 0),
            },
        };
        let exists = self.has("exists", name);
        let on = self.has("links", name);
        let links = if on { "enabled" } else { "disabled" };
        UnitSeen {
            manager: match manager {
                "openrc" => Manager::OpenRc,
                _ if offline.is_some() => Manager::SystemdOffline,
                _ => Manager::SysV,
            },
            exists: exists || offline.is_some(),
            id: name.to_owned(),
            file_state: offline.unwrap_or(if exists { links } else { "" }).to_owned(),
            enabled: offline.map_or(exists.then_some(on), enabled),
            masked: offline.is_some_and(|state| state.starts_with("masked")),
            active: active.to_owned(),
            sub: sub.to_owned(),
            restarts,
            can_reload: self.has("reloads", name),
            from_init_script: exists,
            ..UnitSeen::default()
        }
    }
}

/// What a unit file's state means for the next boot.
fn enabled(file_state: &str) -> Option<bool> {
    match file_state {
        "enabled" | "enabled-runtime" => Some(true),
        "disabled" | "linked" | "linked-runtime" | "masked" | "masked-runtime" => Some(false),
        _ => None,
    }
}

/// `started`, `crashed`; of a supervised service `started 00:01:07 (2)`: since when, and how often it was restarted.
fn rc_status(state: &str) -> (&'static str, &'static str, u32) {
    let restarts = state
        .rsplit_once('(')
        .and_then(|(_, n)| n.trim_end_matches(')').trim().parse().ok())
        .unwrap_or(0);
    match state.split_whitespace().next() {
        Some("started") => ("active", "running", restarts),
        Some("starting") => ("activating", "start", restarts),
        Some("stopping") => ("deactivating", "stop", restarts),
        Some("crashed" | "failed" | "unsupervised") => ("failed", "failed", restarts),
        _ => ("inactive", "dead", 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&str], text: &str) -> Vec<UnitSeen> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let units = parse(&names, text).unwrap().into_iter().map(|(_, fact)| match fact {
            Fact::Unit(_, seen) => seen,
            other => panic!("{other:?}"),
        });
        units.collect()
    }

    #[test]
    fn systemd_tells_of_units() {
        let text = "systemd\n\
            Type=notify\nMainPID=512\nNRestarts=0\nRemainAfterExit=no\nResult=success\nId=ssh.service\nNames=ssh.service sshd.service\n\
            LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nCanReload=yes\nNeedDaemonReload=no\n\n\
            Type=simple\nMainPID=0\nNRestarts=4\nRemainAfterExit=no\nResult=exit-code\nId=bad.service\nNames=bad.service\nLoadState=loaded\n\
            ActiveState=activating\nSubState=auto-restart\nUnitFileState=static\nCanReload=no\nNeedDaemonReload=yes\n\n\
            MainPID=0\nId=none.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n\n\
            Type=forking\nRemainAfterExit=yes\nId=old.service\nLoadState=loaded\nActiveState=active\nSubState=exited\n\
            UnitFileState=generated\nSourcePath=/etc/init.d/old\n\n\
            Id=quiet.service\nLoadState=masked\nActiveState=inactive\nSubState=dead\nUnitFileState=masked\n\
            \tlinks\told\tyes\n\
            \tjournal\tbad.service\tNov 21 sh[7]: boom\n\tjournal\tbad.service\tNov 21 sh[7]: \tEnd=x\n\
            \ttemplate\tgetty@.service\tenabled";
        let base = UnitSeen {
            exists: true,
            active: "active".into(),
            ..UnitSeen::default()
        };
        let expected = vec![
            UnitSeen {
                id: "ssh.service".into(),
                file_state: "enabled".into(),
                enabled: Some(true),
                sub: "running".into(),
                kind: "notify".into(),
                main_pid: 512,
                result: "success".into(),
                can_reload: true,
                ..base.clone()
            },
            UnitSeen {
                id: "bad.service".into(),
                file_state: "static".into(),
                active: "activating".into(),
                sub: "auto-restart".into(),
                kind: "simple".into(),
                result: "exit-code".into(),
                restarts: 4,
                need_daemon_reload: true,
                journal: "Nov 21 sh[7]: boom\nNov 21 sh[7]: \tEnd=x".into(),
                ..base.clone()
            },
            UnitSeen::default(),
            UnitSeen {
                id: "none.service".into(),
                exists: false,
                active: "inactive".into(),
                sub: "dead".into(),
                ..base.clone()
            },
            UnitSeen {
                id: "old.service".into(),
                file_state: "generated".into(),
                enabled: Some(true),
                sub: "exited".into(),
                kind: "forking".into(),
                remain_after_exit: true,
                from_init_script: true,
                ..base.clone()
            },
            UnitSeen {
                id: "getty@.service".into(),
                file_state: "enabled".into(),
                enabled: Some(true),
                active: "inactive".into(),
                sub: "dead".into(),
                ..base.clone()
            },
            UnitSeen {
                id: "quiet.service".into(),
                file_state: "masked".into(),
                enabled: Some(false),
                masked: true,
                active: "inactive".into(),
                sub: "dead".into(),
                ..base
            },
        ];
        assert_eq!(
            seen(&["sshd", "bad", "not a name", "none", "old.service", "getty@", "quiet"], text),
            expected
        );
    }

    #[test]
    fn a_silent_systemd_is_an_error() {
        let names = ["a", "b"].map(String::from);
        assert!(parse(&names, "systemd\n").is_err());
        assert!(parse(&names, "systemd\nId=a.service\nLoadState=loaded\n").is_err());
    }

    #[test]
    fn openrc_tells_of_services() {
        let text = "openrc\n\
            \texists\tsshd\tyes\n\tlinks\tsshd\tyes\n\tstate\tsshd\tstarted\n\
            \texists\tchronyd\tyes\n\tstate\tchronyd\tstarted\n\
            \texists\tdocker\tyes\n\tstate\tdocker\tstarted\n\
            \texists\tlocal\tyes\n\
            \texists\tcron\tyes\n\tstate\tcron\tstarted\n\tstatus\tcron\t3\n\
            \treloads\tsshd\tyes\n \
            sshd                                                              [  started  ]\n \
            chronyd                                                           [  crashed  ]\n \
            docker                                                            [  started 00:01:07 (2)  ]";
        let base = UnitSeen {
            manager: Manager::OpenRc,
            exists: true,
            file_state: "disabled".into(),
            enabled: Some(false),
            from_init_script: true,
            active: "active".into(),
            sub: "running".into(),
            ..UnitSeen::default()
        };
        let expected = vec![
            UnitSeen {
                id: "sshd".into(),
                file_state: "enabled".into(),
                enabled: Some(true),
                can_reload: true,
                ..base.clone()
            },
            UnitSeen {
                id: "chronyd".into(),
                active: "failed".into(),
                sub: "failed".into(),
                ..base.clone()
            },
            UnitSeen {
                id: "docker".into(),
                restarts: 2,
                ..base.clone()
            },
            UnitSeen {
                id: "local".into(),
                active: "inactive".into(),
                sub: "dead".into(),
                ..base.clone()
            },
            UnitSeen {
                id: "cron".into(),
                active: "inactive".into(),
                sub: "dead".into(),
                ..base.clone()
            },
            UnitSeen {
                manager: Manager::OpenRc,
                id: "none".into(),
                active: "inactive".into(),
                sub: "dead".into(),
                ..UnitSeen::default()
            },
        ];
        assert_eq!(
            seen(&["sshd.service", "chronyd", "docker", "local", "cron", "none"], text),
            expected
        );
    }

    #[test]
    fn init_scripts_and_unit_files_tell_of_services() {
        let text = "sysv\n\
            \texists\tcron\tyes\n\tlinks\tcron\tyes\n\tstatus\tcron\t0\n\
            \texists\tntp\tyes\n\tstatus\tntp\t3\n\
            \tofflin\n\toffline\tdocker\tmasked\n\
            \treloads\tcron\tyes";
        let base = UnitSeen {
            manager: Manager::SysV,
            exists: true,
            active: "inactive".into(),
            sub: "dead".into(),
            ..UnitSeen::default()
        };
        let expected = vec![
            UnitSeen {
                id: "cron".into(),
                file_state: "enabled".into(),
                enabled: Some(true),
                active: "active".into(),
                sub: "running".into(),
                can_reload: true,
                from_init_script: true,
                ..base.clone()
            },
            UnitSeen {
                id: "ntp".into(),
                file_state: "disabled".into(),
                enabled: Some(false),
                from_init_script: true,
                ..base.clone()
            },
            UnitSeen {
                manager: Manager::SystemdOffline,
                id: "docker".into(),
                file_state: "masked".into(),
                enabled: Some(false),
                masked: true,
                ..base
            },
        ];
        assert_eq!(seen(&["cron", "ntp", "docker"], text), expected);
    }
}
