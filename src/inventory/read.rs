//! The inventory's files: picloud's own form (`defaults`, `minions`, `nodegroups`) and Salt's roster (minions at the top).

use super::fields::{Fields, rename, text};
use super::minion::{Jump, Minion, MinionId, Password, Secret, Sudo};
use super::range::{Expanded, expand};
use super::{Inventory, Nodegroups};
use crate::error::{Error, FileId, Pos, Result};
use crate::yaml::{Data, Key, Map, Value};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// Salt's names and ours for the same thing.
const ALIASES: &[(&str, &str)] = &[
    ("host", "address"),
    ("priv", "key"),
    ("passwd", "password"),
    ("proxy_jump", "jump"),
];

const SECTIONS: [&str; 3] = ["defaults", "minions", "nodegroups"];

/// What has been read of all files.
#[derive(Default)]
struct Raw {
    defaults: Map,
    minions: Vec<(Key, Value)>,
    groups: Vec<(Key, Value)>,
}

impl Inventory {
    /// Reads `path`: one file, or all `*.yaml` and `*.yml` of a folder in the order of their names.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load(path: &Path) -> Result<Inventory> {
        let mut files = Vec::new();
        for path in paths(path)? {
            let id = crate::tree::shown(&path);
            let bytes = std::fs::read(&path).map_err(|e| Error::usage(format!("cannot read {id}: {e}", id = id.name())))?;
            files.push((id, bytes));
        }
        Inventory::parse(&files)
    }

    /// Makes an inventory of the contents of its files.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn parse(files: &[(FileId, Vec<u8>)]) -> Result<Inventory> {
        let mut raw = Raw::default();
        let mut errors = Vec::new();
        for (id, bytes) in files {
            let read = crate::yaml::parse_bytes(*id, bytes).and_then(|value| raw.add(&value, *id));
            errors.extend(read.err());
        }
        // With a file missing, all that follows would be noise.
        Error::all(errors).map_or(Ok(()), Err)?;
        raw.build()
    }
}

fn paths(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = std::fs::read_dir(path).map_err(|e| {
        Error::usage(format!("cannot read the inventory {}: {e}", crate::tree::shown(path).name()))
            .hint("`picloud init` makes an example to start from")
    })?;
    let mut paths: Vec<PathBuf> = folder
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    paths.sort();
    Ok(paths)
}

impl Raw {
    fn add(&mut self, file: &Value, id: FileId) -> Result<()> {
        let map = match &file.data {
            Data::Null => return Ok(()),
            Data::Map(map) => map,
            _ => {
                return Err(Error::usage(format!("an inventory must be a mapping, not {}", file.kind()))
                    .at(Pos::new(id, 1, 1))
                    .hint("begin with `minions:`"));
            }
        };
        let own = map
            .keys()
            .any(|key| SECTIONS.iter().any(|section| key.as_str() == Some(section)));
        let roster = !map.is_empty() && map.values().all(|entry| entry.get("host").or(entry.get("address")).is_some());
        if roster && !own {
            self.minions
                .extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            return Ok(());
        }
        let mut errors = Vec::new();
        for (key, value) in map {
            errors.extend(self.section(key, value).err());
        }
        Error::all(errors).map_or(Ok(()), Err)
    }

    fn section(&mut self, key: &Key, value: &Value) -> Result<()> {
        let name = key.text();
        if !SECTIONS.contains(&name.as_str()) {
            return Err(Error::usage(format!("unknown key `{name}` in the inventory"))
                .at(key.at)
                .did_you_mean(&name, SECTIONS)
                .hint("an inventory has `defaults`, `minions` and `nodegroups`; in a Salt roster every minion has a `host`"));
        }
        let map = match &value.data {
            Data::Null => return Ok(()),
            Data::Map(map) => map,
            _ => {
                let error = Error::usage(format!("`{name}` must be a mapping, not {}", value.kind())).at(value.at);
                return Err(match name.as_str() {
                    "minions" => error.hint("write each minion as `id: {address: ...}`"),
                    _ => error,
                });
            }
        };
        match name.as_str() {
            "defaults" => {
                for (key, value) in rename(map, ALIASES)? {
                    if let Some((first, _)) = self.defaults.get_key_value(&key) {
                        return Err(Error::usage(format!("the default of `{}` is given twice", key.text()))
                            .at(key.at)
                            .trail("first given", first.at));
                    }
                    self.defaults.insert(key, value);
                }
            }
            "minions" => self
                .minions
                .extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
            _ => self
                .groups
                .extend(map.iter().map(|(key, value)| (key.clone(), value.clone()))),
        }
        Ok(())
    }

