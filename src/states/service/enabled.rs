//! `service.enabled`, `service.disabled`, `service.masked` and `service.unmasked`: what happens at boot, and what may happen at all.

use super::script::{Service, failure};
use super::unknown;
use crate::error::Result;
use crate::probe::{Fact, Manager, Observed, Probe, Resource, UnitSeen};
use crate::shell::Answer;
use crate::states::{Change, Conclusion, Context, Decision, StateFunction, Step};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Ensures that a service is started at boot. Whether it runs now is left as it is.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Enabled {
    /// The service.
    name: String,
    /// Accepted, and without effect as in Salt: the function says it already.
    #[schemars(with = "Option<Json>")]
    enable: Option<Value>,
}

/// Ensures that a service is not started at boot. Whether it runs now is left as it is.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Disabled {
    /// The service.
    name: String,
    /// Accepted, and without effect as in Salt: the function says it already.
    #[schemars(with = "Option<Json>")]
    enable: Option<Value>,
}

/// Ensures that a systemd service is masked: nothing can start it. One that runs is not stopped.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Masked {
    /// The service.
    name: String,
    /// Mask it until the next boot only.
    runtime: bool,
}

/// Ensures that a systemd service is not masked.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Unmasked {
    /// The service.
    name: String,
    /// Look only at masks that last until the next boot.
    runtime: bool,
}

fn unit_probe(name: &str) -> Probe {
    Probe::Unit { name: name.to_owned() }
}

/// Whether the service is started at boot, and what would change that.
fn boot(name: &str, enable: bool, seen: &Observed, context: &Context) -> Result<Decision> {
    let unit = seen.unit(name)?;
    let word = if enable { "enabled" } else { "disabled" };
    if !unit.exists && !unknown::has_file(name, seen, context)? {
        return Ok(if enable {
            Decision::Fails(unknown::comment(name, context))
        } else {
            Decision::Holds(format!("The named service {name} is not available"))
        });
    }
    if unit.masked && enable {
        return Ok(Decision::Fails(format!(
            "Service {name} is masked, so it cannot be enabled\nhint: service.unmasked unmasks it"
        )));
    }
    match unit.enabled {
        Some(is) if is == enable => {
            return Ok(Decision::Holds(format!(
                "Service {name} is already {word}, and is in the desired state"
            )));
        }
        None if unit.exists => {
            return Ok(Decision::Holds(format!(
                "Service {name} is neither enabled nor disabled ({}): that is not for users to say",
                unit.file_state
            )));
        }
        _ => {}
    }
    let service = Service::of(name, unit);
    let after = UnitSeen {
        exists: true,
        enabled: Some(enable),
        ..unit.clone()
    };
    let label = if enable { "be enabled" } else { "be disabled" };
    Ok(Change::new(
        format!("Service {name} is set to be {word}"),
        format!("Service {name} has been {word}, and is in the desired state"),
    )
    .change(name, true)
    .step(Step::shell(label, service.enable(enable)))
    .predict(Fact::Unit(name.to_owned(), after))
    .into())
}

/// Whether the service is masked, and what would change that.
fn mask(name: &str, mask: bool, runtime: bool, seen: &Observed, context: &Context) -> Result<Decision> {
    let unit = seen.unit(name)?;
    if !matches!(unit.manager, Manager::Systemd | Manager::SystemdOffline) {
        return Ok(Decision::Fails(format!(
            "only systemd can mask services, and it does not manage {name} on this minion"
        )));
    }
    // A name that stands for nothing yet may be masked too, in systemd and in Salt; a mistake is likelier.
    if !unit.exists && !unit.masked && mask {
        return Ok(Decision::Fails(unknown::comment(name, context)));
    }
    let for_now = unit.file_state == "masked-runtime";
    let is = unit.masked && for_now == runtime;
    let word = if mask { "masked" } else { "unmasked" };
    if is == mask {
        let how = if runtime { "runtime-" } else { "" };
        return Ok(Decision::Holds(format!("Service {name} is already {how}{word}")));
    }
    let service = Service {
        // An alias is masked under the name that was given.
        unit: super::script::full(name),
        reload_manager: false,
        ..Service::of(name, unit)
    };
    let after = UnitSeen {
        exists: true,
        masked: mask,
        file_state: match (mask, runtime) {
            (true, true) => "masked-runtime",
            (true, false) => "masked",
            (false, _) => "disabled",
        }
        .to_owned(),
        ..unit.clone()
    };
    Ok(Change::new(
        format!("Service {name} is set to be {word}"),
        format!("Service {name} was {word}"),
    )
    .change(name, json!({word: true}))
    .step(Step::shell(format!("be {word}"), service.mask(mask, runtime)))
    .predict(Fact::Unit(name.to_owned(), after))
    .into())
}

