//! Users and groups: one `awk` over `passwd`, `group` and `shadow`; the name service is asked only about names that are not there.

use super::{Account, Fact, GroupSeen, Probe, UserSeen};
use crate::shell::words;
use std::collections::{BTreeMap, BTreeSet};

/// Prints `p:` and `s:` before the lines of the wanted users, `g:` before all groups' (any may have a wanted user as a member), and
/// `i:user:groups` for users of a name service.
const SCRIPT: &str = r#"f='/etc/passwd /etc/group'
[ ! -r /etc/shadow ] || f="$f /etc/shadow"
r=$(U=":$u:" awk '
FILENAME == "/etc/group" { print "g:" $0; next }
{ n = $0; sub(/:.*/, "", n) }
index(ENVIRON["U"], ":" n ":") { print (FILENAME == "/etc/passwd" ? "p:" : "s:") $0 }' $f)
printf '%s\n' "$r"
if command -v getent >/dev/null; then
nl='
'
missing() {
k=$1
shift
m=
for n; do case "$nl$r" in *"$nl$k:$n:"*) ;; *) m="$m $n" ;; esac; done
}
IFS=:
missing p $u
IFS=' '
if [ -n "$m" ]; then
x=$(getent passwd $m)
IFS=$nl
for l in $x; do n=${l%%:*}; printf 'p:%s\ni:%s:%s\n' "$l" "$n" "$(id -Gn "$n" 2>/dev/null)"; done
fi
IFS=:
missing g $g
IFS=' '
if [ -n "$m" ]; then
x=$(getent group $m)
IFS=$nl
for l in $x; do printf 'g:%s\n' "$l"; done
fi
fi
"#;

/// The script for `users` and `groups`; names that nobody can have are not asked for.
pub(super) fn script(users: &[String], groups: &[String]) -> String {
    let join = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| valid(name)).collect();
        words([names.join(":").as_str()])
    };
    format!("set -f\nu={} g={}\n{SCRIPT}", join(users), join(groups))
}

fn valid(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('-') && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':')
}

pub(super) fn parse(users: &[String], groups: &[String], text: &str) -> Vec<(Probe, Fact)> {
    let known = Known::read(text);
    let users = users.iter().map(|name| {
        let seen = UserSeen {
            account: known.account(name),
        };
        (Probe::User { name: name.clone() }, Fact::User(name.clone(), seen))
    });
    let groups = groups.iter().map(|name| {
        let seen = known
            .groups
            .get(name.as_str())
            .map_or_else(GroupSeen::default, |(gid, members)| GroupSeen {
                gid: Some(*gid),
                members: members.iter().map(|m| (*m).to_owned()).collect(),
            });
        (Probe::Group { name: name.clone() }, Fact::Group(name.clone(), seen))
    });
    users.chain(groups).collect()
}

/// The lines by what they are about.
#[derive(Default)]
struct Known<'a> {
    passwd: BTreeMap<&'a str, Vec<&'a str>>,
    shadow: BTreeMap<&'a str, Vec<&'a str>>,
    groups: BTreeMap<&'a str, (u32, BTreeSet<&'a str>)>,
    /// What `id` said of users that are in no file.
    named: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Known<'a> {
    fn read(text: &'a str) -> Known<'a> {
        let mut known = Known::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            match fields[..] {
                ["p", name, ..] => drop(known.passwd.entry(name).or_insert(fields)),
                ["s", name, ..] => drop(known.shadow.entry(name).or_insert(fields)),
                ["i", name, groups] => drop(
                    known
                        .named
                        .insert(name, groups.split(' ').filter(|g| !g.is_empty()).collect()),
                ),
                ["g", name, _, gid, ref rest @ ..] => {
                    let Ok(gid) = gid.parse() else { continue };
                    let members = rest.first().unwrap_or(&"").split(',').filter(|member| !member.is_empty());
                    known.groups.entry(name).or_insert((gid, BTreeSet::new())).1.extend(members);
                }
                _ => {}
            }
        }
        known
    }

    fn account(&self, name: &str) -> Option<Account> {
        let [_, _, _, uid, gid, gecos, home, shell] = self.passwd.get(name)?[..] else {
            return None;
        };
        let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
        let primary = self.groups.iter().find(|(_, (number, _))| *number == gid);
        let group = primary.map_or_else(|| gid.to_string(), |(name, _)| (*name).to_owned());
        let mut groups: BTreeSet<&str> = self
            .groups
            .iter()
            .filter(|(_, (_, members))| members.contains(name))
            .map(|(group, _)| *group)
            .collect();
        if let Some(named) = self.named.get(name) {
            groups.extend(named.iter().filter(|named| **named != group));
        }
        let shadow = self.shadow.get(name);
        Some(Account {
            uid,
            gid,
            group,
            gecos: gecos.to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
            groups: groups.into_iter().map(String::from).collect(),
            password: shadow.and_then(|fields| fields.get(2)).map(|password| (*password).to_owned()),
            shadow: shadow.map_or_else(Vec::new, |fields| {
                fields[3.min(fields.len())..].iter().map(|f| (*f).to_owned()).collect()
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_put_together() {
        let text = "p:root:x:0:0:root:/root:/bin/bash\n\
                    p:pi:x:1000:1000:,,,:/home/pi:/bin/bash\n\
                    g:root:x:0:\n\
                    g:adm:x:4:pi,syslog\n\
                    g:pi:x:1000:\n\
                    g:gpio:x:997:pi\n\
                    s:root:*:19600:0:99999:7:::\n\
                    s:pi:$y$j9T$salt$hash:19700:0:99999:7:::20000:\n\
                    p:net:x:5000:5000:Net:/home/net:/bin/sh\n\
                    i:net:staff domain-users adm";
        let users = ["root", "pi", "net", "nobody"].map(String::from);
        let groups = ["adm", "none"].map(String::from);
        let account = |name: &str, uid, gecos: &str, home: &str, shell: &str| Account {
            uid,
            gid: uid,
            group: name.into(),
            gecos: gecos.into(),
            home: home.into(),
            shell: shell.into(),
            ..Account::default()
        };
        let shadow = |fields: [&str; 7]| fields.map(String::from).to_vec();
        let expected = vec![
            Some(Account {
                password: Some("*".into()),
                shadow: shadow(["19600", "0", "99999", "7", "", "", ""]),
                ..account("root", 0, "root", "/root", "/bin/bash")
            }),
            Some(Account {
                groups: ["adm", "gpio"].map(String::from).into(),
                password: Some("$y$j9T$salt$hash".into()),
                shadow: shadow(["19700", "0", "99999", "7", "", "", "20000"])[..]
                    .iter()
                    .cloned()
                    .chain([String::new()])
                    .collect(),
                ..account("pi", 1000, ",,,", "/home/pi", "/bin/bash")
            }),
            Some(Account {
                groups: ["adm", "domain-users", "staff"].map(String::from).into(),
                ..account("5000", 5000, "Net", "/home/net", "/bin/sh")
            }),
            None,
        ];
        let facts: Vec<Fact> = parse(&users, &groups, text).into_iter().map(|(_, fact)| fact).collect();
        let mut wanted: Vec<Fact> = users
            .into_iter()
            .zip(expected)
            .map(|(name, account)| Fact::User(name, UserSeen { account }))
            .collect();
        wanted.push(Fact::Group(
            "adm".into(),
            GroupSeen {
                gid: Some(4),
                members: ["pi", "syslog"].map(String::from).into(),
            },
        ));
        wanted.push(Fact::Group("none".into(), GroupSeen::default()));
        assert_eq!(facts, wanted);
    }
}
