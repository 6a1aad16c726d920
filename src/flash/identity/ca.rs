//! The project's host authority: a key that certifies the host keys of minions, so that who trusts it knows them all.
//!
//! The private half stays in the project's folder, out of its history; the public half and the line in the project's
//! known_hosts are meant to be shared. The authority counts for the inventory's minions only.

use crate::error::{Error, Result};
use crate::inventory::{Inventory, Minion};
use crate::project::{FILE, Project, write_whole};
use crate::ssh::Defaults;
use crate::ssh::known_hosts::edit;
use crate::tree::shown;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{PrivateKey, PublicKey};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::host_key::{line, random_key};
use super::pin::names;

/// The private half, in the project's folder.
const PRIVATE: &str = "ca/host_ca";

/// The public half.
const PUBLIC: &str = "ca/host_ca.pub";

/// The line of `.gitignore`.
const IGNORED: &str = "/ca/host_ca";

/// What tells the line in known_hosts that picloud keeps up.
const COMMENT: &str = "host authority of the project, kept up by picloud";

/// The authority, with its private key.
pub struct Ca {
    key: PrivateKey,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ca").field(self.public()).finish()
    }
}

impl Ca {
    /// The project's authority; `None` where it has none, or where its private key is not on this machine.
    ///
    /// # Errors
    /// The key cannot be read, others may read it, it has a passphrase, or it is not that of the public half.
    pub fn of(project: &Project) -> Result<Option<Ca>> {
        let Some(root) = &project.root else { return Ok(None) };
        let path = root.join(PRIVATE);
        let name = shown(&path).name();
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::usage(format!("cannot read {name}: {e}"))),
        };
        let mode = std::fs::metadata(&path).map_or(0, |meta| meta.permissions().mode());
        if mode & 0o077 != 0 {
            return Err(Error::usage(format!(
                "others may read {name}, the private key of the project's host authority"
            ))
            .hint(format!("chmod 600 {}", crate::shell::quote(name))));
        }
        let key = PrivateKey::from_openssh(pem).map_err(|e| Error::usage(format!("{name} is no private key: {e}")))?;
        if key.is_encrypted() {
            return Err(
                Error::usage(format!("{name} has a passphrase, which picloud cannot be given"))
                    .hint(format!("ssh-keygen -p -f {} takes it away", crate::shell::quote(name))),
            );
        }
        let ca = Ca { key };
        match public_half(root)? {
            Some(public) if public.key_data() != ca.public().key_data() => {
                Err(Error::usage(format!("{PUBLIC} is not the public half of {PRIVATE}"))
                    .hint("one of them is from another project, or was replaced"))
            }
            _ => Ok(Some(ca)),
        }
    }

    /// Makes the project's authority: a new key, its public half, and the line that keeps git from taking up the private one.
    ///
    /// # Errors
    /// There is one already; no project; a file cannot be written.
    pub fn init(project: &Project) -> Result<Ca> {
        let root = root(project)?;
        for path in [PRIVATE, PUBLIC] {
            if root.join(path).symlink_metadata().is_ok() {
                let error = Error::usage(format!(
                    "the project has a host authority already: {}",
                    shown(&root.join(path)).name()
                ));
                return Err(error
                    .hint("minions that it certified would be trusted no more; `picloud ca show` shows it")
                    .hint("to begin anew all the same, move the folder `ca` away"));
            }
        }
        // First of all: the key must never be there without it.
        ignore(root)?;
        let key = random_key(&format!("host authority of {}", called(project)))?;
        let pem = key
            .to_openssh(LineEnding::LF)
            .map_err(|e| Error::usage(format!("failed to write a key: {e}")))?;
        let folder = root.join(PRIVATE).parent().unwrap_or(root).to_owned();
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| Error::usage(format!("cannot make the folder {}: {e}", shown(&folder).name())))?;
        write_new(&root.join(PRIVATE), &pem, 0o600)?;
        let ca = Ca { key };
        write_new(
            &root.join(PUBLIC),
            &format!("{} {}\n", line(ca.public())?, ca.key.comment().as_str_lossy()),
            0o644,
        )?;
        Ok(ca)
    }

    pub fn public(&self) -> &PublicKey {
        self.key.public_key()
    }

    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// The public key of the project's authority, which those have too who have not its private key; `None` where there is none.
