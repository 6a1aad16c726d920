//! How a minion is reached: what the inventory says, completed by `~/.ssh/config` and the defaults of SSH. Knows no connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::config::{ConfigFiles, HostConfig};
use super::known_hosts::HostName;
use super::wire::{Dial, Family};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Jump, Minion, MinionId, Password};

/// A minion, or a host on the way to one, as far as it was said how it is reached. `None` leaves a choice to `~/.ssh/config`.
#[derive(Clone)]
pub struct Endpoint {
    /// What messages call it: a minion's id.
    pub name: String,
    /// It is a minion, which `picloud trust` knows by its name.
    pub minion: bool,
    /// A host name, an address, or a `Host` of `~/.ssh/config`.
    pub address: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// Private keys to try first, as written.
    pub keys: Vec<String>,
    pub password: Option<Password>,
    /// Hosts to go through, the first one first; none of them has hosts of its own.
    pub jump: Vec<Endpoint>,
    /// How long connecting may take.
    pub timeout: Option<Duration>,
    pub host_key_alias: Option<String>,
    /// Whether its processor is known to have AES instructions (of its grains); `None` is not known.
    pub aes: Option<bool>,
    /// Whether it is far away, as [`super::connect()`] counts it; `None`: measured when it is connected to.
    pub far: Option<bool>,
    /// The fingerprint of the key that worked the last time ([`super::Authenticated::key`]): tried first.
    pub last_key: Option<String>,
    /// Where the bytes go instead of over TCP: a minion inside this process.
    pub dial: Option<Arc<dyn Dial>>,
}

impl Endpoint {
    /// A host of which nothing but its address is known.
    pub fn new(name: &str, address: &str) -> Endpoint {
        Endpoint {
            name: name.to_owned(),
            minion: false,
            address: address.to_owned(),
            port: None,
            user: None,
            keys: Vec::new(),
            password: None,
            jump: Vec::new(),
            timeout: None,
            host_key_alias: None,
            aes: None,
            far: None,
            last_key: None,
            dial: None,
        }
    }

    /// A minion of the inventory, with the minions that it is reached through.
    ///
    /// # Errors
    /// A jump host that the inventory does not have, or minions that are reached through each other.
    pub fn of(minion: &Minion, inventory: &Inventory) -> Result<Endpoint> {
        Endpoint::of_minion(minion, inventory, &mut Vec::new())
    }

    fn of_minion<'a>(minion: &'a Minion, inventory: &'a Inventory, on_the_way: &mut Vec<&'a MinionId>) -> Result<Endpoint> {
        if on_the_way.contains(&&minion.id) {
            let way: Vec<&str> = on_the_way.iter().map(|id| id.as_str()).chain([minion.id.as_str()]).collect();
            return Err(Error::usage(format!("minions are reached through each other: {}", way.join(" through "))).at(minion.at));
        }
        on_the_way.push(&minion.id);
        let mut jump = Vec::new();
        for hop in &minion.jump {
            match hop {
                Jump::Minion(id) => {
                    let mut hop = Endpoint::of_minion(inventory.minion(id.as_str())?, inventory, on_the_way)?;
                    jump.append(&mut hop.jump);
                    jump.push(hop);
                }
                Jump::Host { .. } => jump.push(Endpoint::of_jump(hop)),
            }
        }
        on_the_way.pop();
        Ok(Endpoint {
            jump,
            ..Endpoint::alone(minion)
        })
    }

    /// A minion, without what it is reached through.
    fn alone(minion: &Minion) -> Endpoint {
        Endpoint {
            minion: true,
            port: minion.port,
            user: minion.user.clone(),
            keys: minion.keys.clone(),
            password: minion.password.clone(),
            timeout: minion.timeout,
            host_key_alias: minion.host_key_alias.clone(),
            ..Endpoint::new(minion.id.as_str(), &minion.address)
        }
    }

    fn of_jump(jump: &Jump) -> Endpoint {
        match jump {
            Jump::Minion(id) => Endpoint::new(id.as_str(), id.as_str()),
            Jump::Host { user, host, port } => Endpoint {
                user: user.clone(),
                port: *port,
                ..Endpoint::new(host, host)
            },
        }
    }
}

