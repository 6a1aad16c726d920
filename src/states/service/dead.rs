//! `service.dead`.

use super::running::process_probe;
use super::script::{Service, failure};
use crate::error::Result;
use crate::probe::{Fact, Observed, Probe, Resource, ShellProbe, ShellSeen, UnitSeen};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, StateFunction, Step};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// Ensures that a service does not run. A service that does not exist is as dead as can be.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Dead {
    /// The service.
    name: String,
    /// Start it at boot, or not; where nothing is said, that is left as it is.
    enable: Option<bool>,
    /// Find the process by this pattern in its command line (`pgrep -f`) instead of asking the service manager.
    sig: Option<String>,
    /// Seconds to wait after the stop before it is looked at again.
    init_delay: Option<f64>,
    /// Do not wait for systemd's stop job.
    no_block: bool,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    reload: Option<Value>,
    /// Accepted, and without effect: picloud takes the minion's own service manager.
    provider: Option<String>,
    /// Seconds for a stop: accepted for Windows' sake, without effect.
    timeout: Option<f64>,
}

impl Dead {
    fn sig_probe(&self) -> Option<ShellProbe> {
        self.sig.as_ref().map(|sig| process_probe(&self.name, sig))
    }

    fn is_alive(&self, unit: &UnitSeen, seen: &Observed) -> Result<bool> {
        match self.sig_probe() {
            Some(probe) => Ok(seen.shell(&probe)?.ok()),
            None => Ok(unit.is_active() || unit.active == "activating"),
        }
    }
}

impl StateFunction for Dead {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        let unit = Probe::Unit { name: self.name.clone() };
        Ok([unit].into_iter().chain(self.sig_probe().map(Probe::Shell)).collect())
    }

    fn writes(&self, _: &Context) -> Vec<Resource> {
        vec![Resource::Unit(self.name.clone()), Resource::Listeners]
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let name = &self.name;
        let unit = seen.unit(name)?;
        if !unit.exists {
            return Ok(Decision::Holds(format!("The named service {name} is not available")));
        }
        let alive = self.is_alive(unit, seen)?;
        let enabling = self.enable.filter(|wanted| unit.enabled.is_some_and(|is| is != *wanted));
        if !alive && enabling.is_none() {
            return Ok(Decision::Holds(format!("The service {name} is already dead")));
        }
        let service = Service::of(name, unit);
        let boot = enabling.map(|enable| if enable { "enabled" } else { "disabled" });
        let mut change = match (alive, boot) {
            (true, None) => Change::new(
                format!("Service {name} is set to be killed"),
                format!("Service {name} was killed"),
            ),
            (true, Some(boot)) => Change::new(
                format!("Service {name} is set to be killed and {boot}"),
                format!("Service {name} has been {boot}, and is dead"),
            ),
            (false, boot) => {
                let boot = boot.unwrap_or_default();
                Change::new(
                    format!("Service {name} is set to be {boot}"),
                    format!("Service {name} has been {boot}, and is in the desired state"),
                )
            }
        }
        .change(name.as_str(), true);
        if alive {
            let delay = self
                .init_delay
                .filter(|delay| *delay > 0.0)
                .map_or(String::new(), |delay| format!(" && sleep {delay}"));
            change = change.step(Step::shell("stop", service.stop(self.no_block) + &delay));
        }
        if let Some(enable) = enabling {
            let label = if enable { "be enabled" } else { "be disabled" };
            change = change.step(Step::shell(label, service.enable(enable)));
        }
        let after = UnitSeen {
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
            main_pid: 0,
            enabled: enabling.or(unit.enabled),
            ..unit.clone()
        };
        change.predicts.push(Fact::Unit(name.clone(), after));
        if let Some(probe) = self.sig_probe() {
            let gone = ShellSeen {
                status: 1,
                ..ShellSeen::default()
            };
            change.predicts.push(Fact::Shell(probe, gone));
        }
        Ok(change.into())
    }

    fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, _: &Context) -> Result<Conclusion> {
        let name = &self.name;
        let unit = after.unit(name)?;
        let comment = if let Some(comment) = failure(name, change, acted) {
            Some(comment)
        } else if self.is_alive(unit, after)? {
            Some(format!(
                "Service {name} was stopped, and runs again ({}): another unit (a socket, a timer, a supervisor) starts it",
                unit.sub
            ))
        } else {
            let wrong = self.enable.filter(|wanted| unit.enabled.is_some_and(|is| is != *wanted));
            wrong.map(|_| {
                format!(
                    "Service {name} is dead, but whether it is started at boot did not change ({})",
                    unit.file_state
                )
            })
        };
        Ok(Conclusion {
            ok: comment.is_none(),
            comment: comment.unwrap_or_else(|| change.did.clone()),
            changes: change.changes.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::{answer, state};

    #[test]
    fn what_runs_is_stopped() {
        let unit = |active: &str, enabled| {
            let seen = UnitSeen {
                exists: true,
                id: "web.service".into(),
                active: active.into(),
                enabled: Some(enabled),
                ..UnitSeen::default()
            };
            Fact::Unit("web".into(), seen)
        };
        for (arguments, seen, expected) in [
            (
                "{name: web}",
                Fact::Unit("web".into(), UnitSeen::default()),
                "holds: The named service web is not available",
            ),
            (
                "{name: web}",
                unit("inactive", true),
                "holds: The service web is already dead",
            ),
            (
                "{name: web, enable: False}",
                unit("failed", false),
                "holds: The service web is already dead",
            ),
            (
                "{name: web, enable: False}",
                unit("active", true),
                "would: Service web is set to be killed and disabled\ndid: Service web has been disabled, and is dead\nchanges: {\"web\":true}\nsh stop\n  u=web.service\n  systemctl stop -- \"$u\"\nsh be disabled\n  u=web.service\n  systemctl disable -- \"$u\"\n",
            ),
            (
                "{name: web, init_delay: 2}",
                unit("activating", true),
                "would: Service web is set to be killed\ndid: Service web was killed\nchanges: {\"web\":true}\nsh stop\n  u=web.service\n  systemctl stop -- \"$u\" && sleep 2\n",
            ),
        ] {
            assert_eq!(state("service.dead", arguments).sees([seen]).shows(), expected, "{arguments}");
        }
        let case = state("service.dead", "{name: web}").sees([unit("active", true)]);
        let done = case.concludes(&[answer(0, "", "")], []);
        assert!(
            !done.ok && done.comment.starts_with("Service web was stopped, and runs again"),
            "{}",
            done.comment
        );
    }
}
