//! rpm with dnf, or with yum where there is no dnf.

use super::script::{Action, Plan, function};
use super::version::{Constraint, Operator};
use super::wanted::Wanted;
use crate::shell::{quote, words};

/// dnf knows by itself how old its indexes may be, and waits for its own lock.
pub const FUNCTIONS: &str = r#"
dnf=dnf
command -v dnf >/dev/null 2>&1 || dnf=yum
list() { rpm -qa --qf '%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n' | grep -v '^gpg-pubkey ' | sort; }
mend() { :; }
get() { patient "$dnf" -y --color=never "$@"; }
refresh() { get clean expire-cache && get makecache; }
stale() { return 1; }
again() {
  case $out in
  *'Status code: 404'* | *'HTTP Error 404'* | *'No match for argument'* | *'No package '*' available'* | *'nable to find a match'* | *'checksum doesn'*) return 0 ;;
  esac
  return 1
}
explain() {
  for name in $versioned; do
    case $out in *"$name"*)
      offered=$("$dnf" -q --showduplicates list available "$name" 2>/dev/null | awk 'NF == 3 && $2 ~ /^[0-9]/ { print $2 }' | tr '\n' ' ')
      printf 'picloud:versions\t%s\t%s\n' "$name" "$offered" ;;
    esac
  done
}
"#;

/// `act` for `plan`.
pub fn act(plan: &Plan) -> String {
    let versioned: Vec<&str> = plan
        .packages
        .iter()
        .filter(|package| package.version.is_some())
        .map(|package| package.name.as_str())
        .collect();
    let specs: Vec<String> = plan.packages.iter().flat_map(specs).collect();
    let specs = words(specs.iter().map(String::as_str)) + &plan.files.iter().map(|file| format!(" {file}")).collect::<String>();
    let options = options(plan);
    let mut lines = Vec::new();
    if !plan.unhold.is_empty() {
        lines.push(format!(
            "get versionlock delete {}",
            words(plan.unhold.iter().map(String::as_str))
        ));
    }
    match plan.action {
        Action::Nothing => {}
        Action::Install if plan.options.reinstall => lines.push(format!("get{options} reinstall {specs}")),
        Action::Install if plan.options.only_upgrade => lines.push(format!("get{options} upgrade {specs}")),
        Action::Install | Action::Latest => {
            if !specs.trim().is_empty() {
                lines.push(format!("get{options} install {specs}"));
            }
            // An installed package is left as it is by `install`.
            if plan.action == Action::Latest {
                lines.push(format!("get{options} upgrade {}", plan.names()));
            }
        }
        Action::Remove | Action::Purge => lines.push(format!("get remove {}", plan.names())),
        Action::UpgradeAll { dist: true } => lines.push(format!("get{options} distro-sync")),
        Action::UpgradeAll { dist: false } => lines.push(format!("get{options} upgrade")),
    }
    if !plan.hold.is_empty() {
        lines.push(format!("get versionlock add {}", words(plan.hold.iter().map(String::as_str))));
    }
    format!("versioned={}\n{}", quote(&versioned.join(" ")), function("act", lines))
}

fn specs(package: &Wanted) -> Vec<String> {
    let name = &package.name;
    match &package.version {
        None | Some(Constraint::Latest) => vec![name.clone()],
        Some(Constraint::Exact(version) | Constraint::Glob(version)) => vec![format!("{name}-{version}")],
        Some(Constraint::Terms(terms)) => {
            let told = terms.iter().filter(|(operator, _)| *operator != Operator::NotEqual);
            told.map(|(operator, version)| format!("{name} {} {version}", operator.symbol()))
                .collect()
        }
    }
}

fn options(plan: &Plan) -> String {
    let options = &plan.options;
    let mut text = String::new();
    if let Some(repository) = &options.fromrepo {
        text += &format!(" --disablerepo='*' --enablerepo={}", quote(repository));
    }
    for (wanted, option) in [
        (options.recommends == Some(false), "--setopt=install_weak_deps=False"),
        (options.recommends == Some(true), "--setopt=install_weak_deps=True"),
        (options.unverified, "--nogpgcheck"),
        (options.update_holds, "--disableplugin=versionlock"),
    ] {
        if wanted {
            text += " ";
            text += option;
        }
    }
    for option in &options.setopt {
        text += &format!(" {}", quote(&format!("--setopt={option}")));
    }
    text
}
