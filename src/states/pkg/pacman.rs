//! pacman.

use super::script::{Action, Plan, function};
use super::version::{Constraint, Operator};
use super::wanted::Wanted;
use crate::shell::words;

/// Arch knows no partial upgrades, so the databases are renewed only where there are none or a package is gone from the mirrors.
/// A lock that no process holds is left over from a crash; it is waited for all the same, and the failure says what to do.
pub const FUNCTIONS: &str = r#"
list() { pacman -Q; }
mend() { :; }
get() { patient pacman --noconfirm --noprogressbar --color never "$@"; }
refresh() { get -Sy; }
stale() {
  set -- /var/lib/pacman/sync/*.db
  [ ! -e "$1" ]
}
again() {
  case $out in
  *404* | *'target not found'* | *'failed retrieving file'* | *'invalid or corrupted package'*) return 0 ;;
  esac
  return 1
}
explain() {
  case $out in
  *'target not found: '*)
    name=${out##*'target not found: '}
    name=${name%%[!a-zA-Z0-9@._+-]*}
    printf 'picloud:near\t%s\t%s\n' "$name" "$(pacman -Slq 2>/dev/null | grep "^$(printf %.2s "$name")" | tr '\n' ' ')" ;;
  *'nable to lock database'*)
    pidof pacman >/dev/null 2>&1 || printf 'no pacman is running: if nothing else uses it, remove /var/lib/pacman/db.lck\n' >&2 ;;
  esac
}
ignore() {
  for p; do
    if grep -q '^IgnorePkg *=' /etc/pacman.conf; then
      sed -i "s/^IgnorePkg *=.*/& $p/" /etc/pacman.conf
    else
      sed -i "s/^\[options\].*/&\nIgnorePkg = $p/" /etc/pacman.conf
    fi || return
  done
}
heed() {
  for p; do
    sed -i "/^IgnorePkg *=/{s/\$/ /;s/\([= ]\)$(printf %s "$p" | sed 's/[.]/\\./g') /\1/;s/ *\$//;/=\$/d}" /etc/pacman.conf || return
  done
}
"#;

/// `act` for `plan`.
pub fn act(plan: &Plan) -> String {
    let repository = plan.options.fromrepo.as_deref();
    let specs: Vec<String> = plan.packages.iter().flat_map(|package| specs(package, repository)).collect();
    let specs = words(specs.iter().map(String::as_str));
    let mut lines = Vec::new();
    if !plan.unhold.is_empty() {
        lines.push(format!("heed {}", words(plan.unhold.iter().map(String::as_str))));
    }
    match plan.action {
        Action::Nothing => {}
        Action::Install | Action::Latest => {
            if !specs.is_empty() {
                let needed = if plan.options.reinstall { "" } else { " --needed" };
                lines.push(format!("get -S{needed} {specs}"));
            }
            if !plan.files.is_empty() {
                lines.push(format!("get -U {}", plan.files.join(" ")));
            }
        }
        Action::Remove => lines.push(format!("get -R {}", plan.names())),
        Action::Purge => lines.push(format!("get -Rn {}", plan.names())),
        Action::UpgradeAll { .. } => lines.push("get -Su".to_owned()),
    }
    if !plan.hold.is_empty() {
        lines.push(format!("ignore {}", words(plan.hold.iter().map(String::as_str))));
    }
    function("act", lines)
}

fn specs(package: &Wanted, repository: Option<&str>) -> Vec<String> {
    let name = repository.map_or_else(|| package.name.clone(), |repository| format!("{repository}/{}", package.name));
    match &package.version {
        None | Some(Constraint::Latest) => vec![name],
        Some(Constraint::Exact(version) | Constraint::Glob(version)) => vec![format!("{name}={version}")],
        Some(Constraint::Terms(terms)) => {
            let told = terms.iter().filter(|(operator, _)| *operator != Operator::NotEqual);
            told.map(|(operator, version)| format!("{name}{}{version}", operator.symbol()))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn ignored_packages_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("pacman.conf");
        let path = conf.to_string_lossy().into_owned();
        let functions = super::FUNCTIONS.replace("/etc/pacman.conf", &path);
        let run = |call: &str| {
            let status = Command::new("sh")
                .arg("-c")
                .arg(format!("{functions}\n{call}"))
                .status()
                .unwrap();
            assert!(status.success(), "{call}");
            std::fs::read_to_string(&conf).unwrap()
        };
        let first = "[options]\nHoldPkg = pacman glibc\n\n[core]\nInclude = x\n";
        std::fs::write(&conf, first).unwrap();
        assert_eq!(
            run("ignore linux"),
            "[options]\nIgnorePkg = linux\nHoldPkg = pacman glibc\n\n[core]\nInclude = x\n"
        );
        assert!(run("ignore linux-api gcc14.1").contains("IgnorePkg = linux linux-api gcc14.1\n"));
        assert!(run("heed linux").contains("IgnorePkg = linux-api gcc14.1\n"));
        assert_eq!(run("heed gcc14.1 linux-api"), first);
    }
}
