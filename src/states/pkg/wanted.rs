//! Which packages a state is about, and what it says of each.

use super::version::Constraint;
use crate::error::{Error, Result};
use crate::states::{Context, PackageManager, Platform};
use crate::yaml::{Data, Value};

/// One package as a state wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// As the package manager and the probes know it.
    pub name: String,
    pub version: Option<Constraint>,
}

/// The packages of `pkgs`, or the one called `name`.
///
/// # Errors
/// A name that no package has, a version that says nothing.
pub fn wanted(
    context: &Context,
    name: &str,
    pkgs: Option<&Value>,
    version: Option<&str>,
    normalize: bool,
) -> Result<Vec<Wanted>> {
    let platform = Platform::of(context.grains);
    let manager = platform.packages()?;
    let mut all: Vec<Wanted> = Vec::new();
    let mut add = |name: &str, version: Option<&str>, value: Option<&Value>| -> Result<()> {
        let at = value.map(|value| value.at).unwrap_or_default();
        let name = native(name, manager, &platform.arch, normalize);
        sound(name, manager).map_err(|e| e.at(at))?;
        let version = version.filter(|version| !version.is_empty());
        let version = version
            .map(Constraint::parse)
            .transpose()
            .map_err(|why| Error::usage(format!("package {name}: {why}")).at(at))?;
        if let Some(known) = all.iter_mut().find(|known| known.name == name) {
            known.version = version.or_else(|| known.version.take());
        } else {
            all.push(Wanted {
                name: name.to_owned(),
                version,
            });
        }
        Ok(())
    };
    let Some(pkgs) = pkgs.filter(|pkgs| !pkgs.is_null()) else {
        add(name, version, None)?;
        return Ok(all);
    };
    for item in pkgs.as_list().unwrap_or(std::slice::from_ref(pkgs)) {
        match &item.data {
            Data::Map(map) => {
                for (key, value) in map {
                    let text = version_text(value).ok_or_else(|| {
                        Error::usage(format!("the version of {} must be text, not {}", key.text(), value.kind())).at(value.at)
                    })?;
                    add(&key.text(), text.as_deref(), Some(item))?;
                }
            }
            _ => {
                let name = item.scalar_text().ok_or_else(|| {
                    Error::usage(format!("`pkgs` lists names or `name: version`, not {}", item.kind())).at(item.at)
                })?;
                add(&name, version, Some(item))?;
            }
        }
    }
    Ok(all)
}

/// A version as it was written; the inner `None` for nothing, the outer for what cannot be one.
fn version_text(value: &Value) -> Option<Option<String>> {
    if value.is_null() {
        Some(None)
    } else {
        value.scalar_text().map(Some)
    }
}

/// `name` without the architecture of the minion itself, which its tools leave out too.
fn native<'a>(name: &'a str, manager: PackageManager, arch: &str, normalize: bool) -> &'a str {
    let mark = match manager {
        PackageManager::Apt => ':',
        PackageManager::Dnf => '.',
        PackageManager::Pacman | PackageManager::Apk => return name,
    };
    match name.rsplit_once(mark) {
        Some((bare, own)) if normalize && !own.is_empty() && own == arch => bare,
        _ => name,
    }
}

/// Refuses names that the package managers would take for something else: options, patterns, apt's `name-` (remove it).
fn sound(name: &str, manager: PackageManager) -> Result<()> {
    let refuse = |why: &str| Err(Error::usage(format!("`{name}` is not the name of a package: {why}")));
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.starts_with('-') {
        return refuse("it begins with `-`");
    }
    if let Some(found) = name.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return refuse(&format!("it contains {found:?}"))
            .map_err(|e: Error| e.hint("several packages are given as a list under `pkgs`"));
    }
    if let Some(operator) = name.find(['=', '<', '>']).filter(|_| !name.contains('(')) {
        let bare = &name[..operator];
        return refuse("the version stands beside it")
            .map_err(|e: Error| e.hint(format!("write `version: ...`, or `- {bare}: ...` in `pkgs`")));
    }
    match manager {
        PackageManager::Apt if name.ends_with('-') => refuse("apt would take the `-` at its end for a removal"),
        PackageManager::Apt if name.contains('/') => {
            refuse("it contains `/`").map_err(|e: Error| e.hint("a release is given as `fromrepo`, a file under `sources`"))
        }
        PackageManager::Apt | PackageManager::Apk | PackageManager::Pacman if name.contains(['*', '?', '[']) => {
            refuse("it contains a wildcard")
        }
        _ => Ok(()),
    }
}

/// `a, b, c`.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
