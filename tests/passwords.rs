//! Logins by password and by questions, against servers in memory: a real sshd would need an account with a password.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use picloud::inventory::Password;
use picloud::ssh::{Defaults, Dial, Endpoint, Prompt, Secret, Shared, Stream, connect};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, Handler, Response, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};

/// How the server lets people in.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Password,
    /// Asks for the password, then for a code.
    Questions,
    /// A key is not enough.
    KeyAndPassword,
    Nothing,
}

struct Server {
    way: Way,
    key: PrivateKey,
}

struct Login {
    way: Way,
    has_key: bool,
}

impl Dial for Server {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let methods: &[MethodKind] = match self.way {
            Way::Password => &[MethodKind::Password],
            Way::Questions => &[MethodKind::KeyboardInteractive],
            Way::KeyAndPassword => &[MethodKind::PublicKey],
            Way::Nothing => &[MethodKind::None],
        };
        let config = server::Config {
            keys: vec![self.key.clone()],
            methods: MethodSet::from(methods),
            auth_rejection_time: std::time::Duration::ZERO,
            ..server::Config::default()
        };
        let login = Login {
            way: self.way,
            has_key: false,
        };
        tokio::spawn(async move {
            let session = server::run_stream(Arc::new(config), theirs, login).await?;
            session.await
        });
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn Stream>)))
    }
}

impl Handler for Login {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        Ok(if self.way == Way::Nothing {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_publickey(&mut self, _user: &str, _key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        if self.way != Way::KeyAndPassword {
            return Ok(Auth::reject());
        }
        self.has_key = true;
        Ok(Auth::Reject {
            proceed_with_methods: Some(MethodSet::from(&[MethodKind::Password][..])),
            partial_success: true,
        })
    }

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, russh::Error> {
        let enough = self.way == Way::Password || self.has_key;
        Ok(if enough && password == "open sesame" {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _methods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let Some(response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: Cow::Borrowed(&[(Cow::Borrowed("Password: "), false), (Cow::Borrowed("Code: "), true)]),
            });
        };
        let answers: Vec<_> = response.collect();
        Ok(if answers == ["open sesame", "123"] {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }
}

#[derive(Default)]
struct User {
    questions: Mutex<Vec<String>>,
    asked: AtomicUsize,
}

impl Prompt for User {
    fn ask(&self, question: &str, echo: bool) -> Option<Secret> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.questions
            .lock()
            .unwrap()
            .push(format!("{question}{}", if echo { "(shown)" } else { "" }));
        match question {
            "pi0: Code: " | "pi1: Code: " => Some(Secret::new("123")),
            question if question.starts_with("SSH password") => Some(Secret::new("open sesame")),
            _ => None,
        }
    }
}

/// Two minions behind one way are logged in to by `password`; how it went, and what the user was asked.
async fn log_in(way: Way, password: Option<Password>) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let own = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let id = folder.path().join("id");
    own.write_openssh_file(&id, Default::default()).unwrap();
    let mut defaults = Defaults::bare(folder.path());
    let known = folder.path().join("known_hosts");
    std::fs::write(&known, format!("pi* {}\n", key.public_key().to_openssh().unwrap())).unwrap();
    defaults.known_hosts = Some(known);
    let user = Arc::new(User::default());
    let shared = Shared::new(defaults, 50, user.clone());
    let mut ways = Vec::new();
    for name in ["pi0", "pi1"] {
        let mut endpoint = Endpoint::new(name, name);
        endpoint.user = Some("pi".into());
        if way != Way::Nothing {
            endpoint.keys = vec![id.display().to_string()];
        }
        endpoint.password = password.clone();
        endpoint.dial = Some(Arc::new(Server { way, key: key.clone() }));
        let told = match connect(&endpoint, &shared).await {
            Ok(connection) => connection.peer().authenticated.by.clone(),
            Err(error) => error.to_string(),
        };
        ways.push(told.replace(&folder.path().display().to_string(), "DIR"));
    }
    let questions = user.questions.lock().unwrap().clone();
    (ways, questions)
}

#[tokio::test]
async fn passwords_are_asked_for_once_and_questions_each_time() {
    let right = || Some(Password::Given(picloud::ssh::Secret::new("open sesame")));
    let wrong = || Some(Password::Given(picloud::ssh::Secret::new("open barley")));
    let both = |text: &str| vec![text.to_owned(), text.to_owned()];
    let asked = |questions: &[&str]| questions.iter().map(|q| (*q).to_owned()).collect::<Vec<_>>();
    for (way, password, expected, questions) in [
        (Way::Password, right(), "password", vec![]),
        (
            Way::Password,
            Some(Password::Ask),
            "password",
            asked(&["SSH password of pi: "]),
        ),
        (
            Way::Password,
            wrong(),
            "`pi` was not let in: tried key DIR/id, password; the server takes password",
            vec![],
        ),
        (
            Way::Password,
            None,
            "`pi` was not let in: tried key DIR/id; the server takes password",
            vec![],
        ),
        (
            Way::Questions,
            right(),
            "keyboard-interactive",
            asked(&["pi0: Code: (shown)", "pi1: Code: (shown)"]),
        ),
        (Way::KeyAndPassword, right(), "password", vec![]),
        (
            Way::KeyAndPassword,
            None,
            "`pi` was not let in: tried key DIR/id; the server takes password",
            vec![],
        ),
    ] {
        let (ways, were_asked) = log_in(way, password).await;
        assert_eq!(ways, both(expected));
        assert_eq!(were_asked, questions);
    }
}

#[tokio::test]
async fn a_server_that_asks_for_nothing_lets_in() {
    let (ways, _) = log_in(Way::Nothing, None).await;
    assert_eq!(ways, ["nothing: the server asked for none"; 2]);
}
