//! apk-tools. What is held is pinned to its version in `/etc/apk/world`.

use super::script::{Action, Plan, function};
use super::version::{Constraint, Operator};
use super::wanted::Wanted;
use crate::shell::{quote, words};

pub const FUNCTIONS: &str = r#"
list() { apk info -v 2>/dev/null | sed 's/-\([^-]*-r[0-9]*\)$/ \1/'; }
mend() { patient apk --wait 300 --no-progress fix; }
get() { patient apk --wait 300 --no-progress "$@"; }
refresh() { get update; }
stale() {
  set -- "$1" /var/cache/apk/APKINDEX.* /etc/apk/cache/APKINDEX.*
  [ -e "$2" ] || [ -e "$3" ] || return 0
  [ -z "$(find /run/picloud.refreshed /var/cache/apk/APKINDEX.* /etc/apk/cache/APKINDEX.* -prune -mmin "-$1" 2>/dev/null)" ]
}
again() {
  case $out in
  *'no such package'* | *404* | *'not found'* | *'package mentioned in index not found'* | *'breaks: world'* | *'No such file or directory'*) return 0 ;;
  esac
  return 1
}
explain() {
  case $out in *' (no such package)'*)
    name=${out%%' (no such package)'*}
    name=${name##*[!a-zA-Z0-9._+-]}
    printf 'picloud:near\t%s\t%s\n' "$name" "$(apk search -q "$(printf %.2s "$name")" 2>/dev/null | tr '\n' ' ')" ;;
  esac
  for name in $versioned; do
    case $out in *"$name"*)
      printf 'picloud:versions\t%s\t%s\n' "$name" "$(apk policy "$name" 2>/dev/null | sed -n 's/^  \([0-9].*\):$/\1/p' | tr '\n' ' ')" ;;
    esac
  done
}
pin() {
  for p; do
    v=$(apk info -v 2>/dev/null | sed -n "s/^$(printf %s "$p" | sed 's/[.+]/\\&/g')-\([^-]*-r[0-9]*\)\$/\1/p")
    get add "$p=$v" || return
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
    let specs = words(specs.iter().map(String::as_str));
    let options = options(plan);
    let mut lines = Vec::new();
    if !plan.unhold.is_empty() {
        lines.push(format!("get add {}", words(plan.unhold.iter().map(String::as_str))));
    }
    match plan.action {
        Action::Nothing => {}
        Action::Install if plan.options.reinstall => {
            lines.push(format!("get{options} add {specs} && get{options} fix -r {}", plan.names()))
        }
        Action::Install | Action::Latest => {
            let upgrade = if plan.action == Action::Latest { " -u" } else { "" };
            let files: String = plan.files.iter().map(|file| format!(" {file}")).collect();
            let untrusted = if plan.files.is_empty() { "" } else { " --allow-untrusted" };
            if !(specs.is_empty() && files.is_empty()) {
                lines.push(format!("get{options} add{upgrade}{untrusted} {specs}{files}"));
            }
        }
        Action::Remove => lines.push(format!("get del {}", plan.names())),
        Action::Purge => lines.push(format!("get del --purge {}", plan.names())),
        Action::UpgradeAll { .. } => lines.push(format!("get{options} upgrade")),
    }
    if !plan.hold.is_empty() {
        lines.push(format!("pin {}", words(plan.hold.iter().map(String::as_str))));
    }
    format!("versioned={}\n{}", quote(&versioned.join(" ")), function("act", lines))
}

fn specs(package: &Wanted) -> Vec<String> {
    let name = &package.name;
    match &package.version {
        None | Some(Constraint::Latest) => vec![name.clone()],
        Some(Constraint::Exact(version)) if version.contains("-r") => vec![format!("{name}={version}")],
        // `=~` is apk's "begins with, at a dot or a dash".
        Some(Constraint::Exact(version) | Constraint::Glob(version)) => {
            vec![format!("{name}=~{}", version.trim_end_matches('*').trim_end_matches('.'))]
        }
        Some(Constraint::Terms(terms)) => {
            let told = terms.iter().filter(|(operator, _)| *operator != Operator::NotEqual);
            told.map(|(operator, version)| format!("{name}{}{version}", operator.symbol()))
                .collect()
        }
    }
}

fn options(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some(repository) = &plan.options.fromrepo {
        text += &format!(" --repository {}", quote(repository));
    }
    if plan.options.unverified {
        text += " --allow-untrusted";
    }
    text
}
