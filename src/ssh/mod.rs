//! Reaching minions: connections, authentication, host keys, jump hosts, the persistent shell session and file transfer.

mod auth;
mod client;
mod config;
mod connect;
mod endpoint;
pub mod frame;
mod keys;
pub mod known_hosts;
mod lock;
mod pipes;
mod session;
mod sudo;
mod wire;

pub use auth::Authenticated;
pub use config::{ConfigFiles, HostConfig};
pub use connect::{Connection, Peer, Shared, ShownKey, connect, host_key, trust};
pub use endpoint::{Defaults, Endpoint};
pub use keys::{NoPrompt, Prompt};
pub use lock::{BUSY, Holder, lock_section, unlock_section};
pub use pipes::{Opener, Pipes};
pub use session::{Batch, Said, Session, Watch};
pub use sudo::{Privilege, Sudo};
pub use wire::{Dial, Stream};

pub use crate::inventory::Secret;