    fn build(self) -> Result<Inventory> {
        let mut warnings = Vec::new();
        let trial = Expanded {
            id: "defaults".to_owned(),
            numbers: vec!["1".to_owned(); 9],
        };
        read_minion(&trial, "the defaults", &self.defaults, Pos::default(), &mut warnings)?;
        warnings.clear();

        let mut minions: IndexMap<MinionId, Minion> = IndexMap::new();
        let mut errors = Vec::new();
        for (key, value) in &self.minions {
            // One entry that is wrong is told once, however many minions it stands for.
            errors.extend(self.entry(key, value, &mut minions, &mut warnings).err());
        }
        errors.extend(resolve_jumps(&mut minions, self.defaults.contains_key("jump")).err());
        Error::all(errors).map_or(Ok(()), Err)?;

        let groups = Nodegroups::parse(&self.groups)?;
        let unknown = groups
            .literal_ids()
            .into_iter()
            .filter(|(id, _)| !minions.contains_key(id.as_str()))
            .map(|(id, at)| {
                Error::usage(format!("a nodegroup names `{id}`, which is not in the inventory"))
                    .at(at)
                    .did_you_mean(&id, minions.keys().map(MinionId::as_str))
            });
        Error::all(unknown).map_or(Ok(()), Err)?;
        Ok(Inventory {
            minions,
            groups,
            warnings,
        })
    }

    fn entry(&self, key: &Key, value: &Value, minions: &mut IndexMap<MinionId, Minion>, warnings: &mut Vec<Error>) -> Result<()> {
        let own = match &value.data {
            Data::Null => Map::new(),
            Data::Map(map) => rename(map, ALIASES)?,
            _ if text(value).is_some() => Map::from_iter([(Key::from("address"), value.clone())]),
            _ => {
                return Err(Error::usage(format!(
                    "`{}` must be a mapping or an address, not {}",
                    key.text(),
                    value.kind()
                ))
                .at(value.at)
                .hint("write `pi0: {address: 192.168.1.10}`"));
            }
        };
        let fields = laid_over(&self.defaults, &own);
        for name in expand(&key.text()).map_err(|e| e.at(key.at))? {
            let minion = read_minion(&name, &format!("minion `{}`", key.text()), &fields, key.at, warnings)?;
            if let Some(first) = minions.get(&minion.id) {
                return Err(Error::usage(format!("minion `{}` is in the inventory twice", minion.id))
                    .at(key.at)
                    .trail("first named", first.at));
            }
            minions.insert(minion.id.clone(), minion);
        }
        Ok(())
    }
}

