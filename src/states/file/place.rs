//! Where a file is to be: its path, what stands there now, and the folders that lead to it. Knows no contents.

use super::owner::Owner;
use crate::error::Result;
use crate::probe::{Entry, Fact, FileKind, Observed, PathSeen, Probe, Resource};
use crate::shell::quote;
use crate::states::Step;

/// `name` as it is looked at: absolute, without a slash at the end.
///
/// # Errors
/// Why the state fails, as Salt says it.
pub(in crate::states) fn absolute(name: &str) -> Result<&str, String> {
    if !name.starts_with('/') {
        let hint = if name.starts_with('~') {
            "\nhint: a `~` is not expanded; write the home folder's path"
        } else {
            ""
        };
        return Err(format!("Specified file {name} is not an absolute path{hint}"));
    }
    if name.contains('\0') {
        return Err("a path must not contain a NUL".to_owned());
    }
    let trimmed = name.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed })
}

/// The folder that `path` lies in.
pub(in crate::states) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => path[..at].trim_end_matches('/'),
    }
}

/// The last part of `path`.
pub(in crate::states) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The folders above `path`, nearest first, without `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(parent(path)), |folder| Some(parent(folder)))
        .take_while(|folder| *folder != "/" && !folder.is_empty())
}

/// What an entry is once symlinks are followed; `None` for a dangling link.
pub(in crate::states) fn followed(entry: &Entry) -> Option<&Entry> {
    match entry.kind {
        FileKind::Symlink => entry.leads_to.as_ref().map(|target| &target.entry),
        _ => Some(entry),
    }
}

/// Whether there is a folder, or a symlink to one.
pub(in crate::states) fn is_folder(entry: Option<&Entry>) -> bool {
    entry
        .and_then(followed)
        .is_some_and(|entry| entry.kind == FileKind::Directory)
}

/// A kind in the words of a comment.
pub(in crate::states) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::BlockDevice => "block device",
        FileKind::CharDevice => "character device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
    }
}

/// The folders above a path, and how those that are missing are made.
#[derive(Clone, Copy)]
pub(in crate::states) struct Parents<'a> {
    pub path: &'a str,
    /// Whether missing ones are made.
    pub make: bool,
    pub owner: &'a Owner,
    /// Their mode; 0755 where not said.
    pub mode: Option<u32>,
}

impl Parents<'_> {
    /// What must be seen: the folder it lies in, and all above it if they may have to be made.
    pub fn probes(&self) -> Vec<Probe> {
        ancestors(self.path)
            .take(if self.make { usize::MAX } else { 1 })
            .map(Probe::meta)
            .collect()
    }

    /// The folders that are missing, outermost first.
    ///
    /// # Errors
    /// Inside: why the state fails.
    pub fn missing(&self, seen: &Observed) -> Result<Result<Vec<String>, String>> {
        let mut missing = Vec::new();
        for folder in ancestors(self.path) {
            match seen.entry(folder)? {
                Some(entry) if is_folder(Some(entry)) => break,
                Some(entry) => {
                    return Ok(Err(format!(
                        "The path '{folder}' already exists and is a {}, not a directory",
                        kind_name(entry.kind)
                    )));
                }
                None if self.make => missing.push(folder.to_owned()),
                None => {
                    return Ok(Err(format!(
                        "Parent directory not present: {folder}\nhint: add `makedirs: True`, or require the state that makes it"
                    )));
                }
            }
        }
        missing.reverse();
        Ok(Ok(missing))
    }

    /// The step that makes `missing`, if any, and what is seen then.
    pub fn make(&self, missing: &[String], seen: &Observed) -> Result<(Option<Step>, Vec<Fact>)> {
        if missing.is_empty() {
            return Ok((None, Vec::new()));
        }
        let mut facts = Vec::new();
        for folder in missing {
            facts.push(folder_fact(folder, self.owner, self.mode, seen)?);
        }
        let step = Step::shell(
            format!("mkdir {}", missing[missing.len() - 1]),
            make_folders(missing, self.owner, self.mode),
        );
        Ok((Some(step), facts))
    }
}

/// A folder as it will be seen once it was made.
pub(in crate::states) fn folder_fact(path: &str, owner: &Owner, mode: Option<u32>, seen: &Observed) -> Result<Fact> {
    let entry = owner.applied(
        Entry {
            kind: FileKind::Directory,
            mode: mode.unwrap_or(0o755),
            size: 4096,
            ..Entry::default()
        },
        true,
        seen,
    )?;
    Ok(present(path, entry))
}

/// `path` with `entry` there.
pub(in crate::states) fn present(path: &str, entry: Entry) -> Fact {
    Fact::Path(
        path.to_owned(),
        PathSeen {
            entry: Some(entry),
            ..PathSeen::default()
        },
    )
}

/// Nothing at `path`.
pub(in crate::states) fn gone(path: &str) -> Fact {
    Fact::Path(path.to_owned(), PathSeen::default())
}

/// Shell that makes `folders`, outermost first. Modes have five digits: with fewer, coreutils leaves a folder its set-group-ID bit.
pub(in crate::states) fn make_folders(folders: &[String], owner: &Owner, mode: Option<u32>) -> String {
    let mut script = String::from("umask 022\n");
    for folder in folders {
        let word = quote(folder);
        script += &format!("[ -d {word} ] || {{ mkdir {word}");
        if let Some(owner) = owner.word() {
            script += &format!(" && chown {} {word}", quote(&owner));
        }
        if let Some(mode) = mode {
            script += &format!(" && chmod {mode:05o} {word}");
        }
        script += "; } || exit 1\n";
    }
    script
}

/// What else is stale when `path` was changed, beside itself.
pub(in crate::states) fn touched(path: &str) -> Vec<Resource> {
    let mut touched = vec![Resource::Path(path.to_owned())];
    let units = [
        "/etc/systemd/",
        "/usr/lib/systemd/",
        "/lib/systemd/",
        "/usr/local/lib/systemd/",
        "/run/systemd/",
    ];
    if units.iter().any(|folder| path.starts_with(folder)) || path.starts_with("/etc/init.d/") {
        touched.push(Resource::Units);
    }
    match path {
        "/etc/passwd" | "/etc/group" | "/etc/shadow" | "/etc/gshadow" => touched.push(Resource::Accounts),
        "/etc/fstab" => touched.push(Resource::Mounts),
        _ => {}
    }
    if let Some(user) = path
        .strip_prefix("/var/spool/cron/crontabs/")
        .or_else(|| path.strip_prefix("/etc/crontabs/"))
    {
        touched.push(Resource::Crontab(user.to_owned()));
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(absolute("/etc//"), Ok("/etc"));
        assert_eq!(absolute("/"), Ok("/"));
        assert!(absolute("~/x").unwrap_err().contains("home folder"));
        assert_eq!((parent("/a/b/c"), parent("/a"), parent("/a//b")), ("/a/b", "/", "/a"));
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a"]);
        assert_eq!(ancestors("/a").count(), 0);
    }

    #[test]
    fn a_unit_file_touches_the_units() {
        assert!(touched("/etc/systemd/system/x.service").contains(&Resource::Units));
        assert_eq!(touched("/etc/motd"), [Resource::Path("/etc/motd".into())]);
    }
}
