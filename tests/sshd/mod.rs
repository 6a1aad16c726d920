//! An OpenSSH server of the tests' own: its own port, keys and log, on 127.0.0.1, ended with the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use picloud::ssh::{Defaults, Endpoint, Prompt, Secret, Shared};

/// A server and the folder with everything that belongs to it.
pub struct Sshd {
    pub folder: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

impl Sshd {
    /// Starts a server with `settings` added to its configuration. `None`, with the reason printed: there is none to start.
    pub fn start(settings: &str) -> Option<Sshd> {
        Sshd::prepared(|_| settings.to_owned())
    }

    /// As [`Sshd::start`], with settings that `prepare` makes when the keys are there.
    pub fn prepared(prepare: impl FnOnce(&Path) -> String) -> Option<Sshd> {
        let Some(program) = ["/usr/sbin/sshd", "/usr/bin/sshd"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        else {
            println!("skipped: there is no sshd (apt-get install openssh-server)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        keygen(&path("host_key"), "ed25519", "");
        keygen(&path("id"), "ed25519", "");
        std::fs::copy(path("id.pub"), path("authorized_keys")).unwrap();
        let settings = prepare(folder.path());
        // The privilege separation of a server that root starts wants this folder.
        let _ = std::fs::create_dir_all("/run/sshd");
        // A port that was free a moment ago may be taken by now: another one, then.
        for _ in 0..20 {
            let port = std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let at = folder.path().display();
            let config = format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\nPidFile none\n\
                 UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nLogLevel VERBOSE\nSetEnv HOME={at}\n{settings}\n"
            );
            std::fs::write(path("sshd_config"), config).unwrap();
            let mut child = Command::new(program)
                .args(["-D", "-e", "-f"])
                .arg(path("sshd_config"))
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut log = std::fs::File::create(path("log")).unwrap();
            let mut up = false;
            for line in lines.by_ref() {
                let Ok(line) = line else { break };
                if line.contains("Server listening") {
                    up = true;
                    break;
                }
                println!("sshd: {line}");
            }
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
                }
            });
            if up {
                return Some(Sshd { folder, port, child });
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines of the log that contain `text`, when there are `expected` of them or it has been waited for long enough.
    pub fn logged(&self, text: &str, expected: usize) -> usize {
        let begun = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let found = log.lines().filter(|line| line.contains(text)).count();
            if found == expected || begun.elapsed() > Duration::from_secs(3) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds a key to those that are let in.
    pub fn authorize(&self, line: &str) {
        let path = self.path("authorized_keys");
        let keys = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{keys}{}\n", line.trim_end())).unwrap();
    }

    /// The server's key as a line of known_hosts.
    pub fn known_host(&self) -> String {
        let key = std::fs::read_to_string(self.path("host_key.pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    /// Everything of its own, and the server's key known.
    pub fn defaults(&self) -> Defaults {
        std::fs::write(self.path("known_hosts"), self.known_host()).unwrap();
        let mut defaults = Defaults::bare(self.folder.path());
        defaults.known_hosts = Some(self.path("known_hosts"));
        defaults.user = user();
        defaults
    }

    pub fn shared(&self) -> Shared {
        Shared::new(self.defaults(), 50, Arc::new(picloud::ssh::NoPrompt))
    }

    /// The server as a minion, with the key that it lets in.
    pub fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new("pi0", "127.0.0.1");
        endpoint.minion = true;
        endpoint.port = Some(self.port);
        endpoint.keys = vec![self.path("id").display().to_string()];
        endpoint
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who the tests run as: a server that is not root's lets in nobody else.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn keygen(path: &Path, kind: &str, passphrase: &str) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"])
        .arg(path));
}

pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Gives one answer to all questions, and counts them.
pub struct Answers {
    pub answer: &'static str,
    pub asked: AtomicUsize,
}

impl Answers {
    pub fn new(answer: &'static str) -> Arc<Answers> {
        Arc::new(Answers {
            answer,
            asked: AtomicUsize::new(0),
        })
    }
}

impl Prompt for Answers {
    fn ask(&self, _question: &str, _echo: bool) -> Option<Secret> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Some(Secret::new(self.answer))
    }
}
