//! `service.running`.

use super::listen::Socket;
use super::script::{Service, Start, Verb, failure};
use super::unknown;
use crate::error::Result;
use crate::probe::{Fact, Manager, Observed, Probe, Resource, ShellProbe, UnitSeen};
use crate::shell::{Answer, quote};
use crate::states::{Change, Conclusion, Context, Decision, Platform, StateFunction, Step};
use crate::yaml::{OneOrMany, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// Ensures that a service runs.
///
/// Starting is not enough: picloud waits on the minion until the service has settled, and the state fails, with the service's last
/// 20 lines in the journal, when its main process is gone, when it is started over and over, when an init script exits 0 and leaves no
/// process behind, or when nothing listens where `listen` says.
///
/// When a watched state changes, the service is restarted (with `reload: True`, reloaded), and verified in the same way.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Running {
    /// The service: a systemd unit (`.service` may be left out), an OpenRC service or an init script.
    name: String,
    /// Start it at boot, or not; where nothing is said, that is left as it is.
    enable: Option<bool>,
    /// When a watched state changes, reload instead of restarting; a service that cannot reload is restarted.
    reload: bool,
    /// When a watched state changes, restart; as without it.
    full_restart: bool,
    /// Seconds to wait after the start before the first look.
    init_delay: Option<f64>,
    /// Find the process by this pattern in its command line (`pgrep -f`) instead of asking the service manager: for init scripts that
    /// cannot tell.
    sig: Option<String>,
    /// Do not wait for systemd's start job; the service is still watched until it has settled.
    no_block: bool,
    /// Unmask it if it is masked; else the state fails on a masked service.
    unmask: bool,
    /// Unmask it if it is masked until the next boot only.
    unmask_runtime: bool,
    /// picloud's own: where it must listen to count as running: a port, an address with a port, `53/udp`, or a list of such.
    listen: OneOrMany<Socket>,
    /// The same as `listen`.
    port: OneOrMany<Socket>,
    /// picloud's own: seconds for which it must stay up after a start. By default 0.6 where the service manager cannot know whether
    /// it came up.
    settle: Option<f64>,
    /// picloud's own: the service does its work and ends, so that an init script that leaves no process behind is no failure.
    oneshot: bool,
    /// Accepted, and without effect: picloud takes the minion's own service manager.
    provider: Option<String>,
    /// Accepted, and without effect as in Salt: a watched change restarts the service, unless `reload` is given.
    restart: Option<bool>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    refresh: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    running: Option<Value>,
    /// Accepted, and without effect as in Salt; the requisite is called `require`.
    #[schemars(with = "Option<Json>")]
    requires: Option<Value>,
    /// Seconds for a start: accepted for Windows' sake, without effect.
    timeout: Option<f64>,
}

/// What is wrong with a service.
#[derive(Clone, PartialEq, Debug)]
enum Wrong {
    NotRunning,
    /// systemd calls it active, but its init script left no process behind.
    NoProcess,
    /// It runs, but nothing listens there.
    Deaf(Vec<String>),
}

impl Running {
    fn listen(&self) -> Vec<Socket> {
        self.listen.iter().chain(self.port.iter()).cloned().collect()
    }

    fn sig_probe(&self) -> Option<ShellProbe> {
        self.sig.as_ref().map(|sig| process_probe(&self.name, sig))
    }

    /// What Debian's packages read before they start an init script.
    fn default_file(&self, context: &Context) -> Option<String> {
        let name = self.name.strip_suffix(".service").unwrap_or(&self.name);
        (Platform::of(context.grains).is_debian() && !name.contains('/')).then(|| format!("/etc/default/{name}"))
    }

