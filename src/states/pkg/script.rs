//! The shell text that changes packages: what is common to all package managers. Each has a file of its own for the rest.
//!
//! A script is made of functions: `list` prints `NAME VERSION` of what is installed, `refresh` renews the indexes, `stale MINUTES`
//! tells whether they are older, `act` does what is wanted, `again` tells whether its failure may be cured by fresh indexes (and
//! renews them), `explain` prints what helps to understand a failure. `patient` runs a package manager and leaves its output in
//! `$out`; only a failure's output is printed, to standard error. Standard output is for lines that [`super::outcome`] reads.

use super::wanted::Wanted;
use super::{apk, apt, dnf, pacman};
use crate::shell::{quote, words};
use crate::states::PackageManager;

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub action: Action,
    pub packages: Vec<Wanted>,
    /// Packages to be installed from files: their places on the minion, quoted.
    pub files: Vec<String>,
    /// Shell that brings some of the files to the minion.
    pub fetch: String,
    /// Files to be removed at the end, of plain characters.
    pub junk: Vec<String>,
    pub hold: Vec<String>,
    pub unhold: Vec<String>,
    pub refresh: Refresh,
    pub options: Options,
    /// Finish what an interrupted run left half done, first.
    pub mend: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Action {
    #[default]
    Install,
    /// Install, and upgrade to the newest on offer.
    Latest,
    Remove,
    Purge,
    /// Upgrade all that is installed; `dist`: adding and removing packages where that is needed.
    UpgradeAll {
        dist: bool,
    },
    /// Only holds.
    Nothing,
}

/// When the indexes are renewed before anything else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Refresh {
    /// Never, not even where they prove to be stale.
    #[default]
    Never,
    /// When they are older than so many minutes.
    OlderThan(u64),
    /// If this run has not done so yet.
    OncePerRun,
}

/// What a state may say about how packages are installed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// apt's release, a repository of the others.
    pub fromrepo: Option<String>,
    pub recommends: Option<bool>,
    pub unverified: bool,
    pub only_upgrade: bool,
    pub reinstall: bool,
    pub update_holds: bool,
    /// dnf's `--setopt`.
    pub setopt: Vec<String>,
}

impl Plan {
    /// The names of the packages, quoted, in one line.
    pub fn names(&self) -> String {
        words(self.packages.iter().map(|package| package.name.as_str()))
    }
}