/// What authentication needs to know.
pub(super) struct Login {
    pub(super) name: String,
    pub(super) user: String,
    /// Named for this host; what is wrong with them is told.
    pub(super) keys: Vec<PathBuf>,
    /// The usual files, where none were named.
    pub(super) usual_keys: Vec<PathBuf>,
    pub(super) certificates: Vec<PathBuf>,
    pub(super) identities_only: bool,
    pub(super) agent: Option<PathBuf>,
    pub(super) password: Option<Password>,
    pub(super) last_key: Option<String>,
}

pub(super) enum Route {
    Direct,
    Dial(Arc<dyn Dial>),
    Proxy(String),
    /// Through the last of these, which is reached through those before it.
    Jump(Vec<Endpoint>),
}

/// An endpoint with nothing left to be decided.
pub(super) struct Resolved {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: Login,
    pub(super) route: Route,
    /// What its key is known by.
    pub(super) host_name: HostName,
    /// The project's file, which decides where it has a key.
    pub(super) pinned: Option<PathBuf>,
    /// The first is where new keys go.
    pub(super) known_hosts: Vec<PathBuf>,
    pub(super) hash_known_hosts: bool,
    pub(super) accept_new: bool,
    pub(super) timeout: Duration,
    pub(super) family: Option<Family>,
}

/// What goes for all endpoints.
pub struct Defaults {
    pub home: PathBuf,
    pub config: ConfigFiles,
    /// The file of known hosts that new keys are written to; the user's where there is none.
    pub known_hosts: Option<PathBuf>,
    /// The project's own file, where the keys of flashed minions are: it is read even where new keys go elsewhere, and decides
    /// for the hosts that it has keys of. Where there is none, `known_hosts` is that file.
    pub pinned: Option<PathBuf>,
    /// The files of known hosts where the configuration names none: the user's and the machine's.
    pub usual_known_hosts: Vec<PathBuf>,
    /// The socket of the user's agent.
    pub agent: Option<PathBuf>,
    pub user: String,
    /// How long connecting may take where nothing else was said.
    pub timeout: Duration,
}

