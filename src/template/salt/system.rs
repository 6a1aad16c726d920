//! `user.*`, `group.*`, `service.*`, `sysctl.*`, `mount.*`, `disk.*`, `kmod.*`, `timezone.*`, `alternatives.*` on the minion.

use super::cmd::asked_of;
use super::{Call, Function};
use crate::probe::{FileKind, MountsSeen, Probe, Resource, UnitSeen};
use crate::template::failures::from_error;
use crate::template::questions::Risk;
use crate::template::value::{dict, fail, list};
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("user.info", |call| {
        let name = call.args.text("name")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::User { name: name.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        let Some(account) = &seen.user(&name).map_err(from_error)?.account else {
            return Ok(dict([]));
        };
        let mut groups = account.groups.clone();
        if !groups.contains(&account.group) {
            groups.push(account.group.clone());
        }
        groups.sort();
        let mut gecos = account.gecos.splitn(5, ',');
        let mut part = || Value::from(gecos.next().unwrap_or_default());
        Ok(dict([
            ("gid".into(), account.gid.into()),
            ("groups".into(), list(groups.into_iter().map(Value::from).collect())),
            ("home".into(), account.home.as_str().into()),
            ("name".into(), name.into()),
            ("passwd".into(), "x".into()),
            ("shell".into(), account.shell.as_str().into()),
            ("uid".into(), account.uid.into()),
            ("fullname".into(), part()),
            ("roomnumber".into(), part()),
            ("workphone".into(), part()),
            ("homephone".into(), part()),
            ("other".into(), part()),
        ]))
    }),
    ("user.list_groups", |call| {
        let name = call.args.text("name")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::User { name: name.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        let account = seen.user(&name).map_err(from_error)?.account.clone().unwrap_or_default();
        let mut groups = account.groups;
        if !account.group.is_empty() && !groups.contains(&account.group) {
            groups.push(account.group);
        }
        groups.sort();
        Ok(list(groups.into_iter().map(Value::from).collect()))
    }),
    ("user.primary_group", |call| {
        let name = call.args.text("name")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::User { name: name.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        let account = seen.user(&name).map_err(from_error)?.account.clone().unwrap_or_default();
        Ok(account.group.into())
    }),
    ("user.list_users", |call| {
        let script = "{ getent passwd || cat /etc/passwd; } 2>/dev/null | cut -d: -f1";
        asked_of(call, script, vec![Resource::Accounts], |seen| {
            let text = seen.text();
            let mut names: Vec<&str> = text.lines().collect();
            names.sort_unstable();
            names.dedup();
            list(names.into_iter().map(Value::from).collect())
        })
    }),
    ("group.info", |call| {
        let name = call.args.text("name")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::Group { name: name.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        let group = seen.group(&name).map_err(from_error)?;
        let Some(gid) = group.gid else { return Ok(dict([])) };
        Ok(dict([
            ("name".into(), name.into()),
            ("passwd".into(), "x".into()),
            ("gid".into(), gid.into()),
            (
                "members".into(),
                list(group.members.iter().map(|member| member.as_str().into()).collect()),
            ),
        ]))
    }),
    ("service.available", |call| unit(call, |unit| unit.exists)),
    ("service.missing", |call| unit(call, |unit| !unit.exists)),
    ("service.status", |call| unit(call, UnitSeen::is_active)),
    ("service.enabled", |call| unit(call, |unit| unit.enabled == Some(true))),
    ("service.disabled", |call| unit(call, |unit| unit.enabled == Some(false))),
    ("service.masked", |call| unit(call, |unit| unit.masked)),
    ("sysctl.get", |call| {
        let key = call.args.text("name")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::Sysctl { key: key.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        Ok(seen.sysctl(&key).map_err(from_error)?.unwrap_or_default().into())
    }),
    ("kmod.is_loaded", |call| {
        let name = call.args.text("mod")?;
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::Module { name: name.clone() }], Risk::None) else {
            return Ok(call.pending());
        };
        let module = seen.module(&name).map_err(from_error)?;
        Ok((module.loaded || module.builtin).into())
    }),
    ("mount.active", |call| {
        call.args.flag("extended", false)?;
        mounts(call, |seen| {
            let mounted = seen.mounts.iter().map(|mount| {
                let options = mount.options.iter().map(|option| option.as_str().into()).collect();
                let entry = dict([
                    ("device".into(), mount.source.as_str().into()),
                    ("fstype".into(), mount.fstype.as_str().into()),
                    ("opts".into(), list(options)),
                    ("alt_device".into(), Value::from(())),
                ]);
                (mount.target.as_str().into(), entry)
            });
            dict(mounted)
        })
    }),
    ("mount.is_mounted", |call| {
        let path = call.args.text("name")?;
        mounts(call, |seen| seen.mounts.iter().any(|mount| mount.target == path).into())
    }),
    ("mount.swaps", |call| {
        mounts(call, |seen| {
            dict(seen.swaps.iter().map(|swap| {
                let kind = if swap.path.starts_with("/dev/") { "partition" } else { "file" };
                let entry = dict([
                    ("type".into(), kind.into()),
                    ("size".into(), (swap.size / 1024).to_string().into()),
                    ("used".into(), (swap.used / 1024).to_string().into()),
                    ("priority".into(), swap.priority.to_string().into()),
                ]);
                (swap.path.as_str().into(), entry)
            }))
        })
    }),
    ("mount.fstab", |call| {
        call.args.text_or_none("config")?;
        mounts(call, |seen| {
            let lines = seen.fstab.lines().filter(|line| !line.trim_start().starts_with('#'));
            dict(lines.filter_map(|line| {
                let mut words = line.split_whitespace();
                let (device, name, fstype) = (words.next()?, words.next()?, words.next()?);
                let options = words.next().unwrap_or("defaults").split(',').map(Value::from).collect();
                let entry = dict([
                    ("device".into(), device.into()),
                    ("fstype".into(), fstype.into()),
                    ("opts".into(), list(options)),
                    ("dump".into(), words.next().unwrap_or("0").into()),
                    ("pass".into(), words.next().unwrap_or("0").into()),
                ]);
                Some((name.into(), entry))
            }))
        })
    }),
    ("disk.usage", |call| {
        call.args.text_or_none("args")?;
        asked_of(call, "df -P -k", vec![Resource::Everything], |seen| {
            let text = seen.text();
            dict(text.lines().skip(1).filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [filesystem, blocks, used, available, capacity, mounted @ ..] = words.as_slice() else {
                    return None;
                };
                let entry = dict([
                    ("filesystem".into(), (*filesystem).into()),
                    ("1K-blocks".into(), (*blocks).into()),
                    ("used".into(), (*used).into()),
                    ("available".into(), (*available).into()),
                    ("capacity".into(), (*capacity).into()),
                ]);
                Some((mounted.join(" ").into(), entry))
            }))
        })
    }),
    ("timezone.get_zone", |call| {
        let script =
            "if [ -L /etc/localtime ]; then readlink -f /etc/localtime | sed 's,.*/zoneinfo/,,'; else cat /etc/timezone; fi";
        asked_of(
            call,
            script,
            vec![
                Resource::Path("/etc/localtime".into()),
                Resource::Path("/etc/timezone".into()),
            ],
            |seen| seen.text().trim().into(),
        )
    }),
    ("alternatives.show_current", |call| alternative(call)),
    ("alternatives.show_link", |call| alternative(call)),
    ("alternatives.check_installed", |call| {
        let (name, path) = (call.args.text("name")?, call.args.text("path")?);
        let link = format!("/etc/alternatives/{name}");
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &[Probe::meta(&link)], Risk::None) else {
            return Ok(call.pending());
        };
        let target = seen.entry(&link).map_err(from_error)?.and_then(|entry| entry.target.as_ref());
        Ok((target == Some(&path)).into())
    }),
];

