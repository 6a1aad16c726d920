//! `module.run` and `module.wait`: Salt's execution functions, as far as they mean something on a minion without Salt.

mod call;
mod functions;

use super::{Change, Conclusion, Context, Decision, Function, Functions, Resolved, StateFunction, Step, decision};
use crate::error::{Error, Kind, Result};
use crate::probe::{Observed, Probe, Resource};
use crate::shell::Answer;
use crate::yaml::{Map, Value};
use call::Call;
use schemars::JsonSchema;
use serde_json::Value as Json;

pub static FUNCTIONS: Functions = &[
    Function {
        name: "module.run",
        schema: || schemars::schema_for!(Documented),
        make: |arguments| Ok(Box::new(Run(Calls::read(arguments)?))),
        watches: true,
    },
    Function {
        name: "module.wait",
        schema: || schemars::schema_for!(DocumentedWait),
        make: |arguments| Ok(Box::new(Wait(Calls::read(arguments)?))),
        watches: true,
    },
];

/// Runs one of Salt's execution functions, on every run unless a requisite such as `onchanges` says otherwise.
///
/// The functions that are known are those of `cmd` (`run`, `shell`, ...), `file` (`mkdir`, `remove`, `chown`, `set_mode`, `touch`,
/// `symlink`, `copy`, ...), `service` (`start`, `stop`, `restart`, `reload`, `enable`, `disable`, `systemctl_reload`), `pkg`
/// (`refresh_db`, `upgrade`), `mount`, `kmod`, `sysctl.assign`, `system` (`reboot`, ...) and `test`. Those of `saltutil`, `mine` and
/// `event` are accepted and do nothing: picloud keeps nothing on minions.
///
/// ```yaml
/// reload-nginx:
///   module.run:
///     - service.reload:
///       - name: nginx
///     - onchanges:
///       - file: /etc/nginx/nginx.conf
/// ```
/// Unlike Salt's, a command that exits with other than 0 fails.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its documentation and schema; `Calls` reads the arguments")]
pub struct Documented {
    /// In the former form, the function; its arguments stand beside it, its own `name` as `m_name`. In the new form any text.
    name: String,
    /// In the former form, the function's own `name`.
    m_name: Option<Value>,
    /// In the former form, arguments of the function that have no name.
    args: Option<Vec<Value>>,
    /// In the former form, more arguments of the function by their names.
    kwargs: Option<Value>,
    /// In the former form, an argument of `cmd.*`.
    runas: Option<Value>,
    /// In the former form, an argument of `cmd.*`.
    umask: Option<Value>,
    /// In the former form, an argument of some functions.
    saltenv: Option<Value>,
    /// In the new form, functions (`service.restart`), each with a list of its arguments.
    #[serde(flatten)]
    functions: std::collections::BTreeMap<String, Value>,
}

/// Runs one of Salt's execution functions, only when a state that this one watches has changed.
///
/// The arguments are those of `module.run`.
#[derive(JsonSchema)]
#[serde(transparent)]
#[expect(dead_code, reason = "its documentation and schema; `Calls` reads the arguments")]
pub struct DocumentedWait(Documented);

/// Calls, in the order in which they are made.
struct Calls {
    name: String,
    calls: Vec<Call>,
    legacy: bool,
}

struct Run(Calls);

struct Wait(Calls);

/// Arguments that no minion could make anything of.
fn check(calls: &[Call]) -> Result<()> {
    let (nothing, resolved) = (Value::map(), Resolved::default());
    let context = Context {
        minion: "",
        grains: &nothing,
        pillar: &nothing,
        resolved: &resolved,
        kept: &[],
        run: "",
    };
    for call in calls {
        // What depends on the minion is a failure there, not a mistake here.
        if let Err(error) = call.done(&context)
            && error.kind() == Kind::Usage
        {
            return Err(error);
        }
    }
    Ok(())
}

impl Calls {
    fn read(arguments: &Map) -> Result<Calls> {
        let name = arguments.get("name").and_then(Value::scalar_text).unwrap_or_default();
        let others: Vec<_> = arguments.iter().filter(|(key, _)| key.as_str() != Some("name")).collect();
        let is_function = |key: &str| key.contains('.');
        let legacy = others.is_empty() || others.iter().any(|(key, _)| !is_function(&key.text()));
        if legacy {
            if !is_function(&name) {
                return Err(Error::usage("no function is named")
                    .hint("write `- service.restart:` with `- name: nginx` indented below it, or `- name: service.restart` with `- m_name: nginx`"));
            }
            let rest: Map = others.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            let calls = vec![Call::legacy(&name, rest)?];
            check(&calls)?;
            return Ok(Calls { name, calls, legacy });
        }
        let mut calls = Vec::new();
        for (key, value) in others {
            calls.push(Call::new(&key.text(), value).map_err(|e| e.at(key.at))?);
        }
        check(&calls)?;
        Ok(Calls { name, calls, legacy })
    }

