//! From a minion's grains to its states, ready to be run: pillar, SLS, low state, arguments, sources. Done on the master alone.

use super::engine::Subject;
use super::item::{Item, items, look};
use super::sources::{RenderFile, Sources};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Minion, MinionFacts, TargetKind, match_minion};
use crate::pillar;
use crate::probe::{Observed, Probe};
use crate::project::{Project, UnresolvedRequisites};
use crate::sls::{self, LowState, Rendered, Unresolved, Which};
use crate::states::{Need, Resolved, functions, takes};
use crate::template::{Kept, Renderer, Setup};
use crate::tree::TreeFile;
use crate::yaml::{Map, Value};
use std::sync::Arc;

/// What the states of a run's minions are made of.
pub struct Land {
    pub project: Project,
    pub inventory: Arc<Inventory>,
    pub which: Which,
    pub sources: Sources,
    /// A pillar that stands in for the project's (`--pillar-file`).
    pub pillar: Option<Value>,
    states: Arc<crate::tree::Tree>,
    pillars: Arc<crate::tree::Tree>,
    _templates: [Kept; 2],
}

/// The outcome of a compile.
pub enum Prepared {
    /// Templates ask the minion something: compile again with the answers.
    Asks(Vec<Probe>),
    Ready(Box<Compiled>),
}

/// A minion's states.
pub struct Compiled {
    pub subject: Subject,
    pub low: LowState,
    pub items: Vec<Item>,
    pub warnings: Vec<Error>,
    /// What must not be shown.
    pub secrets: Vec<String>,
}

/// What a minion's SLS come to, before any state function has looked at it.
pub enum Shown {
    Asks(Vec<Probe>),
    Ready { pillar: Arc<Value>, ready: Box<sls::Ready> },
}

impl Land {
    pub fn new(project: Project, inventory: Arc<Inventory>, which: Which, through_master: bool) -> Land {
        let sources = Sources::new(project.states.clone(), project.cache.clone(), through_master);
        let (states, pillars) = (Arc::new(project.states.clone()), Arc::new(project.pillar.clone()));
        Land {
            project,
            inventory,
            which,
            sources,
            pillar: None,
            _templates: [Kept::of(&states), Kept::of(&pillars)],
            states,
            pillars,
        }
    }

    /// The grains that the minion had when it was last seen.
    pub fn cached_grains(&self, minion: &Minion) -> Option<Value> {
        self.project.cache.grains(&minion.id)
    }

    pub fn keep_grains(&self, minion: &Minion, grains: &Value) -> Result<()> {
        self.project.cache.set_grains(&minion.id, grains)
    }

