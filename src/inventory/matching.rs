//! Whether a minion is meant by a target, by what is known of it.

use super::glob::Glob;
use super::groups::Nodegroups;
use super::target::{Compare, Data, Expr, Target, TargetKind, anchored};
use crate::error::{Error, Result};
use crate::yaml::{Data as Yaml, Map, Value};
use std::net::IpAddr;

/// What a target may look at.
#[derive(Clone, Copy)]
pub struct MinionFacts<'a> {
    pub id: &'a str,
    pub grains: &'a Value,
    pub pillar: &'a Value,
    /// Beside those in the grains `ipv4` and `ipv6`: the address by which it is reached.
    pub addresses: &'a [IpAddr],
    pub groups: &'a Nodegroups,
}

/// Whether `expr`, read in the way of `kind`, means the minion.
///
/// # Errors
/// The expression is wrong.
pub fn match_minion(expr: &str, kind: TargetKind, facts: &MinionFacts) -> Result<bool> {
    let target = Target::parse(kind, expr, facts.groups)?;
    Ok(target
        .matches(&Known {
            facts: *facts,
            grains: true,
            pillar: true,
        })?
        .unwrap_or(false))
}

/// Facts, and whether they are all that there are.
pub(super) struct Known<'a> {
    pub(super) facts: MinionFacts<'a>,
    /// The grains are complete; else a value that is not there may yet be.
    pub(super) grains: bool,
    pub(super) pillar: bool,
}

impl Target {
    /// `None`: it depends on what is not known.
    pub(super) fn matches(&self, known: &Known) -> Result<Option<bool>> {
        self.expr.matches(known)
    }
}

impl Expr {
    fn matches(&self, known: &Known) -> Result<Option<bool>> {
        let facts = &known.facts;
        Ok(match self {
            Expr::Names(names) => Some(names.iter().any(|(_, glob)| glob.matches(facts.id))),
            Expr::List(ids) => Some(ids.iter().any(|id| id == facts.id)),
            Expr::Regex(regex) => Some(
                regex
                    .is_match(facts.id)
                    .map_err(|e| Error::usage(format!("`{regex}`: {e}")))?,
            ),
            Expr::Data(data) => {
                let (values, complete) = if data.pillar {
                    (facts.pillar, known.pillar)
                } else {
                    (facts.grains, known.grains)
                };
                match data.holds_in(values)? {
                    true => Some(true),
                    false => complete.then_some(false),
                }
            }
            Expr::Subnet(subnet) => {
                let listed = ["ipv4", "ipv6"]
                    .into_iter()
                    .filter_map(|grain| facts.grains.get(grain)?.as_list())
                    .flatten();
                let found = listed
                    .filter_map(|address| address.as_str()?.parse().ok())
                    .chain(facts.addresses.iter().copied());
                match found.into_iter().any(|address| subnet.has(address)) {
                    true => Some(true),
                    false => known.grains.then_some(false),
                }
            }
            Expr::Group(expr) => expr.matches(known)?,
            Expr::Not(expr) => expr.matches(known)?.map(|matches| !matches),
            Expr::All(exprs) => decide(exprs, known, false)?,
            Expr::Any(exprs) => decide(exprs, known, true)?,
        })
    }
}

/// The first that is `decisive` decides; what is not known leaves it open.
fn decide(exprs: &[Expr], known: &Known, decisive: bool) -> Result<Option<bool>> {
    let mut open = false;
    for expr in exprs {
        match expr.matches(known)? {
            Some(matches) if matches == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => open = true,
        }
    }
    Ok((!open).then_some(!decisive))
}

impl Data {
    fn holds_in(&self, values: &Value) -> Result<bool> {
        subdict_match(values, &self.path, &self.delimiter, &self.compare)
    }
}

