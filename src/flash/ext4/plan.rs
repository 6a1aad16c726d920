//! From changes to debugfs commands, by looking at what is there.

use super::{Change, Error, Ext4, Ext4Error, FileType, LARGEST, Result, contents, listed, names, there};
use std::collections::BTreeMap;
use std::path::Path;

/// What shall be at a path in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Thing {
    Nothing,
    /// With mode, user and group, where they were said.
    Folder {
        owner: Option<(u16, u32, u32)>,
    },
    Link {
        target: String,
    },
    File {
        bytes: Vec<u8>,
        mode: u16,
        uid: u32,
        gid: u32,
    },
}

pub(super) struct Plan {
    pub(super) commands: String,
    /// By their path without links; what later changes go by, and what is verified.
    pub(super) things: BTreeMap<String, Thing>,
    /// Files that were there and are removed or replaced.
    pub(super) removed: Vec<String>,
    /// How many inodes may be needed.
    pub(super) inodes: usize,
}

/// What is at a path now.
enum Now {
    Nothing,
    Folder,
    /// A file or a link; whether it was there before all changes.
    File {
        before: bool,
    },
}

fn wrong(path: &str, why: impl std::fmt::Display) -> Error {
    Error::state(format!("failed to change {path} on the ext4 partition: {why}"))
}

impl Plan {
    /// Makes the plan; the files' contents are put into `folder`, for debugfs to take.
    pub(super) fn make(fs: &Ext4, changes: &[Change], folder: &Path) -> Result<Plan> {
        let mut plan = Plan {
            commands: String::new(),
            things: BTreeMap::new(),
            removed: Vec::new(),
            inodes: 0,
        };
        for (number, change) in changes.iter().enumerate() {
            plan.change(fs, change, &folder.join(format!("file-{number}")))?;
        }
        Ok(plan)
    }

    fn change(&mut self, fs: &Ext4, change: &Change, source: &Path) -> Result<()> {
        let path = change.path();
        let names = names(path)?;
        let Some((name, above)) = names.split_last() else {
            return Err(wrong("/", "the root folder is not changed as a whole"));
        };
        match change {
            Change::Write {
                bytes, mode, uid, gid, ..
            } => {
                let file = Thing::File {
                    bytes: bytes.clone(),
                    mode: *mode & 0o7777,
                    uid: *uid,
                    gid: *gid,
                };
                let parent = self.folder(fs, above)?;
                self.write(fs, &parent, name, file, source)
            }
            Change::Append { bytes, .. } => {
                let place = self.resolve(fs, &names)?;
                let (parent, name) = place.rsplit_once('/').unwrap_or(("", &place));
                let mut file = match self.things.get(&place) {
                    Some(thing @ Thing::File { .. }) => thing.clone(),
                    Some(Thing::Nothing) | None => self.old(fs, &place)?,
                    Some(_) => return Err(wrong(path, "it is no file")),
                };
                if let Thing::File { bytes: old, .. } = &mut file {
                    old.extend_from_slice(bytes);
                }
                let parent = match parent.is_empty() {
                    true => String::new(),
                    false => self.folder(fs, &parent[1..].split('/').collect::<Vec<_>>())?,
                };
                self.write(fs, &parent, name, file, source)
            }
            Change::Mkdir { mode, uid, gid, .. } => {
                let place = self.folder(fs, &names)?;
                if place.is_empty() {
                    return Err(wrong(path, "it leads to the root folder"));
                }
                let (parent, name) = place.rsplit_once('/').unwrap_or(("", &place));
                self.enter(parent);
                self.own(name, 0o040_000 | *mode & 0o7777, *uid, *gid);
                self.things.insert(
                    place.clone(),
                    Thing::Folder {
                        owner: Some((*mode & 0o7777, *uid, *gid)),
                    },
                );
                Ok(())
            }
            Change::Symlink { target, .. } => {
                if target.is_empty()
                    || target.len() > 1000
                    || target.contains(|letter: char| letter.is_control() || letter == '"')
                {
                    return Err(wrong(path, format!("a link cannot lead to {target:?}")));
                }
                let parent = self.folder(fs, above)?;
                self.clear(fs, &parent, name)?;
                self.enter(&parent);
                self.command(&format!("symlink \"{name}\" \"{target}\""));
                self.inodes += 1;
                self.things
                    .insert(format!("{parent}/{name}"), Thing::Link { target: target.clone() });
                Ok(())
            }
            Change::Remove { .. } => {
                let parent = match self.parent(fs, above)? {
                    Some(parent) => parent,
                    None => return Ok(()),
                };
                let place = format!("{parent}/{name}");
                match self.now(fs, &place)? {
                    Now::Folder => {
                        // debugfs looks whether it is empty: at all of it.
                        there(listed(fs, &place)).map_err(|e| wrong(path, e))?;
                        self.enter(&parent);
                        self.command(&format!("rmdir \"{name}\""));
                    }
                    _ => self.clear(fs, &parent, name)?,
                }
                self.things.insert(place, Thing::Nothing);
                Ok(())
            }
        }
    }

