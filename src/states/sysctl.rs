//! `sysctl.*`: kernel settings, live in `/proc/sys` and kept in a file that is read at boot (sysctl.d(5)).

use super::platform::{Init, Platform};
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, Probe, Resource};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[Function::of::<Present>("sysctl.present", false)];

/// Ensures that a kernel setting has a value, now and after a reboot.
///
/// ```yaml
/// vm.swappiness:
///   sysctl.present:
///     - value: 10
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// The key: `vm.swappiness`, or with slashes where a part has dots in it: `net/ipv4/conf/eth0.1/forwarding`.
    name: String,
    /// The value, as it is written to `/proc/sys`.
    value: String,
    /// The file that keeps it: by default `/etc/sysctl.d/99-salt.conf`, or `/etc/sysctl.conf` on a minion without systemd.
    config: Option<String>,
}

impl Present {
    fn config(&self, context: &Context) -> String {
        let default = match Platform::of(context.grains).init {
            Init::Systemd => "/etc/sysctl.d/99-salt.conf",
            _ => "/etc/sysctl.conf",
        };
        self.config.clone().unwrap_or_else(|| default.to_owned())
    }

    /// The file with the setting in it; `None` where it has it already.
    fn kept(&self, text: &str) -> Option<String> {
        let (mut found, mut same) = (false, true);
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            match setting(line) {
                Some((key, _)) if slashes(key) == slashes(&self.name) && found => same = false,
                Some((key, value)) if slashes(key) == slashes(&self.name) => {
                    found = true;
                    same &= words(value) == words(&self.value);
                    lines.push(if same {
                        line.to_owned()
                    } else {
                        format!("{} = {}", self.name, self.value)
                    });
                }
                _ => lines.push(line.to_owned()),
            }
        }
        if !found {
            lines.push(format!("{} = {}", self.name, self.value));
        }
        (!found || !same).then(|| lines.join("\n") + "\n")
    }
}

impl StateFunction for Present {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(vec![
            Probe::Sysctl { key: self.name.clone() },
            Probe::text(self.config(context)),
        ])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let config = self.config(context);
        let Some(live) = seen.sysctl(&self.name)? else {
            return Err(Error::state(format!("the kernel has no setting {}", self.name))
                .hint("if a module brings it, load that with `kmod.present` and require it here"));
        };
        let (stale, kept) = (words(live) != words(&self.value), self.kept(&etc::text(seen, &config)?));
        if !stale && kept.is_none() {
            return Ok(Decision::Holds(format!(
                "Sysctl value {} = {} is already set",
                self.name, self.value
            )));
        }
        let mut change = Change::new(
            format!("Sysctl option {} would be changed to {}", self.name, self.value),
            format!("Updated sysctl value {} = {}", self.name, self.value),
        )
        .change(self.name.clone(), self.value.clone());
        if stale {
            let path = format!("/proc/sys/{}", slashes(&self.name));
            let script = format!("printf '%s\\n' {} >{}", quote(&self.value), quote(&path));
            change = change.step(Step::shell(format!("setting {}", self.name), script));
        }
        if let Some(kept) = kept {
            if let Some((folder, _)) = config.rsplit_once('/') {
                change = change.step(Step::shell("mkdir", format!("[ -d {0} ] || mkdir -p {0}", quote(folder))));
            }
            change = etc::put(change, seen, &config, kept)?;
        }
        Ok(change
            .predict(Fact::Sysctl(self.name.clone(), Some(self.value.clone())))
            .into())
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        vec![Resource::Sysctl(self.name.clone()), Resource::Path(self.config(context))]
    }
}

/// `key = value`, where a line is a setting; a leading `-` means that errors are ignored.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim().trim_start_matches('-'), value.trim()))
}

/// The key as a path below `/proc/sys`: whichever separator comes first is the one meant (sysctl.d(5)).
fn slashes(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

/// A value's words: the kernel prints tabs where one writes spaces.
fn words(value: &str) -> Vec<&str> {
    value.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn keys_are_paths() {
        for (key, path) in [
            ("vm.swappiness", "vm/swappiness"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(slashes(key), path);
        }
    }

    #[test]
    fn the_file_keeps_what_else_it_says() {
        let present = Present {
            name: "vm.swappiness".into(),
            value: "10".into(),
            config: None,
        };
        for (old, new) in [
            ("", Some("vm.swappiness = 10\n")),
            (
                "# x\nvm.swappiness=60\nkernel.panic = 5\n",
                Some("# x\nvm.swappiness = 10\nkernel.panic = 5\n"),
            ),
            ("vm/swappiness=10\n", None),
            ("vm.swappiness = 10\nvm.swappiness = 20\n", Some("vm.swappiness = 10\n")),
        ] {
            assert_eq!(present.kept(old).as_deref(), new, "{old:?}");
        }
    }

    #[test]
    fn live_and_kept_are_looked_at() {
        let case = |live: &str, text: &str| {
            state("sysctl.present", "{name: vm.swappiness, value: 10}")
                .grains("{init: systemd}")
                .sees([
                    Fact::Sysctl("vm.swappiness".into(), Some(live.into())),
                    file("/etc/sysctl.d/99-salt.conf", text),
                ])
        };
        assert!(matches!(case("10", "vm.swappiness = 10\n").decide(), Ok(Decision::Holds(_))));
        let Ok(Decision::Change(change)) = case("60", "vm.swappiness = 10\n").decide() else {
            panic!()
        };
        assert_eq!(change.steps.len(), 1);
    }
}