/// `own` over `defaults`; of `grains`, `pillar` and `card`, which are mappings, key by key.
fn laid_over(defaults: &Map, own: &Map) -> Map {
    let mut merged = defaults.clone();
    for (key, value) in own {
        match (merged.get_mut(key).map(|below| &mut below.data), &value.data) {
            (Some(Data::Map(below)), Data::Map(above)) => *below = laid_over(below, above),
            _ => {
                merged.shift_remove(key);
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}

fn read_minion(name: &Expanded, what: &str, fields: &Map, at: Pos, warnings: &mut Vec<Error>) -> Result<Minion> {
    let id = MinionId::new(&name.id).map_err(|e| e.at(at))?;
    let mut filled = Map::new();
    for (key, value) in fields {
        // Data of a minion that has no number may well contain `{n}`: a shell's, a format string's.
        let data = matches!(key.as_str(), Some("grains" | "pillar"));
        let value = if data && name.numbers.is_empty() {
            value.clone()
        } else {
            name.fill(value)?
        };
        filled.insert(key.clone(), value);
    }
    let mut fields = Fields::of(&filled);
    let mut minion = Minion::new(id, fields.text("address").unwrap_or_else(|| name.id.clone()));
    minion.at = at;
    minion.port = fields.port("port");
    minion.user = fields.text("user");
    // Salt's way of saying "no key file, ask the agent", which is asked anyway.
    minion.keys = fields
        .texts("key")
        .into_iter()
        .filter(|key| key != "agent-forwarding")
        .collect();
    minion.keys.extend(fields.texts("identities"));
    minion.password = password(&mut fields, &name.id, warnings);
    minion.sudo = fields.choice("sudo", "true, false or `password`", sudo).unwrap_or_default();
    minion.sudo_user = fields.text("sudo_user");
    minion.jump = jumps(&mut fields);
    minion.timeout = fields.seconds("timeout");
    minion.host_key_alias = fields.text("host_key_alias");
    minion.shell = fields.text("shell");
    minion.grains = fields.map("grains");
    minion.pillar = fields.map("pillar");
    minion.image = fields.text("image");
    if let Some(value) = fields.take("card") {
        match super::card::card(value, what) {
            Ok(card) => minion.card = card,
            Err(error) => fields.error(error),
        }
    }
    if minion.address.starts_with('-') || minion.address.contains(char::is_whitespace) {
        let at = filled.get("address").map_or(at, |value| value.at);
        fields.error(Error::usage(format!("`{}` is not an address", minion.address)).at(at));
    }
    fields.finish(what)?;
    Ok(minion)
}

fn sudo(value: &Value) -> Option<Sudo> {
    match (&value.data, value.as_str()) {
        (Data::Bool(false), _) => Some(Sudo::No),
        (Data::Bool(true), _) => Some(Sudo::Yes),
        (_, Some("password" | "ask")) => Some(Sudo::Password),
        _ => None,
    }
}

fn password(fields: &mut Fields, id: &str, warnings: &mut Vec<Error>) -> Option<Password> {
    let value = fields.take("password")?;
    match text(value) {
        Some(word) if word == "ask" => Some(Password::Ask),
        Some(word) => {
            let shown = warnings.iter().any(|warning| warning.diagnostics()[0].at == value.at);
            if !shown {
                warnings.push(
                    Error::usage(format!("the password of `{id}` stands in the inventory in clear text"))
                        .at(value.at)
                        .hint("`password: ask` asks for it once per run; a key needs no password at all"),
                );
            }
            Some(Password::Given(Secret::new(word)))
        }
        None => {
            // The value is not repeated: it may be a secret in the wrong form.
            fields.error(Error::usage("`password` must be a string, or `ask`").at(value.at));
            None
        }
    }
}

fn jumps(fields: &mut Fields) -> Vec<Jump> {
    let at = fields.take("jump").map_or(Pos::default(), |value| value.at);
    let mut jumps = Vec::new();
    for text in fields.texts("jump") {
        for one in text.split(',').map(str::trim) {
            match Jump::parse(one) {
                Ok(jump) => jumps.push(jump),
                Err(error) => fields.error(error.at(at)),
            }
        }
    }
    jumps
}

/// Makes of bare names that are minions just that, and refuses circles. A minion that the default names as everybody's jump host is
/// itself reached directly.
fn resolve_jumps(minions: &mut IndexMap<MinionId, Minion>, by_default: bool) -> Result<()> {
    let ids: Vec<MinionId> = minions.keys().cloned().collect();
    for minion in minions.values_mut() {
        for jump in &mut minion.jump {
            if let Jump::Host {
                user: None,
                host,
                port: None,
            } = jump
                && let Some(id) = ids.iter().find(|id| id.as_str() == host)
            {
                *jump = Jump::Minion(id.clone());
            }
        }
        if by_default && minion.jump.contains(&Jump::Minion(minion.id.clone())) {
            minion.jump.clear();
        }
    }
    let circles = ids.iter().filter_map(|start| {
        let mut path = vec![start];
        loop {
            let next = minions[*path.last()?].jump.iter().find_map(|jump| match jump {
                Jump::Minion(id) => Some(id),
                Jump::Host { .. } => None,
            })?;
            path.push(next);
            if next == start {
                break;
            }
            if path[..path.len() - 1].contains(&next) {
                // A circle further on, told where it begins.
                return None;
            }
        }
        let path: Vec<&str> = path.into_iter().map(MinionId::as_str).collect();
        let first = path.iter().min() == path.first();
        let error = Error::usage(format!("the jump hosts form a circle: {}", path.join(" -> "))).at(minions[start].at);
        first.then_some(error)
    });
    Error::all(circles).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn inventory(files: &[&str]) -> Result<Inventory> {
        let files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(n, text)| (FileId::of(&format!("{n}.yaml")), text.as_bytes().to_vec()))
            .collect();
        Inventory::parse(&files)
    }

    fn errors(files: &[&str]) -> String {
        let error = inventory(files).unwrap_err();
        let mut text = error.to_string();
        for d in error.diagnostics() {
            d.trail.iter().for_each(|(how, at)| text += &format!("\n{how} {at}"));
            d.hints.iter().for_each(|hint| text += &format!("\nhint: {hint}"));
        }
        text
    }

    #[test]
    fn an_inventory_is_read() {
        let inventory = inventory(&["
defaults: {user: pi, sudo: true, jump: bastion, pillar: {a: {x: 1}, b: 2}}
minions:
  bastion: {address: gate.example.org, port: '2222'}
  pi[08-10]:
    host: 192.168.1.{n+10}
    priv: ~/.ssh/pi{n}
    timeout: 5
    pillar: {a: {y: '{id}'}}
  web: 10.0.0.7
  bare:
nodegroups: {pis: 'pi*', some: [web, N@pis]}
"])
        .unwrap();
        let ids: Vec<&str> = inventory.minions().map(|minion| minion.id.as_str()).collect();
        assert_eq!(ids, ["bastion", "pi08", "pi09", "pi10", "web", "bare"]);
        let pi = inventory.get("pi09").unwrap();
        assert_eq!(
            (pi.address.as_str(), pi.user.as_deref(), pi.sudo),
            ("192.168.1.19", Some("pi"), Sudo::Yes)
        );
        assert_eq!(
            (pi.keys.as_slice(), pi.timeout),
            (["~/.ssh/pi09".to_owned()].as_slice(), Some(Duration::from_secs(5)))
        );
        assert_eq!(pi.jump, [Jump::Minion(MinionId::new("bastion").unwrap())]);
        assert_eq!(format!("{:?}", pi.pillar), r#"{"a": {"x": 1, "y": "pi09"}, "b": 2}"#);
        let bastion = inventory.get("bastion").unwrap();
        assert_eq!((bastion.port, bastion.jump.len()), (Some(2222), 0));
        assert_eq!(inventory.get("web").unwrap().address, "10.0.0.7");
        assert_eq!(inventory.get("bare").unwrap().address, "bare");
    }

    #[test]
    fn a_salt_roster_is_read_beside_our_own_form() {
        let inventory = inventory(&[
            "web1: {host: 10.0.0.1, user: root, priv: agent-forwarding}\n",
            "minions: {web2: {address: 10.0.0.2}}\n",
        ])
        .unwrap();
        assert_eq!(inventory.len(), 2);
        assert!(inventory.get("web1").unwrap().keys.is_empty());
    }

    #[test]
    fn a_password_in_clear_text_is_warned_of_and_never_printed() {
        let inventory = inventory(&["minions: {a: {passwd: s3cret}, b: {password: ask, sudo: password}}\n"]).unwrap();
        assert_eq!(inventory.warnings.len(), 1);
        assert!(!format!("{inventory:?}").contains("s3cret"));
        assert_eq!(inventory.get("b").unwrap().sudo, Sudo::Password);
    }

    #[test]
    fn mistakes_are_named_with_their_places() {
        for (files, expected) in [
            (
                &["minions: {pi0: {adress: x}}\n"][..],
                "0.yaml:1:17: unknown field `adress` in minion `pi0`\nhint: did you mean `address`?",
            ),
            (
                &["minions:\n  pi[0-2]:\n", "minions:\n  pi1:\n"],
                "1.yaml:2:3: minion `pi1` is in the inventory twice\nfirst named 0.yaml:2:3",
            ),
            (
                &["minions: {a: {host: x, address: y}}\n"],
                "0.yaml:1:24: `address` and `host` are the same field\nfirst given 0.yaml:1:15",
            ),
            (
                &["minions: {a: {port: 70000, sudo: maybe, grains: [x]}}\n"],
                "0.yaml:1:21: `port` must be a number from 1 to 65535, not `70000`\n\
                 0.yaml:1:34: `sudo` must be true, false or `password`, not `maybe`\n\
                 0.yaml:1:49: `grains` must be a mapping, not a list",
            ),
            (
                &["minons: {a: b}\n"],
                "0.yaml:1:1: unknown key `minons` in the inventory\nhint: did you mean `minions`?\n\
                 hint: an inventory has `defaults`, `minions` and `nodegroups`; in a Salt roster every minion has a `host`",
            ),
            (
                &["defaults: {usr: pi}\nminions: {a: x, b: y}\n"],
                "0.yaml:1:12: unknown field `usr` in the defaults\nhint: did you mean `user`?",
            ),
            (
                &["minions: {a: {jump: b}, b: {jump: c}, c: {jump: 'a, x'}}\n"],
                "0.yaml:1:11: the jump hosts form a circle: a -> b -> c -> a",
            ),
            (
                &["minions: {a: x}\nnodegroups: {g: 'a or b1'}\n"],
                "0.yaml:2:14: a nodegroup names `b1`, which is not in the inventory",
            ),
            (
                &["minions: [a, b]\n"],
                "0.yaml:1:10: `minions` must be a mapping, not a list\nhint: write each minion as `id: {address: ...}`",
            ),
            (
                &["minions: {web: {address: '10.0.0.{n}'}}\n"],
                "0.yaml:1:26: `{n}` stands for a minion's number, but `web` was not made by a range\n\
                 hint: a range is written `pi[0-13]: {address: \"192.168.1.{n+10}\"}`",
            ),
        ] {
            assert_eq!(errors(files), expected);
        }
    }
}
