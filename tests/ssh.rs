//! Connections to real servers: OpenSSH's, and dropbear's where there is one.

mod sshd;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use picloud::error::{Error, Kind};
use picloud::flash::identity::{HostKey, ca::Ca, pin};
use picloud::project::Project;
use picloud::shell::{Content, Section};
use picloud::ssh::{Batch, ConfigFiles, Connection, Defaults, Endpoint, NoPrompt, Privilege, Shared, connect, host_key, trust};
use sshd::{Answers, Sshd, keygen, run, user};

fn batch<'a>(scripts: impl IntoIterator<Item = &'a str>) -> Batch {
    Batch {
        sections: scripts.into_iter().map(Section::new).collect(),
    }
}

/// What a minion answers to one script over a fresh session.
async fn ask(connection: &Connection, script: &str) -> Result<String, Error> {
    let mut session = connection.session(Privilege::default()).await?;
    let answers = session.run(&batch([script]), &mut |_, _| ()).await?;
    session.close().await;
    Ok(answers[0].text().into_owned())
}

async fn says_hello(endpoint: &Endpoint, shared: &Shared) {
    let connection = connect(endpoint, shared).await.unwrap();
    assert_eq!(ask(&connection, "echo hello").await.unwrap(), "hello\n");
}

/// An error with its hints, the changing parts replaced.
fn told(error: &Error, server: &Sshd) -> String {
    let mut text = error.to_string();
    for diagnostic in error.diagnostics() {
        assert_eq!(diagnostic.kind, Kind::Unreachable);
        for hint in &diagnostic.hints {
            text.push_str(&format!("\nhint: {hint}"));
        }
    }
    let key = std::fs::read_to_string(server.path("host_key.pub")).unwrap();
    let print = run(Command::new("ssh-keygen").arg("-lf").arg(server.path("host_key.pub")));
    let print = print.split(' ').nth(1).unwrap().to_owned();
    text.replace(&server.folder.path().display().to_string(), "DIR")
        .replace(&server.port.to_string(), "PORT")
        .replace(&print, "PRINT")
        .replace(&key, "KEY")
        .replace(&format!("`{}`", user()), "`USER`")
        .replace(&format!("~{}/", user()), "~USER/")
}

#[tokio::test]
async fn one_exec_serves_all_batches() {
    let Some(server) = Sshd::start("") else { return };
    let mut endpoint = server.endpoint();
    for aes in [None, Some(true)] {
        endpoint.aes = aes;
        let connection = connect(&endpoint, &server.shared()).await.unwrap();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        for n in 0..3 {
            let script = format!("echo {n}; echo err >&2; exit {n}");
            let answers = session
                .run(&batch([script.as_str(), "printf '\\0\\377'"]), &mut |_, _| ())
                .await
                .unwrap();
            assert_eq!((answers[0].text().into_owned(), answers[0].status), (format!("{n}\n"), n));
            assert_eq!(answers[0].error_text(), "err\n");
            assert_eq!(answers[1].stdout, b"\0\xff");
        }
        assert_eq!(session.counts(), (1, 3));
        session.close().await;
        let peer = connection.peer();
        assert_eq!(peer.authenticated.by, format!("key {}", server.path("id").display()));
        assert!(aes.is_none() == (peer.cipher == "chacha20-poly1305"), "{}", peer.cipher);
    }
    assert_eq!(server.logged("Starting session: command", 2), 2);
}

#[tokio::test]
async fn far_away_it_is_compressed_and_begins_with_the_command() {
    for settings in ["AcceptEnv LANG LC_*\n", "", "AcceptEnv LC_*\nCompression no\n"] {
        let Some(server) = Sshd::start(settings) else { return };
        let mut endpoint = server.endpoint();
        endpoint.far = Some(true);
        let connection = connect(&endpoint, &server.shared()).await.unwrap();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        let large = format!("printf %s {}; head -c 300000 /dev/zero", "x".repeat(60_000));
        for n in 0..3 {
            let script = format!("echo {n} ${{LC_PICLOUD-unset}}; echo err >&2; exit {n}");
            let answers = session.run(&batch([script.as_str(), &large]), &mut |_, _| ()).await.unwrap();
            let seen = (answers[0].text().into_owned(), answers[0].status, answers[1].stdout.len());
            assert_eq!(seen, (format!("{n} unset\n"), n, 360_000), "{settings}");
            assert_eq!(answers[0].error_text(), "err\n", "{settings}");
        }
        assert_eq!(session.counts(), (1, 3));
        session.close().await;
    }
}

