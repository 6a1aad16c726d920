//! `pkg.*` on the minion.

use super::cmd::asked_of;
use super::{Call, Function};
use crate::probe::{Probe, Resource};
use crate::states::{PackageManager, Platform, compare_versions};
use crate::template::failures::from_error;
use crate::template::questions::Risk;
use crate::template::value::{dict, fail, list, text};
use minijinja::{Error, Value};
use std::cmp::Ordering;

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("pkg.version_cmp", compared),
    ("lowpkg.version_cmp", compared),
    ("pkg.version", |call| {
        call.args.keyword("versions_as_list");
        let names: Vec<String> = call.args.rest().iter().map(text).collect();
        let probes: Vec<Probe> = names.iter().map(|name| Probe::Package { name: name.clone() }).collect();
        let shared = call.shared.clone();
        let Some(seen) = Call::seen(&shared, &probes, Risk::None) else {
            return Ok(call.pending());
        };
        each(names, |name| {
            let package = seen.package(name).map_err(from_error)?;
            Ok(package.version.clone().unwrap_or_default().into())
        })
    }),
    ("pkg.latest_version", latest),
    ("pkg.available_version", latest),
    ("pkg.upgrade_available", |call| {
        let name = call.args.text("name")?;
        let version = newer(call, vec![name.clone()])?;
        match version {
            Some(versions) => Ok((!versions[0].is_empty()).into()),
            None => Ok(call.pending()),
        }
    }),
    ("pkg.list_pkgs", |call| {
        let as_lists = call.args.flag("versions_as_list", false)?;
        for name in ["removed", "purge_desired", "use_context"] {
            call.args.keyword(name);
        }
        let script = match manager(call)? {
            PackageManager::Apt => "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n' | sed -n 's/^installed //p'",
            PackageManager::Pacman => "pacman -Q",
            PackageManager::Apk => "apk info -v 2>/dev/null | sed 's/-\\([0-9][^-]*-r[0-9]*\\)$/ \\1/'",
            PackageManager::Dnf => "rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\\n'",
        };
        asked_of(call, script, vec![Resource::Packages], |seen| {
            let text = seen.text();
            let mut found: Vec<(Value, Value)> = text
                .lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(name, version)| {
                    let version = Value::from(version.trim());
                    (name.into(), if as_lists { list(vec![version]) } else { version })
                })
                .collect();
            found.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
            dict(found)
        })
    }),
];

fn manager(call: &Call) -> Result<PackageManager, Error> {
    Platform::of(call.shared.grains.data()).packages().map_err(from_error)
}

/// One answer for one package, a dictionary for several.
fn each(names: Vec<String>, answer: impl Fn(&str) -> Result<Value, Error>) -> Result<Value, Error> {
    match names.as_slice() {
        [] => Err(fail("the name of a package is needed")),
        [name] => answer(name),
        _ => {
            let answers = names.iter().map(|name| Ok((name.as_str().into(), answer(name)?)));
            Ok(dict(answers.collect::<Result<Vec<_>, Error>>()?))
        }
    }
}

fn compared(call: &mut Call) -> Result<Value, Error> {
    let (a, b) = (call.args.text("pkg1")?, call.args.text("pkg2")?);
    let without_epoch = |version: String, ignore: bool| match version.split_once(':') {
        Some((_, rest)) if ignore => rest.to_owned(),
        _ => version,
    };
    let ignore = call.args.flag("ignore_epoch", false)?;
    let manager = manager(call).unwrap_or(PackageManager::Apt);
    Ok(
        match compare_versions(manager, &without_epoch(a, ignore), &without_epoch(b, ignore)) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
        .into(),
    )
}

/// For each package the version that an upgrade would bring; empty where it would bring none.
fn newer(call: &mut Call, names: Vec<String>) -> Result<Option<Vec<String>>, Error> {
    let probes: Vec<Probe> = names
        .iter()
        .flat_map(|name| [Probe::Package { name: name.clone() }, Probe::Candidate { name: name.clone() }])
        .collect();
    let manager = manager(call)?;
    let shared = call.shared.clone();
    let Some(seen) = Call::seen(&shared, &probes, Risk::None) else {
        return Ok(None);
    };
    let versions = names.iter().map(|name| {
        let installed = seen.package(name).map_err(from_error)?.version.clone();
        let offered = seen.candidate(name).map_err(from_error)?.version.clone().unwrap_or_default();
        let is_new = installed.is_none_or(|installed| compare_versions(manager, &offered, &installed) == Ordering::Greater);
        Ok(if is_new { offered } else { String::new() })
    });
    versions.collect::<Result<Vec<_>, Error>>().map(Some)
}

fn latest(call: &mut Call) -> Result<Value, Error> {
    for name in ["refresh", "show_installed", "fromrepo", "cache_valid_time"] {
        call.args.keyword(name);
    }
    let names: Vec<String> = call.args.rest().iter().map(text).collect();
    match newer(call, names.clone())? {
        None => Ok(call.pending()),
        Some(versions) => {
            let of = |name: &str| {
                names
                    .iter()
                    .position(|known| known == name)
                    .map_or(String::new(), |at| versions[at].clone())
            };
            each(names.clone(), |name| Ok(of(name).into()))
        }
    }
}
