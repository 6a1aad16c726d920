//! Flashing: an image is fetched, decoded, written to cards, read back, and made a minion's own.
//!
//! Data flows one way: [`catalogue`] names an image, [`fetch`] brings its file, [`decode`] its bytes, [`map`] says which of them a
//! file system needs, [`write`] brings those to the [`device`]s and reads them back, [`identity`] makes the card a minion's,
//! and [`inspect`] says whether it would boot. Nothing here prints: it tells [`event::Event`]s.

pub mod add;
pub mod blocks;
pub mod card;
pub mod catalogue;
pub mod change;
pub mod decode;
pub mod device;
pub mod event;
pub mod ext4;
pub mod fat;
pub mod fetch;
pub mod identity;
pub mod inspect;
pub mod job;
pub mod layout;
pub mod map;
pub mod partition;
pub mod rootfs;
#[cfg(test)]
pub(crate) mod testing;
pub mod write;

/// How many bytes the user may still put on the disk of `path`; `None` where that cannot be known.
fn free_space(path: &std::path::Path) -> Option<u64> {
    let folder = path.ancestors().find(|path| path.is_dir())?;
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
