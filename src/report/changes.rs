//! A state's `changes` dictionary as a person reads it.

use super::diff::{Shown, unified};
use super::paint::{GREEN, RED, paint, plural, safe};
use crate::run::StateOutcome;
use serde_json::Value as Json;

/// A changes dictionary as lines: `key: old -> new`, mappings indented.
pub(super) fn changes(outcome: &StateOutcome, full: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in &outcome.changes {
        // The text is in the diffs, which are drawn better.
        let drawn = key == "diff" && !outcome.diffs.is_empty();
        // Process numbers and empty outputs tell nothing and differ everywhere.
        let noise = !full && (key == "pid" || value == "" || value.is_null());
        if !drawn && !noise {
            value_lines(&mut lines, 0, key, value);
        }
    }
    lines
}

fn value_lines(lines: &mut Vec<String>, indent: usize, key: &str, value: &Json) {
    let start = format!("{}{}", " ".repeat(indent), safe(key));
    match value {
        Json::Object(map) if is_from_to(map) => {
            let side = |name: &str| {
                map.get(name)
                    .map(|value| scalar(value).unwrap_or_else(|| value.to_string()))
                    .unwrap_or_default()
            };
            let (old, new) = (side("old"), side("new"));
            if old.contains('\n') || new.contains('\n') {
                let diff = crate::states::TextDiff {
                    name: key.to_owned(),
                    old,
                    new,
                };
                lines.push(format!("{start}:"));
                lines.extend(
                    unified(&diff, Shown::All)
                        .into_iter()
                        .skip(2)
                        .map(|line| format!("{}  {line}", " ".repeat(indent))),
                );
            } else {
                let shown = |text: &str| {
                    if text.is_empty() {
                        "(nothing)".to_owned()
                    } else {
                        safe(text).into_owned()
                    }
                };
                lines.push(format!(
                    "{start}: {} -> {}",
                    paint(RED, shown(&old)),
                    paint(GREEN, shown(&new))
                ));
            }
        }
        Json::Object(map) => {
            lines.push(format!("{start}:"));
            map.iter().for_each(|(key, value)| value_lines(lines, indent + 2, key, value));
        }
        Json::Array(items) if items.iter().all(|item| scalar(item).is_some()) => {
            let items: Vec<String> = items.iter().filter_map(scalar).collect();
            lines.push(format!("{start}: {}", safe(&items.join(", "))));
        }
        Json::Array(items) => {
            lines.push(format!("{start}:"));
            items.iter().for_each(|item| value_lines(lines, indent + 2, "-", item));
        }
        _ => {
            let text = scalar(value).unwrap_or_default();
            match text.trim_end().contains('\n') {
                true => {
                    lines.push(format!("{start}:"));
                    lines.extend(
                        text.trim_end()
                            .lines()
                            .map(|line| format!("{}  {}", " ".repeat(indent), safe(line))),
                    );
                }
                false => lines.push(format!("{start}: {}", safe(text.trim_end()))),
            }
        }
    }
}

fn is_from_to(map: &serde_json::Map<String, Json>) -> bool {
    !map.is_empty() && map.keys().all(|key| key == "old" || key == "new") && !map.values().any(Json::is_object)
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::Null => Some(String::new()),
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// `lines`, or so many of them and how many more there are.
pub(super) fn capped(mut lines: Vec<String>, shown: Shown) -> Vec<String> {
    if let Shown::Lines(most) = shown
        && lines.len() > most + 1
    {
        let hidden = lines.len() - most;
        lines.truncate(most);
        lines.push(format!("… {}", plural(hidden, "more line")));
    }
    lines
}