impl Defaults {
    /// Those of the user who runs this: their `~/.ssh`, their agent, their name.
    ///
    /// # Errors
    /// `~/.ssh/config` cannot be read.
    pub fn of_user() -> Result<Defaults> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = super::config::home();
        Ok(Defaults {
            config: ConfigFiles::of_user()?,
            known_hosts: None,
            pinned: None,
            usual_known_hosts: usual_known_hosts(&home),
            agent: variable("SSH_AUTH_SOCK").map(PathBuf::from),
            user: variable("USER")
                .or_else(|| variable("LOGNAME"))
                .unwrap_or_else(|| "root".into()),
            timeout: Duration::from_secs(10),
            home,
        })
    }

    /// Nothing of the user's: for tests and for minions of our own, whose keys are all named.
    pub fn bare(home: &Path) -> Defaults {
        Defaults {
            home: home.to_owned(),
            config: ConfigFiles::none(),
            known_hosts: None,
            pinned: None,
            usual_known_hosts: Vec::new(),
            agent: None,
            user: "root".into(),
            timeout: Duration::from_secs(10),
        }
    }

    /// `endpoint` with all that was left open decided.
    ///
    /// # Errors
    /// What `~/.ssh/config` says of it cannot be used.
    pub(super) async fn resolve(&self, endpoint: &Endpoint) -> Result<Resolved> {
        let config = match endpoint.dial {
            Some(_) => HostConfig::default(),
            None => {
                self.config
                    .host(&endpoint.address, endpoint.user.as_deref(), endpoint.port)
                    .await?
            }
        };
        let host = config.host_name.unwrap_or_else(|| endpoint.address.clone());
        let port = endpoint.port.or(config.port).unwrap_or(22);
        let alias = endpoint.host_key_alias.as_deref().or(config.host_key_alias.as_deref());
        let mut keys: Vec<PathBuf> = endpoint.keys.iter().map(|key| self.path(key)).collect();
        keys.extend(config.identity_files);
        let usual = if keys.is_empty() {
            ["id_ed25519", "id_ecdsa", "id_rsa"].as_slice()
        } else {
            &[]
        };
        let agent = match config.identity_agent.as_deref() {
            Some("none") => None,
            Some("$SSH_AUTH_SOCK") | None => self.agent.clone(),
            Some(agent) => match agent.strip_prefix('$') {
                Some(variable) => std::env::var_os(variable).map(PathBuf::from),
                None => Some(PathBuf::from(agent)),
            },
        };
        let none = |text: &String| text.eq_ignore_ascii_case("none");
        let route = match (
            &endpoint.dial,
            config.proxy_jump.filter(|jump| !none(jump)),
            config.proxy_command,
        ) {
            (Some(dial), ..) => Route::Dial(dial.clone()),
            _ if !endpoint.jump.is_empty() => Route::Jump(endpoint.jump.clone()),
            (_, Some(jump), _) => Route::Jump(parse_jumps(&jump)?),
            (_, None, Some(command)) => Route::Proxy(command),
            (_, None, None) => Route::Direct,
        };
        let mut known_hosts: Vec<PathBuf> = self.known_hosts.iter().cloned().collect();
        match (config.user_known_hosts, config.global_known_hosts) {
            (None, None) => known_hosts.extend(self.usual_known_hosts.iter().cloned()),
            (user, global) => {
                let usual = |global: bool| {
                    self.usual_known_hosts
                        .iter()
                        .filter(move |path| path.starts_with("/etc") == global)
                        .cloned()
                };
                known_hosts.extend(user.unwrap_or_else(|| usual(false).collect()));
                known_hosts.extend(global.unwrap_or_else(|| usual(true).collect()));
            }
        }
        Ok(Resolved {
            login: Login {
                name: endpoint.name.clone(),
                user: endpoint.user.clone().or(config.user).unwrap_or_else(|| self.user.clone()),
                keys,
                usual_keys: usual.iter().map(|name| self.home.join(".ssh").join(name)).collect(),
                certificates: config.certificate_files,
                identities_only: config.identities_only,
                agent,
                password: endpoint.password.clone(),
                last_key: endpoint.last_key.clone(),
            },
            route,
            host_name: match alias {
                Some(alias) => HostName::new(alias, 22),
                None => HostName::new(&host, port),
            },
            pinned: self.pinned.clone().or_else(|| self.known_hosts.clone()),
            known_hosts,
            hash_known_hosts: config.hash_known_hosts,
            accept_new: config.accept_new,
            timeout: endpoint.timeout.or(config.connect_timeout).unwrap_or(self.timeout),
            family: match (config.ipv4_only, config.ipv6_only) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            host,
            port,
        })
    }

    /// What the key of `minion` is known by: its alias, or the address and port that connections go to.
    ///
    /// # Errors
    /// What `~/.ssh/config` says of it cannot be used.
    pub async fn host_name(&self, minion: &Minion) -> Result<HostName> {
        Ok(self.resolve(&Endpoint::alone(minion)).await?.host_name)
    }

    fn path(&self, text: &str) -> PathBuf {
        match text.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => PathBuf::from(text),
        }
    }
}

