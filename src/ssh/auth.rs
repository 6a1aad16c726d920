//! Authenticating to a server: which keys and passwords are tried in which order, and what is said when all were refused.

use std::path::PathBuf;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use std::sync::Arc;

use super::client::Client;
use super::endpoint::Login;
use super::keys::{Agent, Answers, FileSigner, KeyFile, KeyFiles, SignError};
use crate::error::{Error, Result};
use crate::inventory::{Password, Secret};

/// An sshd hangs up at the sixth failure (`MaxAuthTries`). Keys stop one short of that where a password can still be tried.
const MOST_KEYS: usize = 5;

/// How a connection was authenticated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authenticated {
    /// In words: "key ~/.ssh/id_ed25519", "password".
    pub by: String,
    /// The fingerprint of the key, to be tried first the next time ([`super::Endpoint::last_key`]).
    pub key: Option<String>,
}

/// A key that can be offered.
struct Candidate {
    public: PublicKey,
    certificate: Option<Certificate>,
    /// `None`: the agent signs.
    file: Option<Arc<KeyFile>>,
    label: String,
}

/// What has been tried, for the message.
#[derive(Default)]
struct Tried {
    keys: Vec<String>,
    others: Vec<&'static str>,
    /// What stood in the way of trying more.
    notes: Vec<String>,
}

enum Outcome {
    Done,
    /// Refused, or not enough alone; what can be gone on with.
    GoOn(MethodSet),
    /// The server has hung up.
    Gone,
}

impl From<AuthResult> for Outcome {
    fn from(result: AuthResult) -> Outcome {
        match result {
            AuthResult::Success => Outcome::Done,
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => Outcome::Gone,
            AuthResult::Failure { remaining_methods, .. } => Outcome::GoOn(remaining_methods),
        }
    }
}

/// Authenticates `login.user` by what the user has, in this order: the key that worked the last time, the keys that were named
/// for this minion, the agent's, the usual files, and a password where there is one.
///
/// # Errors
/// All was refused: says each thing that was tried, what the server would take, and what can be done.
pub(super) async fn authenticate(
    handle: &mut Handle<Client>,
    login: &Login,
    files: &KeyFiles,
    answers: &Answers,
) -> Result<Authenticated> {
    let mut tried = Tried::default();
    let mut offered: Option<MethodSet> = None;
    let mut agent = connect_agent(handle, login, &mut tried).await;
    let has_password = login.password.is_some();
    let mut gone = false;
    for candidate in candidates(login, files, agent.as_ref(), &mut tried) {
        let takes_keys = offered
            .as_ref()
            .is_none_or(|offered| offered.contains(&MethodKind::PublicKey));
        if !takes_keys || (has_password && tried.keys.len() >= MOST_KEYS) {
            break;
        }
        let outcome = offer(handle, login, &candidate, agent.as_mut(), answers, &mut tried).await;
        tried.keys.push(candidate.label.clone());
        match outcome {
            Some(Outcome::Done) => {
                return Ok(Authenticated {
                    by: candidate.label,
                    key: Some(candidate.public.fingerprint(HashAlg::Sha256).to_string()),
                });
            }
            Some(Outcome::GoOn(methods)) => offered = Some(methods),
            Some(Outcome::Gone) => {
                gone = true;
                break;
            }
            None => {}
        }
    }
    if !gone && offered.is_none() {
        // Nothing was asked yet: the server says what it takes, or lets us in as it is.
        match handle.authenticate_none(&login.user).await.map(Outcome::from) {
            Ok(Outcome::Done) => {
                return Ok(Authenticated {
                    by: "nothing: the server asked for none".into(),
                    key: None,
                });
            }
            Ok(Outcome::GoOn(methods)) => offered = Some(methods),
            Ok(Outcome::Gone) | Err(_) => gone = true,
        }
    }
    if !gone
        && let Some(methods) = &offered
        && let Some(by) = by_password(handle, login, methods.clone(), answers, &mut tried).await
    {
        return Ok(Authenticated { by, key: None });
    }
    Err(refused(login, tried, offered.as_ref(), handle.is_closed() || gone))
}

async fn connect_agent(handle: &Handle<Client>, login: &Login, tried: &mut Tried) -> Option<Agent> {
    let socket = login.agent.as_ref()?;
    match Agent::connect(socket, handle.agent_session_binding()).await {
        Ok(agent) => Some(agent),
        Err(why) => {
            tried.notes.push(why);
            None
        }
    }
}

