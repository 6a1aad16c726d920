//! The user's keys: files, certificates and agents, and the passwords and passphrases that are asked for. Each is read, and
//! each question put, once per process, whatever the number of minions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{PrivateKey, Signature};
use russh::keys::{Certificate, HashAlg, PublicKey};

use crate::inventory::Secret;

/// Puts questions to the user.
pub trait Prompt: Send + Sync {
    /// The answer to `question`, shown as it is typed only where `echo`. `None`: there is nobody to ask, or they gave up.
    /// May block; only one question is put at a time.
    fn ask(&self, question: &str, echo: bool) -> Option<Secret>;
}

/// Asks nobody.
pub struct NoPrompt;

impl Prompt for NoPrompt {
    fn ask(&self, _question: &str, _echo: bool) -> Option<Secret> {
        None
    }
}

/// Questions that were put, and their answers.
pub(super) struct Answers {
    prompt: Arc<dyn Prompt>,
    given: tokio::sync::Mutex<HashMap<String, Option<Secret>>>,
}

impl Answers {
    pub(super) fn new(prompt: Arc<dyn Prompt>) -> Answers {
        Answers {
            prompt,
            given: tokio::sync::Mutex::default(),
        }
    }

    /// The answer to `question`: of the user where it was not put before. An answer, or that there is none, is kept.
    pub(super) async fn to(&self, question: &str, echo: bool) -> Option<Secret> {
        let mut given = self.given.lock().await;
        if let Some(answer) = given.get(question) {
            return answer.clone();
        }
        let (prompt, text) = (self.prompt.clone(), question.to_owned());
        let answer = tokio::task::spawn_blocking(move || prompt.ask(&text, echo))
            .await
            .ok()
            .flatten();
        given.insert(question.to_owned(), answer.clone());
        answer
    }

    /// As [`Answers::to`], for what is asked anew each time (a one-time password).
    pub(super) async fn anew(&self, question: &str, echo: bool) -> Option<Secret> {
        let _one_at_a_time = self.given.lock().await;
        let (prompt, text) = (self.prompt.clone(), question.to_owned());
        tokio::task::spawn_blocking(move || prompt.ask(&text, echo))
            .await
            .ok()
            .flatten()
    }
}

/// All key files that were looked at.
#[derive(Default)]
pub(super) struct KeyFiles {
    files: Mutex<HashMap<PathBuf, Arc<KeyFile>>>,
}

impl KeyFiles {
    pub(super) fn load(&self, path: &Path) -> Arc<KeyFile> {
        let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        files
            .entry(path.to_owned())
            .or_insert_with(|| Arc::new(KeyFile::read(path)))
            .clone()
    }
}

/// One file with a key of the user's.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    /// Known without a passphrase where the format tells it, or a `.pub` file stands beside it.
    pub(super) public: Option<PublicKey>,
    /// Those that stand beside it (`-cert.pub`).
    pub(super) certificate: Option<Certificate>,
    /// Why it cannot be used, if it cannot.
    pub(super) problem: Option<String>,
    text: Secret,
    private: tokio::sync::OnceCell<Option<Arc<PrivateKey>>>,
}