    fn command(&mut self, command: &str) {
        self.commands.push_str(command);
        self.commands.push('\n');
    }

    /// debugfs takes a slash in a new name for a part of it: so the folder is entered first.
    fn enter(&mut self, folder: &str) {
        self.command(&format!("cd \"{folder}/\""));
    }

    fn own(&mut self, name: &str, mode: u16, uid: u32, gid: u32) {
        for (field, value) in [
            ("mode", format!("0{mode:o}")),
            ("uid", uid.to_string()),
            ("gid", gid.to_string()),
        ] {
            self.command(&format!("sif \"{name}\" {field} {value}"));
        }
    }

    fn write(&mut self, fs: &Ext4, parent: &str, name: &str, file: Thing, source: &Path) -> Result<()> {
        let place = format!("{parent}/{name}");
        let Thing::File { bytes, mode, uid, gid } = &file else {
            return Ok(());
        };
        std::fs::write(source, bytes).map_err(|e| wrong(&place, e))?;
        self.clear(fs, parent, name)?;
        self.enter(parent);
        self.command(&format!("write \"{}\" \"{name}\"", source.display()));
        self.own(name, 0o100_000 | mode, *uid, *gid);
        self.inodes += 1;
        self.things.insert(place, file);
        Ok(())
    }

    /// Removes the file or link of that name, if there is one.
    fn clear(&mut self, fs: &Ext4, parent: &str, name: &str) -> Result<()> {
        let place = format!("{parent}/{name}");
        match self.now(fs, &place)? {
            Now::Nothing => return Ok(()),
            Now::Folder => return Err(wrong(&place, "there is a folder of that name")),
            Now::File { before } => {
                if before {
                    // All of it is read, so that debugfs finds what it frees.
                    let metadata = fs.symlink_metadata(place.as_str()).map_err(|e| wrong(&place, e))?;
                    match metadata.file_type() {
                        FileType::Regular if metadata.len() > LARGEST => return Err(wrong(&place, "it is larger than 64 MiB")),
                        FileType::Regular => drop(fs.read(place.as_str()).map_err(|e| wrong(&place, e))?),
                        FileType::Symlink => drop(fs.read_link(place.as_str()).map_err(|e| wrong(&place, e))?),
                        _ => return Err(wrong(&place, "there is a device, pipe or socket of that name")),
                    }
                    self.removed.push(place.clone());
                }
            }
        }
        self.enter(parent);
        self.command(&format!("rm \"{name}\""));
        self.things.insert(place, Thing::Nothing);
        Ok(())
    }

    /// What is at a path that has no links above its last name.
    fn now(&self, fs: &Ext4, place: &str) -> Result<Now> {
        match self.things.get(place) {
            Some(Thing::Nothing) => return Ok(Now::Nothing),
            Some(Thing::Folder { .. }) => return Ok(Now::Folder),
            Some(_) => return Ok(Now::File { before: false }),
            None => {}
        }
        match there(fs.symlink_metadata(place)).map_err(|e| wrong(place, e))? {
            None => Ok(Now::Nothing),
            Some(metadata) if metadata.is_dir() => Ok(Now::Folder),
            Some(_) => Ok(Now::File { before: true }),
        }
    }

