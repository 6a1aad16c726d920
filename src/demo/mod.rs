//! Throwaway minions of this process's own: SSH servers in memory, each with a private root. They need neither root, sshd nor a
//! network, and nothing of them is left when they are dropped.

mod root;
mod server;

pub use root::{Kind, Root};
pub use server::{Minion, shared};