///
/// # Errors
/// It is no key.
pub fn public(project: &Project) -> Result<Option<PublicKey>> {
    let Some(root) = &project.root else { return Ok(None) };
    match public_half(root)? {
        Some(key) => Ok(Some(key)),
        None => Ok(Ca::of(project)?.map(|ca| ca.public().clone())),
    }
}

/// The line of the authority's public key, as `ssh-keygen` writes it.
///
/// # Errors
/// The key cannot be encoded.
pub fn public_line(key: &PublicKey) -> Result<String> {
    let text = key
        .to_openssh()
        .map_err(|e| Error::usage(format!("failed to write a key: {e}")))?;
    Ok(text.trim_end().to_owned())
}

/// Brings the authority's line in the project's known_hosts up to date: it is trusted for the minions of `inventory`, and no
/// others. The file, and for how many; `None` where the project has no authority.
///
/// # Errors
/// What `~/.ssh/config` says of a minion cannot be used; the file cannot be written.
pub fn trust(project: &Project, inventory: &Inventory, defaults: &Defaults) -> Result<Option<(PathBuf, usize)>> {
    let (Some(key), Some(file)) = (public(project)?, project.own_known_hosts()) else {
        return Ok(None);
    };
    let minions: Vec<&Minion> = inventory.minions().collect();
    let names = names(defaults, &minions)?;
    edit::set_authority(&file, &names, &key, COMMENT)?;
    Ok(Some((file, names.len())))
}

