//! The shell text that starts, stops and enables services, and that waits on the minion until a started one has settled.
//!
//! A script that fails prints why on a line `picloud:why` to standard output, and the service's last words to standard error.

use super::listen::Socket;
use crate::probe::{Manager, UnitSeen};
use crate::shell::{Answer, quote};
use crate::states::Change;

/// A service, as its manager is to be asked for it.
#[derive(Clone, Debug)]
pub struct Service {
    pub manager: Manager,
    /// systemd's name of it; elsewhere the name of its script.
    pub unit: String,
    /// The manager must read the unit files again first.
    pub reload_manager: bool,
}

impl Service {
    /// The service that the user calls `name`.
    pub fn of(name: &str, seen: &UnitSeen) -> Service {
        let systemd = matches!(seen.manager, Manager::Systemd | Manager::SystemdOffline);
        let unit = match (systemd, seen.id.as_str()) {
            // Aliases cannot be enabled.
            (true, id) if !id.is_empty() => id.to_owned(),
            (true, _) => full(name),
            (false, _) => name.strip_suffix(".service").unwrap_or(name).to_owned(),
        };
        Service {
            manager: seen.manager,
            unit,
            reload_manager: seen.manager == Manager::Systemd && (seen.need_daemon_reload || !seen.exists),
        }
    }

    /// What begins every script: the name, and unit files read again where that is needed.
    fn begin(&self) -> String {
        let reload = if self.reload_manager {
            "systemctl daemon-reload || exit 1\n"
        } else {
            ""
        };
        format!("u={}\n{reload}", quote(&self.unit))
    }

    pub fn enable(&self, enable: bool) -> String {
        let command = match (self.manager, enable) {
            (Manager::Systemd | Manager::SystemdOffline, true) => "systemctl enable -- \"$u\"",
            (Manager::Systemd | Manager::SystemdOffline, false) => "systemctl disable -- \"$u\"",
            (Manager::OpenRc, true) => "rc-update add \"$u\" default",
            (Manager::OpenRc, false) => "rc-update -a del \"$u\"",
            (Manager::SysV, true) => {
                "if command -v update-rc.d >/dev/null; then update-rc.d \"$u\" defaults && update-rc.d \"$u\" enable\n\
                 else chkconfig --add \"$u\" && chkconfig \"$u\" on; fi"
            }
            (Manager::SysV, false) => {
                "if command -v update-rc.d >/dev/null; then update-rc.d \"$u\" disable\n\
                 else chkconfig \"$u\" off; fi"
            }
        };
        format!("{}{command}", self.begin())
    }

    pub fn mask(&self, mask: bool, runtime: bool) -> String {
        let verb = if mask { "mask" } else { "unmask" };
        let runtime = if runtime { " --runtime" } else { "" };
        format!("{}systemctl {verb}{runtime} -- \"$u\"", self.begin())
    }

    pub fn stop(&self, no_block: bool) -> String {
        let command = match self.manager {
            Manager::Systemd | Manager::SystemdOffline if no_block => "systemctl --no-block stop -- \"$u\"",
            Manager::Systemd | Manager::SystemdOffline => "systemctl stop -- \"$u\"",
            Manager::OpenRc => "rc-service \"$u\" stop",
            Manager::SysV => "\"/etc/init.d/$u\" stop",
        };
        format!("{}{command}", self.begin())
    }