    /// The line there that keeps it from starting: `ENABLED=0`.
    fn disabled_by(&self, seen: &Observed, context: &Context) -> Result<Option<String>> {
        let Some(path) = self.default_file(context) else {
            return Ok(None);
        };
        let contents = seen
            .entry(&path)?
            .and_then(|entry| entry.contents.clone())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&contents).into_owned();
        let line = text.lines().find(|line| {
            let Some((key, value)) = line.trim().split_once('=') else {
                return false;
            };
            let key = key.trim_start_matches("export ").to_ascii_uppercase();
            let value = value.split('#').next().unwrap_or("").trim().trim_matches(['"', '\'']);
            let switch = ["ENABLED", "ENABLE", "START", "RUN", "STARTUP", "START_DAEMON", "RUN_DAEMON"];
            let switch = switch.contains(&key.as_str())
                || key.starts_with("START_")
                || key.ends_with("_ENABLED")
                || key.ends_with("_ENABLE");
            switch && matches!(value.to_ascii_lowercase().as_str(), "0" | "no" | "false" | "n")
        });
        Ok(line.map(|line| format!("{} in {path}", line.trim())))
    }

    fn wrong(&self, unit: &UnitSeen, seen: &Observed) -> Result<Option<Wrong>> {
        let active = match self.sig_probe() {
            Some(probe) => seen.shell(&probe)?.ok(),
            None => unit.is_active(),
        };
        if !active {
            return Ok(Some(Wrong::NotRunning));
        }
        let empty = unit.manager == Manager::Systemd && unit.from_init_script && unit.sub == "exited" && unit.main_pid == 0;
        if empty && !self.oneshot && self.sig.is_none() {
            return Ok(Some(Wrong::NoProcess));
        }
        let sockets = self.listen();
        if !sockets.is_empty() {
            let listeners = seen.listeners()?;
            let deaf: Vec<String> = sockets
                .iter()
                .filter(|socket| !socket.is_served(listeners))
                .map(Socket::to_string)
                .collect();
            if !deaf.is_empty() {
                return Ok(Some(Wrong::Deaf(deaf)));
            }
        }
        Ok(None)
    }

    /// Whether being started at boot must change.
    fn enabling(&self, unit: &UnitSeen) -> Option<bool> {
        let wanted = self.enable?;
        // A masked unit that is unmasked first has yet to show what it is.
        let is = if unit.masked { Some(false) } else { unit.enabled };
        is.filter(|is| *is != wanted).map(|_| wanted)
    }

    fn start_step(&self, service: &Service, unit: &UnitSeen, verb: Verb) -> Step {
        let listen = self.listen();
        let start = Start {
            verb,
            reset_failed: unit.active == "failed",
            no_block: self.no_block,
            delay: self.init_delay.unwrap_or(0.0).clamp(0.0, 3600.0),
            settle: self.settle.map(|seconds| seconds.clamp(0.0, 3600.0)),
            listen: &listen,
            sig: self.sig.as_deref(),
        };
        let label = match verb {
            Verb::Start => "start",
            Verb::Restart => "restart",
            Verb::Reload => "reload",
        };
        Step::shell(label, service.start(&start))
    }

    fn predict(&self, change: &mut Change, unit: &UnitSeen, seen: &Observed) -> Result<()> {
        let after = UnitSeen {
            exists: true,
            active: "active".to_owned(),
            sub: "running".to_owned(),
            enabled: self.enable.or(unit.enabled),
            masked: false,
            need_daemon_reload: false,
            ..unit.clone()
        };
        change.predicts.push(Fact::Unit(self.name.clone(), after));
        let sockets = self.listen();
        if !sockets.is_empty() {
            let mut listeners = seen.listeners()?.to_vec();
            listeners.extend(
                sockets
                    .iter()
                    .filter(|socket| !socket.is_served(seen.listeners().unwrap_or(&[])))
                    .map(Socket::listener),
            );
            change.predicts.push(Fact::Listeners(listeners));
        }
        if let Some(probe) = self.sig_probe() {
            change.predicts.push(Fact::Shell(probe, Default::default()));
        }
        Ok(())
    }

    /// Why the service is not as wanted although every step succeeded.
    fn complaint(&self, unit: &UnitSeen, after: &Observed, context: &Context) -> Result<Option<String>> {
        let name = &self.name;
        if !unit.exists {
            return Ok(Some(unknown::comment(name, context)));
        }
        let state = match unit.sub.as_str() {
            "" => unit.active.clone(),
            sub => format!("{} ({sub})", unit.active),
        };
        let journal = |comment: String| -> String {
            let lines: Vec<&str> = unit.journal.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].iter();
            last.fold(comment, |comment, line| comment + "\n  " + line)
        };
        let comment = match self.wrong(unit, after)? {
            None => match self.enabling(unit) {
                None => return Ok(None),
                Some(wanted) => format!(
                    "Service {name} runs, but it is still {} ({})",
                    if wanted { "not started at boot" } else { "started at boot" },
                    unit.file_state
                ),
            },
            Some(Wrong::NotRunning) if unit.kind == "oneshot" && unit.result == "success" => format!(
                "Service {name} did its work and ended: it can never count as running\nhint: its unit is of `Type=oneshot` without `RemainAfterExit=yes`; use service.enabled, or cmd.run"
            ),
            Some(Wrong::NotRunning) => journal(format!("Service {name} was started, and is {state} now")),
            Some(Wrong::NoProcess) => {
                let hint = match self.disabled_by(after, context)? {
                    Some(line) => format!("it is switched off by {line}"),
                    None => format!(
                        "it may be switched off in /etc/default/{name}, or the script does its work and ends, which `oneshot: True` allows"
                    ),
                };
                format!("the init script of {name} exited without an error, and left no process behind ({state})\nhint: {hint}")
            }
            Some(Wrong::Deaf(places)) => journal(format!("Service {name} runs, but nothing listens on {}", places.join(", "))),
        };
        Ok(Some(comment))
    }
}

