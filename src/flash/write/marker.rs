//! What stands at the start of a card until it is finished: nothing that anything would boot or mount, and a note for us.
//!
//! The area is larger than all that makes a disk look like something: the MBR, the GPT with its entries (17 KiB), the superblocks of
//! ext4 (1 KiB), of btrfs (64 KiB), of ISO 9660 (32 KiB), LVM and RAID labels (4 KiB).

use super::buffer::Buffer;

/// Bytes.
pub const AREA: usize = 128 << 10;

/// At the other end: the GPT's copy (17 KiB), RAID 0.90 and 1.0 (64 KiB), ZFS (512 KiB).
pub const TAIL: u64 = 1 << 20;

const TITLE: &str = "picloud: unfinished\n";

/// The first [`AREA`] bytes of a card that `image` is being written to.
pub fn area(image: &str) -> Buffer {
    let mut area = Buffer::new(AREA);
    let text = format!(
        "{TITLE}image {}\n\nThis card was being written. Start the same `picloud flash` again: what is here already is kept.\n",
        line(image)
    );
    area[..text.len()].copy_from_slice(text.as_bytes());
    area
}

/// What can stand in the marker's line.
fn line(image: &str) -> String {
    image.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Whether a card that begins with `head` is an unfinished one of `image`.
pub fn is_of(head: &[u8], image: &str) -> bool {
    let text = format!("{TITLE}image {}\n", line(image));
    head.starts_with(text.as_bytes())
}

/// Whether a card that begins with `head` is an unfinished one.
pub fn is_unfinished(head: &[u8]) -> bool {
    head.starts_with(TITLE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_recognised() {
        let area = area("sha256:abc\n");
        assert!(is_of(&area, "sha256:abc") && is_unfinished(&area));
        assert!(!is_of(&area, "sha256:ab") && !is_of(&area, "sha256:abcd"));
        assert_ne!(area[510..512], [0x55, 0xaa]);
        assert!(!is_unfinished(&[0; 512]));
    }
}
