//! The reference of a state function as data, from the schema of its arguments: the code's own documentation.

use crate::states::Function;
use serde_json::Value as Json;

/// What there is to say of one state function.
pub struct Page {
    pub name: &'static str,
    /// The documentation of its struct: Markdown.
    pub text: String,
    pub arguments: Vec<Argument>,
}

pub struct Argument {
    pub name: String,
    /// What it takes, in words.
    pub kind: String,
    pub required: bool,
    pub default: Option<Json>,
    /// Markdown.
    pub text: String,
}

impl Page {
    pub fn of(function: &Function) -> Page {
        let schema = (function.schema)().to_value();
        let definitions = schema.get("$defs").cloned().unwrap_or(Json::Null);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut arguments: Vec<Argument> = properties
            .into_iter()
            .flatten()
            .map(|(name, property)| Argument {
                name: name.clone(),
                kind: kind(property, &definitions, 0),
                required: required.contains(&name.as_str()),
                default: property.get("default").filter(|default| says_something(default)).cloned(),
                text: text_of(property)
                    .or_else(|| text_of(resolve(property, &definitions)?))
                    .unwrap_or_default()
                    .to_owned(),
            })
            .collect();
        // What must be given stands first; else the order of the struct is its author's.
        arguments.sort_by_key(|argument| !argument.required);
        Page {
            name: function.name,
            text: text_of(&schema).unwrap_or_default().to_owned(),
            arguments,
        }
    }

    /// The first sentence.
    pub fn summary(&self) -> String {
        let paragraph = self
            .text
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        match paragraph.find(". ") {
            Some(end) => paragraph[..=end].to_owned(),
            None => paragraph,
        }
    }
}

fn says_something(default: &Json) -> bool {
    match default {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(map) => !map.is_empty(),
        Json::Bool(_) | Json::Number(_) => true,
    }
}

fn text_of(schema: &Json) -> Option<&str> {
    schema.get("description")?.as_str()
}

fn resolve<'a>(schema: &Json, definitions: &'a Json) -> Option<&'a Json> {
    let path = schema.get("$ref")?.as_str()?;
    definitions.get(path.strip_prefix("#/$defs/")?)
}

/// What a schema takes, in words: `string`, `list of strings`, `true or false`.
fn kind(schema: &Json, definitions: &Json, depth: usize) -> String {
    if depth > 4 {
        return "anything".to_owned();
    }
    let inner = |schema: &Json| kind(schema, definitions, depth + 1);
    if let Some(definition) = resolve(schema, definitions) {
        return inner(definition);
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return either(values.iter().filter(|value| !value.is_null()).map(word).collect());
    }
    if let Some(value) = schema.get("const") {
        return word(value);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(key).and_then(Json::as_array) {
            return either(choices.iter().map(inner).filter(|kind| kind != "nothing").collect());
        }
    }
    let one = |name: &str| match name {
        "boolean" => "true or false".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "null" => "nothing".to_owned(),
        "object" => "mapping".to_owned(),
        "array" => match schema.get("items").map(inner).as_deref() {
            None | Some("anything") => "list".to_owned(),
            Some(word @ ("string" | "number" | "mapping" | "list")) => format!("list of {word}s"),
            Some(kind) => format!("list of ({kind})"),
        },
        name => name.to_owned(),
    };
    match schema.get("type") {
        Some(Json::String(name)) => one(name),
        Some(Json::Array(names)) => either(
            names
                .iter()
                .filter_map(Json::as_str)
                .filter(|name| *name != "null")
                .map(one)
                .collect(),
        ),
        _ => "anything".to_owned(),
    }
}

fn word(value: &Json) -> String {
    match value {
        Json::String(text) => format!("`{text}`"),
        value => value.to_string(),
    }
}

/// `a, b or c`, each once.
fn either(kinds: Vec<String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for kind in kinds {
        if !once.contains(&kind) {
            once.push(kind);
        }
    }
    match once.split_last() {
        None => "anything".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_are_words() {
        let definitions = json!({"Mode": {"type": "string", "enum": ["a", "b"]}, "Loop": {"$ref": "#/$defs/Loop"}});
        for (schema, expected) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"]}), "number"),
            (json!({"type": "array", "items": {"type": "string"}}), "list of strings"),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}),
                "string or list of strings",
            ),
            (json!({"$ref": "#/$defs/Mode"}), "`a` or `b`"),
            (json!({"$ref": "#/$defs/Loop"}), "anything"),
            (json!({"type": "boolean"}), "true or false"),
            (json!(true), "anything"),
        ] {
            assert_eq!(kind(&schema, &definitions, 0), expected, "{schema}");
        }
    }
}
