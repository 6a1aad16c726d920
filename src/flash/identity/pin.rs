//! A minion's new host key is made known before its card has ever been booted.

use crate::error::{Error, Result};
use crate::inventory::Minion;
use crate::project::Project;
use crate::ssh::Defaults;
use crate::ssh::known_hosts::{HostName, edit};
use russh::keys::PublicKey;
use std::path::PathBuf;

use super::ca::{self, Ca};
use super::host_key::HostKey;

/// A new host key for `minion`, certified for its names where the project has an authority whose private key is here.
///
/// # Errors
/// The authority cannot be used; what `~/.ssh/config` says of the minion cannot be used; no random numbers.
pub fn make(project: &Project, minion: &Minion) -> Result<HostKey> {
    make_by(&Defaults::of_user()?, project, minion)
}

fn make_by(defaults: &Defaults, project: &Project, minion: &Minion) -> Result<HostKey> {
    let mut key = HostKey::make(&format!("root@{}", minion.id))?;
    if let Some(ca) = Ca::of(project)? {
        key.certify(&ca, minion.id.as_str(), &principals(defaults, minion)?)?;
    }
    Ok(key)
}

/// Makes `key` the key by which `minion` is known in this project, in place of the one that it had, and brings the line of the
/// project's authority up to date. The file that it stands in.
///
/// The key is kept under the name that connections look it up by, and the project's file decides for it: what `~/.ssh/known_hosts`
/// has of the minion's past does no harm.
///
/// # Errors
/// There is no project; the inventory or `~/.ssh/config` cannot be read; the file cannot be written.
pub fn pin(project: &Project, minion: &Minion, key: &HostKey) -> Result<PathBuf> {
    pin_by(&Defaults::of_user()?, project, minion, key)
}

fn pin_by(defaults: &Defaults, project: &Project, minion: &Minion, key: &HostKey) -> Result<PathBuf> {
    let file = project
        .own_known_hosts()
        .ok_or_else(|| Error::usage("a host key is pinned in a project, and there is none"))?;
    let public = PublicKey::from_openssh(&key.public).map_err(|e| Error::usage(format!("failed to read a host key: {e}")))?;
    for name in names(defaults, &[minion])? {
        edit::pin(&file, &name, &public, minion.id.as_str())?;
    }
    if ca::public(project)?.is_some() {
        ca::trust(project, &project.inventory()?, defaults)?;
    }
    Ok(file)
}