/// Whether a process with `sig` in its command line runs.
pub fn process_probe(name: &str, sig: &str) -> ShellProbe {
    ShellProbe {
        script: format!("pgrep -f -- {} >/dev/null", quote(sig)),
        reads: vec![Resource::Unit(name.to_owned())],
        ..ShellProbe::default()
    }
}

impl StateFunction for Running {
    fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
        let mut probes = vec![Probe::Unit { name: self.name.clone() }];
        if !self.listen().is_empty() {
            probes.push(Probe::Listeners);
        }
        probes.extend(self.sig_probe().map(Probe::Shell));
        probes.extend(self.default_file(context).map(Probe::text));
        probes.extend(unknown::probes(&self.name, context));
        Ok(probes)
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Unit(self.name.clone()), Resource::Listeners]
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let name = &self.name;
        let unit = seen.unit(name)?;
        if !unit.exists && !unknown::has_file(name, seen, context)? {
            return Ok(Decision::Fails(unknown::comment(name, context)));
        }
        if unit.manager == Manager::SystemdOffline {
            return Ok(Decision::Fails(format!(
                "systemd does not run on this minion, so service {name} cannot be started there; service.enabled works"
            )));
        }
        if unit.masked && !self.unmask && !self.unmask_runtime {
            return Ok(Decision::Fails(format!(
                "Service {name} is masked, so it cannot be started\nhint: `unmask: True` unmasks it"
            )));
        }
        let wrong = self.wrong(unit, seen)?;
        let enabling = self.enabling(unit);
        if wrong.is_none() && enabling.is_none() && !unit.masked {
            let boot = match self.enable {
                Some(true) if unit.enabled.is_some() => ", and started at boot",
                Some(false) if unit.enabled.is_some() => ", and not started at boot",
                _ => "",
            };
            return Ok(Decision::Holds(format!("The service {name} is already running{boot}")));
        }
        if wrong == Some(Wrong::NoProcess)
            && let Some(line) = self.disabled_by(seen, context)?
        {
            return Ok(Decision::Fails(format!(
                "the init script of {name} exits without an error, and leaves no process behind: it is switched off by {line}"
            )));
        }
        let service = Service::of(name, unit);
        let verb = match &wrong {
            Some(Wrong::NotRunning) => Some(Verb::Start),
            Some(Wrong::NoProcess | Wrong::Deaf(_)) => Some(Verb::Restart),
            None => None,
        };
        let boot = match enabling {
            Some(true) => Some("enabled"),
            Some(false) => Some("disabled"),
            None => None,
        };
        let mut change = match (&wrong, boot) {
            (Some(Wrong::NotRunning), None) => {
                Change::new(format!("Service {name} is set to start"), format!("Started service {name}"))
            }
            (Some(Wrong::NotRunning), Some(boot)) => Change::new(
                format!("Service {name} is set to be {boot} and to start"),
                format!("Service {name} has been {boot}, and is running"),
            ),
            (Some(Wrong::NoProcess), _) => Change::new(
                format!(
                    "Service {name} has no process, though its init script exited without an error: it is set to be restarted"
                ),
                format!("Service {name} restarted"),
            ),
            (Some(Wrong::Deaf(places)), _) => Change::new(
                format!(
                    "Service {name} runs, but nothing listens on {}: it is set to be restarted",
                    places.join(", ")
                ),
                format!("Service {name} restarted"),
            ),
            (None, boot) => {
                let boot = boot.unwrap_or("unmasked");
                Change::new(
                    format!("Service {name} is set to be {boot}"),
                    format!("Service {name} has been {boot}, and is in the desired state"),
                )
            }
        }
        .change(name.as_str(), true);
        if unit.masked {
            for runtime in [false, true] {
                let masked = (unit.file_state == "masked-runtime") == runtime;
                if masked {
                    change = change.step(Step::shell("be unmasked", service.mask(false, runtime)));
                }
            }
        }
        if let Some(enable) = enabling {
            let label = if enable { "be enabled" } else { "be disabled" };
            change = change.step(Step::shell(label, service.enable(enable)));
        }
        if let Some(verb) = verb {
            change = change.step(self.start_step(&service, unit, verb));
        }
        self.predict(&mut change, unit, seen)?;
        Ok(change.into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
        let comment = match failure(&self.name, change, acted) {
            // A start that failed may be explained by what stands in /etc/default.
            Some(comment) => Some(comment),
            None => self.complaint(after.unit(&self.name)?, after, context)?,
        };
        Ok(Conclusion {
            ok: comment.is_none(),
            comment: comment.unwrap_or_else(|| change.did.clone()),
            changes: change.changes.clone(),
        })
    }

    fn watched(&self, seen: &Observed, _: &Context) -> Result<Option<Decision>> {
        let unit = seen.unit(&self.name)?;
        let verb = match self.reload && !self.full_restart && unit.can_reload {
            true => Verb::Reload,
            false => Verb::Restart,
        };
        let past = verb.past();
        let service = Service::of(&self.name, unit);
        let mut change = Change::new(format!("Service is set to be {past}"), format!("Service {past}"))
            .change(self.name.as_str(), true)
            .step(self.start_step(&service, unit, verb));
        self.predict(&mut change, unit, seen)?;
        Ok(Some(change.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Listener;
    use crate::states::testing::{Case, answer, file, show, state};

    const DEBIAN: &str = "{os: Debian, os_family: Debian, init: systemd}";

    fn unit(change: impl FnOnce(&mut UnitSeen)) -> UnitSeen {
        let mut unit = UnitSeen {
            exists: true,
            id: "web.service".into(),
            file_state: "enabled".into(),
            enabled: Some(true),
            active: "active".into(),
            sub: "running".into(),
            kind: "simple".into(),
            main_pid: 7,
            result: "success".into(),
            ..UnitSeen::default()
        };
        change(&mut unit);
        unit
    }

    fn dead(unit: &mut UnitSeen) {
        (unit.active, unit.sub, unit.main_pid) = ("inactive".into(), "dead".into(), 0);
    }

    fn script(unit: &mut UnitSeen) {
        (unit.sub, unit.main_pid, unit.kind, unit.from_init_script) = ("exited".into(), 0, "forking".into(), true);
    }

    fn case(arguments: &str, unit: UnitSeen) -> Case {
        state("service.running", arguments)
            .grains(DEBIAN)
            .sees([Fact::Unit("web".into(), unit)])
    }

    /// The decision with the steps' labels and the lines of their scripts that differ from service to service.
    fn brief(shown: &str) -> String {
        let kept = |line: &&str| {
            !line.starts_with("  ")
                || ["u=", "ports=", "out=$(", "systemctl ", "rc-", "sleep "]
                    .iter()
                    .any(|begin| line[2..].starts_with(begin))
        };
        shown.lines().filter(kept).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn what_runs_holds() {
        let listening = Fact::Listeners(vec![Listener {
            protocol: "tcp",
            address: "0.0.0.0".parse().unwrap(),
            port: 80,
        }]);
        for (arguments, unit, expected) in [
            ("{name: web}", unit(|_| ()), "holds: The service web is already running"),
            (
                "{name: web, enable: True}",
                unit(|_| ()),
                "holds: The service web is already running, and started at boot",
            ),
            (
                "{name: web, enable: True}",
                unit(|u| (u.enabled, u.file_state) = (None, "static".into())),
                "holds: The service web is already running",
            ),
            (
                "{name: web, listen: 80}",
                unit(|_| ()),
                "holds: The service web is already running",
            ),
            (
                "{name: web, port: ['127.0.0.1:80']}",
                unit(|_| ()),
                "holds: The service web is already running",
            ),
            (
                "{name: web, oneshot: True}",
                unit(script),
                "holds: The service web is already running",
            ),
            (
                "{name: web, restart: True, requires: x, provider: systemd}",
                unit(|_| ()),
                "holds: The service web is already running",
            ),
            (
                "{name: web}",
                unit(|u| (u.masked, u.file_state) = (true, "masked".into())),
                "fails: Service web is masked, so it cannot be started\nhint: `unmask: True` unmasks it",
            ),
            (
                "{name: web}",
                UnitSeen::default(),
                "fails: The named service web is not available\nhint: is its package installed? `require` the state that installs it",
            ),
            (
                "{name: web}",
                unit(|u| u.manager = Manager::SystemdOffline),
                "fails: systemd does not run on this minion, so service web cannot be started there; service.enabled works",
            ),
        ] {
            assert_eq!(
                case(arguments, unit).sees([listening.clone()]).shows(),
                expected,
                "{arguments}"
            );
        }
        let sshd = state("service.running", "{name: sshd}").grains(DEBIAN);
        assert_eq!(
            sshd.shows(),
            "fails: The named service sshd is not available\nhint: on Debian it is called `ssh`"
        );
    }

    #[test]
    fn what_does_not_run_is_started() {
        for (arguments, seen, expected) in [
            (
                "{name: web}",
                unit(dead),
                "would: Service web is set to start\ndid: Started service web\nchanges: {\"web\":true}\nsh start\n  u=web.service\n  ports='' settle='' verb=start out=\n  out=$(systemctl start -- \"$u\" 2>&1 </dev/null) || refused \"$?\"\n",
            ),
            (
                "{name: web, enable: True, listen: [80, 53/udp], settle: 2, init_delay: 3}",
                unit(|u| {
                    dead(u);
                    (u.active, u.enabled, u.need_daemon_reload) = ("failed".into(), Some(false), true);
                }),
                "would: Service web is set to be enabled and to start\ndid: Service web has been enabled, and is running\nchanges: {\"web\":true}\n\
                 sh be enabled\n  u=web.service\n  systemctl daemon-reload || exit 1\n  systemctl enable -- \"$u\"\n\
                 sh start\n  u=web.service\n  systemctl daemon-reload || exit 1\n  ports='tcp/0050/0A/80 udp/0035/07/53' settle=10 verb=start out=\n  \
                 systemctl reset-failed -- \"$u\" 2>/dev/null\n  out=$(systemctl start -- \"$u\" 2>&1 </dev/null) || refused \"$?\"\n  sleep 3\n",
            ),
            (
                "{name: web, enable: False}",
                unit(|_| ()),
                "would: Service web is set to be disabled\ndid: Service web has been disabled, and is in the desired state\nchanges: {\"web\":true}\nsh be disabled\n  u=web.service\n  systemctl disable -- \"$u\"\n",
            ),
            (
                "{name: web, listen: 8080}",
                unit(|_| ()),
                "would: Service web runs, but nothing listens on port 8080: it is set to be restarted\ndid: Service web restarted\nchanges: {\"web\":true}\nsh restart\n  u=web.service\n  ports=tcp/1F90/0A/8080 settle='' verb=restart out=\n  out=$(systemctl restart -- \"$u\" 2>&1 </dev/null) || refused \"$?\"\n",
            ),
            (
                "{name: web, unmask: True}",
                unit(|u| {
                    dead(u);
                    (u.masked, u.file_state) = (true, "masked-runtime".into());
                }),
                "would: Service web is set to start\ndid: Started service web\nchanges: {\"web\":true}\nsh be unmasked\n  u=web.service\n  systemctl unmask --runtime -- \"$u\"\nsh start\n  u=web.service\n  ports='' settle='' verb=start out=\n  out=$(systemctl start -- \"$u\" 2>&1 </dev/null) || refused \"$?\"\n",
            ),
        ] {
            assert_eq!(brief(&case(arguments, seen).shows()), expected, "{arguments}");
        }
    }

    #[test]
    fn a_unit_file_that_systemd_has_not_read_is_read() {
        let new = case("{name: web}", UnitSeen::default()).sees([file("/etc/systemd/system/web.service", "[Service]\n")]);
        let shown = brief(&new.shows());
        assert!(shown.contains("  systemctl daemon-reload || exit 1\n"), "{shown}");
    }

    #[test]
    fn other_managers_are_asked_in_their_words() {
        for (manager, enable, start) in [
            (
                Manager::OpenRc,
                "  rc-update add \"$u\" default\n",
                "  out=$(rc-service \"$u\" start 2>&1 </dev/null) || refused \"$?\"\n",
            ),
            (
                Manager::SysV,
                "",
                "  out=$(\"/etc/init.d/$u\" start 2>&1 </dev/null) || refused \"$?\"\n",
            ),
        ] {
            let seen = unit(|u| {
                dead(u);
                (u.manager, u.enabled, u.from_init_script) = (manager, Some(false), true);
            });
            let shown = brief(&case("{name: web, enable: True}", seen).shows());
            assert!(
                shown.contains(enable) && shown.contains(start) && shown.contains("u=web\n"),
                "{shown}"
            );
        }
    }

    #[test]
    fn an_init_script_that_leaves_nothing_behind_is_no_running_service() {
        let disabled = file("/etc/default/web", "# Set to 1\nENABLED=0 # off\n");
        let exited = case("{name: web}", unit(script));
        assert!(
            exited
                .shows()
                .starts_with("would: Service web has no process, though its init script exited without an error")
        );
        let exited = exited.sees([disabled.clone()]);
        assert_eq!(
            exited.shows(),
            "fails: the init script of web exits without an error, and leaves no process behind: it is switched off by ENABLED=0 # off in /etc/default/web"
        );
        // Started, and found out only then.
        let started = case("{name: web}", unit(dead)).sees([disabled]);
        let done = started.concludes(&[answer(0, "", "")], [Fact::Unit("web".into(), unit(script))]);
        assert_eq!(
            (done.ok, done.comment.as_str()),
            (
                false,
                "the init script of web exited without an error, and left no process behind (active (exited))\nhint: it is switched off by ENABLED=0 # off in /etc/default/web"
            )
        );
    }

    #[test]
    fn a_start_that_does_not_last_fails_with_the_last_words() {
        let started = case("{name: web, listen: 80}", unit(dead));
        let fails = |answers: &[Answer], after: UnitSeen| {
            let done = started.concludes(answers, [Fact::Unit("web".into(), after)]);
            assert!(!done.ok);
            done.comment
        };
        assert_eq!(
            fails(
                &[answer(
                    1,
                    "picloud:why\tit failed (exit-code)\n",
                    "Job failed.\nweb[7]: cannot bind\n"
                )],
                unit(dead)
            ),
            "Service web failed to start: it failed (exit-code)\n  Job failed.\n  web[7]: cannot bind"
        );
        assert_eq!(
            fails(
                &[answer(0, "", "")],
                unit(|u| {
                    dead(u);
                    (u.active, u.sub, u.journal) = ("activating".into(), "auto-restart".into(), "web[8]: bye".into());
                })
            ),
            "Service web was started, and is activating (auto-restart) now\n  web[8]: bye"
        );
        assert_eq!(
            fails(&[answer(0, "", "")], unit(|_| ())),
            "Service web runs, but nothing listens on port 80"
        );
        let once = fails(
            &[answer(0, "", "")],
            unit(|u| {
                dead(u);
                u.kind = "oneshot".into();
            }),
        );
        assert!(once.starts_with("Service web did its work and ended"), "{once}");
    }

    #[test]
    fn a_watched_change_restarts_or_reloads() {
        for (arguments, can_reload, expected) in [
            (
                "{name: web}",
                true,
                ("Service is set to be restarted", "Service restarted", "restart"),
            ),
            (
                "{name: web, reload: True}",
                true,
                ("Service is set to be reloaded", "Service reloaded", "reload"),
            ),
            (
                "{name: web, reload: True}",
                false,
                ("Service is set to be restarted", "Service restarted", "restart"),
            ),
            (
                "{name: web, reload: True, full_restart: True}",
                true,
                ("Service is set to be restarted", "Service restarted", "restart"),
            ),
        ] {
            let case = case(arguments, unit(|u| u.can_reload = can_reload));
            let Ok(Some(Decision::Change(change))) = case.state.watched(&case.seen(), &case.context()) else {
                panic!("{}", case.watched());
            };
            assert_eq!(
                (change.would.as_str(), change.did.as_str(), change.steps[0].label()),
                expected
            );
            let done = case
                .state
                .conclude(&change, &[answer(0, "", "")], &case.seen(), &case.context())
                .unwrap();
            assert!(done.ok && done.comment == change.did, "{}", show(case.decide()));
        }
    }

    #[test]
    fn a_process_may_be_found_by_its_command_line() {
        let case = |status| case("{name: web, sig: 'web --daemon'}", unit(dead)).answers("pgrep", status, "");
        assert_eq!(case(0).shows(), "holds: The service web is already running");
        assert!(case(1).shows().starts_with("would: Service web is set to start"));
    }
}