fn unit(call: &mut Call, answer: fn(&UnitSeen) -> bool) -> Result<Value, Error> {
    let name = call.args.text("name")?;
    call.args.text_or_none("sig")?;
    if name.contains(['*', '?', '[']) {
        return Err(fail("services cannot be asked for by patterns while rendering"));
    }
    let shared = call.shared.clone();
    let Some(seen) = Call::seen(&shared, &[Probe::Unit { name: name.clone() }], Risk::None) else {
        return Ok(call.pending());
    };
    Ok(answer(seen.unit(&name).map_err(from_error)?).into())
}

fn mounts(call: &mut Call, answer: impl FnOnce(&MountsSeen) -> Value) -> Result<Value, Error> {
    let shared = call.shared.clone();
    match Call::seen(&shared, &[Probe::Mounts], Risk::None) {
        Some(seen) => Ok(answer(seen.mounts().map_err(from_error)?)),
        None => Ok(call.pending()),
    }
}

/// What an alternative leads to at present.
fn alternative(call: &mut Call) -> Result<Value, Error> {
    let name = call.args.text("name")?;
    let link = format!("/etc/alternatives/{name}");
    let shared = call.shared.clone();
    let Some(seen) = Call::seen(&shared, &[Probe::meta(&link)], Risk::None) else {
        return Ok(call.pending());
    };
    let entry = seen
        .entry(&link)
        .map_err(from_error)?
        .filter(|entry| entry.kind == FileKind::Symlink);
    Ok(entry
        .and_then(|entry| entry.target.as_deref())
        .map_or(false.into(), Value::from))
}
