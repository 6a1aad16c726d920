//! The project: the folder with `picloud.yaml`, found by walking up from the current one; and the cache that goes with it.
//!
//! Knows where things are and how the user wants runs to go; what is in the files is for other rooms.

use crate::error::{Error, Result};
use crate::inventory::{Inventory, MinionId};
use crate::sls::Unresolved;
use crate::tree::{Root, Tree, shown};
use crate::yaml::Value;
use include_dir::Dir;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that makes a folder a project.
pub const FILE: &str = "picloud.yaml";

/// The states that picloud ships.
static SHIPPED: Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/states");

/// What stands for the root of the shipped states in messages.
const SHIPPED_AS: &str = "(shipped with picloud)";

/// The catalogue of images that picloud ships.
static SHIPPED_IMAGES: Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/images");

/// What stands for its folder in messages.
const SHIPPED_IMAGES_AS: &str = "(shipped with picloud)/images";

/// The shipped states as the last root of a tree.
pub fn shipped() -> Root {
    Root::Embedded {
        dir: &SHIPPED,
        shown: SHIPPED_AS,
    }
}

/// The text of a shipped file by the name that messages give it.
pub fn shipped_text(shown: &str) -> Option<&'static str> {
    if let Some(path) = shown.strip_prefix(SHIPPED_IMAGES_AS) {
        return SHIPPED_IMAGES.get_file(path.trim_start_matches('/'))?.contents_utf8();
    }
    let path = shown.strip_prefix(SHIPPED_AS)?.trim_start_matches('/');
    SHIPPED.get_file(path)?.contents_utf8()
}

/// How runs end up on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StateOutput {
    /// Every state, with all of its diff.
    Full,
    /// States that changed or failed; those that hold are counted.
    #[default]
    Changes,
    /// One line for each state that changed or failed.
    Terse,
}

/// What to make of a requisite that refers to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnresolvedRequisites {
    /// The compile fails.
    #[default]
    Error,
    /// Only the state that has it fails, when it is its turn, as in Salt 3006.
    Warn,
}

impl From<UnresolvedRequisites> for Unresolved {
    fn from(written: UnresolvedRequisites) -> Unresolved {
        match written {
            UnresolvedRequisites::Error => Unresolved::Error,
            UnresolvedRequisites::Warn => Unresolved::Warn,
        }
    }
}

/// `picloud.yaml`. Every setting has a default; an empty file is a project.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The cluster's name, for reports.
    pub name: Option<String>,
    /// Folders of states, relative to the project; the first that has a file wins. The states that picloud ships come last.
    pub states: Vec<PathBuf>,
    /// Folders of pillar, as `states`.
    pub pillar: Vec<PathBuf>,
    /// The inventory: a folder of YAML files, or one file.
    pub inventory: PathBuf,
    /// The folder of OS images.
    pub images: PathBuf,
    /// How many minions are connected to at the same time.
    pub forks: usize,
    /// The file that new host keys are written to; `~/.ssh/known_hosts` where not said.
    pub known_hosts: Option<PathBuf>,
    /// What to make of a requisite that refers to nothing.
    pub unresolved_requisites: UnresolvedRequisites,
    /// Stop a minion at its first state that fails.
    pub failhard: bool,
    /// Fetch `http(s)` sources on the master rather than on each minion.
    pub through_master: bool,
    /// How much of each state is reported.
    pub state_output: StateOutput,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: None,
            states: vec!["states".into()],
            pillar: vec!["pillar".into()],
            inventory: "inventory".into(),
            images: "images".into(),
            forks: 50,
            known_hosts: None,
            unresolved_requisites: UnresolvedRequisites::default(),
            failhard: false,
            through_master: false,
            state_output: StateOutput::default(),
        }
    }
}

/// A project that was found, or what stands for one where there is none.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder that `picloud.yaml` is in; `None` without a project.
    pub root: Option<PathBuf>,
    pub config: Config,
    /// The state tree.
    pub states: Tree,
    /// The pillar tree.
    pub pillar: Tree,
    pub cache: Cache,
}

