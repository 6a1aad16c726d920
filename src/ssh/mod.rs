//! Reaching minions: connections, authentication, host keys, jump hosts, the persistent shell session and file transfer.

mod config;
pub mod frame;
pub mod known_hosts;
mod lock;
mod pipes;
mod session;
mod sudo;

pub use config::{ConfigFiles, HostConfig};
pub use lock::{BUSY, Holder, lock_section, unlock_section};
pub use pipes::{Opener, Pipes};
pub use session::{Batch, Session};
pub use sudo::{Secret, Sudo};
