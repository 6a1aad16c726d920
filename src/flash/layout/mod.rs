//! What stands on a disk: the few structures of FAT and ext4 that tell what is allocated and whether it is sound. Pure: bytes in, values out.

pub mod crc;
pub mod ext4;
pub mod fat;

/// The two bytes at `at`, least first; the callers have checked the length.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// What the first [`HEAD`] bytes of a partition look like.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    Fat(fat::Geometry),
    Ext4(Box<ext4::Superblock>),
    /// Another file system, or layer.
    Other(&'static str),
    /// Why it is not taken for what it looks like.
    Broken(String),
    Nothing,
}

/// How much of a partition must be seen to know what it holds, in bytes: btrfs has its magic number behind 64 KiB.
pub const HEAD: usize = 68 << 10;

/// Signatures of what may have been put over an old FAT or ext4 without wiping it: (offset, bytes, name). As in libblkid's probes.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"SKUL\xba\xbe", "LUKS"),
    (0, b"XFSB", "XFS"),
    (0, b"hsqs", "squashfs"),
    (0, b"BLFS", "LFS"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker"),
    (0, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0x018, b"LVM2 001", "LVM"),
    (0x218, b"LVM2 001", "LVM"),
    (0x418, b"LVM2 001", "LVM"),
    (0x618, b"LVM2 001", "LVM"),
    (0x400, b"\x10\x20\xf5\xf2", "F2FS"),
    (0x400, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (4096 - 10, b"SWAPSPACE2", "swap space"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache"),
    (0x8001, b"CD001", "ISO 9660"),
    (0x1_0034, b"ReIsEr", "ReiserFS"),
    (0x1_0040, b"_BHRfS_M", "btrfs"),
];

/// Says what a partition (or a disk without a table) that begins with `head` holds. Two signatures at once are nobody's.
pub fn recognise(head: &[u8]) -> Found {
    if head.len() < HEAD {
        return Found::Nothing;
    }
    let other = OTHERS
        .iter()
        .find(|(at, magic, _)| head[*at..].starts_with(magic))
        .map(|(.., name)| *name);
    let fat = fat::Geometry::parse(head);
    let ext4 = ext4::Superblock::is(head).then(|| ext4::Superblock::parse(&head[ext4::AT..]));
    match (fat, ext4, other) {
        (Some(fat), None, None) => Found::Fat(fat),
        (None, Some(Ok(superblock)), None) => Found::Ext4(Box::new(superblock)),
        (None, Some(Err(why)), None) => Found::Broken(why),
        (None, None, Some(name)) => Found::Other(name),
        (None, None, None) => Found::Nothing,
        _ => Found::Broken("it has the marks of two file systems at once".into()),
    }
}
