//! `kmod.*`: kernel modules, loaded now and, where asked, at boot (modules-load.d(5)).

use super::platform::{Init, Platform};
use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Fact, ModuleSeen, Observed, Probe, Resource};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("kmod.present", false),
    Function::of::<Absent>("kmod.absent", false),
];

/// Ensures that kernel modules are loaded.
///
/// ```yaml
/// br_netfilter:
///   kmod.present:
///     - persist: True
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// The module.
    name: String,
    /// Several modules, instead of `name`.
    #[serde(default)]
    mods: Vec<String>,
    /// Load it at every boot too.
    #[serde(default)]
    persist: bool,
}

/// Ensures that kernel modules are not loaded.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// The module.
    name: String,
    /// Several modules, instead of `name`.
    #[serde(default)]
    mods: Vec<String>,
    /// Do not load it at boot either: its line is taken out of the file that `kmod.present` writes.
    #[serde(default)]
    persist: bool,
    /// Salt's: comment the line out instead of removing it.
    #[serde(default)]
    comment: bool,
}

fn names(name: &str, mods: &[String]) -> Vec<String> {
    // The kernel takes both spellings and reports the underscore.
    let names = if mods.is_empty() {
        vec![name.to_owned()]
    } else {
        mods.to_vec()
    };
    names.into_iter().map(|name| name.replace('-', "_")).collect()
}

fn boot_file(context: &Context) -> &'static str {
    match Platform::of(context.grains).init {
        Init::Systemd => "/etc/modules-load.d/salt_managed.conf",
        _ => "/etc/modules",
    }
}

fn probes(names: &[String], persist: bool, context: &Context) -> Vec<Probe> {
    let mut probes: Vec<Probe> = names.iter().map(|name| Probe::Module { name: name.clone() }).collect();
    if persist {
        probes.push(Probe::text(boot_file(context)));
    }
    probes
}

fn is_line_of(line: &str, name: &str) -> bool {
    line.split_whitespace()
        .next()
        .is_some_and(|word| word.replace('-', "_") == name)
}

impl StateFunction for Present {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&names(&self.name, &self.mods), self.persist, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let names = names(&self.name, &self.mods);
        let shown = names.join(", ");
        let mut change = Change::new(
            format!("Kernel module(s) {shown} would be loaded"),
            format!("Loaded kernel module(s) {shown}"),
        );
        for name in &names {
            let module = seen.module(name)?;
            if module.loaded || module.builtin {
                continue;
            }
            if !module.available {
                return Err(Error::state(format!("this minion's kernel has no module {name}")));
            }
            change = change
                .change(name.clone(), "loaded")
                .step(Step::shell("modprobe", format!("modprobe {}", quote(name))))
                .predict(Fact::Module(
                    name.clone(),
                    ModuleSeen {
                        loaded: true,
                        ..module.clone()
                    },
                ));
        }
        if self.persist {
            let old = etc::text(seen, boot_file(context))?;
            let missing: Vec<&String> = names
                .iter()
                .filter(|name| !old.lines().any(|line| is_line_of(line, name)))
                .collect();
            if !missing.is_empty() {
                let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
                lines.extend(missing.iter().map(|name| (*name).clone()));
                change = etc::put(change, seen, boot_file(context), etc::joined(&lines))?
                    .change("persist", missing.iter().map(|n| n.to_string()).collect::<Vec<_>>());
            }
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("Kernel module(s) {shown} already present")));
        }
        Ok(change.into())
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        // A module may bring settings of its own; which ones only the kernel knows.
        vec![
            Resource::Modules,
            Resource::Path(boot_file(context).to_owned()),
            Resource::Everything,
        ]
    }
}

impl StateFunction for Absent {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        Ok(probes(&names(&self.name, &self.mods), self.persist, context))
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let names = names(&self.name, &self.mods);
        let shown = names.join(", ");
        let mut change = Change::new(
            format!("Kernel module(s) {shown} would be removed"),
            format!("Removed kernel module(s) {shown}"),
        );
        for name in &names {
            let module = seen.module(name)?;
            if module.builtin {
                return Ok(Decision::Fails(format!(
                    "{name} is built into this minion's kernel and cannot be removed"
                )));
            }
            if module.loaded {
                change = change
                    .change(name.clone(), "removed")
                    .step(Step::shell("modprobe -r", format!("modprobe -r {}", quote(name))))
                    .predict(Fact::Module(
                        name.clone(),
                        ModuleSeen {
                            loaded: false,
                            ..module.clone()
                        },
                    ));
            }
        }
        if self.persist {
            let old = etc::text(seen, boot_file(context))?;
            let ours = |line: &str| names.iter().any(|name| is_line_of(line, name));
            if old.lines().any(ours) {
                let lines: Vec<String> = old
                    .lines()
                    .filter(|line| self.comment || !ours(line))
                    .map(|line| if ours(line) { format!("#{line}") } else { line.to_owned() })
                    .collect();
                change = etc::put(change, seen, boot_file(context), etc::joined(&lines))?.change("persist", names.clone());
            }
        }
        if change.steps.is_empty() {
            return Ok(Decision::Holds(format!("Kernel module(s) {shown} already removed")));
        }
        Ok(change.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn module(name: &str, loaded: bool, available: bool) -> Fact {
        Fact::Module(
            name.into(),
            ModuleSeen {
                loaded,
                available,
                builtin: false,
            },
        )
    }

    #[test]
    fn a_module_is_loaded_now_and_at_boot() {
        let case = state("kmod.present", "{name: br-netfilter, persist: true}")
            .grains("{init: systemd}")
            .sees([
                module("br_netfilter", false, true),
                file("/etc/modules-load.d/salt_managed.conf", "loop\n"),
            ]);
        let change = case.change();
        assert_eq!(change.steps.len(), 2);
        assert_eq!(change.diffs[0].new, "loop\nbr_netfilter\n");
        let case = state("kmod.present", "{name: nosuch}").sees([module("nosuch", false, false)]);
        assert_eq!(
            case.decide().unwrap_err().to_string(),
            "this minion's kernel has no module nosuch"
        );
    }
}
