//! Who owns a file: the `user` and `group` arguments of many states.

use crate::error::Result;
use crate::probe::{Entry, Observed, Probe};
use serde_json::Value as Json;

/// A user and a group, by name or number; what is not said is left as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::states) struct Owner {
    pub user: Option<String>,
    pub group: Option<String>,
}

impl Owner {
    pub fn new(user: &Option<String>, group: &Option<String>) -> Owner {
        let said = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        Owner {
            user: said(user),
            group: said(group),
        }
    }

    /// The accounts that must be there.
    pub fn probes(&self) -> Vec<Probe> {
        let user = named(&self.user).map(|name| Probe::User { name: name.to_owned() });
        let group = named(&self.group).map(|name| Probe::Group { name: name.to_owned() });
        user.into_iter().chain(group).collect()
    }

    /// What is said of an account that is not there.
    pub fn unknown(&self, seen: &Observed) -> Result<Option<String>> {
        let mut unknown = String::new();
        if let Some(name) = named(&self.user)
            && seen.user(name)?.account.is_none()
        {
            unknown = format!("User {name} is not available ");
        }
        if let Some(name) = named(&self.group)
            && seen.group(name)?.gid.is_none()
        {
            unknown += &format!("Group {name} is not available");
        }
        Ok((!unknown.is_empty()).then(|| unknown.trim_end().to_owned()))
    }

    /// What of `entry` is not as it should be, as Salt's `changes` name it.
    pub fn differs(&self, entry: &Entry) -> Vec<(&'static str, Json)> {
        let mut differs = Vec::new();
        if let Some(user) = &self.user
            && *user != entry.user
            && *user != entry.uid.to_string()
        {
            differs.push(("user", user.clone().into()));
        }
        if let Some(group) = &self.group
            && *group != entry.group
            && *group != entry.gid.to_string()
        {
            differs.push(("group", group.clone().into()));
        }
        differs
    }

    /// `entry` as it will be seen once it belongs to this owner. `new`: it is made by the session, whose user owns what is not said.
    pub fn applied(&self, mut entry: Entry, new: bool, seen: &Observed) -> Result<Entry> {
        if new {
            entry.user = "root".to_owned();
            entry.group = "root".to_owned();
            (entry.uid, entry.gid) = (0, 0);
        }
        if let Some(user) = &self.user {
            entry.user.clone_from(user);
            entry.uid = match user.parse() {
                Ok(uid) => uid,
                Err(_) => seen.user(user)?.account.as_ref().map_or(0, |account| account.uid),
            };
        }
        if let Some(group) = &self.group {
            entry.group.clone_from(group);
            entry.gid = match group.parse() {
                Ok(gid) => gid,
                Err(_) => seen.group(group)?.gid.unwrap_or(0),
            };
        }
        Ok(entry)
    }

    /// What `chown` takes: `user:group`, `user`, `:group`; nothing where neither is said.
    pub fn word(&self) -> Option<String> {
        match (&self.user, &self.group) {
            (None, None) => None,
            (Some(user), None) => Some(user.clone()),
            (user, Some(group)) => Some(format!("{}:{group}", user.as_deref().unwrap_or_default())),
        }
    }
}

/// The name, where it is none of a number.
fn named(name: &Option<String>) -> Option<&str> {
    name.as_deref().filter(|name| !name.bytes().all(|b| b.is_ascii_digit()))
}
