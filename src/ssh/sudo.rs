//! Becoming root on a minion: the command that does it, and what its complaints mean. Pure.

use super::frame::BEGUN;
use crate::error::{Error, Result};
use crate::inventory::Secret;
use crate::shell::quote;

/// How a session gets its privileges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Sudo {
    /// It keeps those of the account.
    #[default]
    No,
    /// `sudo -n` (or `doas -n`), which must need no password.
    NoPassword,
    /// `sudo -S`: the password goes over standard input.
    Password(Secret),
}

/// Whose rights a session has, and which shell runs it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Privilege {
    pub sudo: Sudo,
    /// Who to become by sudo; root where not said.
    pub user: Option<String>,
    /// A POSIX shell; `/bin/sh` where not said.
    pub shell: Option<String>,
}

impl From<Sudo> for Privilege {
    fn from(sudo: Sudo) -> Privilege {
        Privilege {
            sudo,
            ..Privilege::default()
        }
    }
}

/// What ends the lines before a command's input proper. `sudo` takes the password only if it wants one; else it is still there
/// to be read, and must be run by no shell and stored in no file.
const GO: &str = "#picloud";

impl Privilege {
    /// `script` as a command for the login shell of the account (any: all of it is plain words and single quotes).
    pub(crate) fn command(&self, script: &str) -> String {
        let shell = quote(self.shell.as_deref().unwrap_or("/bin/sh"));
        let user = |option: &str| match &self.user {
            Some(user) => format!(" {option} {}", quote(user)),
            None => String::new(),
        };
        let sh = |script: &str| format!("exec /bin/sh -c {}", quote(script));
        match &self.sudo {
            Sudo::No => format!("exec {shell} -c {}", quote(script)),
            Sudo::NoPassword => sh(&format!(
                "LC_ALL=C; export LC_ALL; command -v sudo >/dev/null && exec sudo -n -H{0} -- {shell} -c {1}; \
                 command -v doas >/dev/null && exec doas -n{0} {shell} -c {1}; echo \"picloud: no sudo\" >&2; exit 127",
                user("-u"),
                quote(script)
            )),
            Sudo::Password(_) => {
                let script = format!("while IFS= read -r l && [ \"$l\" != \"{GO}\" ]; do :; done; {script}");
                sh(&format!(
                    "LC_ALL=C; export LC_ALL; command -v sudo >/dev/null || {{ echo \"picloud: no sudo\" >&2; exit 127; }}; \
                     exec sudo -S -H -p \"\"{} -- {shell} -c {}",
                    user("-u"),
                    quote(&script)
                ))
            }
        }
    }

    /// The command of a session whose first batch is in the environment, if the minion's sshd took it. sudo would take it away again.
    pub(crate) fn begun_session(&self) -> Option<String> {
        (self.sudo == Sudo::No).then(|| self.command(BEGUN))
    }

    /// The command of a session.
    pub(crate) fn session(&self) -> String {
        let shell = quote(self.shell.as_deref().unwrap_or("/bin/sh"));
        match self.sudo {
            Sudo::No => format!("exec {shell}"),
            _ => self.command(&format!("exec {shell}")),
        }
    }
}

impl Sudo {
    /// What a command of [`Privilege::command`] must read first.
    ///
    /// # Errors
    /// A password with a line break, which `sudo` could never read.
    pub(crate) fn preface(&self) -> Result<Vec<u8>> {
        match self {
            Sudo::Password(password) if password.reveal().contains(['\n', '\0']) => {
                Err(Error::usage("the sudo password contains a line break"))
            }
            Sudo::Password(password) => Ok(format!("{}\n{GO}\n", password.reveal()).into_bytes()),
            Sudo::No | Sudo::NoPassword => Ok(Vec::new()),
        }
    }

    /// Whether `heard`, which came before a session's shell started, says that the password is wrong. `sudo` would go on to take
    /// the next lines of input for passwords.
    pub(crate) fn refused(&self, heard: &[u8]) -> bool {
        matches!(self, Sudo::Password(_)) && String::from_utf8_lossy(heard).contains("try again")
    }

    /// What it means that no shell started: `heard` is what came instead (at most a few lines are shown), `status` what the
    /// command ended with.
    pub(crate) fn explain(&self, heard: &[u8], status: Option<i32>) -> Error {
        let heard = String::from_utf8_lossy(heard);
        let lines: Vec<&str> = heard.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let has = |text: &str| heard.contains(text);
        let asked = *self != Sudo::No;
        if asked && has("picloud: no sudo") {
            let error = Error::unreachable("neither sudo nor doas is installed");
            return match self {
                Sudo::Password(_) => error.hint("sudo must be installed where a password is needed; or connect as root"),
                _ => error.hint("install sudo on the minion, or connect as root"),
            };
        }
        if asked && (has("incorrect password") || has("try again")) {
            return Error::unreachable("sudo refused the password")
                .hint("check the password that is meant for sudo on this minion");
        }
        if asked && (has("must have a tty") || has("a terminal is required")) {
            return Error::unreachable("sudo on the minion insists on a terminal")
                .hint("remove `requiretty` from its sudoers, or give the sudo password in the inventory (`sudo: password`)");
        }
        if asked && (has("a password is required") || has("Authentication required") || has("Authorization required")) {
            return Error::unreachable("sudo wants a password").hint(
                "let picloud ask for it (`sudo: password` in the inventory), or allow the account NOPASSWD in the minion's sudoers",
            );
        }
        if asked && (has("sudoers") || has("may not run") || has("not allowed to") || has("Operation not permitted")) {
            let said = lines.last().copied().unwrap_or_default();
            return Error::unreachable(format!("the account may not use sudo: {said}")).hint("allow it in the minion's sudoers");
        }
        let said = match lines[lines.len().saturating_sub(3)..].join(" / ") {
            said if said.is_empty() => "it said nothing".to_owned(),
            said => format!("it said: {said}"),
        };
        match status {
            Some(super::pipes::REFUSED) => Error::unreachable("the minion's sshd refused to start a command")
                .hint("look for a forced command, `PermitTTY`/`ForceCommand` or a full disk on the minion"),
            Some(status) => Error::unreachable(format!("no shell started: the command ended with status {status}; {said}"))
                .hint("is the account's login shell usable (not nologin), and is there a /bin/sh?"),
            None => Error::unreachable(format!("the connection was lost before a shell started; {said}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_understood() {
        let with = Sudo::Password(Secret::new("x"));
        for (sudo, heard, status, expected) in [
            (
                &Sudo::NoPassword,
                "sudo: a password is required\n",
                1,
                "sudo wants a password",
            ),
            (
                &Sudo::NoPassword,
                "picloud: no sudo\n",
                127,
                "neither sudo nor doas is installed",
            ),
            (
                &Sudo::NoPassword,
                "sudo: sorry, you must have a tty to run sudo\n",
                1,
                "sudo on the minion insists on a terminal",
            ),
            (&with, "Sorry, try again.\n", 1, "sudo refused the password"),
            (
                &with,
                "pi is not in the sudoers file.\n",
                1,
                "the account may not use sudo: pi is not in the sudoers file.",
            ),
            (
                &Sudo::No,
                "This account is currently not available.\n",
                1,
                "no shell started: the command ended with status 1; it said: This account is currently not available.",
            ),
        ] {
            assert_eq!(sudo.explain(heard.as_bytes(), Some(status)).to_string(), expected);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let sudo = Sudo::Password(Secret::new("hunter2"));
        assert_eq!(format!("{sudo:?}"), "Password(***)");
        assert!(!Privilege::from(sudo).session().contains("hunter2"));
    }
}
