//! Throwaway minions of this process's own: SSH servers in memory, each with a private root. They need neither root, sshd nor a
//! network, and nothing of them is left when they are dropped. A [`Cluster`] is some of them with a project.

mod cluster;
mod root;
mod server;

pub use cluster::Cluster;
pub use root::{Kind, Root};
pub use server::{Minion, shared};