    fn change(&self, context: &Context) -> Result<Decision> {
        let shown: Vec<&str> = self.calls.iter().map(|call| call.shown.as_str()).collect();
        let mut change = if self.legacy {
            Change::new(
                format!("Module function {} is set to execute", self.name),
                format!("Module function {} executed", self.name),
            )
        } else {
            let plural = if shown.len() > 1 { "s" } else { "" };
            Change::new(
                format!("Function{plural} {} to be executed.", shown.join(", ")),
                String::new(),
            )
        };
        let mut writes = Vec::new();
        let mut anything = false;
        for call in &self.calls {
            let done = call.done(context)?;
            anything |= !done.script.is_empty();
            writes.extend(done.writes);
            change.steps.push(Step::shell(
                call.shown.clone(),
                if done.script.is_empty() { ":".to_owned() } else { done.script },
            ));
        }
        if !anything {
            let what = shown.join(", ");
            return Ok(Decision::Holds(format!(
                "{what}: there is nothing to do, as picloud keeps nothing on minions"
            )));
        }
        change.changes.insert("ret".to_owned(), shown.join(", ").into());
        change.writes = Some(writes);
        Ok(change.into())
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        self.calls
            .iter()
            .filter_map(|call| call.done(context).ok())
            .flat_map(|done| done.writes)
            .collect()
    }

    fn conclude(&self, change: &Change, acted: &[Answer], context: &Context) -> Result<Conclusion> {
        let mut changes = serde_json::Map::new();
        let mut said = Vec::new();
        for (call, answer) in self.calls.iter().zip(acted).filter(|(_, answer)| answer.ok()) {
            let value = if call.done(context)?.prints {
                Json::from(answer.text().trim_end())
            } else {
                Json::from(true)
            };
            let text = match &value {
                Json::String(text) => text.clone(),
                _ => "True".to_owned(),
            };
            said.push(format!("{}: {text}", call.shown));
            changes.insert(if self.legacy { "ret".to_owned() } else { call.shown.clone() }, value);
        }
        let failed = decision::failed_step(change, acted);
        let comment = match (&failed, self.legacy) {
            (Some(failed), _) => failed.clone(),
            (None, true) => change.did.clone(),
            (None, false) => said.join(", "),
        };
        Ok(Conclusion {
            ok: failed.is_none(),
            comment,
            changes,
        })
    }
}

impl StateFunction for Run {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, context: &Context) -> Result<Decision> {
        self.0.change(context)
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        self.0.writes(context)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], _: &Observed, context: &Context) -> Result<Conclusion> {
        self.0.conclude(change, acted, context)
    }

    fn watched(&self, _: &Observed, context: &Context) -> Result<Option<Decision>> {
        self.0.change(context).map(Some)
    }
}