#[tokio::test]
async fn a_host_key_is_judged_before_anything_is_said() {
    let Some(server) = Sshd::start("") else { return };
    let endpoint = server.endpoint();
    let defaults = || {
        let mut defaults = server.defaults();
        std::fs::write(server.path("known_hosts"), "").unwrap();
        defaults.known_hosts = Some(server.path("known_hosts"));
        defaults
    };
    let shared = || Shared::new(defaults(), 50, Arc::new(NoPrompt));
    assert_eq!(
        told(&connect(&endpoint, &shared()).await.err().unwrap(), &server),
        "the host key of pi0 ([127.0.0.1]:PORT) is not known: PRINT (ssh-ed25519)\n\
         hint: compare the fingerprint, then `picloud trust pi0` accepts it"
    );
    // Nothing was said to it but hello.
    assert_eq!(server.logged("Accepted", 0), 0);

    let shown = host_key(&endpoint, &shared()).await.unwrap();
    trust(&shown).unwrap();
    let before = std::fs::read_to_string(server.path("known_hosts")).unwrap();
    let comment = server.known_host();
    assert!(comment.starts_with(before.trim_end()), "{before}");
    let trusting = Shared::new(
        Defaults {
            known_hosts: Some(server.path("known_hosts")),
            ..server.defaults()
        },
        50,
        Arc::new(NoPrompt),
    );
    says_hello(&endpoint, &trusting).await;

    let write = |text: &str| {
        let shared = shared();
        std::fs::write(server.path("known_hosts"), text).unwrap();
        shared
    };
    let other = {
        keygen(&server.path("other"), "ed25519", "");
        std::fs::read_to_string(server.path("other.pub")).unwrap()
    };
    let changed = write(&format!("# a line\n[127.0.0.1]:{} {other}", server.port));
    assert_eq!(
        told(&connect(&endpoint, &changed).await.err().unwrap(), &server),
        "DIR/known_hosts:2: the host key of pi0 ([127.0.0.1]:PORT) has changed: it shows PRINT (ssh-ed25519), which is not the one that is known\n\
         hint: if the machine was installed anew, remove that line and run `picloud trust` again\n\
         hint: if it was not, another machine answers in its place: do not connect"
    );
    let revoked = write(&format!("{comment}@revoked * {}", comment.split_once(' ').unwrap().1));
    assert_eq!(
        told(&connect(&endpoint, &revoked).await.err().unwrap(), &server),
        "DIR/known_hosts:2: the host key of pi0 ([127.0.0.1]:PORT) was revoked: PRINT (ssh-ed25519)\n\
         hint: never connect to a host that shows it"
    );

    // `StrictHostKeyChecking accept-new` takes a new key and writes it down, but never a changed one.
    std::fs::write(
        server.path("config"),
        "StrictHostKeyChecking accept-new\nHashKnownHosts yes\n",
    )
    .unwrap();
    let accepting = |text: &str| {
        let mut defaults = defaults();
        std::fs::write(server.path("known_hosts"), text).unwrap();
        defaults.config = ConfigFiles::read(&[server.path("config")], server.folder.path().into(), user()).unwrap();
        Shared::new(defaults, 50, Arc::new(NoPrompt))
    };
    says_hello(&endpoint, &accepting("")).await;
    let written = std::fs::read_to_string(server.path("known_hosts")).unwrap();
    assert!(written.starts_with("|1|"), "{written}");
    says_hello(&endpoint, &write(&written)).await;
    assert!(
        connect(&endpoint, &accepting(&format!("[127.0.0.1]:{} {other}", server.port)))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn host_certificates_are_taken_of_their_authority() {
    let ca = tempfile::tempdir().unwrap();
    keygen(&ca.path().join("ca"), "ed25519", "");
    let signed = |folder: &std::path::Path| {
        let key = folder.join("host_key");
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-s"])
            .arg(ca.path().join("ca"))
            .args(["-I", "pi0", "-h", "-n", "127.0.0.1"]);
        run(sign.arg(key.with_extension("pub")));
        format!("HostCertificate {}-cert.pub", key.display())
    };
    let Some(server) = Sshd::prepared(signed) else { return };
    let authority = std::fs::read_to_string(ca.path().join("ca.pub")).unwrap();
    let shared = |text: &str| {
        let defaults = server.defaults();
        std::fs::write(server.path("known_hosts"), text).unwrap();
        Shared::new(defaults, 50, Arc::new(NoPrompt))
    };
    says_hello(
        &server.endpoint(),
        &shared(&format!("@cert-authority [127.0.0.*]:* {authority}")),
    )
    .await;
    // Without an authority it is a key like any other.
    assert!(
        connect(&server.endpoint(), &shared(""))
            .await
            .err()
            .unwrap()
            .to_string()
            .contains("is not known")
    );
    let mut elsewhere = server.endpoint();
    elsewhere.host_key_alias = Some("pi9".into());
    let error = connect(&elsewhere, &shared(&format!("@cert-authority pi9 {authority}")))
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("the host certificate of pi0 (pi9) does not hold: it is for 127.0.0.1, not for pi9"),
        "{error}"
    );
}

#[tokio::test]
async fn a_flashed_minion_is_known_before_it_was_ever_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("inventory")).unwrap();
    std::fs::write(path("picloud.yaml"), "").unwrap();
    let open = |inventory: &str| {
        std::fs::write(path("inventory/minions.yaml"), inventory).unwrap();
        let project = Project::open(folder.path()).unwrap();
        let minion = project.inventory().unwrap().minion("pi0").unwrap().clone();
        (project, minion)
    };
    let (project, minion) = open("minions: {pi0: 127.0.0.1}\n");
    Ca::init(&project).unwrap();
    let key = pin::make(&project, &minion).unwrap();
    let flashed = |folder: &std::path::Path| {
        let file = folder.join("host_key");
        std::fs::write(&file, key.private.reveal()).unwrap();
        std::fs::write(file.with_extension("pub"), &key.public).unwrap();
        std::fs::write(folder.join("host_key-cert.pub"), key.certificate.as_ref().unwrap()).unwrap();
        format!("HostCertificate {}-cert.pub", file.display())
    };
    let Some(server) = Sshd::prepared(flashed) else { return };
    let (project, minion) = open(&format!("minions: {{pi0: {{address: 127.0.0.1, port: {}}}}}\n", server.port));
    // Its key of before, which the user knows.
    let before = HostKey::make("").unwrap();
    let known_before = format!("[127.0.0.1]:{} {}\n", server.port, before.public);
    std::fs::write(server.path("of_user"), known_before).unwrap();
    let shared = || {
        let defaults = Defaults {
            known_hosts: None,
            pinned: project.own_known_hosts(),
            usual_known_hosts: vec![server.path("of_user")],
            ..server.defaults()
        };
        Shared::new(defaults, 50, Arc::new(NoPrompt))
    };
    let endpoint = server.endpoint();
    let refused = async || connect(&endpoint, &shared()).await.err().unwrap().to_string();
    assert!(refused().await.contains("has changed"));

    let file = pin::pin(&project, &minion, &key).unwrap();
    says_hello(&endpoint, &shared()).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let (authority, plain): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('@'));
    assert_eq!((authority.len(), plain.len()), (1, 1), "{text}");
    // Either line will do.
    for lines in [authority, plain] {
        std::fs::write(&file, lines[0]).unwrap();
        says_hello(&endpoint, &shared()).await;
    }
    // Another key is not its own, whatever the user knows.
    std::fs::write(server.path("of_user"), server.known_host()).unwrap();
    std::fs::remove_dir_all(path("ca")).unwrap();
    pin::pin(&project, &minion, &before).unwrap();
    assert!(refused().await.contains("has changed"));
}

