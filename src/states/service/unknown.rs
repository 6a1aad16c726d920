//! What is said of a service that a minion does not know.

use super::script::full;
use crate::error::Result;
use crate::probe::{Observed, Probe};
use crate::states::{Context, Init, Platform};

/// Names that services have elsewhere: written, called so, on these families.
const ELSEWHERE: &[(&str, &str, &[&str])] = &[
    ("sshd", "ssh", &["Debian"]),
    ("ssh", "sshd", &["RedHat", "Arch", "Alpine"]),
    ("crond", "cron", &["Debian"]),
    ("cron", "crond", &["RedHat", "Alpine"]),
    ("cron", "cronie", &["Arch"]),
    ("crond", "cronie", &["Arch"]),
    ("httpd", "apache2", &["Debian", "Alpine"]),
    ("apache2", "httpd", &["RedHat", "Arch"]),
    ("apache", "apache2", &["Debian", "Alpine"]),
    ("apache", "httpd", &["RedHat", "Arch"]),
    ("docker.io", "docker", &["Debian"]),
    ("docker-ce", "docker", &["Debian", "RedHat"]),
    ("mysqld", "mariadb", &["Debian", "RedHat", "Arch", "Alpine"]),
    ("mysql", "mariadb", &["Debian", "RedHat", "Arch", "Alpine"]),
    ("redis", "redis-server", &["Debian"]),
    ("redis-server", "redis", &["RedHat", "Arch", "Alpine"]),
    ("chronyd", "chrony", &["Debian"]),
    ("chrony", "chronyd", &["RedHat", "Arch", "Alpine"]),
    ("ntpd", "ntp", &["Debian"]),
    ("ntp", "ntpd", &["RedHat", "Arch", "Alpine"]),
    ("network-manager", "NetworkManager", &["Debian", "RedHat", "Arch"]),
    ("networkmanager", "NetworkManager", &["Debian", "RedHat", "Arch"]),
    ("named", "bind9", &["Debian"]),
    ("bind9", "named", &["RedHat", "Arch", "Alpine"]),
    ("nfs-kernel-server", "nfs-server", &["RedHat", "Arch"]),
    ("nfs", "nfs-server", &["Debian", "RedHat", "Arch"]),
    ("prometheus-node-exporter", "node_exporter", &["RedHat"]),
    ("snmp", "snmpd", &["Debian", "RedHat", "Arch", "Alpine"]),
];

/// Salt's words, and what to do.
pub fn comment(name: &str, context: &Context) -> String {
    let platform = Platform::of(context.grains);
    let bare = name.strip_suffix(".service").unwrap_or(name);
    let known = ELSEWHERE
        .iter()
        .find(|(written, _, families)| *written == bare && families.contains(&platform.family.as_str()));
    let hint = match known {
        Some((_, called, _)) => format!("on {} it is called `{called}`", platform.os),
        None => "is its package installed? `require` the state that installs it".to_owned(),
    };
    format!("The named service {name} is not available\nhint: {hint}")
}

/// Where the service's own file would be, should systemd not have heard of it yet.
fn files(name: &str) -> Vec<String> {
    let unit = full(name);
    // An instance `web@a.service` is described by `web@.service`.
    let file = match unit.split_once('@') {
        Some((template, rest)) => format!(
            "{template}@.{}",
            rest.rsplit_once('.').map_or("service", |(_, suffix)| suffix)
        ),
        None => unit.clone(),
    };
    let mut files: Vec<String> = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"]
        .iter()
        .map(|folder| format!("{folder}/{file}"))
        .collect();
    if let Some(script) = unit.strip_suffix(".service") {
        files.push(format!("/etc/init.d/{script}"));
    }
    files
}

/// Where systemd manages services: whether a file of an unknown service is there.
pub fn probes(name: &str, context: &Context) -> Vec<Probe> {
    if Platform::of(context.grains).init != Init::Systemd || name.contains('/') {
        return Vec::new();
    }
    files(name).into_iter().map(Probe::meta).collect()
}

/// Whether systemd has only to be told to look again.
pub fn has_file(name: &str, seen: &Observed, context: &Context) -> Result<bool> {
    for probe in probes(name, context) {
        if let Probe::Path { path, .. } = probe
            && seen.entry(&path)?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_described_by_their_templates() {
        assert_eq!(files("web@a.service")[0], "/etc/systemd/system/web@.service");
        assert_eq!(files("data.mount")[0], "/etc/systemd/system/data.mount");
        assert_eq!(files("web").last().unwrap(), "/etc/init.d/web");
    }
}