impl Project {
    /// The project that `folder` is in: the nearest `picloud.yaml` in it or above it.
    ///
    /// # Errors
    /// There is none, or something is wrong with it.
    pub fn find(folder: &Path) -> Result<Project> {
        match Project::folder_of(folder) {
            Some(root) => Project::open(root),
            None => Err(
                Error::usage(format!("there is no {FILE} in {} or above it", folder.display()))
                    .hint("`picloud init NAME` makes a project; `-C DIR` names one")
                    .hint("`--root TREE` with `--local` works without one"),
            ),
        }
    }

    /// The folder of the project that `folder` is in, if it is in one.
    pub fn folder_of(folder: &Path) -> Option<&Path> {
        folder.ancestors().find(|folder| folder.join(FILE).is_file())
    }

    /// The project at `root`.
    ///
    /// # Errors
    /// `picloud.yaml` cannot be read or says what it may not.
    pub fn open(root: &Path) -> Result<Project> {
        let file = root.join(FILE);
        let id = shown(&file);
        let bytes = crate::yaml::read(id, &file)?;
        let value = crate::yaml::parse_bytes(id, &bytes)?;
        let config = if value.is_null() {
            Config::default()
        } else {
            Config::read(&value)?
        };
        let tree = |folders: &[PathBuf]| Tree {
            roots: folders.iter().map(|folder| Root::Folder(root.join(home(folder)))).collect(),
        };
        let mut states = tree(&config.states);
        states.roots.push(shipped());
        Ok(Project {
            states,
            pillar: tree(&config.pillar),
            cache: Cache {
                folder: root.join(".picloud"),
            },
            root: Some(root.to_owned()),
            config,
        })
    }

    /// What stands for a project where there is none: `tree` holds the states, and those alone; there is no pillar and no inventory.
    pub fn without(tree: Tree) -> Project {
        Project {
            root: None,
            config: Config::default(),
            states: tree,
            pillar: Tree::default(),
            cache: Cache { folder: user_cache() },
        }
    }

    /// The inventory; empty without a project.
    ///
    /// # Errors
    /// Everything that is wrong in its files.
    pub fn inventory(&self) -> Result<Inventory> {
        match &self.root {
            Some(root) => Inventory::load(&root.join(home(&self.config.inventory))),
            None => Ok(Inventory::default()),
        }
    }

    /// Where images are catalogued: the project's own folder, and what picloud ships.
    pub fn images(&self) -> Tree {
        let mut roots: Vec<Root> = self.image_folder().into_iter().map(Root::Folder).collect();
        roots.push(Root::Embedded {
            dir: &SHIPPED_IMAGES,
            shown: SHIPPED_IMAGES_AS,
        });
        Tree { roots }
    }

    /// The project's own folder of images, which may not exist.
    pub fn image_folder(&self) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(home(&self.config.images)))
    }

    /// The file of known host keys that the project names.
    pub fn known_hosts(&self) -> Option<PathBuf> {
        let written = home(self.config.known_hosts.as_deref()?);
        Some(self.root.as_ref().map_or_else(|| written.clone(), |root| root.join(&written)))
    }

    /// The project's own file of known host keys, which may not exist: the one that it names, or else `known_hosts` in its
    /// folder. What is pinned there decides, whatever the user's files say. `None` without a project.
    pub fn own_known_hosts(&self) -> Option<PathBuf> {
        self.known_hosts().or_else(|| Some(self.root.as_ref()?.join("known_hosts")))
    }
}

impl Config {
    fn read(value: &Value) -> Result<Config> {
        let config: Config = crate::yaml::from_value(value)?;
        let at = |key: &str| value.get(key).map_or(value.at, |value| value.at);
        if config.forks == 0 {
            return Err(Error::usage("`forks` must be at least 1").at(at("forks")));
        }
        for (key, folders) in [("states", &config.states), ("pillar", &config.pillar)] {
            if folders.is_empty() {
                return Err(Error::usage(format!("`{key}` names no folder")).at(at(key)));
            }
        }
        Ok(config)
    }
}

/// `path` with a leading `~/` resolved.
fn home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

/// Where the cache is without a project.
fn user_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("picloud")
}

