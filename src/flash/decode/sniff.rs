//! What bytes are, told from their first kilobyte: never from a name.

/// How many bytes of a file [`compression`] and [`content`] want to see; less will do where the file is shorter.
pub(super) const HEAD: usize = 1024;

/// How an image's file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    None,
    Xz,
    Gzip,
    Zstd,
    Bzip2,
    Zip,
}

impl Compression {
    /// The name that messages use: of the format, with its article.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "a plain file",
            Compression::Xz => "an xz file",
            Compression::Gzip => "a gzip file",
            Compression::Zstd => "a zstd file",
            Compression::Bzip2 => "a bzip2 file",
            Compression::Zip => "a zip file",
        }
    }

    /// What the catalogue writes behind the kind of image: `img.xz`; nothing where the file is plain.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Xz => Some("xz"),
            Compression::Gzip => Some("gz"),
            Compression::Zstd => Some("zst"),
            Compression::Bzip2 => Some("bz2"),
            Compression::Zip => Some("zip"),
        }
    }
}

/// What is inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The bytes of a disk, from its first sector on.
    Raw,
    /// A root file system as a tar: an image is yet to be built of it.
    RootTar,
}

/// How a file that begins with `head` is compressed.
pub(super) fn compression(head: &[u8]) -> Compression {
    match head {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        // The third byte is the method: 8 is the only one there ever was (RFC 1952).
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A frame to be skipped (RFC 8878, 3.1.2), as `pzstd` and `zstd --seekable` put first.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        // The magic of a block, or of the end where there is none, follows the level.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Compression::Bzip2,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Compression::Zip,
        _ => Compression::None,
    }
}

/// Whether a boot sector's signature or a tar's header is there: this is an image for sure.
pub(super) fn is_image(head: &[u8]) -> bool {
    is_tar(head) || head.get(510..512) == Some(&[0x55, 0xaa])
}

pub(super) fn content(head: &[u8]) -> Format {
    match is_tar(head) {
        true => Format::RootTar,
        false => Format::Raw,
    }
}

/// A tar: the magic of POSIX and GNU, or a header of the seventh edition's, which has nothing but its checksum.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else {
        return false;
    };
    let field = &header[148..156];
    let digits = field.trim_ascii_start();
    let length = digits.iter().take_while(|b| matches!(b, b'0'..=b'7')).count();
    let written = std::str::from_utf8(&digits[..length])
        .ok()
        .and_then(|text| u32::from_str_radix(text, 8).ok());
    let sum = |byte: fn(u8) -> i64| -> i64 {
        let others = header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
        others.map(|(_, b)| byte(*b)).sum::<i64>() + 8 * i64::from(b' ')
    };
    // Some old tars summed signed bytes.
    let right = written
        .is_some_and(|written| i64::from(written) == sum(i64::from) || i64::from(written) == sum(|b| i64::from(b.cast_signed())));
    right && header[0] != 0
}

/// A file that is no image of a disk and never can be: what it is, and what to do about it.
pub(super) fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const CONVERT: &str = "`qemu-img convert -O raw FILE DISK.img` makes a raw image of it";
    const UNPACK: &str = "unpack it first; xz, gzip, zstd, bzip2 and zip are understood as they are";
    const PAGE: &str = "open the URL in a browser: it wants a login, or leads to a page of links";
    const FILES: [(&[u8], &str, &str); 13] = [
        (b"QFI\xfb", "a qcow2 disk of QEMU", CONVERT),
        (b"KDMV", "a VMDK disk of VMware", CONVERT),
        (b"# Disk DescriptorFile", "a VMDK disk of VMware", CONVERT),
        (b"vhdxfile", "a VHDX disk of Hyper-V", CONVERT),
        (b"conectix", "a VHD disk of Hyper-V", CONVERT),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
        (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
        (b"LZIP", "an lzip file", UNPACK),
        (b"\x04\x22\x4d\x18", "an lz4 file", UNPACK),
        (b"\x89LZO\0\r\n\x1a\n", "an lzop file", UNPACK),
        (
            b"\x3a\xff\x26\xed",
            "a sparse image of Android",
            "`simg2img FILE DISK.img` makes a raw image of it",
        ),
        (b"hsqs", "a squashfs file system", "a card wants the image of a whole disk"),
        (b"\x7fELF", "a program", "a card wants the image of a disk"),
    ];
    let begins = |magic: &[u8]| head.starts_with(magic);
    let file = FILES.iter().find(|(magic, ..)| begins(magic));
    if let Some((_, what, hint)) = file {
        return Some((what, hint));
    }
    let text = head.trim_ascii_start();
    let tag = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    (tag(b"<!doctype html") || tag(b"<html") || tag(b"<?xml")).then_some(("a web page", PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_told_by_their_first_bytes() {
        for (head, expected) in [
            (&b"\xfd7zXZ\0\0\x04"[..], Compression::Xz),
            (b"\x1f\x8b\x08\0", Compression::Gzip),
            (b"\x1f\x8b\x07\0", Compression::None),
            (b"\x28\xb5\x2f\xfd\x24", Compression::Zstd),
            (b"\x5a\x2a\x4d\x18\0\0\0\0", Compression::Zstd),
            (b"BZh91AY&SY", Compression::Bzip2),
            (b"BZh9 is how this text begins", Compression::None),
            (b"PK\x03\x04", Compression::Zip),
            (b"PK\x01\x02", Compression::None),
            (b"", Compression::None),
        ] {
            assert_eq!(compression(head), expected, "{head:?}");
        }
    }

    #[test]
    fn a_tar_is_told_with_and_without_magic() {
        let mut header = tar::Header::new_gnu();
        header.set_path("etc/passwd").unwrap();
        header.set_size(3);
        header.set_cksum();
        assert_eq!(content(header.as_bytes()), Format::RootTar);
        let mut header = tar::Header::new_old();
        header.set_path("./").unwrap();
        header.set_size(0);
        header.set_cksum();
        assert_eq!(content(header.as_bytes()), Format::RootTar);
        header.as_mut_bytes()[0] = b'x';
        assert_eq!(content(header.as_bytes()), Format::Raw, "its checksum is wrong");
        assert_eq!(content(&[0; 512]), Format::Raw, "the end of a tar is no tar");
        let mut boot = [0; 512];
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(content(&boot), Format::Raw);
        assert!(is_image(&boot));
    }

    #[test]
    fn what_is_no_image_is_named() {
        assert_eq!(foreign(b"QFI\xfb\0\0\0\x03").unwrap().0, "a qcow2 disk of QEMU");
        assert_eq!(foreign(b"\r\n <!DOCTYPE HTML>").unwrap().0, "a web page");
        assert_eq!(foreign(&[0; 512]), None);
    }
}