#[tokio::test]
async fn every_kind_of_key_is_taken() {
    let Some(server) = Sshd::start("") else { return };
    let mut endpoint = server.endpoint();
    for (name, kind, passphrase) in [
        ("rsa", "rsa", ""),
        ("ecdsa", "ecdsa", ""),
        ("locked", "ed25519", "open sesame"),
        ("lockedrsa", "rsa", "open sesame"),
    ] {
        let path = server.path(name);
        keygen(&path, kind, passphrase);
        server.authorize(&std::fs::read_to_string(path.with_extension("pub")).unwrap());
        endpoint.keys = vec![path.display().to_string()];
        let answers = Answers::new("open sesame");
        let shared = Shared::new(server.defaults(), 50, answers.clone());
        // Three at once, and the user is asked once.
        futures::future::join_all((0..3).map(|_| says_hello(&endpoint, &shared))).await;
        assert_eq!(
            answers.asked.load(Ordering::SeqCst),
            usize::from(!passphrase.is_empty()),
            "{name}"
        );
        if !passphrase.is_empty() {
            let wrong = Answers::new("open barley");
            let error = connect(&endpoint, &Shared::new(server.defaults(), 50, wrong.clone()))
                .await
                .err()
                .unwrap();
            assert!(
                told(&error, &server).contains(&format!("hint: DIR/{name}: its passphrase was not given")),
                "{}",
                told(&error, &server)
            );
            assert_eq!(wrong.asked.load(Ordering::SeqCst), 3);
        }
    }
    // A passphrase is not asked for if the server does not want the key.
    keygen(&server.path("stranger"), "ed25519", "open sesame");
    endpoint.keys = ["stranger", "id"].map(|name| server.path(name).display().to_string()).into();
    let answers = Answers::new("open sesame");
    says_hello(&endpoint, &Shared::new(server.defaults(), 50, answers.clone())).await;
    assert_eq!(answers.asked.load(Ordering::SeqCst), 0);
    // The key that worked is tried first the next time.
    let connection = connect(&endpoint, &server.shared()).await.unwrap();
    let failures = server.logged("Failed publickey", usize::MAX);
    endpoint.last_key = connection.peer().authenticated.key.clone();
    says_hello(&endpoint, &server.shared()).await;
    assert_eq!(server.logged("Failed publickey", usize::MAX), failures);
}