impl KeyFile {
    fn read(path: &Path) -> KeyFile {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut key = KeyFile {
            path: path.to_owned(),
            public: None,
            certificate: russh::keys::load_openssh_certificate(beside("-cert.pub")).ok(),
            problem: None,
            text: Secret::new(""),
            private: tokio::sync::OnceCell::new(),
        };
        let text = match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                key.problem = Some("it is not a key".into());
                return key;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // The public half alone names a key of the agent's.
                key.public = russh::keys::load_public_key(beside(".pub")).ok();
                key.problem = Some("there is no such file".into());
                return key;
            }
            Err(e) => {
                key.problem = Some(e.to_string());
                return key;
            }
        };
        if let Ok(public) = PublicKey::from_openssh(&text) {
            key.public = Some(public);
            key.problem = Some("it is a public key, and no agent has its private half".into());
            return key;
        }
        match russh::keys::decode_secret_key(&text, None) {
            Ok(private) => {
                key.public = Some(private.public_key().clone());
                key.private = tokio::sync::OnceCell::new_with(Some(Some(Arc::new(private))));
            }
            Err(russh::keys::Error::KeyIsEncrypted) => {
                // The format of OpenSSH has the public half in clear.
                let public = PrivateKey::from_openssh(&text).map(|key| key.public_key().clone());
                key.public = public.ok().or_else(|| russh::keys::load_public_key(beside(".pub")).ok());
                key.text = Secret::new(text);
            }
            Err(e) => key.problem = Some(format!("it is no key that can be used ({e})")),
        }
        key
    }

    /// The private key, its passphrase asked for where it has one: at most three times in this process. `None`: it was not given.
    pub(super) async fn private(&self, answers: &Answers) -> Option<Arc<PrivateKey>> {
        let load = async {
            if self.problem.is_some() {
                return None;
            }
            for again in ["", " (wrong, try again)", " (wrong, last try)"] {
                let question = format!("passphrase of {}{again}: ", self.path.display());
                let passphrase = answers.to(&question, false).await?;
                // Deriving a key from a passphrase takes a good part of a second.
                let text = self.text.clone();
                let decode = move || russh::keys::decode_secret_key(text.reveal(), Some(passphrase.reveal()));
                if let Ok(Ok(private)) = tokio::task::spawn_blocking(decode).await {
                    return Some(Arc::new(private));
                }
            }
            None
        };
        self.private.get_or_init(|| load).await.clone()
    }
}

/// A signature could not be made.
#[derive(Debug)]
pub(super) enum SignError {
    /// The connection is gone.
    Connection,
    /// The key's owner did not give the passphrase, or the agent refused: why.
    Refused(String),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> SignError {
        SignError::Connection
    }
}

/// Signs with a key file, whose passphrase is asked for only now that the server wants the key.
pub(super) struct FileSigner<'a> {
    pub(super) file: &'a KeyFile,
    pub(super) answers: &'a Answers,
}

impl russh::Signer for FileSigner<'_> {
    type Error = SignError;

    async fn auth_sign(&mut self, _key: &AgentIdentity, hash: Option<HashAlg>, mut data: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let refused = |e: &dyn std::fmt::Display| SignError::Refused(format!("{}: {e}", self.file.path.display()));
        let Some(private) = self.file.private(self.answers).await else {
            return Err(refused(&"its passphrase was not given"));
        };
        let signature: Signature = match private.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => private.try_sign(&data),
        }
        .map_err(|e| refused(&e))?;
        let mut blob = Vec::new();
        signature.encode(&mut blob).map_err(|e| refused(&e))?;
        blob.encode(&mut data).map_err(|e| refused(&e))?;
        Ok(data)
    }
}

/// An agent and what it holds.
pub(super) struct Agent {
    client: AgentClient<Box<dyn AgentStream + Send + Unpin>>,
    pub(super) identities: Vec<AgentIdentity>,
}

impl Agent {
    /// The agent behind `socket`; `binding` lets it show keys that are meant for certain hosts only.
    pub(super) async fn connect(
        socket: &Path,
        binding: Option<&russh::keys::agent::AgentSessionBinding>,
    ) -> Result<Agent, String> {
        let failed = |e: russh::keys::Error| format!("agent {}: {e}", socket.display());
        let talk = async {
            let mut client = AgentClient::connect_uds(socket).await.map_err(failed)?.dynamic();
            if let Some(binding) = binding {
                // Agents that do not know of it have no such keys.
                let _ = client.bind_session(binding, false).await;
            }
            let identities = client.request_identities().await.map_err(failed)?;
            Ok(Agent { client, identities })
        };
        match tokio::time::timeout(std::time::Duration::from_secs(5), talk).await {
            Ok(agent) => agent,
            Err(_) => Err(format!("agent {}: no answer", socket.display())),
        }
    }
}

impl russh::Signer for Agent {
    type Error = SignError;

    async fn auth_sign(&mut self, key: &AgentIdentity, hash: Option<HashAlg>, data: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let signed = self.client.sign_request(key, hash, data).await;
        signed.map_err(|e| SignError::Refused(format!("the agent did not sign: {e}")))
    }
}