    /// A path without links to the folder with these names ("" for the root); missing ones are made.
    fn folder(&mut self, fs: &Ext4, names: &[&str]) -> Result<String> {
        let mut place = String::new();
        // Reading a folder as a whole puts it before debugfs, which looks through all of it.
        self.look_through(fs, "/")?;
        for name in names {
            let next = format!("{place}/{name}");
            match self.now(fs, &next)? {
                Now::Folder => place = next,
                Now::Nothing => {
                    self.enter(&place);
                    self.command(&format!("mkdir \"{name}\""));
                    self.inodes += 1;
                    self.things.insert(next.clone(), Thing::Folder { owner: None });
                    place = next;
                    continue;
                }
                Now::File { before: true } => place = self.follow(fs, &next)?,
                Now::File { before: false } => return Err(wrong(&next, "it is no folder, and a file is to be in it")),
            }
            if !matches!(self.things.get(&place), Some(Thing::Folder { .. })) {
                self.look_through(fs, &place)?;
            }
        }
        Ok(place)
    }

    /// As [`Plan::folder`], but makes nothing: `None` where one is missing.
    fn parent(&mut self, fs: &Ext4, names: &[&str]) -> Result<Option<String>> {
        let mut place = String::new();
        for name in names {
            let next = format!("{place}/{name}");
            place = match self.now(fs, &next)? {
                Now::Folder => next,
                Now::Nothing => return Ok(None),
                Now::File { before: true } if fs.metadata(next.as_str()).is_ok_and(|m| m.is_dir()) => self.follow(fs, &next)?,
                Now::File { .. } => return Ok(None),
            };
        }
        let names: Vec<&str> = place.split('/').filter(|name| !name.is_empty()).collect();
        self.folder(fs, &names).map(Some)
    }

    /// Where a link to a folder leads, and everything on the way.
    fn follow(&mut self, fs: &Ext4, link: &str) -> Result<String> {
        let no_folder = |e: Ext4Error| wrong(link, format!("it is no folder, and a file is to be in it ({e})"));
        let target = fs.canonicalize(link).map_err(no_folder)?;
        if !fs.metadata(&target).map_err(no_folder)?.is_dir() {
            return Err(wrong(link, "it is no folder, and a file is to be in it"));
        }
        let target = target
            .to_str()
            .map_err(|_| wrong(link, "it leads to a name that is not UTF-8"))?;
        let names: Vec<&str> = target.split('/').filter(|name| !name.is_empty()).collect();
        // None of these are links: this comes back at once.
        match names.iter().any(|name| name.contains('"')) {
            true => Err(wrong(link, "it leads to a name with quotes in it")),
            false => self.folder(fs, &names),
        }
    }

    fn look_through(&self, fs: &Ext4, folder: &str) -> Result<()> {
        listed(fs, folder).map(drop).map_err(|e| wrong(folder, e))
    }

    /// Where a path leads, through a link at its end as well.
    fn resolve(&mut self, fs: &Ext4, names: &[&str]) -> Result<String> {
        let (name, above) = names.split_last().map_or(("", names), |(name, above)| (*name, above));
        let place = format!("{}/{name}", self.folder(fs, above)?);
        if !matches!(self.now(fs, &place)?, Now::File { before: true }) {
            return Ok(place);
        }
        let target = fs.canonicalize(place.as_str()).map_err(|e| wrong(&place, e))?;
        target
            .to_str()
            .map(str::to_owned)
            .map_err(|_| wrong(&place, "it leads to a name that is not UTF-8"))
    }

    /// A file as it is on the disk; an empty one of root's where there is none.
    fn old(&self, fs: &Ext4, place: &str) -> Result<Thing> {
        let failed = |e: Ext4Error| wrong(place, e);
        let (bytes, mode, uid, gid) = match self.now(fs, place)? {
            Now::Nothing => (Vec::new(), 0o644, 0, 0),
            _ => {
                let metadata = fs.metadata(place).map_err(failed)?;
                (
                    contents(fs, place).map_err(failed)?,
                    metadata.mode(),
                    metadata.uid(),
                    metadata.gid(),
                )
            }
        };
        Ok(Thing::File { bytes, mode, uid, gid })
    }
}
