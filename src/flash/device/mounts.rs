//! `/proc/self/mountinfo` and `/proc/swaps`, and where the machine itself lives. Pure.

use std::path::{Path, PathBuf};

/// A line of mountinfo: `proc_pid_mountinfo(5)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Major and minor; major 0 where the file system has no device of its own (btrfs, overlay, tmpfs).
    pub number: (u32, u32),
    pub at: PathBuf,
    pub kind: String,
    /// A device's path, or anything.
    pub source: String,
    /// The file system's own options, `lowerdir=` among them.
    pub options: String,
}

/// The lines that can be understood; the kernel writes no others.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    // The number of optional fields before the dash varies.
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (major, minor) = before.next()?.split_once(':')?;
    let at = before.nth(1)?;
    let mut after = after.split(' ');
    Some(Mount {
        number: (major.parse().ok()?, minor.parse().ok()?),
        at: PathBuf::from(unescaped(at)),
        kind: after.next()?.to_owned(),
        source: unescaped(after.next()?),
        options: after.next().unwrap_or_default().to_owned(),
    })
}

/// The first column of `/proc/swaps`: devices and files.
pub fn swaps(text: &str) -> Vec<String> {
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(unescaped).collect()
}

/// Spaces, tabs, newlines and backslashes are written as `\040` and the like.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, later @ ..] = rest {
        let octal = later.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &later[3..] } else { later };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the machine itself lives at this mount point.
pub fn is_system(at: &Path) -> bool {
    at == Path::new("/")
        || ["/boot", "/efi", "/usr", "/var", "/home", "/nix", "/gnu"]
            .iter()
            .any(|top| at.starts_with(top))
}

/// The mount that a file at `path` lies in: the last one of those with the longest mount point, as later ones cover earlier ones.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let over = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    over.max_by_key(|mount| mount.at.components().count())
}

/// The folders that an overlay is made of, as its options name them.
pub fn overlay_folders(mount: &Mount) -> Vec<PathBuf> {
    if mount.kind != "overlay" {
        return Vec::new();
    }
    let named = mount.options.split(',').filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        ["lowerdir", "upperdir"].contains(&key).then_some(value)
    });
    named
        .flat_map(|folders| folders.split(':'))
        .map(|folder| PathBuf::from(unescaped(folder)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let text = "\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
42 27 0:39 / /media/two\\040words rw shared:7 master:2 - btrfs /dev/sdb\\0111 rw,subvol=/
43 27 0:40 / /x rw - overlay overlay rw,lowerdir=/media/ro:/media/base,upperdir=/media/rw/up
nonsense
";
        let read = mounts(text);
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].number, read[0].at.to_str().unwrap()), ((254, 0), "/"));
        assert_eq!(
            (read[1].at.to_str().unwrap(), read[1].kind.as_str(), read[1].source.as_str()),
            ("/media/two words", "btrfs", "/dev/sdb\t1")
        );
        assert_eq!(
            overlay_folders(&read[2]),
            ["/media/ro", "/media/base", "/media/rw/up"].map(PathBuf::from)
        );
        assert_eq!(mount_of(&read, Path::new("/x/y")).unwrap().kind, "overlay");
        assert_eq!(mount_of(&read, Path::new("/xy")).unwrap().kind, "ext4");
    }

    #[test]
    fn swaps_are_read() {
        let text = "Filename\t\t\t\tType\t\tSize\n/dev/dm-1                  partition\t100\t0\t-2\n/var/a\\040b file 1 0 -3\n";
        assert_eq!(swaps(text), ["/dev/dm-1", "/var/a b"]);
        assert!(swaps("Filename\n").is_empty());
    }

    #[test]
    fn where_the_machine_lives() {
        for (at, system) in [
            ("/", true),
            ("/boot/firmware", true),
            ("/boot/efi", true),
            ("/home", true),
            ("/var/lib/docker", true),
            ("/media/me/boot", false),
            ("/mnt", false),
            ("/run/media/me/usr", false),
            ("/homework", false),
        ] {
            assert_eq!(is_system(Path::new(at)), system, "{at}");
        }
    }
}
