//! `user.*`: accounts, by shadow's tools or, on Alpine, busybox's.

mod absent;
mod crypt;
mod differences;
mod present;
mod script;

use super::{Function, Functions};

pub static FUNCTIONS: Functions = &[
    Function::of::<present::Present>("user.present", false),
    Function::of::<absent::Absent>("user.absent", false),
];

/// Whether `name` can be a user's or a group's: what the tools accept, and what no shell or file takes for something else.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-@$+\\".contains(&b) || b >= 0x80;
    !name.is_empty() && name.len() <= 256 && !name.starts_with(['-', '.']) && name.bytes().all(plain)
}

/// Stands for a number in the prediction of a user or group that does not exist yet: `(uid_t) -1` belongs to nobody.
pub const NOT_YET: u32 = u32::MAX;
