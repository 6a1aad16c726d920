//! Opening the disk that was confirmed, and no other.
//!
//! Between the question "overwrite this card?" and the first byte, a card can be taken out and another put in under the same name.
//! So the rules are asked again, the disk is opened exclusively, and the open descriptor is compared with what was confirmed.
//! This runs in the elevated writer as well, which is told what was confirmed by somebody that it does not trust.

use super::rules::{Allow, judge};
use super::{Device, find};
use crate::error::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// What the user has confirmed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// `/dev/sdb`, no link.
    pub path: PathBuf,
    pub number: (u32, u32),
    /// Bytes.
    pub size: u64,
    pub diskseq: Option<u64>,
    pub serial: Option<String>,
    pub cid: Option<String>,
    /// The image's size in bytes, as far as it is known: 0 where it is not.
    pub image: u64,
    pub allow: Allow,
}

impl Confirmed {
    pub fn of(device: &Device, image: u64, allow: Allow) -> Confirmed {
        Confirmed {
            path: device.path.clone(),
            number: device.number,
            size: device.size,
            diskseq: device.diskseq,
            serial: device.serial.clone(),
            cid: device.cid.clone(),
            image,
            allow,
        }
    }

    /// Whether `device` is still the same.
    ///
    /// # Errors
    /// What differs.
    fn same(&self, device: &Device) -> Result<()> {
        let differs = if device.number != self.number {
            "its device number"
        } else if device.size != self.size {
            "its size"
        } else if device.diskseq != self.diskseq {
            "its medium"
        } else if device.serial != self.serial || device.cid != self.cid {
            "its serial number"
        } else {
            return Ok(());
        };
        Err(changed(&self.path, differs))
    }
}

fn changed(path: &Path, what: &str) -> Error {
    Error::state(format!(
        "{} is not the disk that was confirmed any more: {what} has changed; nothing was written",
        path.display()
    ))
    .hint("another card was put in meanwhile, or the names have moved: start again and look at what is shown")
}

/// A disk, opened for reading and writing, and for nobody else.
pub struct Opened {
    pub file: File,
    /// Whether the page cache is passed by.
    pub direct: bool,
    pub device: Device,
}

/// Opens what was confirmed, after unmounting what may be unmounted. `None`: this user may not.
///
/// # Errors
/// The rules refuse it; it is another disk by now; it is in use; it cannot be opened.
pub fn open(confirmed: &Confirmed) -> Result<Option<Opened>> {
    let path = &confirmed.path;
    check_path(path)?;
    let look = || -> Result<(Device, Vec<PathBuf>)> {
        let (device, link) = find(path)?;
        if link.is_some() {
            return Err(Error::usage(format!("{} is a link", path.display())).hint("name what it points to"));
        }
        confirmed.same(&device)?;
        let verdict = judge(&device, confirmed.image, confirmed.allow)?;
        Ok((device, verdict.unmount))
    };
    let (mut device, mounted) = look()?;
    if !mounted.is_empty() {
        if !unmount(&device, &mounted)? {
            return Ok(None);
        }
        let (again, left) = look()?;
        if let Some(at) = left.first() {
            return Err(
                Error::usage(format!("{} is mounted at {} again", path.display(), at.display()))
                    .hint("something here mounts cards by itself: turn that off, or unmount it by hand"),
            );
        }
        device = again;
    }
    let (file, direct) = match exclusively(path) {
        Ok(opened) => opened,
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(e) => return Err(cannot_open(path, e)),
    };
    check_open(confirmed, &file)?;
    Ok(Some(Opened { file, direct, device }))
}

fn cannot_open(path: &Path, e: Errno) -> Error {
    let error = Error::usage(format!("cannot open {}: {}", path.display(), std::io::Error::from(e)));
    match e {
        Errno::BUSY => error.hint("another program has it: something is mounted from it, or writes to it"),
        #[cfg(target_os = "linux")]
        Errno::NOMEDIUM => error.hint("there is no card in the reader"),
        Errno::ROFS => error.hint("a full-size SD card and its adapters have a lock at the side"),
        _ => error,
    }
}

/// The elevated writer opens nothing but devices.
fn check_path(path: &Path) -> Result<()> {
    let mut parts = path.components();
    let dev = (parts.next(), parts.next()) == (Some(Component::RootDir), Some(Component::Normal("dev".as_ref())));
    match dev && parts.clone().count() > 0 && parts.all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(()),
        false => Err(Error::usage(format!("{} is not a path below /dev", path.display()))),
    }
}

/// With `O_EXCL` the kernel refuses a block device that is mounted or held, and nobody can mount it as long as it is open.
fn exclusively(path: &Path) -> Result<(File, bool), Errno> {
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    #[cfg(target_os = "linux")]
    match rustix::fs::open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(file) => return Ok((file.into(), true)),
        Err(Errno::INVAL) => {}
        Err(e) => return Err(e),
    }
    #[cfg(target_os = "macos")]
    {
        let raw = super::macos::raw(path);
        let file = File::from(rustix::fs::open(&raw, flags, Mode::empty())?);
        let direct = rustix::fs::fcntl_nocache(&file, true).is_ok();
        return Ok((file, direct));
    }
    #[cfg(not(target_os = "macos"))]
    Ok((rustix::fs::open(path, flags, Mode::empty())?.into(), false))
}