fn candidates(login: &Login, files: &KeyFiles, agent: Option<&Agent>, tried: &mut Tried) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    let held = |public: &PublicKey| {
        agent.is_some_and(|agent| {
            agent
                .identities
                .iter()
                .any(|id| id.public_key().key_data() == public.key_data())
        })
    };
    let certificates: Vec<Certificate> = login
        .certificates
        .iter()
        .filter_map(|path| match russh::keys::load_openssh_certificate(path) {
            Ok(certificate) => Some(certificate),
            Err(e) => {
                tried.notes.push(format!("certificate {}: {e}", path.display()));
                None
            }
        })
        .collect();
    let mut from_files = |paths: &[PathBuf], all: &mut Vec<Candidate>, needed: bool| {
        for path in paths {
            let file = files.load(path);
            let in_agent = file.public.as_ref().is_some_and(held);
            match (&file.problem, in_agent) {
                (Some(problem), false) => {
                    if needed {
                        tried.notes.push(format!("key {}: {problem}", path.display()));
                    }
                    continue;
                }
                (None, false) if file.public.is_none() => {
                    tried.notes.push(format!(
                        "key {}: its passphrase hides even which key it is; put the public key beside it",
                        path.display()
                    ));
                    continue;
                }
                _ => {}
            }
            let Some(public) = &file.public else { continue };
            let matching = certificates.iter().filter(|c| c.public_key() == public.key_data());
            for certificate in file.certificate.iter().chain(matching).map(Some).chain([None]) {
                let what = if certificate.is_some() { "certificate" } else { "key" };
                all.push(Candidate {
                    public: public.clone(),
                    certificate: certificate.cloned(),
                    file: (!in_agent).then(|| file.clone()),
                    label: format!("{what} {}", path.display()),
                });
            }
        }
    };
    from_files(&login.keys, &mut all, true);
    if !login.identities_only {
        for identity in agent.map(|agent| agent.identities.as_slice()).unwrap_or_default() {
            let (certificate, comment) = match identity {
                AgentIdentity::PublicKey { comment, .. } => (None, comment),
                AgentIdentity::Certificate { certificate, comment } => (Some(certificate.clone()), comment),
            };
            all.push(Candidate {
                public: identity.public_key().into_owned(),
                certificate,
                file: None,
                label: format!("key {comment} of the agent"),
            });
        }
    }
    from_files(&login.usual_keys, &mut all, false);
    let mut distinct: Vec<Candidate> = Vec::new();
    for candidate in all {
        let same = |other: &Candidate| {
            other.public.key_data() == candidate.public.key_data()
                && other.certificate.is_some() == candidate.certificate.is_some()
        };
        if !distinct.iter().any(same) {
            distinct.push(candidate);
        }
    }
    if let Some(last) = &login.last_key {
        // Stable: a certificate stays before its key.
        distinct.sort_by_key(|candidate| candidate.public.fingerprint(HashAlg::Sha256).to_string() != *last);
    }
    distinct
}

/// `None`: it could not be signed with, and the server was told nothing new.
async fn offer(
    handle: &mut Handle<Client>,
    login: &Login,
    candidate: &Candidate,
    agent: Option<&mut Agent>,
    answers: &Answers,
    tried: &mut Tried,
) -> Option<Outcome> {
    let hash = match candidate.public.algorithm() {
        // SHA-1 is never used: a server that does not say what it takes is tried with SHA-2.
        Algorithm::Rsa { .. } => match handle.best_supported_rsa_hash().await {
            Ok(Some(Some(hash))) => Some(hash),
            _ => Some(HashAlg::Sha512),
        },
        _ => None,
    };
    let result = match (&candidate.file, agent) {
        (Some(file), _) => send(handle, login, candidate, hash, &mut FileSigner { file, answers }).await,
        (None, Some(agent)) => send(handle, login, candidate, hash, agent).await,
        (None, None) => return None,
    };
    match result {
        Ok(result) => Some(result.into()),
        Err(SignError::Refused(why)) => {
            tried.notes.push(why);
            None
        }
        Err(SignError::Connection) => Some(Outcome::Gone),
    }
}

