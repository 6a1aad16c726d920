//! Results for programs, in the shape in which Salt returns them, with what picloud adds.

use super::collect::{MinionReport, Report};
use crate::error::{Diagnostic, Error, Kind};
use crate::run::StateOutcome;
use serde_json::{Map, Value as Json, json};

/// `{minion: {tag: {...}}}`, as Salt's `state.apply` returns it. A minion that was not brought to its end has its reason under
/// `__error__`, or `__stopped__`, beside what states it got through.
pub fn report(run: &Report) -> Json {
    Json::Object(
        run.minions
            .iter()
            .map(|(id, minion)| (id.clone(), minion_json(minion)))
            .collect(),
    )
}

fn minion_json(minion: &MinionReport) -> Json {
    let mut map = Map::new();
    for outcome in &minion.outcomes {
        map.insert(outcome.tag.clone(), state(outcome));
    }
    if let Some(done) = &minion.done {
        if let Some(found) = &done.error {
            map.insert("__error__".to_owned(), error(found));
        }
        if let Some(why) = &done.stopped {
            map.insert("__stopped__".to_owned(), why.as_str().into());
        }
    } else {
        map.insert("__stopped__".to_owned(), "the run did not end".into());
    }
    Json::Object(map)
}

/// One state: Salt's keys first, then ours, which are there only where they say something.
pub fn state(outcome: &StateOutcome) -> Json {
    let mut map = Map::new();
    let mut put = |key: &str, value: Json| map.insert(key.to_owned(), value);
    put("name", outcome.name.as_str().into());
    put("result", outcome.result.into());
    put("changes", outcome.changes.clone().into());
    put("comment", outcome.comment.as_str().into());
    put("__run_num__", outcome.run_num.into());
    put("__sls__", outcome.sls.as_str().into());
    put("__id__", outcome.id.as_str().into());
    put("start_time", time_of_day(outcome.started_ms).into());
    put("duration", ((outcome.duration_ms * 1000.0).round() / 1000.0).into());
    if !outcome.ran {
        put("__state_ran__", false.into());
    }
    if !outcome.warnings.is_empty() {
        put("warnings", outcome.warnings.clone().into());
    }
    put("function", outcome.function.as_str().into());
    if !outcome.at.is_empty() {
        put("at", outcome.at.as_str().into());
    }
    if outcome.may_change {
        put("may_change", true.into());
    }
    if !outcome.diffs.is_empty() {
        let diffs = outcome.diffs.iter().map(|diff| {
            let lines = super::diff::unified(diff, super::diff::Shown::All).join("\n");
            json!({"name": diff.name, "diff": anstream::adapter::strip_str(&lines).to_string()})
        });
        put("diffs", diffs.collect::<Vec<_>>().into());
    }
    Json::Object(map)
}

/// Salt's `start_time`: the local time of day, `12:00:01.123000`.
fn time_of_day(ms: u64) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S.%6f").to_string()
}

/// `{kind, message, errors: [...]}`.
pub fn error(error: &Error) -> Json {
    let kind = |kind| match kind {
        Kind::Usage => "usage",
        Kind::State => "state",
        Kind::Unreachable => "unreachable",
    };
    let one = |d: &Diagnostic| {
        let mut map = Map::new();
        map.insert("kind".to_owned(), kind(d.kind).into());
        map.insert("message".to_owned(), d.message.as_str().into());
        if d.at.is_known() {
            let at = json!({"file": d.at.file.name(), "line": d.at.line, "column": d.at.column});
            map.insert("at".to_owned(), at);
        }
        for (key, value) in [("minion", &d.minion), ("state", &d.state)] {
            value
                .iter()
                .for_each(|value| drop(map.insert(key.to_owned(), value.as_str().into())));
        }
        if !d.trail.is_empty() {
            let trail = d.trail.iter().map(|(how, at)| format!("{how} {at}").trim().to_owned());
            map.insert("trail".to_owned(), trail.collect::<Vec<_>>().into());
        }
        if !d.hints.is_empty() {
            map.insert("hints".to_owned(), d.hints.clone().into());
        }
        Json::Object(map)
    };
    json!({
        "kind": kind(error.kind()),
        "message": error.to_string(),
        "errors": error.diagnostics().iter().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{FileId, Pos};
    use crate::run::{Event, Listener, MinionDone, RunDone, RunStarted};

    #[test]
    fn results_have_salts_shape() {
        let mut run = Report::default();
        let minions = vec!["pi0".to_owned(), "pi1".to_owned()];
        run.hear(&Event::RunStarted(RunStarted {
            minions,
            ..RunStarted::default()
        }));
        let outcome = StateOutcome {
            tag: "test_|-a_|-a_|-nop".into(),
            id: "a".into(),
            name: "a".into(),
            function: "test.nop".into(),
            sls: "web".into(),
            result: Some(true),
            comment: "Success!".into(),
            duration_ms: 0.12345,
            ..StateOutcome::default()
        };
        run.hear(&Event::StateDone {
            minion: "pi0".into(),
            outcome: Box::new(outcome),
        });
        run.hear(&Event::MinionDone(Box::new(MinionDone {
            minion: "pi0".into(),
            ..MinionDone::default()
        })));
        let error = Error::unreachable("connection refused")
            .at(Pos::new(FileId::of("inventory/x.yaml"), 3, 1))
            .hint("try again");
        run.hear(&Event::MinionDone(Box::new(MinionDone {
            minion: "pi1".into(),
            error: Some(error),
            ..MinionDone::default()
        })));
        run.hear(&Event::RunDone(RunDone::default()));
        let mut json = report(&run);
        json["pi0"]["test_|-a_|-a_|-nop"]
            .as_object_mut()
            .unwrap()
            .remove("start_time");
        assert_eq!(
            json,
            json!({
                "pi0": {"test_|-a_|-a_|-nop": {
                    "name": "a", "result": true, "changes": {}, "comment": "Success!", "__run_num__": 0, "__sls__": "web",
                    "__id__": "a", "duration": 0.123, "__state_ran__": false, "function": "test.nop",
                }},
                "pi1": {"__error__": {
                    "kind": "unreachable",
                    "message": "inventory/x.yaml:3:1: connection refused",
                    "errors": [{
                        "kind": "unreachable", "message": "connection refused",
                        "at": {"file": "inventory/x.yaml", "line": 3, "column": 1}, "hints": ["try again"],
                    }],
                }},
            })
        );
    }
}