/// Salt's `subdict_match`: whether `path`, of which no one knows how many steps are keys, leads to a value that it names. The value may
/// contain the delimiter (a hardware address), a list matches by any member, a mapping by any key, and `*` by any value.
///
/// # Errors
/// The value is to be a regular expression and is none.
pub fn subdict_match(values: &Value, path: &str, delimiter: &str, compare: &Compare) -> Result<bool> {
    let steps: Vec<&str> = path.split(delimiter).collect();
    for split in (1..steps.len()).rev() {
        let key = steps[..split].join(delimiter);
        let (found, rest) = match key.as_str() {
            "*" => (Some(values), path.to_owned()),
            _ => (values.traverse(&key, delimiter), steps[split..].join(delimiter)),
        };
        let Some(found) = found else {
            continue;
        };
        let look = Look {
            rest: &rest,
            delimiter,
            compare,
        };
        let holds = match &found.data {
            Yaml::Map(map) => look.in_map(map, &rest)?,
            Yaml::List(items) => look.in_list(items)?,
            _ => look.value(found)?,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Look<'a> {
    rest: &'a str,
    delimiter: &'a str,
    compare: &'a Compare,
}

impl Look<'_> {
    fn in_list(&self, items: &[Value]) -> Result<bool> {
        for item in items {
            let holds = match item.as_map() {
                Some(map) => self.in_map(map, self.rest)?,
                None => self.value(item)?,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_map(&self, map: &Map, pattern: &str) -> Result<bool> {
        let inner = pattern.strip_prefix("*").and_then(|rest| rest.strip_prefix(self.delimiter));
        let pattern = inner.unwrap_or(pattern);
        if pattern == "*" || map.contains_key(pattern) {
            return Ok(true);
        }
        if subdict_match(&Value::from(map.clone()), pattern, self.delimiter, self.compare)? {
            return Ok(true);
        }
        if inner.is_none() {
            return Ok(false);
        }
        let look = Look { rest: pattern, ..*self };
        for value in map.values() {
            let holds = match &value.data {
                Yaml::Map(map) => look.in_map(map, pattern)?,
                Yaml::List(items) => look.in_list(items)?,
                _ => look.value(value)?,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn value(&self, value: &Value) -> Result<bool> {
        let Some(text) = value.scalar_text() else {
            return Ok(false);
        };
        let (text, wanted) = (text.to_lowercase(), self.rest.to_lowercase());
        Ok(match self.compare {
            Compare::Glob => Glob::fnmatch(&wanted).matches(&text),
            Compare::Exact => text == wanted,
            // Of `a:b:c` more than the last step may be tried as an expression; one that is none simply does not match.
            Compare::Regex => match anchored(&wanted) {
                Ok(regex) => regex.is_match(&text).map_err(|e| Error::usage(format!("`{wanted}`: {e}")))?,
                Err(_) => false,
            },
        })
    }
}

/// An IP network; one address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subnet {
    address: IpAddr,
    prefix: u32,
}

impl Subnet {
    /// Reads `192.168.1.0/24`, `fd00::/8`, `192.168.1.7`.
    pub fn parse(text: &str) -> Option<Subnet> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Subnet { address, prefix })
    }

    pub fn has(&self, address: IpAddr) -> bool {
        // Shifted up to the same end, so that one rule serves both families.
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
        self.address.is_ipv4() == address.is_ipv4() && (bits(self.address) ^ bits(address)) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{FileId, Pos};

    fn facts() -> (Value, Value) {
        let yaml = |text| crate::yaml::parse(FileId::default(), text).unwrap();
        let grains = yaml(
            "os: Debian\nosmajorrelease: 12\nsystemd: true\nroles: [web, Db]\nipv4: [127.0.0.1, 192.168.1.17]\nipv6: ['fd00::7']\n\
             a: {b: {c: deep}}\nmac: {eth0: 'aa:bb:cc'}\nlist: [{k: v}]\n",
        );
        (grains, yaml("role: web\npassword: s3cret\nusers: {anna: {uid: 1000}}\n"))
    }

    #[test]
    fn expressions_mean_minions() {
        let (grains, pillar) = facts();
        let key = |text: &str| crate::yaml::Key::from(text);
        let groups = Nodegroups::parse(&[
            (key("web"), Value::from("pi[1-9] and I@role:web")),
            (key("both"), Value::from(vec![Value::from("N@web"), Value::from("other")])),
            (
                key("words"),
                Value::from(vec![
                    Value::from("N@web"),
                    Value::from("and"),
                    Value::from("not"),
                    Value::from("pi7"),
                ]),
            ),
        ])
        .unwrap();
        let addresses = ["10.9.8.7".parse().unwrap()];
        let facts = MinionFacts {
            id: "pi7",
            grains: &grains,
            pillar: &pillar,
            addresses: &addresses,
            groups: &groups,
        };
        use TargetKind::*;
        for (kind, expr, expected) in [
            (Compound, "*", true),
            (Compound, "pi[0-13]", true),
            (Compound, "pi[8-13]", false),
            (Compound, "pi1,pi7", true),
            (Compound, "not pi7", false),
            (Compound, "pi1 or pi7 and not G@os:Arch", true),
            (Compound, "( pi1 or pi7 ) and G@os:Arch", false),
            (Compound, "(pi1 or pi7) and not not G@os:deb*", true),
            (Compound, "G@osmajorrelease:12", true),
            (Compound, "G@systemd:true", true),
            (Compound, "G@roles:db", true),
            (Compound, "G@roles:*", true),
            (Compound, "G@nothing:*", false),
            (Compound, "G@a:b:c:deep", true),
            (Compound, "G@a:b:c", true),
            (Compound, "G@a:*:c:deep", true),
            (Compound, "G@mac:eth0:AA:bb:*", true),
            (Compound, "G@list:k:v", true),
            (Compound, "G|@a|b|c|deep", true),
            (Compound, "P@os:^deb(ian)?$", true),
            (Compound, "P@roles:we.", true),
            (Compound, "I@users:anna:uid:1000", true),
            (Compound, "J@role:w[aeiou]b", true),
            (Compound, "E@pi\\d", true),
            (Compound, "E@i7", false),
            (Compound, "L@pi6,pi7", true),
            (Compound, "L@pi*", false),
            (Compound, "S@192.168.1.0/24", true),
            (Compound, "S@192.168.2.0/24", false),
            (Compound, "S@fd00::/8", true),
            (Compound, "S@10.9.8.7", true),
            (Compound, "S@0.0.0.0/0", true),
            (Compound, "N@web", true),
            (Compound, "N@both", true),
            (Compound, "N@words", false),
            (Compound, "R@pi[6-8],web", true),
            (Glob, "p?7", true),
            (List, "pi1, pi7", true),
            (Regex, "p", true),
            (Grain, "os:DEBIAN", true),
            (PillarExact, "role:web", true),
            (PillarExact, "role:we*", false),
            (Nodegroup, "web", true),
            (Subnet, "192.168.1.17", true),
        ] {
            assert_eq!(match_minion(expr, kind, &facts).unwrap(), expected, "{kind:?} {expr}");
        }
    }

    #[test]
    fn what_is_not_known_stays_open() {
        let none = Value::map();
        let groups = Nodegroups::default();
        let facts = MinionFacts {
            id: "pi0",
            grains: &none,
            pillar: &none,
            addresses: &[],
            groups: &groups,
        };
        let known = Known {
            facts,
            grains: false,
            pillar: true,
        };
        for (expr, expected) in [
            ("G@os:Debian", None),
            ("not G@os:Debian", None),
            ("pi0 or G@os:Debian", Some(true)),
            ("pi1 and G@os:Debian", Some(false)),
            ("pi0 and G@os:Debian", None),
            ("I@a:b", Some(false)),
            ("S@10.0.0.0/8", None),
        ] {
            let target = Target::parse(TargetKind::Compound, expr, &groups).unwrap();
            assert_eq!(target.matches(&known).unwrap(), expected, "{expr}");
        }
    }

    #[test]
    fn circles_of_groups_are_refused() {
        let written = [
            ("b", "N@c"),
            ("c", "N@a or pi0"),
            ("a", "N@b"),
            ("d", "N@d"),
            ("e", "N@nobody"),
        ];
        let at = |line| Pos::new(FileId::of("groups.yaml"), line, 1);
        let groups = written.iter().zip(1..).map(|((name, text), line)| {
            let key = crate::yaml::Key {
                at: at(line),
                ..crate::yaml::Key::from(*name)
            };
            (key, Value::from(*text).at(at(line)))
        });
        let error = Nodegroups::parse(&groups.collect::<Vec<_>>()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "groups.yaml:3:1: nodegroups refer to each other in a circle: a -> b -> c -> a\n\
             groups.yaml:4:1: nodegroups refer to each other in a circle: d -> d\n\
             groups.yaml:5:1: no nodegroup is called `nobody`"
        );
    }
}