impl StateFunction for Wait {
    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &Observed, _: &Context) -> Result<Decision> {
        Ok(Decision::Holds(String::new()))
    }

    fn writes(&self, context: &Context) -> Vec<Resource> {
        self.0.writes(context)
    }

    fn conclude(&self, change: &Change, acted: &[Answer], _: &Observed, context: &Context) -> Result<Conclusion> {
        self.0.conclude(change, acted, context)
    }

    fn watched(&self, _: &Observed, context: &Context) -> Result<Option<Decision>> {
        self.0.change(context).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::functions::EXECUTIONS;
    use crate::states::here::everywhere;
    use crate::states::testing::*;
    use insta::assert_snapshot;

    #[test]
    fn both_forms() {
        assert_snapshot!(state("module.run", "[{name: file.chown}, {path: /x}, {user: pi}, {group: root}]").shows(), @r#"
        would: Module function file.chown is set to execute
        did: Module function file.chown executed
        changes: {"ret":"file.chown"}
        sh file.chown
          chown -- pi:root /x
        "#);
        assert_snapshot!(state("module.run", "{name: r, file.set_mode: [/x, 644], file.remove: [{path: /y}]}").shows(), @r#"
        would: Functions file.set_mode, file.remove to be executed.
        did: 
        changes: {"ret":"file.set_mode, file.remove"}
        sh file.set_mode
          chmod 00644 /x
        sh file.remove
          rm -rf -- /y
        "#);
        let shown = state(
            "module.run",
            "{name: mount.mount, m_name: /mnt, device: /dev/sdb1, kwargs: {mkmnt: true, opts: [ro, noatime]}}",
        )
        .shows();
        assert!(
            shown.ends_with("\n  mkdir -p -- /mnt && mount -o ro,noatime /dev/sdb1 /mnt\n"),
            "{shown}"
        );
    }

    #[test]
    fn what_comes_back() {
        let case = state(
            "module.run",
            "{name: r, cmd.run: [ls, {cwd: /}], service.restart: {name: cron}}",
        );
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(0, "a\n", ""), answer(0, "", "")], [])), @r#"Conclusion { ok: true, comment: "cmd.run: a, service.restart: True", changes: {"cmd.run": String("a"), "service.restart": Bool(true)} }"#);
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(0, "a\n", ""), answer(5, "", "no unit")], [])), @r#"Conclusion { ok: false, comment: "service.restart failed with exit status 5\n  no unit", changes: {"cmd.run": String("a")} }"#);
        let case = state("module.run", "{name: service.restart, m_name: cron}");
        assert_snapshot!(format!("{:?}", case.concludes(&[answer(0, "", "")], [])), @r#"Conclusion { ok: true, comment: "Module function service.restart executed", changes: {"ret": Bool(true)} }"#);
        assert_snapshot!(state("module.run", "{name: mine.update}").shows(), @"holds: mine.update: there is nothing to do, as picloud keeps nothing on minions");
        let case = state("module.wait", "{name: test.ping}");
        assert_snapshot!(case.shows(), @"holds:");
        assert_snapshot!(case.watched(), @r#"
        would: Module function test.ping is set to execute
        did: Module function test.ping executed
        changes: {"ret":"test.ping"}
        sh test.ping
          echo True
        "#);
    }

    #[test]
    fn what_cannot_be() {
        assert_snapshot!(refusal("module.run", "{name: x}"), @r"
        no function is named
        hint: write `- service.restart:` with `- name: nginx` indented below it, or `- name: service.restart` with `- m_name: nginx`
        ");
        assert_snapshot!(refusal("module.run", "{name: x, service.restrt: [{name: a}]}"), @r"
        test.sls:1:11: `module.run` cannot carry out `service.restrt`
        hint: did you mean `service.restart`?
        hint: of that module it knows service.disable, service.enable, service.force_reload, service.full_restart, service.reload, service.restart, service.start, service.stop, service.systemctl_reload
        hint: a state that says what is wanted, or `cmd.run`, does the same
        ");
        assert_snapshot!(refusal("module.run", "{name: state.sls, mods: x}"), @r"
        `module.run` cannot carry out `state.sls`
        hint: `module.run` knows functions of cmd, event, file, kmod, mine, mount, pkg, saltutil, service, sysctl, system, test
        hint: a state that says what is wanted, or `cmd.run`, does the same
        ");
        assert_snapshot!(refusal("module.run", "{name: x, service.restart: [{nme: a}]}"), @r"
        test.sls:1:30: `service.restart` has no argument `nme`
        hint: did you mean `name`?
        hint: its arguments are name, no_block, unmask, unmask_runtime
        ");
        assert_snapshot!(refusal("module.run", "{name: service.restart}"), @"`service.restart` lacks the argument `name`");
        assert_snapshot!(refusal("module.run", "{name: x, file.set_mode: [/x, u+x]}"), @"`mode` must be octal digits such as `0644`");
        assert_snapshot!(refusal("module.run", "{name: x, pkg.refresh_db: []}"), @"(accepted)");
        assert_snapshot!(refusal("module.run", "{name: x, test.ping: [1]}"), @"test.sls:1:23: `test.ping` takes at most 0 arguments");
    }

    #[test]
    fn files_are_handled_here() {
        everywhere(|here| {
            let root = &here.root;
            let arguments = format!(
                "{{name: r, 'file.makedirs': ['{root}/a b/x', {{mode: 750}}], 'file.touch': ['{root}/a b/f'], 'file.write': ['{root}/a b/f', one, \"it's\"], 'file.append': ['{root}/a b/f', two], 'file.symlink': [f, '{root}/a b/l'], 'file.copy': ['{root}/a b', '{root}/c', {{recurse: true}}], 'file.rename': ['{root}/c', '{root}/d'], 'file.truncate': ['{root}/d/f', 3], 'file.set_mode': ['{root}/d/f', 600], 'file.check_hash': ['{root}/a b/f', 'md5=00000000000000000000000000000000']}}"
            );
            let said = here.apply(&state("module.run", &arguments));
            assert!(
                said.starts_with("failed: file.check_hash failed with exit status 1"),
                "{said}"
            );
            let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
            assert_eq!((read("a b/l").as_str(), read("d/f").as_str()), ("one\nit's\ntwo\n", "one"));
            let said = here.apply(&state(
                "module.run",
                &format!("{{name: r, 'file.remove': ['{root}/d'], 'test.echo': [hi], 'cmd.run': 'cd {root} && ls'}}"),
            ));
            assert_eq!(said, "ok: file.remove: True, test.echo: hi, cmd.run: a b");
        });
    }

    #[test]
    fn the_functions_are_in_order() {
        assert!(EXECUTIONS.is_sorted_by_key(|execution| execution.name));
    }
}