/// As by default, with the service manager's own complaint.
fn conclude<S: StateFunction>(
    state: &S,
    name: &str,
    change: &Change,
    acted: &[Answer],
    after: &Observed,
    context: &Context,
) -> Result<Conclusion> {
    match failure(name, change, acted) {
        Some(comment) => Ok(Conclusion {
            ok: false,
            comment,
            changes: change.changes.clone(),
        }),
        None => crate::states::decision::conclude(state, change, acted, after, context),
    }
}

macro_rules! about_a_unit {
    ($($state:ty: |$self:ident, $seen:ident, $context:ident| $decide:expr;)*) => {$(
        impl StateFunction for $state {
            fn probes(&self, context: &Context) -> Result<Vec<Probe>> {
                Ok([unit_probe(&self.name)].into_iter().chain(unknown::probes(&self.name, context)).collect())
            }

            fn writes(&self, _: &Context) -> Vec<Resource> {
                vec![Resource::Unit(self.name.clone())]
            }

            fn decide(&$self, $seen: &Observed, $context: &Context) -> Result<Decision> {
                $decide
            }

            fn conclude(&self, change: &Change, acted: &[Answer], after: &Observed, context: &Context) -> Result<Conclusion> {
                conclude(self, &self.name, change, acted, after, context)
            }
        }
    )*};
}

about_a_unit! {
    Enabled: |self, seen, context| boot(&self.name, true, seen, context);
    Disabled: |self, seen, context| boot(&self.name, false, seen, context);
    Masked: |self, seen, context| mask(&self.name, true, self.runtime, seen, context);
    Unmasked: |self, seen, context| mask(&self.name, false, self.runtime, seen, context);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::testing::state;

    fn unit(change: impl FnOnce(&mut UnitSeen)) -> Fact {
        let mut unit = UnitSeen {
            exists: true,
            id: "web.service".into(),
            enabled: Some(false),
            file_state: "disabled".into(),
            ..UnitSeen::default()
        };
        change(&mut unit);
        Fact::Unit("web".into(), unit)
    }

    #[test]
    fn boot_and_masks() {
        let masked = |u: &mut UnitSeen| (u.masked, u.file_state) = (true, "masked".into());
        for (function, seen, expected) in [
            (
                "service.disabled",
                unit(|_| ()),
                "holds: Service web is already disabled, and is in the desired state",
            ),
            (
                "service.disabled",
                unit(|u| u.exists = false),
                "holds: The named service web is not available",
            ),
            (
                "service.enabled",
                unit(|u| (u.enabled, u.file_state) = (None, "static".into())),
                "holds: Service web is neither enabled nor disabled (static): that is not for users to say",
            ),
            (
                "service.enabled",
                unit(masked),
                "fails: Service web is masked, so it cannot be enabled\nhint: service.unmasked unmasks it",
            ),
            (
                "service.enabled",
                unit(|_| ()),
                "would: Service web is set to be enabled\ndid: Service web has been enabled, and is in the desired state\nchanges: {\"web\":true}\nsh be enabled\n  u=web.service\n  systemctl enable -- \"$u\"\n",
            ),
            ("service.masked", unit(masked), "holds: Service web is already masked"),
            ("service.unmasked", unit(|_| ()), "holds: Service web is already unmasked"),
            (
                "service.masked",
                unit(|u| u.manager = Manager::OpenRc),
                "fails: only systemd can mask services, and it does not manage web on this minion",
            ),
            (
                "service.masked",
                unit(|_| ()),
                "would: Service web is set to be masked\ndid: Service web was masked\nchanges: {\"web\":{\"masked\":true}}\nsh be masked\n  u=web.service\n  systemctl mask -- \"$u\"\n",
            ),
            (
                "service.unmasked",
                unit(masked),
                "would: Service web is set to be unmasked\ndid: Service web was unmasked\nchanges: {\"web\":{\"unmasked\":true}}\nsh be unmasked\n  u=web.service\n  systemctl unmask -- \"$u\"\n",
            ),
        ] {
            let case = state(function, "{name: web}").grains("{os_family: Debian, init: systemd}");
            assert_eq!(case.sees([seen]).shows(), expected, "{function}");
        }
    }
}