#[tokio::test]
async fn certificates_of_users_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("ca"), "ed25519", "");
    let Some(server) = Sshd::start(&format!("TrustedUserCAKeys {}/ca.pub", folder.path().display())) else {
        return;
    };
    for kind in ["ed25519", "rsa"] {
        let key = folder.path().join(kind);
        keygen(&key, kind, "");
        run(Command::new("ssh-keygen")
            .args(["-q", "-s"])
            .arg(folder.path().join("ca"))
            .args(["-I", "me", "-n", &user()])
            .arg(key.with_extension("pub")));
        let mut endpoint = server.endpoint();
        endpoint.keys = vec![key.display().to_string()];
        let connection = connect(&endpoint, &server.shared()).await.unwrap();
        assert_eq!(connection.peer().authenticated.by, format!("certificate {}", key.display()));

        // Elsewhere, named by the configuration.
        let away = server.path(&format!("away-{kind}"));
        std::fs::rename(folder.path().join(format!("{kind}-cert.pub")), &away).unwrap();
        assert!(connect(&endpoint, &server.shared()).await.is_err());
        std::fs::write(server.path("config"), format!("CertificateFile {}\n", away.display())).unwrap();
        let mut defaults = server.defaults();
        defaults.config = ConfigFiles::read(&[server.path("config")], server.folder.path().into(), user()).unwrap();
        says_hello(&endpoint, &Shared::new(defaults, 50, Arc::new(NoPrompt))).await;
    }
}

