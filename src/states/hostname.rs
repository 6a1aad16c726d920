//! `hostname.*`, ours: what a minion calls itself. Salt has it as one of the many things that `network.system` does; of that function
//! the host name is what is done here, under both names.

use super::{Change, Context, Decision, Function, Functions, StateFunction, Step, etc};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::quote;
use schemars::JsonSchema;
use serde::Deserialize;

pub static FUNCTIONS: Functions = &[
    Function::of::<Present>("hostname.present", false),
    Function::of::<System>("network.system", false),
];

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";

/// Ensures that a minion has a host name: in the kernel, in `/etc/hostname`, and beside 127.0.1.1 in `/etc/hosts`, without which
/// sudo(8) waits for a name server.
///
/// ```yaml
/// pi0.lan:
///   hostname.present: []
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Present {
    /// The name, short or with its domain; the kernel and `/etc/hostname` get the short one.
    name: String,
    /// Keep a line for it in `/etc/hosts`.
    #[serde(default = "yes")]
    hosts: bool,
}

/// Salt's `network.system`, of which the host name is done here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Any text.
    #[expect(dead_code, reason = "an ID that says nothing")]
    name: String,
    /// The host name.
    hostname: String,
    /// Salt's: set the running system's name too, which is always done here.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "what it asks for is always done")]
    apply_hostname: bool,
    /// Salt's: keep what the files say otherwise, which is always done here.
    #[serde(default = "yes")]
    #[expect(dead_code, reason = "what it asks for is always done")]
    retain_settings: bool,
}

fn yes() -> bool {
    true
}

fn live() -> ShellProbe {
    let reads = vec![Resource::Path("/proc/sys/kernel/hostname".to_owned())];
    ShellProbe {
        script: "uname -n".to_owned(),
        reads,
        ..ShellProbe::default()
    }
}

/// Whether `name` is a host name (RFC 1123).
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn check(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::usage(format!("{name:?} is not a host name")).hint("letters, digits and hyphens, parts separated by dots"))
}

fn probes() -> Vec<Probe> {
    vec![Probe::Shell(live()), Probe::text(HOSTNAME), Probe::text(HOSTS)]
}

fn writes() -> Vec<Resource> {
    [HOSTNAME, HOSTS, "/proc/sys/kernel/hostname"]
        .map(|path| Resource::Path(path.to_owned()))
        .to_vec()
}

fn decide(name: &str, hosts: bool, seen: &Observed) -> Result<Decision> {
    let short = name.split('.').next().unwrap_or(name);
    let live = seen.shell(&live())?.text().trim().to_owned();
    let mut change = Change::new(
        format!("The host name would be changed to {short}"),
        format!("The host name is {short}"),
    );
    if live != short && live != name {
        change = change.from_to("hostname", live, short).step(Step::shell(
            "setting the host name",
            format!("printf '%s\\n' {} >/proc/sys/kernel/hostname", quote(short)),
        ));
    }
    let kept = etc::text(seen, HOSTNAME)?;
    if kept.trim() != short && kept.trim() != name {
        change = etc::put(change, seen, HOSTNAME, format!("{short}\n"))?.change(HOSTNAME, "updated");
    }
    let names = if short == name {
        name.to_owned()
    } else {
        format!("{name} {short}")
    };
    let text = etc::text(seen, HOSTS)?;
    let wanted = format!("127.0.1.1\t{names}");
    let ours = |line: &str| line.split_whitespace().next() == Some("127.0.1.1");
    // A name that stands beside an address of the host's own is fine as it is.
    let known = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .any(|line| line.split_whitespace().skip(1).any(|word| word == short));
    if hosts && !known {
        let mut lines: Vec<String> = text.lines().filter(|line| !ours(line)).map(str::to_owned).collect();
        let at = lines
            .iter()
            .position(|line| line.trim_start().starts_with("127.0.0.1"))
            .map_or(0, |at| at + 1);
        lines.insert(at, wanted);
        change = etc::put(change, seen, HOSTS, etc::joined(&lines))?.change(HOSTS, "updated");
    }
    if change.steps.is_empty() {
        return Ok(Decision::Holds(format!("The host name is {short}")));
    }
    Ok(change.into())
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        check(&self.name)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        decide(&self.name, self.hosts, seen)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        writes()
    }
}

impl StateFunction for System {
    fn check(&self) -> Result<()> {
        check(&self.hostname)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(probes())
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        decide(&self.hostname, true, seen)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        writes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_name_is_set_everywhere() {
        let case = state("hostname.present", "{name: pi3.lan}")
            .answers("uname -n", 0, "raspberrypi\n")
            .sees([
                file("/etc/hostname", "raspberrypi\n"),
                file("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n"),
            ]);
        let change = case.change();
        assert_eq!(change.steps.len(), 3);
        assert_eq!(change.diffs[0].new, "pi3\n");
        assert_eq!(change.diffs[1].new, "127.0.0.1\tlocalhost\n127.0.1.1\tpi3.lan pi3\n");
        let done = state("hostname.present", "{name: pi3.lan}")
            .answers("uname -n", 0, "pi3\n")
            .sees([file("/etc/hostname", "pi3\n"), file("/etc/hosts", &change.diffs[1].new)]);
        assert!(matches!(done.decide(), Ok(Decision::Holds(_))));
    }

    #[test]
    fn names_are_checked() {
        for (name, good) in [
            ("pi0", true),
            ("pi-0.lan", true),
            ("pi_0", false),
            ("-x", false),
            ("a..b", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
