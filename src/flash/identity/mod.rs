//! Whose card it is: everything that makes a fresh system a certain minion at its first boot.

pub mod files;
