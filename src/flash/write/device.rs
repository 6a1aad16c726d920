//! The devices themselves: a disk that was opened, and an image file.

use super::target::{Disk, Raw, Target};
use crate::error::{Error, Result};
use crate::flash::device::open::Opened;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Turns direct access off.
fn buffer(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::fcntl_getfl(file)?;
        rustix::fs::fcntl_setfl(file, flags.difference(OFlags::DIRECT))?;
        Ok(())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, OFlags::empty());
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn forget(file: &File, offset: u64, length: u64) {
    // Advice: where it is not taken, the cache may answer, which the user was told of.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(length), rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

fn sync(file: &File) -> io::Result<()> {
    // On macOS this is F_FULLFSYNC, which a raw disk does not know: nothing is cached on the way to it.
    match file.sync_data() {
        Err(e) if cfg!(target_os = "macos") && e.raw_os_error() == Some(rustix::io::Errno::NOTTY.raw_os_error()) => {
            Ok(rustix::fs::fsync(file)?)
        }
        done => done,
    }
}

/// `pwritev`, which macOS has only since version 11: there the first piece alone is written, and the caller goes on.
fn write_at(file: &File, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::io::pwritev(file, pieces, offset)?);
    #[cfg(not(target_os = "linux"))]
    match pieces.iter().find(|piece| !piece.is_empty()) {
        Some(piece) => file.write_at(piece, offset),
        None => Ok(0),
    }
}

/// A disk.
pub struct RawDisk {
    file: File,
    size: u64,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "asked in sysfs"))]
    number: (u32, u32),
}

impl RawDisk {
    /// The opened disk as what the engine writes to.
    pub fn target(opened: Opened) -> Disk<RawDisk> {
        let raw = RawDisk {
            size: opened.device.size,
            number: opened.device.number,
            file: opened.file,
        };
        Disk::new(raw, opened.direct)
    }
}

impl Raw for RawDisk {
    fn capacity(&self) -> Option<u64> {
        Some(self.size)
    }

    fn write_at(&mut self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        write_at(&self.file, offset, pieces)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(&self.file, into, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        sync(&self.file)
    }

    fn is_gone(&self) -> bool {
        // A disk that was pulled out gives EIO to the requests under way; its folder in sysfs is gone, or its medium is.
        #[cfg(target_os = "linux")]
        {
            let (major, minor) = self.number;
            let folder = format!("/sys/dev/block/{major}:{minor}");
            let size = std::fs::read_to_string(format!("{folder}/size"));
            Path::new("/sys/dev/block").exists() && size.map_or(true, |size| size.trim() == "0")
        }
        #[cfg(not(target_os = "linux"))]
        false
    }

    fn buffer(&mut self) -> io::Result<()> {
        buffer(&self.file)
    }

    fn forget(&mut self, offset: u64, length: u64) {
        forget(&self.file, offset, length);
    }

    fn reread_table(&mut self) {
        // EBUSY: a partition is in use, which O_EXCL has ruled out but for moments. EINVAL: the disk can have no partitions. Both are
        // of no consequence: the table is read when the disk is put in next.
        #[cfg(target_os = "linux")]
        let _ = crate::flash::device::open::ioctl::reread_table(&self.file);
    }

    fn eject(&mut self) {
        // A native slot has no such thing: what was flushed can be taken out.
        #[cfg(target_os = "linux")]
        let _ = crate::flash::device::open::ioctl::eject(&self.file);
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// An image file that comes to be: under another name beside its place, so that what has that name is whole.
pub struct ImageFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
    force: bool,
    /// Bytes; the file itself may be longer by less than a page until the end.
    length: Option<u64>,
}

impl ImageFile {
    /// A new file that will stand at `path`; with `force` in the place of one that is there.
    ///
    /// # Errors
    /// There is something already; it cannot be made.
    pub fn create(path: &Path, force: bool) -> Result<Disk<ImageFile>> {
        let shown = path.display();
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => {
                let error = Error::usage(format!("{shown} is no regular file"));
                return Err(error.hint("`--device` writes to a disk, `--to` to an image file"));
            }
            Ok(_) if !force => {
                return Err(Error::usage(format!("{shown} is there already")).hint("`--force` replaces it; or give another name"));
            }
            _ => {}
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".picloud-unfinished-")
            .suffix(".img")
            .make_in(folder, |path| {
                // It will hold a private key.
                let mut options = File::options();
                options.read(true).write(true).create_new(true).mode(0o600).open(path)
            })
            .map_err(|e| Error::usage(format!("cannot make a file in {}: {e}", folder.display())))?;
        #[cfg(target_os = "linux")]
        let direct = rustix::fs::fcntl_getfl(file.as_file())
            .and_then(|flags| rustix::fs::fcntl_setfl(file.as_file(), flags | OFlags::DIRECT))
            .is_ok();
        #[cfg(target_os = "macos")]
        let direct = rustix::fs::fcntl_nocache(file.as_file(), true).is_ok();
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        let direct = false;
        let raw = ImageFile {
            file,
            path: path.to_owned(),
            force,
            length: None,
        };
        Ok(Disk::new(raw, direct))
    }
}

impl Raw for ImageFile {
    fn capacity(&self) -> Option<u64> {
        None
    }