fn usual_known_hosts(home: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["known_hosts", "known_hosts2"]
        .map(|name| home.join(".ssh").join(name))
        .into();
    files.extend(["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from));
    files
}

/// `ProxyJump user@host:port,host2`.
fn parse_jumps(text: &str) -> Result<Vec<Endpoint>> {
    text.split(',')
        .map(|hop| Jump::parse(hop.trim().trim_start_matches("ssh://")).map(|jump| Endpoint::of_jump(&jump)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minion(id: &str, jump: Vec<Jump>) -> Minion {
        Minion {
            jump,
            ..Minion::new(MinionId::new(id).unwrap(), format!("10.0.0.{}", &id[2..]))
        }
    }

    #[test]
    fn chains_of_jumps_are_flat() {
        let by = |id: &str| Jump::Minion(MinionId::new(id).unwrap());
        let inventory = Inventory::of([
            minion("pi1", vec![]),
            minion("pi2", vec![by("pi1")]),
            minion("pi3", vec![Jump::parse("ana@gate:2222").unwrap(), by("pi2")]),
            minion("pi4", vec![by("pi5")]),
            minion("pi5", vec![by("pi4")]),
        ]);
        let of = |id| Endpoint::of(inventory.get(id).unwrap(), &inventory);
        let names = |endpoint: Endpoint| endpoint.jump.into_iter().map(|hop| hop.name).collect::<Vec<_>>();
        assert_eq!(names(of("pi2").unwrap()), ["pi1"]);
        assert_eq!(names(of("pi3").unwrap()), ["gate", "pi1", "pi2"]);
        assert_eq!(
            of("pi4").err().unwrap().to_string(),
            "minions are reached through each other: pi4 through pi5 through pi4"
        );
    }

    #[tokio::test]
    async fn the_inventory_wins_over_the_configuration() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config");
        std::fs::write(
            &file,
            "Host 10.0.0.1\nUser ana\nPort 2022\nHostName real\nIdentityFile ~/k\nProxyJump a,b@c:1\nGlobalKnownHostsFile /g\n",
        )
        .unwrap();
        let mut defaults = Defaults::bare(home.path());
        defaults.config = ConfigFiles::read(&[file], home.path().to_owned(), "me".into()).unwrap();
        defaults.known_hosts = Some("/project".into());
        defaults.usual_known_hosts = usual_known_hosts(Path::new("/h"));
        let plain = defaults.resolve(&Endpoint::new("pi1", "10.0.0.1")).await.unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.login.user.as_str()),
            ("real", 2022, "ana")
        );
        assert_eq!(plain.host_name, HostName::new("real", 2022));
        assert_eq!(defaults.host_name(&minion("pi1", vec![])).await.unwrap(), plain.host_name);
        assert_eq!(plain.pinned, Some("/project".into()));
        assert_eq!(plain.login.keys, [home.path().join("k")]);
        assert_eq!(plain.login.usual_keys, Vec::<PathBuf>::new());
        assert_eq!(
            plain.known_hosts,
            ["/project", "/h/.ssh/known_hosts", "/h/.ssh/known_hosts2", "/g"].map(PathBuf::from)
        );
        let Route::Jump(hops) = plain.route else { panic!() };
        assert_eq!(
            (hops[0].address.as_str(), hops[1].user.as_deref(), hops[1].port),
            ("a", Some("b"), Some(1))
        );

        let mut said = Endpoint::new("pi1", "10.0.0.1");
        said.user = Some("pi".into());
        said.port = Some(22);
        said.keys = vec!["~/mine".into()];
        said.host_key_alias = Some("alias".into());
        // Where there is no configuration at all, too.
        let mut bare = said.clone();
        bare.port = Some(2222);
        let bare = Defaults::bare(home.path()).resolve(&bare).await.unwrap();
        assert_eq!((bare.port, bare.login.user.as_str()), (2222, "pi"));
        let said = defaults.resolve(&said).await.unwrap();
        assert_eq!((said.port, said.login.user.as_str()), (22, "pi"));
        assert_eq!(said.host_name, HostName::new("alias", 22));
        assert_eq!(said.login.keys, [home.path().join("mine"), home.path().join("k")]);
        let other = defaults.resolve(&Endpoint::new("pi2", "10.0.0.2")).await.unwrap();
        assert_eq!(
            (
                other.host.as_str(),
                other.port,
                other.login.user.as_str(),
                other.login.usual_keys.len()
            ),
            ("10.0.0.2", 22, "root", 3)
        );
    }
}
