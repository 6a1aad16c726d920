//! Templates: plain minijinja for now; Salt's Jinja takes its place.

use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::sls::{Locals, Render, Rendered};
use crate::tree::{Tree, TreeFile};
use crate::yaml::{Map, Value};
use std::sync::Arc;

/// What a minion's templates are rendered with.
#[derive(Clone, Default)]
pub struct Setup {
    pub tree: Arc<Tree>,
    pub id: String,
    pub saltenv: String,
    pub grains: Value,
    pub pillar: Value,
    pub observed: Arc<Observed>,
}

/// Renders the templates of one minion.
pub struct Renderer(Setup);

impl Renderer {
    pub fn new(setup: Setup) -> Renderer {
        Renderer(setup)
    }

    /// The questions that have no answer yet.
    pub fn asks(&self) -> Vec<Probe> {
        Vec::new()
    }

    /// Renders a managed file.
    pub fn render_file(&self, file: &TreeFile, text: &str, context: &Map, _source: &str) -> Result<Rendered> {
        let mut variables = serde_json::Map::new();
        variables.insert("grains".into(), serde_json::Value::from(&self.0.grains));
        variables.insert("pillar".into(), serde_json::Value::from(&self.0.pillar));
        variables.extend(
            context
                .iter()
                .map(|(key, value)| (key.text(), serde_json::Value::from(value))),
        );
        let rendered = minijinja::Environment::new().render_str(text, minijinja::value::Serde(variables));
        rendered
            .map(Rendered::Text)
            .map_err(|e| Error::usage(e.to_string()).at(crate::error::Pos::new(file.id, 0, 0)))
    }
}

impl Render for Renderer {
    fn render(&self, file: &TreeFile, _: &Locals) -> Result<Rendered> {
        self.render_file(file, &String::from_utf8_lossy(&file.read()?), &Map::new(), "")
    }
}