/// What picloud remembers between runs: grains, records of runs, files that it fetched. Nobody else may read it.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`, which is made when it is needed.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The user's own, whatever the project: for what is large, or known of a machine rather than of a project.
    pub fn of_user() -> Cache {
        Cache { folder: user_cache() }
    }

    /// The folder `name` of the cache, which may not exist yet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder `name` of the cache, made with mode 0700 where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = self.path(name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| Error::usage(format!("cannot make the folder {}: {e}", shown(&folder).name())))?;
        Ok(folder)
    }

    /// The grains that `id` had when it was last seen; `None` where it never was.
    pub fn grains(&self, id: &MinionId) -> Option<Value> {
        let text = std::fs::read_to_string(self.path("grains").join(format!("{id}.json"))).ok()?;
        // A cache that cannot be read is no cache.
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        json.is_object().then(|| Value::from(&json))
    }

    /// Whether the processor of `id` had AES instructions when it was last seen; `None` where that is not known.
    pub fn has_aes(&self, id: &MinionId) -> Option<bool> {
        /// The one grain: the others are read past.
        #[derive(Deserialize)]
        struct Grains {
            aes: Option<bool>,
        }
        let text = std::fs::read(self.path("grains").join(format!("{id}.json"))).ok()?;
        serde_json::from_slice::<Grains>(&text).ok()?.aes
    }

    /// Remembers the grains of `id`.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn set_grains(&self, id: &MinionId, grains: &Value) -> Result<()> {
        let json = serde_json::Value::from(grains).to_string();
        write_whole(&self.folder("grains")?.join(format!("{id}.json")), json.as_bytes())
    }
}

/// Writes `bytes` to `path` so that a reader sees the old contents or the new, never half of them. Mode 0600.
///
/// # Errors
/// The file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| Error::usage(format!("cannot write {}: {e}", shown(path).name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> (tempfile::TempDir, Result<Project>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let below = folder.path().join("states/web");
        std::fs::create_dir_all(&below).unwrap();
        let found = Project::find(&below);
        (folder, found)
    }

    #[test]
    fn one_grain_is_read_without_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, id) = (Cache::at(folder.path()), MinionId::new("pi0").unwrap());
        assert_eq!(cache.has_aes(&id), None);
        for (grains, aes) in [
            (serde_json::json!({"a": {"aes": true}, "aes": false, "z": [1]}), Some(false)),
            (serde_json::json!({"aes": true}), Some(true)),
            (serde_json::json!({"os": "Debian"}), None),
            (serde_json::json!({"aes": "perhaps"}), None),
        ] {
            cache.set_grains(&id, &Value::from(&grains)).unwrap();
            assert_eq!(cache.has_aes(&id), aes, "{grains}");
        }
    }

    #[test]
    fn a_project_is_found_from_below() {
        let (folder, found) = project("");
        let found = found.unwrap();
        assert_eq!(found.root.as_deref(), Some(folder.path()));
        assert_eq!(found.config, Config::default());
        assert_eq!(found.known_hosts(), None);
        assert_eq!(found.own_known_hosts(), Some(folder.path().join("known_hosts")));
    }

    #[test]
    fn settings_are_read() {
        let (folder, found) = project(
            "name: lab\nstates: [states, more]\nforks: 5\nstate_output: terse\nunresolved_requisites: warn\nknown_hosts: hosts\n",
        );
        let found = found.unwrap();
        assert_eq!(found.config.name.as_deref(), Some("lab"));
        assert_eq!(found.states.roots.len(), 3);
        assert!(found.states.find("docker/init.sls").is_some(), "the shipped states come last");
        assert_eq!(found.config.state_output, StateOutput::Terse);
        assert_eq!(found.config.unresolved_requisites, UnresolvedRequisites::Warn);
        assert_eq!(found.known_hosts(), Some(folder.path().join("hosts")));
        assert_eq!(found.own_known_hosts(), found.known_hosts());
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (text, expected) in [
            ("fork: 3\n", ":1:1: "),
            ("name: x\nforks: 0\n", ":2:8: `forks` must be at least 1"),
            ("states: []\n", ":1:9: `states` names no folder"),
            ("state_output: all\n", ":1:15: "),
        ] {
            let error = project(text).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn grains_are_remembered_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join(".picloud"));
        let id = MinionId::new("pi0").unwrap();
        assert!(cache.grains(&id).is_none());
        let grains = Value::from(&serde_json::json!({"os": "Debian", "num_cpus": 4}));
        cache.set_grains(&id, &grains).unwrap();
        assert_eq!(cache.grains(&id), Some(grains));
        let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(".picloud"), mode(".picloud/grains/pi0.json")), (0o700, 0o600));
    }
}
