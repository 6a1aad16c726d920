//! What a package manager's run came to: what really changed, and what its complaints mean.

use crate::error::nearest;
use crate::shell::Answer;
use crate::states::{Change, decision::failed_step};
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;

/// The lines that the scripts of this room print for us begin so; fields are separated by tabs.
pub const MARK: &str = "picloud:";

/// All packages that the steps changed, dependencies too: Salt's `{name: {old, new}}`.
pub fn changed(acted: &[Answer]) -> Map<String, Json> {
    let mut changes = Map::new();
    for [name, old, new] in marked(acted, "changed") {
        changes.insert(name, json!({"old": old, "new": new}));
    }
    changes.sort_keys();
    changes
}

/// The fields of the lines `picloud:WORD` in what was printed.
fn marked<const N: usize>(acted: &[Answer], word: &str) -> Vec<[String; N]> {
    let mark = format!("{MARK}{word}\t");
    let texts: Vec<_> = acted.iter().map(Answer::text).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .filter_map(|line| {
            let fields: Vec<String> = line.strip_prefix(&mark)?.split('\t').map(str::to_owned).collect();
            fields.try_into().ok()
        })
        .collect()
}

/// Why the act failed, in the package manager's words, with what to do about it; `None` if no step failed.
pub fn failure(change: &Change, acted: &[Answer]) -> Option<String> {
    let mut comment = failed_step(change, acted)?;
    let output: String = acted.iter().map(|answer| answer.error_text().into_owned()).collect();
    for [name, near] in marked(acted, "near") {
        match nearest(&name, near.split_whitespace()) {
            Some(near) => write!(comment, "\nhint: no package is called {name}; did you mean `{near}`?"),
            None => write!(comment, "\nhint: no package is called {name} in the indexes of this minion"),
        }
        .unwrap_or_default();
    }
    for [name, versions] in marked(acted, "versions") {
        match versions.trim() {
            "" => write!(comment, "\nhint: the indexes of this minion offer no version of {name}"),
            versions => write!(
                comment,
                "\nhint: versions of {name} on offer: {}",
                versions.replace(' ', ", ")
            ),
        }
        .unwrap_or_default();
    }
    for hint in hints(&output) {
        write!(comment, "\nhint: {hint}").unwrap_or_default();
    }
    Some(comment)
}

/// What the complaints of package managers mean: any of these texts, and what to do.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &[
            "No space left on device",
            "You don't have enough free space",
            "not enough free disk space",
            "Disk Requirements",
        ],
        "the disk of the minion is full",
    ),
    (
        &["is not valid yet", "certificate is not yet valid", "not yet valid"],
        "the clock of the minion is behind: set it (a Raspberry Pi has none that runs without power)",
    ),
    (
        &[
            "Temporary failure resolving",
            "Could not resolve",
            "Temporary failure in name resolution",
            "could not resolve host",
            "DNS lookup error",
            "temporary error (try again later)",
        ],
        "the minion cannot resolve names: check its network and /etc/resolv.conf",
    ),
    (
        &[
            "Network is unreachable",
            "Unable to connect to",
            "Could not connect to",
            "Connection timed out",
            "No route to host",
            "Failed to connect to",
        ],
        "the minion cannot reach the repository: check its network, proxy and firewall",
    ),
    (
        &[
            "NO_PUBKEY",
            "is not signed",
            "UNTRUSTED signature",
            "signature from",
            "GPG check FAILED",
        ],
        "the repository's key is not trusted there: see the key arguments of pkgrepo.managed",
    ),
    (
        &[
            "Certificate verification failed",
            "certificate verify failed",
            "self-signed certificate",
        ],
        "the minion trusts no certificate of that server: it may lack the package ca-certificates, or its clock is wrong",
    ),
    (
        &["Held packages were changed"],
        "a package that would have to change is held: `update_holds: True` allows it",
    ),
    (
        &[
            "have unmet dependencies",
            "you have held broken packages",
            "unsatisfiable constraints",
            "unable to satisfy",
            "nothing provides",
        ],
        "the dependencies do not fit together: a version or a repository that another package needs is missing",
    ),
    (
        &[
            "Could not get lock",
            "locked by another process",
            "unable to lock database",
            "Unable to lock database",
        ],
        "another package manager held the lock for longer than ten minutes",
    ),
    (
        &[
            "Permission denied",
            "are you root?",
            "you cannot perform this operation unless you are root",
            "superuser privileges",
        ],
        "packages are root's affair: `sudo: true` in the inventory",
    ),
    (
        &["Read-only file system"],
        "the minion's file system is mounted read-only (a worn card?)",
    ),
];

fn hints(output: &str) -> Vec<&'static str> {
    let meant = MEANINGS
        .iter()
        .filter(|(texts, _)| texts.iter().any(|text| output.contains(text)));
    meant.map(|(_, hint)| *hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::{Step, testing::answer};

    #[test]
    fn what_changed_is_read_from_the_marked_lines() {
        let acted = [answer(
            0,
            "picloud:changed\tnginx\t\t1.22\nnoise\npicloud:changed\tlibc6\t2.36\t2.37\n",
            "",
        )];
        assert_eq!(
            Json::from(changed(&acted)).to_string(),
            r#"{"libc6":{"old":"2.36","new":"2.37"},"nginx":{"old":"","new":"1.22"}}"#
        );
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let change = Change::new("", "").step(Step::shell("apt-get install", ""));
        let failed = |stdout, stderr| failure(&change, &[answer(100, stdout, stderr)]).unwrap();
        for (stdout, stderr, expected) in [
            (
                "picloud:near\tngnix\tnginx nginx-full ngraph\n",
                "E: Unable to locate package ngnix\n",
                "apt-get install failed with exit status 100\n  E: Unable to locate package ngnix\nhint: no package is called ngnix; did you mean `nginx`?",
            ),
            (
                "picloud:versions\tnginx\t1.22-1 1.20-1 \n",
                "E: Version '9' for 'nginx' was not found\n",
                "apt-get install failed with exit status 100\n  E: Version '9' for 'nginx' was not found\nhint: versions of nginx on offer: 1.22-1, 1.20-1",
            ),
            (
                "",
                "Err:1 http://deb\n  Temporary failure resolving 'deb'\n",
                "apt-get install failed with exit status 100\n  Err:1 http://deb\n    Temporary failure resolving 'deb'\nhint: the minion cannot resolve names: check its network and /etc/resolv.conf",
            ),
        ] {
            assert_eq!(failed(stdout, stderr), expected);
        }
        assert_eq!(failure(&change, &[answer(0, "", "")]), None);
    }
}
