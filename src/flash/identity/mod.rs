//! Whose card it is: everything that makes a fresh system a certain minion at its first boot.

pub mod ca;
pub mod files;
pub mod host_key;
pub mod pin;
#[cfg(test)]
mod testing;
