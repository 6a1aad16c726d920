//! `timezone.*`: the time zone (localtime(5)).

use super::platform::Platform;
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Fact, Observed, Probe, Resource};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[Function::of::<System>("timezone.system", false)];

const LOCALTIME: &str = "/etc/localtime";
const TIMEZONE: &str = "/etc/timezone";
const ADJTIME: &str = "/etc/adjtime";
const ZONES: &str = "/usr/share/zoneinfo";

/// Ensures that a minion is in a time zone.
///
/// ```yaml
/// Europe/Berlin:
///   timezone.system:
///     - utc: True
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The zone: `Europe/Berlin`, `Etc/UTC`.
    name: String,
    /// Whether the hardware clock, where there is one, runs in UTC.
    #[serde(default = "yes")]
    utc: bool,
}

fn yes() -> bool {
    true
}

impl System {
    fn file(&self) -> String {
        format!("{ZONES}/{}", self.name)
    }

    /// `/etc/adjtime` with the clock's mode (its third line, hwclock(8)); `None` where it says so already. A missing file means UTC.
    fn adjtime(&self, text: &str) -> Option<String> {
        let mode = if self.utc { "UTC" } else { "LOCAL" };
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.get(2).map_or("UTC", |line| line.trim()) == mode {
            return None;
        }
        while lines.len() < 3 {
            lines.push(["0.0 0 0.0", "0", ""][lines.len()].to_owned());
        }
        lines[2] = mode.to_owned();
        Some(etc::joined(&lines))
    }
}

impl StateFunction for System {
    fn check(&self) -> Result<()> {
        let safe = |part: &str| {
            !part.is_empty() && part != ".." && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-_".contains(&b))
        };
        match self.name.split('/').all(safe) {
            true => Ok(()),
            false => Err(Error::usage(format!("{:?} is not a time zone", self.name))
                .hint("zones are written like `Europe/Berlin` or `Etc/UTC`")),
        }
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![
            Probe::meta(LOCALTIME),
            Probe::text(TIMEZONE),
            Probe::text(ADJTIME),
            Probe::meta(self.file()),
        ])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        if seen.entry(&self.file())?.is_none() {
            return Err(Error::state(format!("this minion knows no time zone {}", self.name))
                .hint("is the package `tzdata` installed? zones are written like `Europe/Berlin`"));
        }
        let link = seen.entry(LOCALTIME)?.and_then(|entry| entry.target.clone());
        // Relative and absolute links are both seen; a copy instead of a link tells no zone.
        let zone = link
            .as_deref()
            .and_then(|target| target.split("zoneinfo/").nth(1))
            .map(str::to_owned);
        let mut change = Change::new(
            format!("Timezone {} needs to be set", self.name),
            format!("Set timezone {}", self.name),
        );
        if zone.as_deref() != Some(&self.name) {
            let target = self.file();
            change = change.change("timezone", self.name.clone()).step(Step::shell(
                "setting the time zone",
                format!(
                    "ln -s {} {LOCALTIME}.picloud && mv -f {LOCALTIME}.picloud {LOCALTIME}",
                    quote(&target)
                ),
            ));
            if let Some(mut entry) = seen.entry(&target)?.cloned() {
                entry.target = Some(target);
                entry.kind = crate::probe::FileKind::Symlink;
                let predicted = crate::probe::PathSeen {
                    entry: Some(entry),
                    ..Default::default()
                };
                change = change.predict(Fact::Path(LOCALTIME.to_owned(), predicted));
            }
        }
        // Debian keeps the name in a file as well, and tzdata goes by it.
        let named = etc::text(seen, TIMEZONE)?;
        if (Platform::of(context.grains).family == "Debian" || !named.is_empty()) && named.trim() != self.name {
            change = etc::put(change, seen, TIMEZONE, format!("{}\n", self.name))?.change("timezone", self.name.clone());
        }
        if let Some(text) = self.adjtime(&etc::text(seen, ADJTIME)?) {
            change = etc::put(change, seen, ADJTIME, text)?.change("utc", self.utc);
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("Timezone {} already set", self.name)));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        [LOCALTIME, TIMEZONE, ADJTIME]
            .map(|path| Resource::Path(path.to_owned()))
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_zone_is_set() {
        let zone = file("/usr/share/zoneinfo/Europe/Berlin", "");
        let case = state("timezone.system", "{name: Europe/Berlin}")
            .grains("{os_family: Debian}")
            .sees([
                zone.clone(),
                link(LOCALTIME, "/usr/share/zoneinfo/Etc/UTC", None),
                file(TIMEZONE, "Etc/UTC\n"),
            ]);
        assert_eq!(case.change().steps.len(), 2);
        let case = state("timezone.system", "{name: Europe/Berlin}")
            .grains("{os_family: Debian}")
            .sees([
                zone,
                link(LOCALTIME, "../usr/share/zoneinfo/Europe/Berlin", None),
                file(TIMEZONE, "Europe/Berlin\n"),
            ]);
        assert!(matches!(case.decide(), Ok(Decision::Holds(_))));
        assert!(refusal("timezone.system", "{name: ../etc/passwd}").contains("is not a time zone"));
    }

    #[test]
    fn the_clock_is_local_or_not() {
        let system = |utc| System {
            name: "Etc/UTC".into(),
            utc,
        };
        assert_eq!(system(true).adjtime(""), None);
        assert_eq!(system(false).adjtime("").as_deref(), Some("0.0 0 0.0\n0\nLOCAL\n"));
        assert_eq!(
            system(true).adjtime("1.0 2 0\n3\nLOCAL\n").as_deref(),
            Some("1.0 2 0\n3\nUTC\n")
        );
    }
}