/// What the minions' keys are known by, in their order.
pub(super) fn names(defaults: &Defaults, minions: &[&Minion]) -> Result<Vec<HostName>> {
    let look_up = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::usage(format!("the system refuses file descriptors: {e}")))?;
        runtime.block_on(async {
            let mut names = Vec::with_capacity(minions.len());
            for minion in minions {
                let name = defaults.host_name(minion).await;
                names.push(name.map_err(|error| error.minion(minion.id.as_str()))?);
            }
            Ok(names)
        })
    };
    // The configuration may have to be asked of `ssh`, which is waited for. On a thread of its own, as the caller may be a task
    // of a runtime, which must not wait.
    std::thread::scope(|scope| {
        let done = scope.spawn(look_up).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// All that the minion is called: what connections look for first.
fn principals(defaults: &Defaults, minion: &Minion) -> Result<Vec<String>> {
    let mut all: Vec<String> = names(defaults, &[minion])?
        .iter()
        .map(|name| name.host().to_owned())
        .collect();
    all.push(minion.address.to_lowercase());
    all.push(minion.id.as_str().to_lowercase());
    all.extend(minion.card.hostname.as_ref().map(|name| name.to_lowercase()));
    let mut kept: Vec<String> = Vec::new();
    for name in all {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::identity::testing::project;
    use crate::ssh::ConfigFiles;
    use crate::ssh::known_hosts::{KnownHosts, Verdict};

    fn public(key: &HostKey) -> PublicKey {
        PublicKey::from_openssh(&key.public).unwrap()
    }

    #[test]
    fn a_key_is_pinned_under_the_name_that_connections_look_for() {
        let (folder, project) = project(
            "minions:\n  pi0: {address: 10.0.0.1}\n  pi1: {address: pi1.lan, port: 2222}\n  \
             pi2: {address: short}\n  pi3: {address: x, host_key_alias: Alias, port: 2200}\n",
        );
        let config = folder.path().join("config");
        std::fs::write(&config, "Host short\nHostName long.example.org\nPort 2022\n").unwrap();
        let mut defaults = Defaults::bare(folder.path());
        defaults.config = ConfigFiles::read(&[config], folder.path().to_owned(), "me".into()).unwrap();
        let inventory = project.inventory().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(&file, "# ours\n").unwrap();
        let mut expected = "# ours\n".to_owned();
        for (id, name) in [
            ("pi0", "10.0.0.1"),
            ("pi1", "[pi1.lan]:2222"),
            ("pi2", "[long.example.org]:2022"),
            ("pi3", "alias"),
        ] {
            let minion = inventory.get(id).unwrap();
            let [old, new] = [0, 1].map(|_| make_by(&defaults, &project, minion).unwrap());
            assert_eq!(new.certificate, None);
            for key in [&old, &new] {
                assert_eq!(pin_by(&defaults, &project, minion, key).unwrap(), file);
            }
            expected += &format!("{name} {} {id}\n", new.public);
            let known = KnownHosts::read(Some(&file), []).unwrap();
            let name = &names(&defaults, &[minion]).unwrap()[0];
            assert_eq!(known.check(name, &public(&new).into(), 0), Verdict::Known);
            assert!(matches!(known.check(name, &public(&old).into(), 0), Verdict::Changed { .. }));
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
    }

    #[test]
    fn with_an_authority_keys_are_certified_for_all_names() {
        let (folder, project) = project("minions:\n  pi0: {address: 10.0.0.1, port: 2222}\n  pi1: {address: 10.0.0.2}\n");
        let defaults = Defaults::bare(folder.path());
        let inventory = project.inventory().unwrap();
        Ca::init(&project).unwrap();
        let minion = inventory.get("pi0").unwrap();
        let key = make_by(&defaults, &project, minion).unwrap();
        let certificate = key.parsed_certificate().unwrap().unwrap();
        assert_eq!(certificate.valid_principals(), ["10.0.0.1", "pi0"]);
        let (after, before) = (certificate.valid_after(), certificate.valid_before());
        let file = pin_by(&defaults, &project, minion, &key).unwrap();

        let known = KnownHosts::read(Some(&file), []).unwrap();
        let name = HostName::new("10.0.0.1", 2222);
        assert!(known.has_authority(&name) && known.has_authority(&HostName::new("10.0.0.2", 22)));
        assert!(!known.has_authority(&HostName::new("10.0.0.9", 22)));
        assert_eq!(known.check(&name, &certificate.clone().into(), after), Verdict::Known);
        // A minion's certificate does not make it another minion.
        for (name, now) in [(HostName::new("10.0.0.2", 22), after), (name, before)] {
            assert!(matches!(
                known.check(&name, &certificate.clone().into(), now),
                Verdict::Invalid { .. }
            ));
        }
        assert_eq!(
            known.check(&HostName::new("10.0.0.9", 22), &certificate.into(), after),
            Verdict::Unknown
        );
    }

    #[tokio::test]
    async fn a_task_may_pin() {
        let (folder, project) = project("minions: {pi0: 10.0.0.1}\n");
        let inventory = project.inventory().unwrap();
        let minion = inventory.get("pi0").unwrap();
        let key = HostKey::make("").unwrap();
        pin_by(&Defaults::bare(folder.path()), &project, minion, &key).unwrap();
        let nowhere = Project::without(crate::tree::Tree::default());
        assert!(pin_by(&Defaults::bare(folder.path()), &nowhere, minion, &key).is_err());
    }
}