async fn send<S: russh::Signer<Error = SignError>>(
    handle: &mut Handle<Client>,
    login: &Login,
    candidate: &Candidate,
    hash: Option<HashAlg>,
    signer: &mut S,
) -> Result<AuthResult, SignError> {
    let user = login.user.as_str();
    match &candidate.certificate {
        Some(certificate) => {
            handle
                .authenticate_certificate_with(user, certificate.clone(), hash, signer)
                .await
        }
        None => {
            handle
                .authenticate_publickey_with(user, candidate.public.clone(), hash, signer)
                .await
        }
    }
}

/// Tries the password in the ways that the server takes; how it got in, or `None`.
async fn by_password(
    handle: &mut Handle<Client>,
    login: &Login,
    methods: MethodSet,
    answers: &Answers,
    tried: &mut Tried,
) -> Option<String> {
    let takes = |method| methods.contains(&method);
    if !takes(MethodKind::Password) && !takes(MethodKind::KeyboardInteractive) {
        return None;
    }
    let password = match login.password.as_ref()? {
        Password::Given(password) => password.clone(),
        // One answer for all minions with this account: a cluster's machines are asked about once.
        Password::Ask => match answers.to(&format!("SSH password of {}: ", login.user), false).await {
            Some(password) => password,
            None => {
                tried.notes.push("the password was not given".into());
                return None;
            }
        },
    };
    if takes(MethodKind::Password) {
        tried.others.push("password");
        match handle
            .authenticate_password(&login.user, password.reveal())
            .await
            .map(Outcome::from)
        {
            Ok(Outcome::Done) => return Some("password".into()),
            Ok(Outcome::GoOn(_)) => {}
            Ok(Outcome::Gone) | Err(_) => return None,
        }
    }
    if takes(MethodKind::KeyboardInteractive) {
        tried.others.push("keyboard-interactive");
        if interactive(handle, login, password, answers).await == Some(true) {
            return Some("keyboard-interactive".into());
        }
    }
    None
}

/// Answers the server's questions: the first hidden one with the password, all others by the user.
async fn interactive(handle: &mut Handle<Client>, login: &Login, password: Secret, answers: &Answers) -> Option<bool> {
    let mut password = Some(password);
    let mut response = handle.authenticate_keyboard_interactive_start(&login.user, None).await.ok()?;
    loop {
        let prompts = match response {
            KeyboardInteractiveAuthResponse::Success => return Some(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Some(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let mut replies = Vec::new();
        for prompt in prompts {
            let reply = match password.take_if(|_| !prompt.echo) {
                Some(password) => Some(password),
                None => answers.anew(&format!("{}: {}", login.name, prompt.prompt), prompt.echo).await,
            };
            replies.push(reply.map(|secret| secret.reveal().to_owned()).unwrap_or_default());
        }
        response = handle.authenticate_keyboard_interactive_respond(replies).await.ok()?;
    }
}

fn refused(login: &Login, tried: Tried, offered: Option<&MethodSet>, gone: bool) -> Error {
    let mut what = tried.keys.clone();
    what.extend(tried.others.iter().map(|method| (*method).to_owned()));
    let what = if what.is_empty() {
        "nothing could be tried".to_owned()
    } else {
        format!("tried {}", what.join(", "))
    };
    let takes = offered.map(|methods| methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", "));
    let mut message = format!("`{}` was not let in: {what}", login.user);
    if let Some(takes) = &takes {
        message.push_str(&format!("; the server takes {takes}"));
    }
    let has = |method| offered.is_some_and(|methods| methods.contains(&method));
    let mut error = Error::unreachable(message);
    for note in tried.notes {
        error = error.hint(note);
    }
    if gone && tried.keys.len() > 1 {
        error = error.hint(format!(
            "the server hung up after {} keys: name the right one (`key:` in the inventory, or `IdentityFile` with `IdentitiesOnly yes`)",
            tried.keys.len()
        ));
    }
    if has(MethodKind::PublicKey) || offered.is_none() {
        error = error.hint(match tried.keys.is_empty() {
            true => "no key was found: `ssh-keygen -t ed25519` makes one, `ssh-copy-id` brings it to the minion".to_owned(),
            false => format!(
                "is one of these keys in ~{}/.ssh/authorized_keys on the minion, and is `{0}` the right user?",
                login.user
            ),
        });
    }
    if login.password.is_none() && (has(MethodKind::Password) || has(MethodKind::KeyboardInteractive)) {
        error = error.hint("`password: ask` in the inventory tries a password");
    }
    error
}
