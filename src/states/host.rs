//! `host.*`: names in `/etc/hosts` (hosts(5)).

use super::{Change, Context, Decision, Function, Functions, StateFunction, etc};
use crate::error::Result;
use crate::probe::{Observed, Probe};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("host.present", false),
    Function::of::<Absent>("host.absent", false),
    Function::of::<Only>("host.only", false),
];

const HOSTS: &str = "/etc/hosts";

/// Ensures that a name stands beside an address.
///
/// ```yaml
/// registry:
///   host.present:
///     - ip: 192.168.1.10
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// The host's name.
    name: String,
    /// Its address, or a list of addresses.
    ip: Value,
    /// Take the name away from all other addresses.
    #[serde(default)]
    clean: bool,
    /// A comment at the end of a line that is added.
    comment: Option<String>,
}

/// Ensures that a name does not stand beside an address.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// The host's name.
    name: String,
    /// The address, or a list; all addresses where none is given.
    ip: Option<Value>,
}

/// Ensures that an address has just these names.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// The address.
    name: String,
    /// Its names: one, or a list.
    hostnames: Value,
}

/// A value that is one text or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value.as_list() {
        Some(items) => items.iter().filter_map(Value::scalar_text).collect(),
        None => value.scalar_text().into_iter().collect(),
    }
}

/// A line's address, names and comment; `None` for a line without any.
fn entry(line: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (data, comment) = match line.find('#') {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let mut words = data.split_whitespace();
    Some((words.next()?, words.collect(), comment))
}

fn line(ip: &str, names: &[&str], comment: &str) -> String {
    let gap = if comment.is_empty() { "" } else { "\t" };
    format!("{ip}\t\t{}{gap}{comment}", names.join(" "))
}

/// `text` without `name` beside those addresses that `takes` picks; a line that has no name left goes.
fn without(text: &str, name: &str, takes: impl Fn(&str) -> bool) -> Vec<String> {
    text.lines()
        .filter_map(|written| match entry(written) {
            Some((ip, names, comment)) if takes(ip) && names.contains(&name) => {
                let left: Vec<&str> = names.into_iter().filter(|other| *other != name).collect();
                (!left.is_empty()).then(|| line(ip, &left, comment))
            }
            _ => Some(written.to_owned()),
        })
        .collect()
}

fn decided(
    seen: &Observed,
    new: Vec<String>,
    holds: String,
    would: String,
    did: String,
    key: String,
    value: String,
) -> Result<Decision> {
    let new = etc::joined(&new);
    let old = etc::text(seen, HOSTS)?;
    if new.trim_end() == old.trim_end() {
        return Ok(Decision::Holds(holds));
    }
    Ok(etc::put(Change::new(would, did).change(key, value), seen, HOSTS, new)?.into())
}

impl StateFunction for Present {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::text(HOSTS)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let ips = texts(&self.ip);
        let old = etc::text(seen, HOSTS)?;
        let mut lines: Vec<String> = match self.clean {
            true => without(&old, &self.name, |ip| !ips.iter().any(|wanted| wanted == ip)),
            false => old.lines().map(str::to_owned).collect(),
        };
        for ip in &ips {
            if lines
                .iter()
                .filter_map(|line| entry(line))
                .any(|(other, names, _)| other == ip && names.contains(&self.name.as_str()))
            {
                continue;
            }
            let comment = self
                .comment
                .as_ref()
                .map(|comment| format!("# {comment}"))
                .unwrap_or_default();
            // A name joins the line that its address has already.
            let known = lines
                .iter_mut()
                .rev()
                .find(|line| entry(line).is_some_and(|(other, _, _)| other == ip));
            match known {
                Some(known) => {
                    let joined = entry(known).map(|(ip, mut names, comment)| {
                        names.push(&self.name);
                        line(ip, &names, comment)
                    });
                    *known = joined.unwrap_or_default();
                }
                None => lines.push(line(ip, &[&self.name], &comment)),
            }
        }
        let shown = ips.join(", ");
        decided(
            seen,
            lines,
            format!("Host {} ({shown}) already present", self.name),
            format!("Host {} ({shown}) would be added", self.name),
            format!("Added host {} ({shown})", self.name),
            "host".to_owned(),
            self.name.clone(),
        )
    }
}

impl StateFunction for Absent {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::text(HOSTS)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let ips = self.ip.as_ref().map(texts);
        let takes = |ip: &str| ips.as_ref().is_none_or(|ips| ips.iter().any(|wanted| wanted == ip));
        decided(
            seen,
            without(&etc::text(seen, HOSTS)?, &self.name, takes),
            format!("Host {} already absent", self.name),
            format!("Host {} would be removed", self.name),
            format!("Removed host {}", self.name),
            "host".to_owned(),
            self.name.clone(),
        )
    }
}

impl StateFunction for Only {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::text(HOSTS)])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let wanted = texts(&self.hostnames);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let old = etc::text(seen, HOSTS)?;
        let mut placed = false;
        let mut lines: Vec<String> = Vec::new();
        for written in old.lines() {
            match entry(written) {
                Some((ip, names, comment)) if ip == self.name => {
                    if !std::mem::replace(&mut placed, true) && !wanted.is_empty() {
                        lines.push(if names == wanted {
                            written.to_owned()
                        } else {
                            line(ip, &wanted, comment)
                        });
                    }
                }
                _ => lines.push(written.to_owned()),
            }
        }
        if !placed && !wanted.is_empty() {
            lines.push(line(&self.name, &wanted, ""));
        }
        let shown = wanted.join(" ");
        decided(
            seen,
            lines,
            format!("IP address {} already set to \"{shown}\"", self.name),
            format!("Would change {} to \"{shown}\"", self.name),
            format!("successfully changed {} to \"{shown}\"", self.name),
            self.name.clone(),
            shown.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    #[test]
    fn hosts_as_text() {
        let before = "127.0.0.1 localhost\n# mine\n10.0.0.1\tpi0 pi0.lan # rack\n";
        let cases = [
            (
                "host.present",
                "{name: registry, ip: 10.0.0.9}",
                "127.0.0.1 localhost\n# mine\n10.0.0.1\tpi0 pi0.lan # rack\n10.0.0.9\t\tregistry\n",
            ),
            (
                "host.present",
                "{name: web, ip: 10.0.0.1}",
                "127.0.0.1 localhost\n# mine\n10.0.0.1\t\tpi0 pi0.lan web\t# rack\n",
            ),
            (
                "host.present",
                "{name: pi0, ip: [10.0.0.2], clean: true}",
                "127.0.0.1 localhost\n# mine\n10.0.0.1\t\tpi0.lan\t# rack\n10.0.0.2\t\tpi0\n",
            ),
            ("host.absent", "{name: localhost}", "# mine\n10.0.0.1\tpi0 pi0.lan # rack\n"),
            (
                "host.only",
                "{name: 10.0.0.1, hostnames: [pi0]}",
                "127.0.0.1 localhost\n# mine\n10.0.0.1\t\tpi0\t# rack\n",
            ),
        ];
        for (function, arguments, after) in cases {
            let change = state(function, arguments).sees([file("/etc/hosts", before)]).change();
            assert_eq!(change.diffs[0].new, after, "{function} {arguments}");
            let again = state(function, arguments).sees([file("/etc/hosts", after)]);
            assert!(
                matches!(again.decide(), Ok(super::Decision::Holds(_))),
                "{function} {arguments}"
            );
        }
    }
}