/// Waits for locks; compares what is installed before and after.
const COMMON: &str = r#"
deadline=$(($(date +%s) + 600))
refreshed= notes= mended=
trap '[ -z "$junk" ] || rm -f $junk' EXIT
patient() {
  while :; do
    s=0
    out=$("$@" 2>&1 </dev/null) || s=$?
    case $s/$out in
    0/*) return 0 ;;
    *'Could not get lock'* | *'locked by another process'* | *'nable to lock database'* | *"can't create transaction lock"*)
      [ "$(date +%s)" -lt "$deadline" ] || return "$s"
      sleep 3 ;;
    *) return "$s" ;;
    esac
  done
}
renew() {
  refreshed=1
  if refresh; then
    { printf '%s\n' "$run" >/run/picloud.refreshed; } 2>/dev/null
    return 0
  fi
  notes=$out
  return 1
}
once() {
  was=
  { read -r was </run/picloud.refreshed; } 2>/dev/null
  [ "$was" = "$run" ]
}
fails() {
  [ -z "$notes" ] || [ "$notes" = "$out" ] || printf '%s\n' "$notes" >&2
  printf '%s\n' "$out" >&2
  explain
}
change() {
  act && return
  s=$?
  if [ -z "$refreshed" ] && again && ! once && renew; then
    act && return
    s=$?
  fi
  fails
  return "$s"
}
"#;

/// Runs `change` and prints what it changed, dependencies too.
const FINISH: &str = r#"change
s=$?
after=$(list)
[ "$before" = "$after" ] || printf '%s\n--\n%s\n' "$before" "$after" | awk '
  $1 == "--" { new = 1; next }
  new { n[$1] = $2; next }
  { o[$1] = $2 }
  END {
    for (p in n) if (n[p] != o[p]) printf "picloud:changed\t%s\t%s\t%s\n", p, o[p], n[p]
    for (p in o) if (!(p in n)) printf "picloud:changed\t%s\t%s\t\n", p, o[p]
  }'
exit "$s""#;

/// The script that carries out `plan` with `manager`; `run` names the run.
pub fn script(manager: PackageManager, plan: &Plan, run: &str) -> String {
    let (functions, act) = match manager {
        PackageManager::Apt => (apt::FUNCTIONS, apt::act(plan)),
        PackageManager::Pacman => (pacman::FUNCTIONS, pacman::act(plan)),
        PackageManager::Apk => (apk::FUNCTIONS, apk::act(plan)),
        PackageManager::Dnf => (dnf::FUNCTIONS, dnf::act(plan)),
    };
    let refresh = match &plan.refresh {
        Refresh::Never => "refreshed=never\n".to_owned(),
        Refresh::OlderThan(minutes) => format!("if stale {minutes}; then renew{}; fi\n", or_fail(plan)),
        Refresh::OncePerRun => format!("once || renew{}\n", or_fail(plan)),
    };
    let mend = if plan.mend { "mend || { fails; exit 1; }\n" } else { "" };
    format!(
        "run={} junk={}\n{}{}\n{act}\n{}before=$(list)\n{mend}{refresh}{FINISH}",
        quote(run),
        quote(&plan.junk.join(" ")),
        COMMON.trim_start(),
        functions.trim(),
        plan.fetch,
    )
}

/// Shell that renews the indexes of `manager`, and fails if that fails.
pub fn renewal(manager: PackageManager, run: &str) -> String {
    let functions = match manager {
        PackageManager::Apt => apt::FUNCTIONS,
        PackageManager::Pacman => pacman::FUNCTIONS,
        PackageManager::Apk => apk::FUNCTIONS,
        PackageManager::Dnf => dnf::FUNCTIONS,
    };
    let run = quote(run);
    let (common, functions) = (COMMON.trim_start(), functions.trim());
    format!("run={run} junk='' versioned=''\n{common}{functions}\nrenew || {{ s=$?; fails; exit \"$s\"; }}")
}

/// Shell that has apt fetch the indexes that the list of sources named by `$1` speaks of, and no others: it fails if there are none,
/// or if they are not signed as they should be.
pub fn sources_check() -> String {
    let (common, functions) = (COMMON.trim_start(), apt::FUNCTIONS.trim());
    format!(
        "run='' junk='' versioned=''\n{common}{functions}\n\
         get update -o Dir::Etc::sourcelist=\"$1\" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 || {{ s=$?; fails; exit \"$s\"; }}\n\
         case $out in *'Some index files failed to download'*) fails; exit 1 ;; esac"
    )
}

/// What is newest cannot be known from indexes that could not be renewed; an installation may still succeed.
fn or_fail(plan: &Plan) -> &'static str {
    match plan.action {
        Action::Latest | Action::UpgradeAll { .. } => " || { fails; exit 1; }",
        _ => "",
    }
}

/// `act() { ... }`, of the lines that are not empty.
pub fn function(name: &str, lines: impl IntoIterator<Item = String>) -> String {
    let body: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let body = if body.is_empty() {
        ":".to_owned()
    } else {
        body.join(" &&\n  ")
    };
    format!("{name}() {{\n  {body}\n}}")
}

#[cfg(test)]
pub mod tests {
    use super::super::version::Constraint;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output};

    /// `shown` (a decision as text) without the parts of the scripts that are always the same.
    pub fn brief(shown: &str) -> String {
        let constant: Vec<&str> = [
            COMMON,
            apt::FUNCTIONS,
            pacman::FUNCTIONS,
            apk::FUNCTIONS,
            dnf::FUNCTIONS,
            FINISH,
        ]
        .into_iter()
        .flat_map(str::lines)
        .chain(["before=$(list)"])
        .collect();
        let kept = shown.lines().filter(|line| {
            line.strip_prefix("  ")
                .is_none_or(|line| !line.is_empty() && (!constant.contains(&line) || line == "}"))
        });
        let mut text: Vec<&str> = Vec::new();
        for line in kept {
            // The closing braces of the constant functions.
            if line != "  }" || text.last().is_some_and(|last| last.starts_with("    ")) {
                text.push(line);
            }
        }
        text.join("\n") + "\n"
    }

    /// The shells of minions, as far as this machine has them.
    pub fn shells() -> impl Iterator<Item = Vec<&'static str>> {
        let known = [vec!["dash"], vec!["bash", "--posix"], vec!["busybox", "ash"]];
        known.into_iter().filter(|shell| {
            Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", ":"])
                .output()
                .is_ok_and(|out| out.status.success())
        })
    }

    /// Those that would run apt's tools; busybox has a `dpkg` of its own, which it prefers.
    fn debian_shells() -> impl Iterator<Item = Vec<&'static str>> {
        shells().filter(|shell| shell[0] != "busybox")
    }

    fn package(name: &str, version: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            version: (!version.is_empty()).then(|| Constraint::parse(version).unwrap()),
        }
    }

    fn plan(action: Action, packages: &[(&str, &str)]) -> Plan {
        Plan {
            action,
            packages: packages.iter().map(|(name, version)| package(name, version)).collect(),
            ..Plan::default()
        }
    }

    #[test]
    fn what_each_package_manager_is_told() {
        let many = [("a", ""), ("b", "1.2-1"), ("c", ">=1,<2"), ("d", "3.*")];
        let install = Plan {
            hold: vec!["b".into()],
            files: vec!["/x/e.pkg".into()],
            options: Options {
                fromrepo: Some("extra".into()),
                recommends: Some(false),
                unverified: true,
                setopt: vec!["obsoletes=0".into()],
                ..Options::default()
            },
            ..plan(Action::Install, &many)
        };
        let latest = plan(Action::Latest, &[("a", "")]);
        let purge = Plan {
            unhold: vec!["a".into()],
            ..plan(Action::Purge, &[("a", ""), ("lib:arm", "")])
        };
        let all = plan(Action::UpgradeAll { dist: true }, &[]);
        let acts = |act: fn(&Plan) -> String| -> String {
            [&install, &latest, &purge, &all]
                .map(act)
                .iter()
                .flat_map(|text| text.lines())
                .filter(|line| line.starts_with(' '))
                .map(|line| format!("{}\n", line.trim()))
                .collect()
        };
        assert_eq!(
            acts(apt::act),
            "pick c '>=1,<2' ge 1 lt 2 && v2=$picked &&\n\
             get -t extra --no-install-recommends --allow-unauthenticated --allow-downgrades install a 'b=1.2-1' c=\"$v2\" 'd=3.*' /x/e.pkg &&\n\
             patient apt-mark hold b\n\
             get install a\n\
             patient apt-mark unhold a &&\n\
             get purge a lib:arm\n\
             get dist-upgrade\n"
        );
        assert_eq!(
            acts(dnf::act),
            "get --disablerepo='*' --enablerepo=extra --setopt=install_weak_deps=False --nogpgcheck '--setopt=obsoletes=0' install a b-1.2-1 'c >= 1' 'c < 2' 'd-3.*' /x/e.pkg &&\n\
             get versionlock add b\n\
             get install a &&\n\
             get upgrade a\n\
             get versionlock delete a &&\n\
             get remove a lib:arm\n\
             get distro-sync\n"
        );
        assert_eq!(
            acts(pacman::act),
            "get -S --needed extra/a 'extra/b=1.2-1' 'extra/c>=1' 'extra/c<2' 'extra/d=3.*' &&\n\
             get -U /x/e.pkg &&\n\
             ignore b\n\
             get -S --needed a\n\
             heed a &&\n\
             get -Rn a lib:arm\n\
             get -Su\n"
        );
        assert_eq!(
            acts(apk::act),
            "get --repository extra --allow-untrusted add --allow-untrusted a 'b=~1.2-1' 'c>=1' 'c<2' 'd=~3' /x/e.pkg &&\n\
             pin b\n\
             get add -u a\n\
             get add a &&\n\
             get del --purge a lib:arm\n\
             get upgrade\n"
        );
    }

    #[test]
    fn all_scripts_are_shell() {
        let mut checked = 0;
        for manager in [
            PackageManager::Apt,
            PackageManager::Pacman,
            PackageManager::Apk,
            PackageManager::Dnf,
        ] {
            for action in [
                Action::Install,
                Action::Latest,
                Action::Purge,
                Action::UpgradeAll { dist: false },
                Action::Nothing,
            ] {
                for refresh in [Refresh::Never, Refresh::OncePerRun, Refresh::OlderThan(60)] {
                    let plan = Plan {
                        refresh,
                        mend: true,
                        hold: vec!["b".into()],
                        unhold: vec!["c".into()],
                        ..plan(action, &[("a", ">=1"), ("b", "1*")])
                    };
                    let script = script(manager, &plan, "7-test");
                    for shell in shells() {
                        let out = Command::new(shell[0])
                            .args(&shell[1..])
                            .args(["-n", "-c", &script])
                            .output()
                            .unwrap();
                        assert!(
                            out.status.success(),
                            "{shell:?} {}\n{script}",
                            String::from_utf8_lossy(&out.stderr)
                        );
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 0);
    }

    /// A world of stand-ins for apt's tools, which note what they were told in `told`.
    fn apt_world(apt_get: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tool = |name: &str, body: &str| {
            let path = dir.path().join(name);
            let note = if name == "dpkg-query" {
                ""
            } else {
                "echo ${0##*/} \"$@\" >>told\n"
            };
            let note = format!("cd {}\n{note}", dir.path().display());
            std::fs::write(&path, format!("#!/bin/sh\n{note}{body}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        tool(
            "apt-get",
            &format!("while :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done\n{apt_get}"),
        );
        tool("dpkg-query", "cat installed 2>/dev/null");
        tool(
            "dpkg",
            "case $1 in --compare-versions) exec /usr/bin/dpkg \"$@\" ;; --print-architecture) echo amd64 ;; *) rm -f interrupted ;; esac",
        );
        tool(
            "apt-cache",
            "case $1 in pkgnames) echo nginx; echo ngraph ;; madison) printf ' nginx | 1.22-1 | x\\n nginx | 1.20-1 | x\\n' ;; esac",
        );
        tool("apt-mark", ":");
        std::fs::write(
            dir.path().join("installed"),
            "installed libc6:amd64 2.36\ninstalled tzdata:all 1\ninstalled libc6:armhf 2.36\n",
        )
        .unwrap();
        dir
    }

    fn run(shell: &[&str], dir: &Path, plan: &Plan) -> (Output, Vec<String>) {
        let script = script(PackageManager::Apt, plan, "7-test");
        let script = script.replace("/run/picloud", &dir.join("run").to_string_lossy());
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
        let out = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .unwrap();
        let told = std::fs::read_to_string(dir.join("told")).unwrap_or_default();
        // What they were told, without the options that are always the same.
        let told = told
            .lines()
            .filter(|line| {
                !line.starts_with("apt-cache") && !line.contains("--compare-versions") && !line.contains("--print-arch")
            })
            .map(|line| match line.split_once("--force-confold ") {
                Some((_, rest)) if line.starts_with("apt-get") => format!("apt-get {rest}"),
                _ => line.to_owned(),
            })
            .collect();
        (out, told)
    }

    /// An `apt-get install` that works.
    const INSTALLS: &str =
        "echo 'installed nginx:all 1.22-1' >>installed; sed -i 's/libc6:amd64 2.36/libc6:amd64 2.37/' installed; exit 0";

    #[test]
    fn an_installation_tells_all_that_changed() {
        for shell in debian_shells() {
            let world = apt_world(INSTALLS);
            let (out, told) = run(&shell, world.path(), &plan(Action::Install, &[("nginx", "")]));
            assert!(out.status.success(), "{shell:?} {out:?}");
            assert_eq!(told, ["apt-get install nginx"]);
            let mut lines: Vec<&str> = std::str::from_utf8(&out.stdout).unwrap().lines().collect();
            lines.sort();
            assert_eq!(
                lines,
                ["picloud:changed\tlibc6\t2.36\t2.37", "picloud:changed\tnginx\t\t1.22-1"]
            );
        }
    }

    #[test]
    fn stale_indexes_are_refreshed_once_and_the_installation_tried_again() {
        let apt_get = format!(
            "case $1 in update) touch fresh; exit 0 ;; esac\n\
             [ -e fresh ] || {{ echo 'E: Failed to fetch http://deb/nginx.deb  404  Not Found [IP: ::1 80]' >&2; exit 100; }}\n{INSTALLS}"
        );
        for shell in debian_shells() {
            let world = apt_world(&apt_get);
            // Fresh by age, so that only the failure leads to a refresh.
            let wanted = Plan {
                refresh: Refresh::OlderThan(u64::MAX >> 12),
                ..plan(Action::Install, &[("nginx", "")])
            };
            let (out, told) = run(&shell, world.path(), &wanted);
            assert!(out.status.success(), "{shell:?} {out:?}");
            let last: Vec<&str> = told.iter().map(String::as_str).collect();
            assert!(last.ends_with(&["apt-get update", "apt-get install nginx"]), "{told:?}");
            let (out, told) = run(&shell, apt_world(&apt_get).path(), &plan(Action::Install, &[("nginx", "")]));
            assert_eq!((out.status.code(), told.len()), (Some(100), 1), "refresh: False means never");
        }
    }

    #[test]
    fn an_interrupted_dpkg_is_mended_first() {
        let apt_get = format!(
            "[ ! -e interrupted ] || {{ echo \"E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\"; exit 100; }}\n{INSTALLS}"
        );
        for shell in debian_shells() {
            let world = apt_world(&apt_get);
            std::fs::write(world.path().join("interrupted"), "").unwrap();
            let (out, told) = run(&shell, world.path(), &plan(Action::Install, &[("nginx", "")]));
            assert!(out.status.success(), "{shell:?} {out:?}");
            assert_eq!(
                told,
                [
                    "apt-get install nginx",
                    "dpkg --force-confdef --force-confold --configure -a",
                    "apt-get install nginx"
                ]
            );
        }
    }

    #[test]
    fn what_is_unknown_is_refreshed_for_and_then_explained() {
        let apt_get = "case $1 in update) exit 0 ;; esac; echo 'E: Unable to locate package ngnix'; exit 100";
        for shell in debian_shells() {
            let world = apt_world(apt_get);
            let wanted = Plan {
                refresh: Refresh::OlderThan(u64::MAX >> 12),
                ..plan(Action::Install, &[("ngnix", "")])
            };
            let (out, _) = run(&shell, world.path(), &wanted);
            assert_eq!(out.status.code(), Some(100));
            assert_eq!(String::from_utf8_lossy(&out.stdout), "picloud:near\tngnix\tnginx ngraph \n");
            assert_eq!(String::from_utf8_lossy(&out.stderr), "E: Unable to locate package ngnix\n");
        }
    }

    #[test]
    fn versions_are_picked_from_those_on_offer() {
        for shell in debian_shells() {
            for (version, expected) in [("<1.22", Ok("nginx=1.20-1")), (">=1.20", Ok("nginx=1.22-1")), (">2", Err(()))] {
                let world = apt_world("case $1 in update) exit 0 ;; esac");
                let (out, told) = run(&shell, world.path(), &plan(Action::Install, &[("nginx", version)]));
                match expected {
                    Ok(spec) => assert_eq!(told.last().unwrap(), &format!("apt-get --allow-downgrades install {spec}")),
                    Err(()) => {
                        assert_eq!(
                            String::from_utf8_lossy(&out.stdout),
                            "picloud:versions\tnginx\t1.22-1 1.20-1 \n"
                        );
                        assert_eq!(String::from_utf8_lossy(&out.stderr), "no version of 'nginx' is >2\n");
                    }
                }
            }
        }
    }
}
