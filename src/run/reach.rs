//! How minions are reached: over SSH as the inventory says, or this machine itself.

use super::event::Phase;
use crate::error::Result;
use crate::inventory::{Inventory, Minion};
use crate::project::{Cache, write_whole};
use crate::ssh::{Endpoint, Privilege, Session, connect};
use futures::future::BoxFuture;
use std::sync::Arc;

/// Opens sessions.
pub trait Reach: Send + Sync {
    /// A fresh session with `minion`. `tell` hears of what is noteworthy on the way.
    fn session<'a>(&'a self, minion: &'a Minion, tell: &'a mut (dyn FnMut(Phase) + Send)) -> BoxFuture<'a, Result<Session>>;
}

/// This machine, without SSH.
pub struct Here;

impl Reach for Here {
    fn session<'a>(&'a self, _: &'a Minion, _: &'a mut (dyn FnMut(Phase) + Send)) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async { Session::local(Privilege::default()) })
    }
}

/// Over SSH.
pub struct OverSsh {
    pub shared: crate::ssh::Shared,
    pub inventory: Arc<Inventory>,
    pub cache: Cache,
}

impl OverSsh {
    /// How `minion` is reached, with what was learnt at earlier times: the key that worked, and whether its processor does AES.
    pub fn endpoint(&self, minion: &Minion) -> Result<Endpoint> {
        let mut endpoint = Endpoint::of(minion, &self.inventory)?;
        endpoint.aes = self.cache.has_aes(&minion.id);
        endpoint.last_key = std::fs::read_to_string(self.cache.path("login").join(minion.id.as_str())).ok();
        Ok(endpoint)
    }
}

impl Reach for OverSsh {
    fn session<'a>(&'a self, minion: &'a Minion, _: &'a mut (dyn FnMut(Phase) + Send)) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async move {
            let endpoint = self.endpoint(minion)?;
            let privilege = self.shared.privilege(minion).await?;
            let connection = connect(&endpoint, &self.shared).await?;
            let key = &connection.peer().authenticated.key;
            if key.is_some() && *key != endpoint.last_key {
                // Only an economy of the next run: not being able to remember it is no failure of this one.
                let remembered = self.cache.folder("login").map(|folder| folder.join(minion.id.as_str()));
                let _ = remembered.and_then(|file| write_whole(&file, key.clone().unwrap_or_default().as_bytes()));
            }
            connection.session(privilege).await
        })
    }
}
