//! Reaching minions: connections, authentication, host keys, jump hosts, the persistent shell session and file transfer.

mod session;

pub use session::{Batch, Session};
