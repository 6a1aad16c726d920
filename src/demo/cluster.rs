//! A cluster of the demo: throwaway minions, and the project that they are brought to the states of. Tells nobody anything: that is
//! for `cli/demo.rs`.

use super::root::Kind;
use super::server::{Minion, shared};
use crate::error::{Error, Result};
use crate::inventory::{self, Inventory};
use crate::project::Project;
use crate::run::{self, Gate, Land, Listener, Manner, Phase, Reach};
use crate::shell::{Answer, Section, quote};
use crate::sls::Which;
use crate::ssh::{Endpoint, Privilege, Session, connect};
use crate::yaml::Value;
use futures::future::BoxFuture;
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The demo's project, as `picloud init` would have made it.
static PROJECT: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/demo/project");

/// What the project's inventory says of its minions' names.
const NAMES: &str = "pi[0-2]";

/// Minions with a project. All of it is gone when it is dropped.
pub struct Cluster {
    minions: Vec<Minion>,
    /// The same, as the inventory knows them.
    known: Vec<inventory::Minion>,
    project: Project,
    inventory: Arc<Inventory>,
    reach: InProcess,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts `count` minions, each with the most private root that can be had.
    ///
    /// # Errors
    /// No folder can be written for them.
    pub async fn start(count: usize) -> Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("picloud-demo-").tempdir();
        let folder = folder.map_err(|e| Error::usage(format!("cannot make a folder for the demo: {e}")))?;
        let place = folder.path().join("project");
        write(&place, count).map_err(|e| Error::usage(format!("cannot write the demo's project to {}: {e}", place.display())))?;
        let project = Project::open(&place)?;
        let inventory = Arc::new(project.inventory()?);
        let starting = inventory.minions().map(|minion| Minion::start(minion.id.as_str()));
        let minions = futures::future::try_join_all(starting).await?;
        let telling = inventory.minions().zip(&minions).map(|(known, minion)| told(known, minion));
        let known = futures::future::join_all(telling).await;
        let reach = InProcess(Arc::new(Ways {
            shared: shared(&minions, folder.path(), project.config.forks)?,
            endpoints: minions
                .iter()
                .map(|minion| (minion.name().to_owned(), minion.endpoint()))
                .collect(),
        }));
        Ok(Cluster {
            minions,
            known,
            project,
            inventory,
            reach,
            _folder: folder,
        })
    }

    pub fn minions(&self) -> &[Minion] {
        &self.minions
    }

    /// Whether the states include some of an account of its own.
    pub fn has_users(&self) -> bool {
        self.known
            .iter()
            .all(|known| known.grains.get("accounts").and_then(Value::as_bool) == Some(true))
    }

    /// Where the web site of the demo's states is on `minion`.
    pub fn site(minion: &Minion) -> String {
        format!(
            "{}{}/demo",
            minion.root().base(),
            if minion.kind().is_private() { "/srv" } else { "" }
        )
    }

    /// `picloud apply`: brings all minions to their states, in this `manner`.
    ///
    /// # Errors
    /// The run cannot be begun; what goes wrong in it, `listener` hears.
    pub async fn apply(&self, manner: Manner, listener: &mut dyn Listener) -> Result<()> {
        let land = Land::new(self.project.clone(), self.inventory.clone(), Which::Top, false);
        let (events, heard) = tokio::sync::mpsc::unbounded_channel();
        let shared = run::Shared {
            run: run::new_run(&self.project.cache)?,
            land,
            reach: Box::new(self.reach.clone()),
            manner,
            gate: Gate::new(self.known.len(), None),
            who: "picloud demo".to_owned(),
            events,
        };
        run::apply(shared, "apply".to_owned(), self.known.clone(), heard, listener).await;
        Ok(())
    }

    /// `picloud run`: what `command` prints on `minion`.
    ///
    /// # Errors
    /// The minion cannot be reached, or the command fails.
    pub async fn run(&self, minion: &Minion, command: &str) -> Result<String> {
        let known = self.inventory.minion(minion.name())?;
        let section = Section::new(format!("sh -c {}", quote(command)));
        let answer: Answer = run::command(&self.reach, known, section, None).await?;
        match answer.status {
            0 => Ok(answer.text().into_owned()),
            status => Err(
                Error::state(format!("`{command}` exited with {status}: {}", answer.error_text().trim())).minion(minion.name()),
            ),
        }
    }
}

/// Writes the project with `count` minions to `place`.
fn write(place: &Path, count: usize) -> std::io::Result<()> {
    std::fs::create_dir_all(place)?;
    PROJECT.extract(place)?;
    let file = place.join("inventory/minions.yaml");
    let names = format!("pi[0-{}]", count.saturating_sub(1));
    std::fs::write(&file, std::fs::read_to_string(&file)?.replace(NAMES, &names))
}

/// `known` with what its states must know of its root: the grains `root`, `accounts` and `tzdata`, and the folder of the web site.
async fn told(known: &inventory::Minion, minion: &Minion) -> inventory::Minion {
    let root = match minion.kind() {
        Kind::Overlay => "overlay",
        Kind::Copy => "copy",
        Kind::Folder => "folder",
    };
    let found = found(minion).await;
    let grains = serde_json::json!({
        "root": root,
        "accounts": found.iter().any(|line| line == "accounts"),
        "tzdata": found.iter().any(|line| line == "tzdata"),
    });
    inventory::Minion {
        grains: Value::from(&grains),
        pillar: Value::from(&serde_json::json!({ "site": { "folder": Cluster::site(minion) } })),
        ..known.clone()
    }
}

/// What a private root may lack: says `accounts` if files can belong to others than root (in the name spaces of one who is not root
/// they mostly cannot), and `tzdata` if that package is installed, which could not be fetched.
const LACKS: &str = r#"f=$(mktemp) && { ! chown 1:1 "$f" || echo accounts; rm "$f"; }
if [ "$(dpkg-query -W -f '${db:Status-Status}' tzdata)" = installed ] || rpm -q tzdata || pacman -Q tzdata || apk info -e tzdata
then echo tzdata; fi"#;

/// The lines that [`LACKS`] prints.
async fn found(minion: &Minion) -> Vec<String> {
    if !minion.kind().is_private() {
        return Vec::new();
    }
    let Ok(child) = minion.root().spawn(LACKS) else {
        return Vec::new();
    };
    let output = child.wait_with_output().await.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()
}

/// How the minions are reached: over SSH, but through memory.
#[derive(Clone)]
struct InProcess(Arc<Ways>);

struct Ways {
    shared: crate::ssh::Shared,
    endpoints: BTreeMap<String, Endpoint>,
}

impl Reach for InProcess {
    fn session<'a>(
        &'a self,
        minion: &'a inventory::Minion,
        _: &'a mut (dyn FnMut(Phase) + Send),
    ) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async move {
            let unknown = || Error::unreachable("no minion of this name was started");
            let endpoint = self.0.endpoints.get(minion.id.as_str()).ok_or_else(unknown)?;
            connect(endpoint, &self.0.shared).await?.session(Privilege::default()).await
        })
    }
}