    fn is_blank(&self) -> bool {
        true
    }

    fn write_at(&mut self, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        write_at(self.file.as_file(), offset, pieces)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self.file.as_file(), into, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        sync(self.file.as_file())
    }

    fn fit(&mut self, length: u64) -> io::Result<()> {
        self.length = Some(length);
        // Whole pages until the end, as direct access wants them.
        let pages = length.next_multiple_of(super::buffer::PAGE as u64);
        self.file.as_file().set_len(pages)
    }

    fn buffer(&mut self) -> io::Result<()> {
        buffer(self.file.as_file())
    }

    fn forget(&mut self, offset: u64, length: u64) {
        forget(self.file.as_file(), offset, length);
    }

    fn close(self) -> Result<()> {
        let shown = self.path.display().to_string();
        let cannot = |e: io::Error| Error::state(format!("cannot put {shown} in its place: {e}"));
        if let Some(length) = self.length {
            self.file.as_file().set_len(length).map_err(cannot)?;
        }
        self.file.as_file().sync_all().map_err(cannot)?;
        let done = match self.force {
            true => self.file.persist(&self.path),
            false => self.file.persist_noclobber(&self.path),
        };
        done.map(drop).map_err(|e| cannot(e.error))
    }
}

/// Opens `opened` as a boxed target.
pub fn boxed(opened: Opened) -> Box<dyn Target> {
    Box::new(RawDisk::target(opened))
}

#[cfg(test)]
mod tests {
    use super::super::buffer::Buffer;
    use super::*;

    #[test]
    fn an_image_file_comes_to_be_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pi3.img");
        let mut target: Box<dyn Target> = Box::new(ImageFile::create(&path, false).unwrap());
        target.write(8192, &[&Buffer::of(&[7; 4096])]).unwrap();
        target.fit(10_000).unwrap();
        target.sync().unwrap();
        let mut read = Buffer::new(4096);
        target.read(8192, &mut read).unwrap();
        assert_eq!(read[0], 7);
        assert!(!path.exists());
        target.close().unwrap();
        let image = std::fs::read(&path).unwrap();
        assert_eq!((image.len(), image[8191], image[8192], image[9999]), (10_000, 0, 7, 7));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_unless_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pi3.img");
        std::fs::write(&path, "mine").unwrap();
        assert!(ImageFile::create(&path, false).is_err());
        let dropped = ImageFile::create(&path, true).unwrap();
        drop(dropped);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let mut target: Box<dyn Target> = Box::new(ImageFile::create(&path, true).unwrap());
        target.fit(3).unwrap();
        target.close().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 3]);
        assert!(ImageFile::create(folder.path(), true).is_err());
        assert!(ImageFile::create(Path::new("/dev/null"), true).is_err());
    }
}