#[tokio::test]
async fn an_agent_is_asked() {
    let Some(server) = Sshd::start("") else { return };
    let socket = server.path("agent");
    let mut agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let add = |key: &str| {
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(server.path(key))
            .env("SSH_AUTH_SOCK", &socket))
    };
    for (name, kind) in [("agent-rsa", "rsa"), ("agent-ed25519", "ed25519")] {
        keygen(&server.path(name), kind, "");
        server.authorize(&std::fs::read_to_string(server.path(&format!("{name}.pub"))).unwrap());
        add(name);
        // Only the agent has it now.
        std::fs::remove_file(server.path(name)).unwrap();
    }
    let mut defaults = server.defaults();
    defaults.agent = Some(socket);
    let shared = Shared::new(defaults, 50, Arc::new(NoPrompt));
    let mut endpoint = server.endpoint();
    endpoint.keys.clear();
    let connection = connect(&endpoint, &shared).await.unwrap();
    assert_eq!(connection.peer().authenticated.by, "key test of the agent");
    endpoint.keys = vec![server.path("agent-ed25519").display().to_string()];
    let connection = connect(&endpoint, &shared).await.unwrap();
    assert_eq!(
        connection.peer().authenticated.by,
        format!("key {}", server.path("agent-ed25519").display())
    );
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[tokio::test]
async fn a_refusal_says_what_was_tried() {
    let Some(server) = Sshd::start("") else { return };
    keygen(&server.path("stranger"), "ed25519", "");
    let mut endpoint = server.endpoint();
    endpoint.keys = ["missing", "stranger"]
        .map(|name| server.path(name).display().to_string())
        .into();
    assert_eq!(
        told(&connect(&endpoint, &server.shared()).await.err().unwrap(), &server),
        "`USER` was not let in: tried key DIR/stranger; the server takes publickey, keyboard-interactive\n\
         hint: key DIR/missing: there is no such file\n\
         hint: is one of these keys in ~USER/.ssh/authorized_keys on the minion, and is `USER` the right user?\n\
         hint: `password: ask` in the inventory tries a password"
    );
    endpoint.keys.clear();
    assert!(
        told(&connect(&endpoint, &server.shared()).await.err().unwrap(), &server).contains(
            "was not let in: nothing could be tried; the server takes publickey, keyboard-interactive\n\
         hint: no key was found: `ssh-keygen -t ed25519` makes one, `ssh-copy-id` brings it to the minion"
        )
    );
    // Too many keys: the server hangs up.
    let many: Vec<String> = (0..8)
        .map(|n| server.path(&format!("many{n}")).display().to_string())
        .collect();
    for key in &many {
        keygen(key.as_ref(), "ed25519", "");
    }
    endpoint.keys = many;
    let told = told(&connect(&endpoint, &server.shared()).await.err().unwrap(), &server);
    assert!(
        told.contains("hint: the server hung up after 6 keys: name the right one"),
        "{told}"
    );
    assert!(
        told.contains("hint: the server ended it: Too many authentication failures"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let Some(server) = Sshd::start("") else { return };
    let shared = server.shared();
    let mut endpoint = server.endpoint();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    endpoint.port = Some(listener.local_addr().unwrap().port());
    endpoint.timeout = Some(Duration::from_millis(300));
    let port = endpoint.port.unwrap();
    let error = connect(&endpoint, &shared).await.err().unwrap();
    assert_eq!(error.to_string(), format!("127.0.0.1:{port}: no answer within 0.3 s"));
    drop(listener);
    let begun = Instant::now();
    let error = connect(&endpoint, &shared).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("127.0.0.1:{port}: connection refused (5 attempts)")
    );
    assert!(begun.elapsed() < Duration::from_secs(8));
    endpoint.address = "no-such-host.invalid".into();
    let error = connect(&endpoint, &shared).await.err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("no-such-host.invalid:{port}: the name cannot be resolved")),
        "{error}"
    );
}