    /// Starts, restarts or reloads the service, and waits until it has settled.
    pub fn start(&self, how: &Start) -> String {
        let verb = how.verb;
        let mut act = match self.manager {
            Manager::Systemd | Manager::SystemdOffline => {
                let block = if how.no_block { " --no-block" } else { "" };
                let mut text = String::new();
                if how.reset_failed {
                    // Else a unit that failed too often in a row is refused.
                    text += "systemctl reset-failed -- \"$u\" 2>/dev/null\n";
                }
                text + &format!("out=$(systemctl{block} {} -- \"$u\" 2>&1 </dev/null)", verb.systemd())
            }
            Manager::OpenRc => format!("out=$(rc-service \"$u\" {} 2>&1 </dev/null)", verb.script()),
            Manager::SysV => format!("out=$(\"/etc/init.d/$u\" {} 2>&1 </dev/null)", verb.script()),
        };
        act += " || refused \"$?\"\n";
        let systemd = matches!(self.manager, Manager::Systemd | Manager::SystemdOffline);
        let look = match (how.sig, self.manager) {
            (Some(sig), _) => format!("{LOOK_SIG}\n").replace("SIG", &quote(sig)),
            (None, Manager::Systemd | Manager::SystemdOffline) => LOOK_SYSTEMD.to_owned(),
            (None, Manager::OpenRc) => {
                "look() { if rc-service \"$u\" status >/dev/null 2>&1; then a=active; else a=inactive; fi; }\n".to_owned()
            }
            (None, Manager::SysV) => {
                "look() { if \"/etc/init.d/$u\" status >/dev/null 2>&1; then a=active; else a=inactive; fi; }\n".to_owned()
            }
        };
        let words = if systemd { LAST_WORDS } else { "" };
        let mark = if systemd && verb == Verb::Reload { RELOADED } else { "" };
        let ports: Vec<String> = how
            .listen
            .iter()
            .map(|socket| {
                let state = if socket.protocol == "tcp" { "0A" } else { "07" };
                format!("{}/{:04X}/{state}/{}", socket.protocol, socket.port, socket.port)
            })
            .collect();
        let ticks = |seconds: f64| ((seconds * 5.0).ceil() as u64).to_string();
        let delay = if how.delay > 0.0 {
            format!("sleep {}\n", how.delay)
        } else {
            String::new()
        };
        format!(
            "{}ports={} settle={} verb={} out=\n{}{look}{words}{mark}{act}{delay}settle",
            self.begin(),
            quote(&ports.join(" ")),
            how.settle.map_or_else(|| "''".to_owned(), ticks),
            verb.script(),
            SETTLE.trim_start(),
        )
    }
}

/// The name with its suffix, as systemd completes it.
pub fn full(name: &str) -> String {
    let suffixes = [
        "service",
        "socket",
        "timer",
        "target",
        "mount",
        "automount",
        "path",
        "swap",
        "slice",
        "scope",
        "device",
    ];
    match name.rsplit_once('.') {
        Some((_, suffix)) if suffixes.contains(&suffix) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Start,
    Restart,
    Reload,
}

impl Verb {
    fn systemd(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Restart => "restart",
            // What cannot reload is restarted.
            Verb::Reload => "reload-or-restart",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Restart => "restart",
            Verb::Reload => "reload",
        }
    }

    /// `started`.
    pub fn past(self) -> &'static str {
        match self {
            Verb::Start => "started",
            Verb::Restart => "restarted",
            Verb::Reload => "reloaded",
        }
    }
}

/// How a service is started.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    pub verb: Verb,
    pub reset_failed: bool,
    pub no_block: bool,
    /// Seconds before the first look.
    pub delay: f64,
    /// Seconds for which it must stand; by default what its type calls for.
    pub settle: Option<f64>,
    pub listen: &'a [Socket],
    /// A pattern by which its process is found, where its script cannot tell.
    pub sig: Option<&'a str>,
}

