//! `picloud schema`: JSON schemas, by which editors complete and check SLS files and `picloud.yaml`.

use super::app::App;
use crate::error::Result;
use crate::project::Config;
use crate::states::functions;
use serde_json::{Map, Value as Json, json};

/// Print a JSON schema for editors: of SLS files, or of picloud.yaml.
///
/// With the YAML language server, write on the first line of an SLS file:
/// # yaml-language-server: $schema=sls.schema.json
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What the schema is of.
    #[arg(
        default_value = "sls",
        hide_possible_values = true,
        help = "What the schema is of: sls or project"
    )]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Sls,
    Project,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let schema = match args.what {
        What::Sls => sls(),
        What::Project => schemars::schema_for!(Config).to_value(),
    };
    let text = match app.global.out {
        super::app::Out::Yaml => super::app::yaml(&schema),
        _ => serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n",
    };
    app.print(&text);
    Ok(0)
}

/// Requisites and conditions, which all states take: their types are Salt's to check, their names are here.
const GLOBALS: &str = "name names require require_any watch watch_any onchanges onchanges_any onfail onfail_any onfail_all prereq listen use \
require_in watch_in onchanges_in onfail_in prereq_in listen_in use_in onlyif unless creates check_cmd order failhard retry runas parallel \
fire_event reload_grains reload_modules reload_pillar aggregate umask";

/// The schema of an SLS file that is YAML throughout: what stands in a template is beyond it.
fn sls() -> Json {
    let mut definitions = Map::new();
    let mut declaration = Map::new();
    let mut modules: Map<String, Json> = Map::new();
    for function in functions() {
        let mut schema = (function.schema)().to_value();
        // Definitions of the arguments' types move to the one place that references can reach.
        if let Some(Json::Object(own)) = schema.as_object_mut().and_then(|map| map.remove("$defs")) {
            let prefix = format!("{}.", function.name);
            let mut own = Json::Object(own);
            rename(&mut own, &prefix);
            rename(&mut schema, &prefix);
            if let Json::Object(own) = own {
                definitions.extend(
                    own.into_iter()
                        .map(|(name, definition)| (format!("{prefix}{name}"), definition)),
                );
            }
        }
        let mut properties = schema
            .get("properties")
            .and_then(Json::as_object)
            .cloned()
            .unwrap_or_default();
        for global in GLOBALS.split_whitespace() {
            properties.entry(global).or_insert(json!(true));
        }
        let description = schema.get("description").cloned().unwrap_or_default();
        let arguments = json!({
            "description": description,
            "type": ["array", "null"],
            "items": {"anyOf": [
                {"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1},
                {"type": "string"},
            ]},
        });
        definitions.insert(function.name.to_owned(), arguments);
        declaration.insert(
            function.name.to_owned(),
            json!({"$ref": format!("#/$defs/{}", function.name)}),
        );
        if let Some((module, name)) = function.name.split_once('.') {
            let names = modules.entry(module).or_insert_with(|| json!([]));
            names.as_array_mut().into_iter().for_each(|names| names.push(name.into()));
        }
    }
    for (module, names) in modules {
        let item = json!({"anyOf": [{"type": "string", "enum": names}, {"type": "object"}]});
        declaration.insert(
            module,
            json!({"anyOf": [{"type": "string", "enum": names}, {"type": "array", "items": item}]}),
        );
    }
    let state = json!({
        "anyOf": [
            {"type": "object", "properties": declaration, "additionalProperties": false},
            {"type": "string", "description": "A function without arguments: `pkg.installed`"},
        ],
    });
    definitions.insert("state".to_owned(), state);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Salt state file (SLS), as picloud knows it",
        "type": ["object", "null"],
        "properties": {
            "include": {"type": "array", "description": "SLS that belong to this one."},
            "exclude": {"type": "array", "description": "SLS and IDs that are taken out again."},
            "extend": {"type": "object", "additionalProperties": {"$ref": "#/$defs/state"}, "description": "Changes to states of included SLS."},
        },
        "additionalProperties": {"$ref": "#/$defs/state"},
        "$defs": definitions,
    })
}

/// Gives every reference below `schema` a prefix.
fn rename(schema: &mut Json, prefix: &str) {
    match schema {
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Json::String(path) if key == "$ref" => *path = path.replace("#/$defs/", &format!("#/$defs/{prefix}")),
                    value => rename(value, prefix),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = sls();
        fn references<'a>(value: &'a Json, found: &mut Vec<&'a str>) {
            match value {
                Json::Object(map) => map.iter().for_each(|(key, value)| match value {
                    Json::String(path) if key == "$ref" => found.push(path),
                    value => references(value, found),
                }),
                Json::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() >= functions().count());
        for path in found {
            assert!(
                path.strip_prefix("#/$defs/")
                    .is_some_and(|name| schema["$defs"].get(name).is_some()),
                "{path}"
            );
        }
    }
}
