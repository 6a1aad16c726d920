//! apt-get and dpkg.

use super::script::{Action, Plan, function};
use super::version::Constraint;
use super::wanted::Wanted;
use crate::shell::{quote, words};

/// Questions are answered by what the package says, configuration files that were changed are kept, needrestart restarts what
/// it finds without asking. The frontend lock is waited for by apt itself (since 2.0), the others by `patient`.
pub const FUNCTIONS: &str = r#"
export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical APT_LISTCHANGES_FRONTEND=none APT_LISTBUGS_FRONTEND=none
export NEEDRESTART_MODE=a UCF_FORCE_CONFFOLD=1
arch=$(dpkg --print-architecture)
list() {
  dpkg-query -W -f '${db:Status-Status} ${Package}:${Architecture} ${Version}\n' 2>/dev/null |
    sed -n "/^installed /{s///;s/:all / /;s/:$arch / /;p;}"
}
mend() {
  mended=1
  patient dpkg --force-confdef --force-confold --configure -a
}
get() {
  patient apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" && return
  s=$?
  case $mended/$out in
  /*'dpkg was interrupted'*) mend && get "$@" ;;
  *) return "$s" ;;
  esac
}
refresh() {
  get update || return
  case $out in *'Some index files failed to download'*) return 100 ;; esac
  touch /var/lib/apt/periodic/update-success-stamp 2>/dev/null
  return 0
}
stale() {
  stamp=/var/lib/apt/lists
  for f in /var/lib/apt/lists/partial /var/lib/apt/periodic/update-success-stamp /run/picloud.refreshed; do
    [ "$f" -nt "$stamp" ] && stamp=$f
  done
  set -- "$1" /var/lib/apt/lists/*Release
  [ -e "$2" ] || return 0
  for f in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/sources.list.d/*; do
    [ "$f" -nt "$stamp" ] && return 0
  done
  [ -z "$(find "$stamp" -prune -mmin "-$1")" ]
}
again() {
  case $out in
  *404*'Not Found'* | *'Unable to locate package'* | *'has no installation candidate'* | *' was not found'* | *'Hash Sum mismatch'* | \
    *'File has unexpected size'* | *'no version of '*) return 0 ;;
  esac
  return 1
}
offers() { apt-cache madison "$1" 2>/dev/null | cut -d '|' -f 2 | tr -d ' '; }
pick() {
  name=$1 said=$2
  shift 2
  terms=$*
  for v in $(offers "$name"); do
    set -- $terms
    while [ $# -gt 0 ]; do
      dpkg --compare-versions "$v" "$1" "$2" || continue 2
      shift 2
    done
    picked=$v
    return 0
  done
  out="no version of '$name' is $said"
  return 100
}
explain() {
  case $out in *'Unable to locate package '*)
    name=${out##*'Unable to locate package '}
    name=${name%%[!a-z0-9.+-]*}
    near=$(apt-cache pkgnames "$(printf %.2s "$name")" 2>/dev/null | tr '\n' ' ')
    printf 'picloud:near\t%s\t%s\n' "$name" "$near" ;;
  esac
  for name in $versioned; do
    case $out in *"'$name' was not found"* | *"no version of '$name'"*)
      printf 'picloud:versions\t%s\t%s\n' "$name" "$(offers "$name" | tr '\n' ' ')" ;;
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
    let mut lines = Vec::new();
    if !plan.unhold.is_empty() {
        lines.push(format!(
            "patient apt-mark unhold {}",
            words(plan.unhold.iter().map(String::as_str))
        ));
    }
    match plan.action {
        Action::Nothing => {}
        Action::Install | Action::Latest => {
            if plan.packages.len() + plan.files.len() > 0 {
                lines.extend(install(plan));
            }
        }
        Action::Remove => lines.push(format!("get remove {}", plan.names())),
        Action::Purge => lines.push(format!("get purge {}", plan.names())),
        Action::UpgradeAll { dist: true } => lines.push(format!("get{} dist-upgrade", options(plan))),
        Action::UpgradeAll { dist: false } => lines.push(format!("get{} upgrade", options(plan))),
    }
    if !plan.hold.is_empty() {
        lines.push(format!(
            "patient apt-mark hold {}",
            words(plan.hold.iter().map(String::as_str))
        ));
    }
    format!("versioned={}\n{}", quote(&versioned.join(" ")), function("act", lines))
}

/// The lines that install the plan's packages; versions that operators describe are picked first.
fn install(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let mut specs = String::new();
    for (n, package) in plan.packages.iter().enumerate() {
        let Wanted { name, version } = package;
        specs.push(' ');
        match version {
            None | Some(Constraint::Latest) => specs += &quote(name),
            Some(Constraint::Exact(version) | Constraint::Glob(version)) => specs += &quote(&format!("{name}={version}")),
            Some(constraint @ Constraint::Terms(terms)) => {
                let terms: Vec<String> = terms
                    .iter()
                    .map(|(operator, version)| format!("{} {version}", operator.dpkg()))
                    .collect();
                lines.push(format!(
                    "pick {} {} {} && v{n}=$picked",
                    quote(name),
                    quote(&constraint.text()),
                    terms.join(" ")
                ));
                specs += &format!("{}=\"$v{n}\"", quote(name));
            }
        }
    }
    for file in &plan.files {
        specs.push(' ');
        specs += file;
    }
    lines.push(format!("get{} install{specs}", options(plan)));
    lines
}

fn options(plan: &Plan) -> String {
    let options = &plan.options;
    let mut text = String::new();
    if let Some(release) = &options.fromrepo {
        text += &format!(" -t {}", quote(release));
    }
    let pinned = plan.packages.iter().any(|package| package.version.is_some());
    for (wanted, option) in [
        (options.recommends == Some(false), "--no-install-recommends"),
        (options.recommends == Some(true), "--install-recommends"),
        (options.unverified, "--allow-unauthenticated"),
        (options.only_upgrade, "--only-upgrade"),
        (options.reinstall, "--reinstall"),
        (pinned || !plan.files.is_empty(), "--allow-downgrades"),
        (options.update_holds, "--allow-change-held-packages"),
    ] {
        if wanted {
            text += " ";
            text += option;
        }
    }
    text
}