/// The last look, at the descriptor that will be written to.
fn check_open(confirmed: &Confirmed, file: &File) -> Result<()> {
    let path = &confirmed.path;
    let cannot = |e: Errno| Error::usage(format!("cannot look at {}: {}", path.display(), std::io::Error::from(e)));
    let stat = rustix::fs::fstat(file).map_err(cannot)?;
    #[cfg(target_os = "linux")]
    {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if kind != rustix::fs::FileType::BlockDevice || number != confirmed.number {
            return Err(changed(path, "its device number"));
        }
        // As the size of the file that the descriptor stands for, which is what BLKGETSIZE64 gives.
        let size = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0)).map_err(cannot)?;
        if size != confirmed.size {
            return Err(changed(path, "its size"));
        }
        // Kernels before 5.15 do not know it; nor does `confirmed` then.
        if confirmed.diskseq.is_some() && ioctl::diskseq(file).ok() != confirmed.diskseq {
            return Err(changed(path, "its medium"));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stat;
    Ok(())
}

/// Unmounts `places`; `false` where this user may not.
fn unmount(device: &Device, places: &[PathBuf]) -> Result<bool> {
    #[cfg(target_os = "linux")]
    {
        let mut places = places.to_vec();
        // What is mounted within another mount goes first.
        places.sort_by_key(|at| std::cmp::Reverse(at.components().count()));
        for at in &places {
            match rustix::mount::unmount(at, rustix::mount::UnmountFlags::NOFOLLOW) {
                // Mounted over several times, it is listed several times.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(Errno::PERM) => return Ok(by_udisks(device)),
                Err(e) => {
                    return Err(
                        Error::usage(format!("cannot unmount {}: {}", at.display(), std::io::Error::from(e)))
                            .hint(format!("`fuser -vm {}` tells who uses it", at.display())),
                    );
                }
            }
        }
        Ok(true)
    }
    #[cfg(target_os = "macos")]
    {
        let _ = places;
        super::macos::unmount(device).map(|()| true)
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (device, places);
        Ok(false)
    }
}

/// What a desktop has mounted for a user, its user may unmount.
#[cfg(target_os = "linux")]
fn by_udisks(device: &Device) -> bool {
    let own = device.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut done = false;
    for name in device.partitions.iter().cloned().chain(own) {
        let ran = std::process::Command::new("udisksctl")
            .args(["unmount", "--no-user-interaction", "--block-device"])
            .arg(Path::new("/dev").join(name))
            .stdin(std::process::Stdio::null())
            .output();
        done |= ran.is_ok_and(|out| out.status.success());
    }
    // Whether all of it is unmounted is looked at again.
    done
}

/// What has no safe wrapper.
#[cfg(target_os = "linux")]
pub mod ioctl {
    use rustix::io::Errno;
    use rustix::ioctl::{Getter, NoArg, Opcode, ioctl, opcode};
    use std::fs::File;

    const BLKRRPART: Opcode = opcode::none(0x12, 95);
    const BLKGETDISKSEQ: Opcode = opcode::read::<u64>(0x12, 128);
    /// Older than the scheme of the others: `linux/cdrom.h`.
    const CDROMEJECT: Opcode = 0x5309;

    /// The number of the medium that is in the drive, unique since the machine started.
    ///
    /// # Errors
    /// The kernel is too old, or `file` no disk.
    pub fn diskseq(file: &File) -> Result<u64, Errno> {
        // SAFETY: the request writes one u64, for which the getter has room (linux/fs.h).
        unsafe { ioctl(file, Getter::<BLKGETDISKSEQ, u64>::new()) }
    }

    /// Lets the kernel read the partition table.
    ///
    /// # Errors
    /// A partition is in use (`EBUSY`), or the disk can have none (`EINVAL`).
    pub fn reread_table(file: &File) -> Result<(), Errno> {
        // SAFETY: the request takes no argument (linux/fs.h).
        unsafe { ioctl(file, NoArg::<BLKRRPART>::new()) }
    }

    /// Gives the medium back.
    ///
    /// # Errors
    /// The drive has no such thing: then it can simply be taken out.
    pub fn eject(file: &File) -> Result<(), Errno> {
        // SAFETY: the request takes no argument (linux/cdrom.h).
        unsafe { ioctl(file, NoArg::<CDROMEJECT>::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::card;
    use super::*;

    #[test]
    fn only_devices_are_opened() {
        for (path, fine) in [
            ("/dev/sdb", true),
            ("/dev/cciss/c0d0", true),
            ("/dev", false),
            ("/dev/", false),
            ("/dev/../etc/passwd", false),
            ("/etc/passwd", false),
            ("dev/sdb", false),
            ("/device", false),
            ("", false),
        ] {
            assert_eq!(check_path(Path::new(path)).is_ok(), fine, "{path}");
        }
    }

    #[test]
    fn another_disk_is_noticed() {
        let confirmed = Confirmed::of(&card(), 0, Allow::default());
        confirmed.same(&card()).unwrap();
        type Change = fn(&mut Device);
        let table: [(Change, &str); 5] = [
            (|d| d.number = (8, 32), "device number"),
            (|d| d.size -= 512, "its size"),
            (|d| d.diskseq = Some(8), "its medium"),
            (|d| d.serial = None, "serial number"),
            (|d| d.cid = Some("00".into()), "serial number"),
        ];
        for (change, says) in table {
            let mut other = card();
            change(&mut other);
            let error = confirmed.same(&other).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_no_disk_is_not_opened() {
        let confirmed = Confirmed {
            path: "/dev/null".into(),
            ..Confirmed::of(&card(), 0, Allow::default())
        };
        assert!(open(&confirmed).is_err());
    }
}