fn public_half(root: &Path) -> Result<Option<PublicKey>> {
    let path = root.join(PUBLIC);
    match std::fs::read_to_string(&path) {
        Ok(text) => PublicKey::from_openssh(&text)
            .map(Some)
            .map_err(|e| Error::usage(format!("{} is no public key: {e}", shown(&path).name()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::usage(format!("cannot read {}: {e}", shown(&path).name()))),
    }
}

fn root(project: &Project) -> Result<&Path> {
    project.root.as_deref().ok_or_else(|| {
        Error::usage(format!("there is no {FILE} here: a host authority belongs to a project"))
            .hint("`picloud init NAME` makes one")
    })
}

fn called(project: &Project) -> String {
    let folder = || Some(project.root.as_ref()?.file_name()?.to_string_lossy().into_owned());
    let name = project.config.name.clone().or_else(folder);
    // It stands in files of lines.
    let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() { "the project".to_owned() } else { name }
}

/// Keeps git from taking up the private key.
fn ignore(root: &Path) -> Result<()> {
    let path = root.join(".gitignore");
    let mut text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(Error::usage(format!("cannot read {}: {e}", shown(&path).name()))),
    };
    let ignored = [IGNORED, "ca/host_ca", "/ca/", "ca/", "/ca", "ca"];
    if text
        .split(|b| *b == b'\n')
        .any(|line| ignored.iter().any(|i| line.trim_ascii_end() == i.as_bytes()))
    {
        return Ok(());
    }
    let mode = std::fs::metadata(&path).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
    if text.last().is_some_and(|b| *b != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(
        format!("# The private key of the project's host authority (`picloud ca init`).\n{IGNORED}\n").as_bytes(),
    );
    write_whole(&path, &text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        .map_err(|e| Error::usage(format!("cannot write {}: {e}", shown(&path).name())))
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|e| Error::usage(format!("cannot write {}: {e}", shown(path).name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::identity::testing::{keygen, project};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_kept_from_git() {
        let (folder, project) = project("minions: {pi0: 10.0.0.1}\n");
        let path = |name: &str| folder.path().join(name);
        assert!(Ca::of(&project).unwrap().is_none());
        assert!(public(&project).unwrap().is_none());
        std::fs::write(path(".gitignore"), "/.picloud/").unwrap();
        let ca = Ca::init(&project).unwrap();
        assert_eq!(
            (mode(&path("ca")), mode(&path(PRIVATE)), mode(&path(PUBLIC)) & 0o700),
            (0o700, 0o600, 0o600)
        );
        let ignored = std::fs::read_to_string(path(".gitignore")).unwrap();
        assert!(
            ignored.starts_with("/.picloud/\n#") && ignored.ends_with("\n/ca/host_ca\n"),
            "{ignored}"
        );
        assert!(!format!("{ca:?}").contains("PRIVATE"));

        let found = Ca::of(&project).unwrap().unwrap();
        assert_eq!(found.public(), ca.public());
        assert_eq!(public(&project).unwrap().as_ref(), Some(ca.public()));
        let before = std::fs::read(path(PRIVATE)).unwrap();
        let error = Ca::init(&project).unwrap_err();
        assert!(
            error.to_string().contains("the project has a host authority already"),
            "{error}"
        );
        assert_eq!(std::fs::read(path(PRIVATE)).unwrap(), before);
        if let Some(text) = keygen(&["-y", "-f"], &path(PRIVATE)) {
            assert_eq!(text, std::fs::read_to_string(path(PUBLIC)).unwrap());
        }

        // Without its private key it is trusted, and certifies nothing.
        std::fs::remove_file(path(PRIVATE)).unwrap();
        assert!(Ca::of(&project).unwrap().is_none());
        assert_eq!(public(&project).unwrap().as_ref(), Some(ca.public()));
        assert!(Ca::init(&project).is_err());
    }

    #[test]
    fn git_is_told_once() {
        for (before, after) in [
            ("/ca/\n", "/ca/\n"),
            ("x\nca/host_ca\r\n", "x\nca/host_ca\r\n"),
            (
                include_str!("../../cli/project/gitignore"),
                include_str!("../../cli/project/gitignore"),
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".gitignore"), before).unwrap();
            ignore(folder.path()).unwrap();
            assert_eq!(std::fs::read_to_string(folder.path().join(".gitignore")).unwrap(), after);
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_told() {
        let (folder, project) = project("minions: {pi0: 10.0.0.1}\n");
        let path = |name: &str| folder.path().join(name);
        Ca::init(&project).unwrap();
        let told = || Ca::of(&project).unwrap_err().to_string();
        std::fs::set_permissions(path(PRIVATE), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(told().contains("others may read"), "{}", told());
        std::fs::set_permissions(path(PRIVATE), std::fs::Permissions::from_mode(0o600)).unwrap();
        let other = random_key("").unwrap();
        std::fs::write(path(PUBLIC), line(other.public_key()).unwrap()).unwrap();
        assert_eq!(told(), "ca/host_ca.pub is not the public half of ca/host_ca");
        std::fs::write(path(PRIVATE), "x").unwrap();
        assert!(told().contains("is no private key"), "{}", told());
    }

    #[test]
    fn it_is_trusted_for_the_minions_of_the_inventory_alone() {
        let (folder, project) = project(
            "minions:\n  pi0: {address: 10.0.0.1}\n  pi1: {address: pi1.lan, port: 2222}\n  pi2: {address: x, host_key_alias: alias}\n",
        );
        let defaults = Defaults::bare(folder.path());
        let inventory = project.inventory().unwrap();
        assert_eq!(trust(&project, &inventory, &defaults).unwrap(), None);
        let ca = Ca::init(&project).unwrap();
        let file = folder.path().join("known_hosts");
        assert_eq!(trust(&project, &inventory, &defaults).unwrap(), Some((file.clone(), 3)));
        let text = std::fs::read_to_string(&file).unwrap();
        let key = line(ca.public()).unwrap();
        assert_eq!(
            text,
            format!("@cert-authority 10.0.0.1,[pi1.lan]:2222,alias {key} {COMMENT}\n")
        );
    }
}
