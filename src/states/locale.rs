//! `locale.*`: locales that a minion has, and the one that it speaks (locale.gen(5), locale.conf(5)).

use super::platform::Platform;
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("locale.present", false),
    Function::of::<System>("locale.system", false),
];

const GEN: &str = "/etc/locale.gen";

/// Ensures that a locale can be used: it is generated where it is missing.
///
/// ```yaml
/// en_US.UTF-8:
///   locale.present: []
/// ```
/// Debian and its kin want the package `locales`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// The locale: `en_US.UTF-8`.
    name: String,
}

/// Ensures that a minion speaks a locale (`LANG`). It must be there: see `locale.present`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The locale: `en_US.UTF-8`.
    name: String,
}

/// The locales that are there, and the tools.
fn there() -> ShellProbe {
    ShellProbe {
        script: "locale -a 2>/dev/null; command -v locale-gen localedef >&2; :".to_owned(),
        reads: vec![Resource::Tree("/usr/lib/locale".to_owned()), Resource::Packages],
        ..ShellProbe::default()
    }
}

/// A locale as `locale -a` spells it: `en_US.UTF-8` is printed as `en_US.utf8`.
fn plain(name: &str) -> String {
    match name.split_once('.') {
        Some((language, charset)) => format!("{language}.{}", charset.to_lowercase().replace('-', "")),
        None => name.to_owned(),
    }
}

fn has(seen: &Observed, name: &str) -> Result<bool> {
    Ok(seen
        .shell(&there())?
        .text()
        .lines()
        .any(|line| plain(line.trim()) == plain(name)))
}

fn check(name: &str) -> Result<()> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b)) {
        return Ok(());
    }
    Err(Error::usage(format!("{name:?} is not a locale")).hint("locales are written like `en_US.UTF-8`"))
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        check(&self.name)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(there()), Probe::text(GEN)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        if has(seen, &self.name)? {
            return Ok(Decision::Holds(format!("Locale {} is already present", self.name)));
        }
        let tools = String::from_utf8_lossy(&seen.shell(&there())?.stderr).into_owned();
        if tools.trim().is_empty() {
            return Err(
                Error::state("this minion cannot make locales").hint("install the package `locales`, and require it here")
            );
        }
        let would = format!("Locale {} would be generated", self.name);
        let mut change = Change::new(would, format!("Generated locale {}", self.name)).change("locale", self.name.clone());
        let (language, charset) = self.name.split_once('.').unwrap_or((&self.name, "UTF-8"));
        let charset = if charset.eq_ignore_ascii_case("utf8") {
            "UTF-8"
        } else {
            charset
        };
        if tools.contains("locale-gen") {
            let wanted = format!("{} {charset}", self.name);
            let is_it = |line: &str| {
                line.trim_start_matches(['#', ' '])
                    .split_whitespace()
                    .eq(wanted.split_whitespace())
            };
            let old = etc::text(seen, GEN)?;
            if !old.lines().any(|line| is_it(line) && !line.starts_with('#')) {
                let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
                match lines.iter_mut().find(|line| is_it(line)) {
                    Some(line) => *line = wanted.clone(),
                    None => lines.push(wanted.clone()),
                }
                change = etc::put(change, seen, GEN, etc::joined(&lines))?;
            }
            change = change.step(Step::shell("locale-gen", "locale-gen"));
        } else {
            let input = language.split('@').next().unwrap_or(language);
            let script = format!("localedef -i {} -f {} {}", quote(input), quote(charset), quote(&self.name));
            change = change.step(Step::shell("localedef", script));
        }
        Ok(change.into())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Tree("/usr/lib/locale".to_owned()), Resource::Path(GEN.to_owned())]
    }
}

impl System {
    fn file(&self, context: &Context) -> &'static str {
        match Platform::of(context.grains).family.as_str() {
            "Debian" => "/etc/default/locale",
            _ => "/etc/locale.conf",
        }
    }
}

impl StateFunction for System {
    fn check(&self) -> Result<()> {
        check(&self.name)
    }

    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Shell(there()), Probe::text(self.file(context))])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let file = self.file(context);
        let old = etc::text(seen, file)?;
        let lang = |line: &str| {
            line.strip_prefix("LANG=")
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        let now = old.lines().find_map(lang).unwrap_or_default();
        if plain(&now) == plain(&self.name) {
            return Ok(Decision::Holds(format!("System locale {} already set", self.name)));
        }
        let built_in = matches!(plain(&self.name).as_str(), "C" | "POSIX" | "C.utf8");
        if !built_in && !has(seen, &self.name)? {
            return Err(
                Error::state(format!("this minion does not have the locale {}", self.name)).hint(format!(
                    "make it with `locale.present` ({}), and require that here",
                    self.name
                )),
            );
        }
        let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
        match lines.iter_mut().find(|line| lang(line).is_some()) {
            Some(line) => *line = format!("LANG={}", self.name),
            None => lines.push(format!("LANG={}", self.name)),
        }
        let change = Change::new(
            format!("System locale {} needs to be set", self.name),
            format!("Set system locale {}", self.name),
        );
        Ok(etc::put(change.change("locale", self.name.clone()), seen, file, etc::joined(&lines))?.into())
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        vec![Resource::Path(self.file(context).to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_locale_is_generated_and_spoken() {
        let case = state("locale.present", "{name: de_DE.UTF-8}")
            .sees([file(GEN, "# de_DE.UTF-8 UTF-8\n# fr_FR.UTF-8 UTF-8\n")])
            .answers("locale -a", 0, "C.UTF-8\n");
        let error = case.decide().unwrap_err();
        assert_eq!(error.to_string(), "this minion cannot make locales");
        let case = state("locale.system", "{name: de_DE.UTF-8}")
            .grains("{os_family: Debian}")
            .sees([file("/etc/default/locale", "LANG=C.UTF-8\nLC_TIME=C\n")])
            .answers("locale -a", 0, "C.utf8\nde_DE.utf8\n");
        assert_eq!(case.change().diffs[0].new, "LANG=de_DE.UTF-8\nLC_TIME=C\n");
    }
}