#[tokio::test]
async fn many_share_one_jump_connection() {
    let Some(gate) = Sshd::start("") else { return };
    let Some(server) = Sshd::start("") else { return };
    let mut defaults = server.defaults();
    let known = format!("{}{}", gate.known_host(), server.known_host());
    std::fs::write(server.path("known_hosts"), known).unwrap();
    defaults.known_hosts = Some(server.path("known_hosts"));
    let shared = Shared::new(defaults, 1, Arc::new(NoPrompt));
    // Through the gate to itself, to the minion: a chain of two.
    let mut first = gate.endpoint();
    first.name = "gate".into();
    let mut endpoint = server.endpoint();
    endpoint.jump = vec![first.clone(), first];
    futures::future::join_all((0..12).map(|_| says_hello(&endpoint, &shared))).await;
    assert_eq!(gate.logged("Accepted publickey", 2), 2);
    assert_eq!(server.logged("Accepted publickey", 12), 12);

    // One that is not there is not tried by each of them.
    let mut nowhere = gate.endpoint();
    nowhere.name = "nowhere".into();
    nowhere.port = Some(1);
    endpoint.jump = vec![nowhere];
    let begun = Instant::now();
    let all = futures::future::join_all((0..5).map(|_| connect(&endpoint, &shared))).await;
    assert!(begun.elapsed() < Duration::from_secs(9));
    for tried in all {
        let error = tried.err().unwrap();
        assert_eq!(error.to_string(), "127.0.0.1:1: connection refused (5 attempts)");
        assert!(
            error.diagnostics()[0]
                .hints
                .contains(&"`nowhere` is the jump host on the way".to_owned())
        );
    }
}

#[tokio::test]
async fn a_proxy_command_carries_the_connection() {
    let Some(server) = Sshd::start("") else { return };
    let shared = |command: &str| {
        std::fs::write(server.path("config"), format!("ProxyCommand {command}\n")).unwrap();
        let mut defaults = server.defaults();
        defaults.config = ConfigFiles::read(&[server.path("config")], server.folder.path().into(), user()).unwrap();
        Shared::new(defaults, 50, Arc::new(NoPrompt))
    };
    // OpenSSH as a proxy to itself: it is there wherever its server is.
    let (id, known) = (server.path("id"), server.path("known_hosts"));
    let ssh = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -p {} 127.0.0.1 -W %h:%p",
        id.display(),
        known.display(),
        server.port
    );
    says_hello(&server.endpoint(), &shared(&ssh)).await;
    let error = connect(&server.endpoint(), &shared("sh -c 'echo the proxy is down >&2; exit 1'"))
        .await
        .err()
        .unwrap();
    assert!(
        told(&error, &server).contains("hint: the proxy command said: the proxy is down"),
        "{}",
        told(&error, &server)
    );
}

#[tokio::test]
async fn a_busy_server_is_tried_again() {
    let Some(server) = Sshd::start("MaxStartups 3:100:3") else {
        return;
    };
    let shared = server.shared();
    let endpoint = server.endpoint();
    futures::future::join_all((0..10).map(|_| says_hello(&endpoint, &shared))).await;
}