/// Looks five times a second. A service stands when it has been active with the same main process for `$settle` looks: by default
/// 0.6 seconds where systemd cannot know whether it came up (simple, exec, idle), a single further look where it reported so itself.
/// One that is still on its way, or begins anew by itself, or does not listen yet, is given half a minute.
const SETTLE: &str = r#"
why() {
  printf 'picloud:why\t%s\n' "$1"
  [ -z "$out" ] || printf '%s\n' "$out" >&2
  words
  exit 1
}
refused() { why "its $verb command exited with status $1"; }
words() { :; }
reloaded() { :; }
listening() {
  for x in $ports; do
    port=${x##*/} proto=${x%%/*} hex=${x#*/}
    state=${hex#*/} hex=${hex%%/*}
    state=${state%%/*}
    grep -q -s -E ":$hex [0-9A-F]+:[0-9A-F]+ $state " "/proc/net/$proto" "/proc/net/${proto}6" || { missing=$port; [ "$proto" = tcp ] || missing=$port/$proto; return 1; }
  done
}
settle() {
  stood=0 waited=0 was= n0=
  while :; do
    a= b= p= n= r= t=
    look
    case $a in
    active)
      case $settle/$t in
      /oneshot) need=0 ;;
      /simple | /exec | /idle | /) need=3 ;;
      /*) need=1 ;;
      *) need=$settle ;;
      esac
      [ "$verb" != reload ] || [ "$need" -ge 5 ] || need=5
      if [ "$was" = "$p/$n" ]; then stood=$((stood + 1)); else stood=0; fi
      was=$p/$n
      if [ "$stood" -ge "$need" ] || [ "$t" = oneshot ]; then
        listening && reloaded && return 0
        [ "$waited" -lt 150 ] || why "it runs, but nothing listens on port $missing"
      fi ;;
    failed) why "it failed (${r:-its state is failed})" ;;
    inactive)
      [ "$t" = oneshot ] && [ "$r" = success ] && return 0
      [ "$waited" -lt "${settle:-5}" ] || why 'it ended at once' ;;
    *)
      was=
      [ "$waited" -lt 150 ] || why "it does not come up: its state is still $a ($b)" ;;
    esac
    n=${n:-0}
    n0=${n0:-$n}
    if [ "$((n - n0))" -ge 3 ]; then
      why "it ends and is started again, over and over ($n times so far)"
    fi
    waited=$((waited + 1))
    sleep 0.2 2>/dev/null || sleep 1
  done
}
"#;

const LOOK_SYSTEMD: &str = r#"look() {
  while IFS='=' read -r k v; do
    case $k in
    ActiveState) a=$v ;;
    SubState) b=$v ;;
    MainPID) p=$v ;;
    NRestarts) n=$v ;;
    Result) r=$v ;;
    Type) t=$v ;;
    esac
  done <<END
$(systemctl show --no-pager -p ActiveState -p SubState -p MainPID -p NRestarts -p Result -p Type -- "$u")
END
}
"#;

const LOOK_SIG: &str = "look() { if pgrep -f -- SIG >/dev/null; then a=active; else a=inactive; fi; }";

const LAST_WORDS: &str = r#"words() { journalctl -q --no-pager --no-hostname -n 20 -u "$u" >&2 2>/dev/null; }
"#;

/// A reload that fails leaves what ran before running, listening as ever, and its command mostly exits with 0 (a signal was sent).
/// What is left are words: the status that the service reports to systemd (haproxy 3: `Reload failed!`), and its lines in the journal
/// since the reload, most of which have the priority of plain output whatever they say. As nobody tells when it is through, the
/// journal must have been quiet for a second, or ten have passed. Seen with haproxy 2.6: `haproxy -c` and the reload both succeed, and
/// a line says "cannot bind socket".
const RELOADED: &str = r#"mark=$(journalctl -q --no-pager -n 1 -o cat --show-cursor 2>/dev/null | sed -n 's/^-- cursor: //p')
j=
reloaded() {
  s=$(systemctl show --no-pager -p StatusText -- "$u" 2>/dev/null)
  now=
  [ -z "$mark" ] || now=$(journalctl -q --no-pager -o cat -u "$u" --after-cursor="$mark" 2>/dev/null)
  x=$(printf '%s\n' "$now" | grep -i -E "(cannot|could not|can't|unable to|failed to) (bind|listen|reload)|bind[^ ]* .*failed|already in use|cannot assign requested address|reload(ing)? failed" | head -n 1)
  case $x/$s in
  /*[Rr]eload\ failed* | /*[Ff]ailed\ to\ reload*) x=${s#StatusText=} ;;
  esac
  [ -z "$x" ] || why "it goes on as it was before: $x"
  if [ "$now" != "$j" ] && [ "$waited" -lt 50 ]; then
    j=$now stood=0
    return 1
  fi
}
"#;

/// What a failed start, stop or the like came to: why, and the service's last words.
pub fn failure(name: &str, change: &Change, acted: &[Answer]) -> Option<String> {
    let failed = acted.iter().zip(&change.steps).find(|(answer, _)| !answer.ok());
    let (answer, step) = failed?;
    let said = answer.text();
    let why = said.lines().find_map(|line| line.strip_prefix("picloud:why\t"));
    let mut comment = match why {
        Some(why) => format!("Service {name} failed to {}: {why}", step.label()),
        None => format!("Service {name} failed to {} (exit status {})", step.label(), answer.status),
    };
    let words = answer.error_text();
    let lines: Vec<&str> = words.trim_end().lines().collect();
    // The command's own complaint stands first, the journal after it.
    for line in &lines[lines.len().saturating_sub(24)..] {
        comment += "\n  ";
        comment += line;
    }
    Some(comment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::pkg::shells;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    const PLAIN: Start = Start {
        verb: Verb::Start,
        reset_failed: true,
        no_block: false,
        delay: 0.0,
        settle: None,
        listen: &[],
        sig: None,
    };

    fn service(manager: Manager) -> Service {
        Service {
            manager,
            unit: if manager == Manager::Systemd { "web.service" } else { "web" }.to_owned(),
            reload_manager: false,
        }
    }

    #[test]
    fn all_scripts_are_shell() {
        let listen = [Socket::parse("80").unwrap()];
        for manager in [Manager::Systemd, Manager::SystemdOffline, Manager::OpenRc, Manager::SysV] {
            let service = Service {
                reload_manager: true,
                ..service(manager)
            };
            let scripts = [
                service.start(&PLAIN),
                service.start(&Start {
                    verb: Verb::Reload,
                    listen: &listen,
                    sig: Some("it's"),
                    settle: Some(1.0),
                    delay: 0.5,
                    ..PLAIN
                }),
                service.stop(true),
                service.enable(true),
                service.enable(false),
                service.mask(true, true),
            ];
            for script in scripts {
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
                }
            }
        }
    }

    /// Runs a start among stand-ins for systemd's tools; each look takes the next line of `looks` (the last one again and again).
    fn start(shell: &[&str], how: &Start, looks: &str, starts: &str) -> Output {
        let dir = tempfile::tempdir().unwrap();
        let tool = |name: &str, body: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{body}\n", dir.path().display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        tool(
            "systemctl",
            &format!(
                "case $1 in\nshow) head -n 1 looks | tr ' ' '\\n'; [ \"$(wc -l <looks)\" -le 1 ] || sed -i 1d looks ;;\nstart | restart | reload-or-restart) {starts} ;;\nesac"
            ),
        );
        tool(
            "journalctl",
            "case $* in *--show-cursor*) echo line; echo '-- cursor: s=1' ;; *--after-cursor=s=1*) cat since ;; *) echo 'web[7]: cannot bind' ;; esac",
        );
        std::fs::write(dir.path().join("since"), "").unwrap();
        tool("sleep", ":");
        std::fs::write(dir.path().join("looks"), looks).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let script = service(Manager::Systemd).start(how);
        Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .unwrap()
    }

    #[test]
    fn a_start_is_watched_until_it_settles() {
        let up = "ActiveState=active SubState=running MainPID=7 NRestarts=0 Result=success Type=simple\n";
        let forking = "ActiveState=active SubState=running MainPID=7 NRestarts=0 Result=success Type=forking\n";
        let once = "ActiveState=active SubState=exited MainPID=0 NRestarts=0 Result=success Type=oneshot\n";
        let failed = "ActiveState=failed SubState=failed MainPID=0 NRestarts=0 Result=exit-code Type=simple\n";
        let again = |n: u32| {
            format!("ActiveState=activating SubState=auto-restart MainPID=0 NRestarts={n} Result=exit-code Type=simple\n")
        };
        let crashing: String = (0..8).map(again).collect();
        for shell in shells() {
            for (looks, starts, expected) in [
                (up.to_owned(), ":", None),
                (forking.to_owned(), ":", None),
                (once.to_owned(), ":", None),
                (format!("{}{up}", again(1)), ":", None),
                (format!("{up}{failed}"), ":", Some("it failed (exit-code)")),
                (
                    format!("{up}{up}{crashing}"),
                    ":",
                    Some("it ends and is started again, over and over (3 times so far)"),
                ),
                (
                    failed.to_owned(),
                    "echo 'Job for web.service failed.' >&2; exit 1",
                    Some("its start command exited with status 1"),
                ),
            ] {
                let out = start(&shell, &PLAIN, &looks, starts);
                let said = String::from_utf8_lossy(&out.stdout).into_owned();
                let why = said.trim_end().strip_prefix("picloud:why\t");
                assert_eq!(why, expected, "{shell:?} {looks} {out:?}");
                assert_eq!(out.status.code(), Some(i32::from(expected.is_some())));
                let words = String::from_utf8_lossy(&out.stderr).into_owned();
                assert_eq!(words.contains("web[7]: cannot bind"), expected.is_some(), "{words}");
            }
        }
    }

    #[test]
    fn a_reload_that_fails_is_found_by_its_words() {
        let up = "ActiveState=active SubState=running MainPID=7 NRestarts=0 Result=success Type=notify\n";
        let reloading = up.replace("=active", "=reloading");
        let reload = Start {
            verb: Verb::Reload,
            ..PLAIN
        };
        for shell in shells() {
            for (looks, since, expected) in [
                (up.to_owned(), "", None),
                (up.to_owned(), "Reloading haproxy\n[NOTICE] New worker (12) forked\n", None),
                // What is not about the reload itself.
                (up.to_owned(), "[ALERT] backend web has no server available!\n", None),
                (format!("{reloading}{reloading}{up}"), "", None),
                (
                    up.to_owned(),
                    "[ALERT] Starting frontend web: cannot bind socket (Address already in use) [0.0.0.0:80]\n",
                    Some("[ALERT] Starting frontend web: cannot bind socket (Address already in use) [0.0.0.0:80]"),
                ),
                (
                    up.to_owned(),
                    "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Unknown error)\nnginx: still could not bind()\n",
                    Some("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Unknown error)"),
                ),
            ] {
                // What the journal says stands there from the reload on.
                let starts = format!("printf %s {} >since", quote(since));
                let out = start(&shell, &reload, &looks, &starts);
                let said = String::from_utf8_lossy(&out.stdout).into_owned();
                let why = said.trim_end().strip_prefix("picloud:why\tit goes on as it was before: ");
                assert_eq!(
                    (why, out.status.code()),
                    (expected, Some(i32::from(expected.is_some()))),
                    "{shell:?} {out:?}"
                );
            }
        }
    }

    #[test]
    fn a_port_is_waited_for() {
        let up = "ActiveState=active SubState=running MainPID=7 NRestarts=0 Result=success Type=notify\n";
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = [Socket::parse(&socket.local_addr().unwrap().port().to_string()).unwrap()];
        let closed = [Socket::parse("1/udp").unwrap()];
        for shell in shells() {
            let out = start(&shell, &Start { listen: &open, ..PLAIN }, up, ":");
            assert!(out.status.success(), "{shell:?} {out:?}");
        }
        let out = start(
            &["sh"],
            &Start {
                listen: &closed,
                ..PLAIN
            },
            up,
            ":",
        );
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "picloud:why\tit runs, but nothing listens on port 1/udp\n"
        );
    }
}