    /// `observed` grains with the id and what the inventory lays over them.
    fn grains(&self, minion: &Minion, observed: &Value) -> Arc<Value> {
        let mut grains = observed.clone();
        if let Some(map) = grains.as_map_mut() {
            map.insert("id".into(), minion.id.as_str().into());
            if let Some(own) = minion.grains.as_map() {
                map.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        Arc::new(grains)
    }

    fn setup(&self, minion: &Minion, grains: &Arc<Value>, pillar: &Arc<Value>, observed: &Arc<Observed>, pillars: bool) -> Setup {
        Setup {
            tree: if pillars { self.pillars.clone() } else { self.states.clone() },
            id: minion.id.to_string(),
            saltenv: "base".to_owned(),
            grains: grains.clone(),
            pillar: pillar.clone(),
            observed: observed.clone(),
            groups: self.inventory.shared_groups(),
        }
    }

    /// The pillar of `minion`; the questions of its templates where they have some.
    ///
    /// # Errors
    /// What is wrong in the pillar's files.
    pub fn pillar_of(&self, minion: &Minion, grains: &Value, observed: &Arc<Observed>) -> Result<Result<Value, Vec<Probe>>> {
        self.pillar_with(minion, &self.grains(minion, grains), observed)
    }

    /// The same, with the grains as templates see them.
    fn pillar_with(&self, minion: &Minion, grains: &Arc<Value>, observed: &Arc<Observed>) -> Result<Result<Value, Vec<Probe>>> {
        if let Some(pillar) = &self.pillar {
            return Ok(Ok(pillar.clone()));
        }
        let empty = Value::map();
        let own = Arc::new(minion.pillar.clone());
        let renderer = Renderer::new(self.setup(minion, grains, &own, observed, true));
        let facts = MinionFacts {
            id: minion.id.as_str(),
            grains,
            pillar: &empty,
            addresses: &[],
            groups: self.inventory.groups(),
        };
        let input = pillar::Input {
            tree: &self.project.pillar,
            render: &renderer,
            id: minion.id.as_str(),
            saltenv: "base",
            matches: &|expr, kind| match_minion(expr, TargetKind::from_salt(kind)?, &facts),
            overlay: &minion.pillar,
        };
        Ok(match pillar::compile(&input)? {
            pillar::Compiled::Ready(pillar) => Ok(pillar),
            pillar::Compiled::Asks => Err(renderer.asks()),
        })
    }

    /// Pillar, high state and low state of `minion`.
    ///
    /// # Errors
    /// Everything that is wrong in the files that concern it.
    pub fn show(&self, minion: &Minion, grains: &Value, observed: &Arc<Observed>) -> Result<Shown> {
        self.show_with(minion, &self.grains(minion, grains), observed)
    }

    /// The same, with the grains as templates see them.
    fn show_with(&self, minion: &Minion, grains: &Arc<Value>, observed: &Arc<Observed>) -> Result<Shown> {
        let pillar = match self.pillar_with(minion, grains, observed)? {
            Ok(pillar) => Arc::new(pillar),
            Err(asks) => return Ok(Shown::Asks(asks)),
        };
        let renderer = Renderer::new(self.setup(minion, grains, &pillar, observed, false));
        let facts = MinionFacts {
            id: minion.id.as_str(),
            grains,
            pillar: &pillar,
            addresses: &[],
            groups: self.inventory.groups(),
        };
        let input = sls::Input {
            tree: &self.project.states,
            render: &renderer,
            id: minion.id.as_str(),
            saltenv: "base",
            which: self.which.clone(),
            matches: &|expr, kind| match_minion(expr, TargetKind::from_salt(kind)?, &facts),
            watches: &watches,
            takes: &takes,
            unresolved: match self.project.config.unresolved_requisites {
                UnresolvedRequisites::Error => Unresolved::Error,
                UnresolvedRequisites::Warn => Unresolved::Warn,
            },
        };
        Ok(match sls::compile(&input)? {
            sls::Compiled::Asks => Shown::Asks(renderer.asks()),
            sls::Compiled::Ready(ready) => Shown::Ready { pillar, ready },
        })
    }

    /// The states of `minion`, ready to be run.
    ///
    /// # Errors
    /// Everything that is wrong in the files that concern it; unknown functions and arguments; sources that are not there.
    pub async fn compile(&self, minion: &Minion, grains: &Value, observed: &Observed, run: &str) -> Result<Prepared> {
        let observed = Arc::new(observed.clone());
        let grains = self.grains(minion, grains);
        let (pillar, mut ready) = match self.show_with(minion, &grains, &observed)? {
            Shown::Asks(asks) => return Ok(Prepared::Asks(asks)),
            Shown::Ready { pillar, ready } => (pillar, *ready),
        };
        let mut items = items(&ready.low.chunks).map_err(|e| ready.rendered.explain(e))?;
        // The states have taken their arguments in; with hundreds of minions at once a second copy of them counts.
        for chunk in &mut ready.low.chunks {
            (chunk.all, chunk.arguments) = (Map::new(), Map::new());
        }
        drop((ready.high, ready.top));
        let mut subject = Subject {
            id: minion.id.to_string(),
            grains,
            pillar,
            resolved: Resolved::default(),
            run: run.to_owned(),
            groups: self.inventory.shared_groups(),
            tree: self.states.clone(),
        };
        let needs: Vec<Need> = items
            .iter()
            .flat_map(|item| item.state.needs(&subject.context(&[])))
            .collect();
        self.sources.fetch(&needs).await;
        let renderer = Renderer::new(self.setup(minion, &subject.grains, &subject.pillar, &observed, false));
        let mut resolved = Resolved::default();
        if self.sources.resolve(&needs, &Files(&renderer), &mut resolved) {
            return Ok(Prepared::Asks(renderer.asks()));
        }
        subject.resolved = resolved;
        look(&mut items, &ready.low, &subject)?;
        let secrets = pillar::secrets(&subject.pillar);
        Ok(Prepared::Ready(Box::new(Compiled {
            subject,
            low: ready.low,
            items,
            warnings: ready.warnings,
            secrets,
        })))
    }
}

/// Renders managed files.
struct Files<'a>(&'a Renderer);

impl RenderFile for Files<'_> {
    fn render_file(&self, file: &TreeFile, text: &str, context: &Map, source: &str) -> Result<Rendered> {
        self.0.render_file(file, text, context, source)
    }
}

/// Whether a module has a `mod_watch`.
fn watches(module: &str) -> bool {
    functions().any(|function| function.watches && function.name.split('.').next() == Some(module))
}