#[tokio::test]
async fn files_go_beside_the_session() {
    let Some(server) = Sshd::start("") else { return };
    let connection = connect(&server.endpoint(), &server.shared()).await.unwrap();
    let bytes: Vec<u8> = (0..20_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let source = server.path("source");
    std::fs::write(&source, &bytes).unwrap();
    let content = Content::File {
        path: source.clone(),
        size: bytes.len() as u64,
        sha256: String::new(),
        blake2: String::new(),
    };
    let target = server.path("a target");
    let mut session = connection.session(Privilege::default()).await.unwrap();
    session.upload(&content, target.to_str().unwrap()).await.unwrap();
    assert!(std::fs::read(&target).unwrap() == bytes);
    assert_eq!(session.counts(), (2, 0));
    let error = session.upload(&content, "/dev/full/x").await.unwrap_err();
    assert_eq!(error.kind(), Kind::State);

    // More at once than the server has channels for.
    let small = Content::Bytes(bytes[..100_000].into());
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(connection.session(Privilege::default()).await.unwrap());
    }
    let uploads = sessions.iter_mut().enumerate().map(|(n, session)| {
        let (small, path) = (&small, server.path(&format!("small{n}")));
        async move {
            for _ in 0..3 {
                session.upload(small, path.to_str().unwrap()).await.unwrap();
            }
        }
    });
    futures::future::join_all(uploads).await;
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_batch_and_frees_the_lock() {
    let Some(server) = Sshd::start("") else { return };
    let connection = connect(&server.endpoint(), &server.shared()).await.unwrap();
    let mut session = connection.session(Privilege::default()).await.unwrap();
    let lock = picloud::ssh::lock_section("ana", "a test");
    let pid = session
        .run(&batch([lock.script.as_str(), "echo $$; echo $PPID"]), &mut |_, _| ())
        .await
        .unwrap();
    assert_eq!(pid[0].status, 0);
    let pids: Vec<String> = pid[1].text().lines().map(str::to_owned).collect();
    let held = || {
        let folders = ["/run/picloud.lock".into(), format!("/tmp/picloud-{}.lock", rustix_uid())];
        folders.iter().any(|folder| {
            std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .any(|f| f.file_name().to_string_lossy().starts_with(&format!("{}.", pids[0])))
        })
    };
    assert!(held());
    let mark = server.path("mark");
    let slow = format!("sleep 1; echo done >{}", mark.display());
    let scripts = ["true", slow.as_str(), "true"];
    let broken = batch(scripts);
    let mut ignore = |_: usize, _: &_| ();
    let running = session.run(&broken, &mut ignore);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The parent of the shell is the connection's sshd.
        run(Command::new("kill").args(["-9", &pids[1]]));
    };
    let (error, ()) = tokio::join!(running, kill);
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "the connection was lost at section 2 of 3");
    assert!(connection.is_closed());
    // The step under way is finished, and the lock is free then.
    let begun = Instant::now();
    while held() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!held() && mark.exists());
}

fn rustix_uid() -> String {
    run(Command::new("id").arg("-u")).trim().to_owned()
}

#[tokio::test]
async fn an_account_that_may_run_nothing_is_told_apart() {
    let Some(server) = Sshd::start("ForceCommand echo You may only look.; exit 3") else {
        return;
    };
    let connection = connect(&server.endpoint(), &server.shared()).await.unwrap();
    let error = ask(&connection, "true").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no shell started: the command ended with status 3; it said: You may only look."
    );
}

#[tokio::test]
async fn dropbear_is_a_server_too() {
    if Command::new("dropbear").arg("-V").output().is_err() {
        println!("skipped: there is no dropbear (apt-get install dropbear-bin)");
        return;
    }
    let Some(server) = Sshd::start("") else { return };
    let at = |name: &str| server.path(name).display().to_string();
    run(Command::new("dropbearkey").args(["-t", "ed25519", "-f", &at("dropbear_key")]));
    let line = run(Command::new("dropbearkey").args(["-y", "-f", &at("dropbear_key")]));
    let key = line.lines().find(|line| line.starts_with("ssh-ed25519")).unwrap().to_owned();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    // It reads keys from nowhere but the account's home: a home of its own, in a name space of its own.
    let script = format!(
        "home=$(getent passwd \"$(id -un)\" | cut -d: -f6); mount -t tmpfs none \"$home\" || exit 77; chmod 700 \"$home\"; \
         mkdir -m 700 \"$home/.ssh\"; cat {} >\"$home/.ssh/authorized_keys\"; exec dropbear -F -E -r {} -p 127.0.0.1:{port}",
        at("id.pub"),
        at("dropbear_key")
    );
    let mut dropbear = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(dropbear.stderr.take().unwrap()));
    if !lines.any(|line| line.is_ok_and(|line| line.contains("Not backgrounding"))) {
        println!("skipped: no mount in a name space of its own (it needs root)");
        let _ = dropbear.wait();
        return;
    }
    std::thread::spawn(move || lines.for_each(drop));
    let mut defaults = server.defaults();
    std::fs::write(server.path("known_hosts"), format!("[127.0.0.1]:{port} {key}\n")).unwrap();
    defaults.known_hosts = Some(server.path("known_hosts"));
    let shared = Shared::new(defaults, 50, Arc::new(NoPrompt));
    let mut endpoint = server.endpoint();
    endpoint.port = Some(port);
    let connection = connect(&endpoint, &shared).await.unwrap();
    let mut session = connection.session(Privilege::default()).await.unwrap();
    let answers = session.run(&batch(["printf 'a\\0b'; exit 7"]), &mut |_, _| ()).await.unwrap();
    assert_eq!((answers[0].status, answers[0].stdout.as_slice()), (7, &b"a\0b"[..]));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let target = server.path("through-dropbear");
    session
        .upload(&Content::Bytes(bytes.clone().into()), target.to_str().unwrap())
        .await
        .unwrap();
    assert!(std::fs::read(&target).unwrap() == bytes);
    session.close().await;
    let _ = dropbear.kill();
    let _ = dropbear.wait();
}

/// Prints medians beside those of OpenSSH's client: `cargo test --test ssh -- --ignored --nocapture beside`.
#[tokio::test]
#[ignore = "a measurement"]
async fn latency_and_throughput_beside_openssh() {
    let Some(server) = Sshd::start("") else { return };
    let (id, known, port) = (server.path("id"), server.path("known_hosts"), server.port.to_string());
    let shared = server.shared();
    let script = "stat -c %n /etc/passwd /etc/hosts\nsha256sum /etc/passwd\nuname -a\n";
    std::fs::write(server.path("script"), script).unwrap();
    let ssh = |command: &str, input: &std::path::Path, options: &[&str]| {
        let begun = Instant::now();
        let status = Command::new("ssh")
            .args(["-F", "none", "-o", "ControlMaster=no", "-i"])
            .arg(&id)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .args(options)
            .args(["-p", &port, "127.0.0.1", command])
            .stdin(std::fs::File::open(input).unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        begun.elapsed()
    };
    let names = [
        "picloud",
        "  of it connecting",
        "  of it the login",
        "  of it session and batch",
        "ssh",
        "ssh -oKex=curve25519",
    ];
    let mut rows = names.map(|name| (name, Vec::new()));
    let sections = batch(script.lines());
    for _ in 0..25 {
        let begun = Instant::now();
        let connection = connect(&server.endpoint(), &shared).await.unwrap();
        let connected = begun.elapsed();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        session.run(&sections, &mut |_, _| ()).await.unwrap();
        let all = begun.elapsed();
        let peer = connection.peer();
        session.close().await;
        connection.close().await;
        let script = server.path("script");
        let times = [
            all,
            peer.connected_in,
            peer.authenticated_in,
            all - connected,
            ssh("sh", &script, &[]),
            ssh("sh", &script, &["-oKexAlgorithms=curve25519-sha256"]),
        ];
        for (row, time) in rows.iter_mut().zip(times) {
            row.1.push(time);
        }
    }
    for (name, times) in &mut rows {
        times.sort();
        println!("{name:28} {:7.1} ms", times[times.len() / 2].as_secs_f64() * 1000.0);
    }

    let source = server.path("large");
    let fill = format!("head -c 200000000 /dev/urandom >{}", source.display());
    run(Command::new("sh").args(["-c", &fill]));
    let content = Content::File {
        path: source.clone(),
        size: 200_000_000,
        sha256: String::new(),
        blake2: String::new(),
    };
    let target = server.path("target").display().to_string();
    for aes in [Some(true), None] {
        let mut endpoint = server.endpoint();
        endpoint.aes = aes;
        let connection = connect(&endpoint, &shared).await.unwrap();
        let mut session = connection.session(Privilege::default()).await.unwrap();
        for _ in 0..3 {
            let begun = Instant::now();
            session.upload(&content, &target).await.unwrap();
            let ours = begun.elapsed().as_secs_f64();
            let theirs = ssh(&format!("cat >{target}"), &source, &[]).as_secs_f64();
            println!("200 MB by {:18} {ours:.2} s; ssh {theirs:.2} s", connection.peer().cipher);
        }
    }
}
