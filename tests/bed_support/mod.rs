//! Runs the program against the minions of the test bed (`tests/bed/bed`): a project of its own for each test, and the minions
//! that it asked for to itself.
//!
//! `PICLOUD_BED` names a file with a line for each minion: name, address, port, user, key file, known_hosts. `tests/all` makes it.

#![allow(dead_code, reason = "each file of tests uses what it needs")]

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No single run of the program may take longer than this: a test that hangs tells less than one that fails.
const LONGEST: Duration = Duration::from_secs(600);

/// How a minion of the bed is reached.
#[derive(Clone, Debug)]
pub struct Address {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub key: PathBuf,
    pub known_hosts: PathBuf,
}

/// The bed that the tests were given.
#[derive(Clone, Debug)]
pub struct Bed(BTreeMap<String, Address>);

/// The bed, or nothing (and a line that says so) where there is none, or where it lacks one of `names`.
pub fn bed(names: &[&str]) -> Option<Bed> {
    let Some(file) = std::env::var_os("PICLOUD_BED") else {
        println!("skipped: no bed (PICLOUD_BED is not set; tests/all brings it up)");
        return None;
    };
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("PICLOUD_BED={}: {e}", file.display()));
    let mut minions = BTreeMap::new();
    for line in text.lines() {
        let [name, host, port, user, key, known_hosts] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{}: not a minion: {line}", file.display());
        };
        let minion = Address {
            name: name.into(),
            host: host.into(),
            port: port.parse().unwrap(),
            user: user.into(),
            key: key.into(),
            known_hosts: known_hosts.into(),
        };
        minions.insert(minion.name.clone(), minion);
    }
    if let Some(missing) = names.iter().find(|name| !minions.contains_key(**name)) {
        println!("skipped: the bed has no {missing}");
        return None;
    }
    Some(Bed(minions))
}

impl Bed {
    pub fn minion(&self, name: &str) -> &Address {
        &self.0[name]
    }

    /// A key of the bed beside the one that is let in: `id_stranger`, `id_encrypted`, ...
    pub fn key(&self, name: &str) -> PathBuf {
        let any = self.0.values().next().expect("a bed has minions");
        any.key.with_file_name(name)
    }

    /// A project with these minions, which no other test changes or looks at meanwhile.
    pub fn lab(&self, names: &[&str]) -> Lab {
        self.locked(names, |file| file.lock())
    }

    /// A project with these minions, which no other test changes meanwhile; neither may this one.
    pub fn looking(&self, names: &[&str]) -> Lab {
        self.locked(names, |file| file.lock_shared())
    }

    fn locked(&self, names: &[&str], lock: impl Fn(&File) -> std::io::Result<()>) -> Lab {
        // In one order everywhere, so that no two tests wait for each other.
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        let locks = sorted
            .iter()
            .map(|name| {
                let place = std::env::temp_dir().join(format!("picloud-bed-test-{}.lock", self.minion(name).host));
                let file = File::create(place).unwrap();
                lock(&file).unwrap();
                file
            })
            .collect();
        let lab = Lab {
            folder: tempfile::tempdir().unwrap(),
            bed: self.clone(),
            _locks: locks,
        };
        lab.file("picloud.yaml", "known_hosts: known_hosts\n");
        if let Some(first) = names.first() {
            std::fs::copy(&self.minion(first).known_hosts, lab.path("known_hosts")).unwrap();
        }
        let minions: String = names.iter().map(|name| lab.entry(name)).collect();
        lab.file("inventory/minions.yaml", format!("minions:\n{minions}"));
        std::fs::create_dir_all(lab.path("states")).unwrap();
        lab
    }
}

/// A project, and the minions that it may do with as it likes.
pub struct Lab {
    folder: tempfile::TempDir,
    pub bed: Bed,
    _locks: Vec<File>,
}

impl Lab {
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file of the project, and the folders that it needs.
    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Lab {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Writes `states/NAME.sls`.
    pub fn sls(&self, name: &str, text: &str) -> &Lab {
        self.file(&format!("states/{name}.sls"), text)
    }

    /// The inventory's lines for a minion of the bed.
    pub fn entry(&self, name: &str) -> String {
        let at = self.bed.minion(name);
        let (host, port, user, key) = (&at.host, at.port, &at.user, at.key.display());
        format!("  {name}: {{address: {host}, port: {port}, user: {user}, key: {key}}}\n")
    }

    /// Replaces the inventory's minions; each entry is `id: {...}`.
    pub fn minions(&self, entries: &[impl AsRef<str>]) -> &Lab {
        let line = |entry: &_| format!("  {}\n", AsRef::<str>::as_ref(entry).trim());
        let lines: String = entries.iter().map(line).collect();
        self.file("inventory/minions.yaml", format!("minions:\n{lines}"))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.path("home");
        std::fs::create_dir_all(&home).unwrap();
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("USER", "tester")
            .env("TZ", "UTC");
        command
    }

    /// Starts the program.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_picloud"));
        Running::of(command.args(arguments).stdin(Stdio::null()))
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Runs the program at a terminal, with `typed` as the lines that somebody types (`script` of util-linux makes the terminal).
    pub fn at_terminal(&self, arguments: &[&str], typed: &[&str]) -> Said {
        let quoted: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let line = format!(
            "stty cols 100 rows 30; exec {} {}",
            env!("CARGO_BIN_EXE_picloud"),
            quoted.join(" ")
        );
        let mut command = self.command("script");
        command
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped());
        let mut running = Running::of(&mut command);
        let mut stdin = running.child.stdin.take().unwrap();
        let mut asked = 0;
        for answer in typed {
            running.until("the question", |heard| {
                let question = heard[asked..].find(": ").or(heard[asked..].find("[y/N] "));
                question.is_some_and(|at| {
                    asked += at + 2;
                    true
                })
            });
            // What is typed before the terminal stops echoing is thrown away with the echo.
            std::thread::sleep(Duration::from_millis(100));
            stdin.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        let said = running.end();
        drop(stdin);
        said
    }

    /// Runs the program with `--out json`; its exit code and what it printed.
    pub fn json(&self, arguments: &[&str]) -> (i32, Json) {
        let said = self.run(&[arguments, &["--out", "json"]].concat());
        let json = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("not JSON: {e}\n{said}"));
        (said.code, json)
    }

    /// The events of the last recorded run.
    pub fn record(&self) -> Vec<Json> {
        let newest = std::fs::read_dir(self.path(".picloud/runs"))
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number: u64 = name.split('-').next()?.parse().ok()?;
                Some((number, entry.path()))
            })
            .max()
            .expect("a recorded run");
        let text = std::fs::read_to_string(newest.1).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many execs and batches each minion of the last run took.
    pub fn counts(&self) -> BTreeMap<String, (u64, u64)> {
        let done = |event: &Json| -> Option<(String, (u64, u64))> {
            (event["event"] == "minion_done").then_some(())?;
            Some((
                event["minion"].as_str()?.to_owned(),
                (event["execs"].as_u64()?, event["batches"].as_u64()?),
            ))
        };
        self.record().iter().filter_map(done).collect()
    }

    /// What a script prints on a minion; it must succeed.
    #[track_caller]
    pub fn on(&self, minion: &str, script: &str) -> String {
        let (status, text) = self.try_on(minion, script);
        assert_eq!(status, 0, "on {minion}: {script}\n{text}");
        text
    }

    /// The status of a script on a minion, and what it prints. It goes over standard input: no process list shows it.
    pub fn try_on(&self, minion: &str, script: &str) -> (i32, String) {
        let at = self.bed.minion(minion);
        let mut child = Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "ConnectTimeout=10",
            ])
            .args(["-o", "GlobalKnownHostsFile=none", "-o", "LogLevel=ERROR", "-o"])
            .arg(format!("UserKnownHostsFile={}", at.known_hosts.display()))
            .arg("-i")
            .arg(&at.key)
            .args(["-p", &at.port.to_string(), &format!("root@{}", at.host), "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        )
    }

    /// Waits until a script succeeds on a minion.
    #[track_caller]
    pub fn until(&self, minion: &str, script: &str) -> String {
        let begun = Instant::now();
        loop {
            let (status, text) = self.try_on(minion, script);
            if status == 0 {
                return text;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "on {minion} it never came to this: {script}\n{text}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes minions fresh again. They must be this test's own, and of a bed that `tests/bed/bed` runs.
    pub fn reset(&self, names: &[&str]) {
        let bed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/bed");
        let output = Command::new(bed).arg("reset").args(names).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A run of the program that has not ended.
pub struct Running {
    child: Child,
    out: Heard,
    err: Heard,
    begun: Instant,
}

/// What has come of one output so far.
struct Heard {
    text: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Heard {
    fn of(mut from: impl Read + Send + 'static) -> Heard {
        let text = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Heard { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }
}

impl Running {
    fn of(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running {
            out: Heard::of(child.stdout.take().unwrap()),
            err: Heard::of(child.stderr.take().unwrap()),
            child,
            begun: Instant::now(),
        }
    }

    /// Waits until what was heard so far is as it should be.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut there: impl FnMut(&str) -> bool) {
        loop {
            let heard = self.out.so_far() + &self.err.so_far();
            if there(&heard) {
                return;
            }
            let ended = self.child.try_wait().unwrap().is_some();
            let late = self.begun.elapsed() > Duration::from_secs(30);
            if ended || late {
                let _ = self.child.kill();
                panic!("{what} never came:\n{heard}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Said {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.begun.elapsed() > LONGEST {
                let _ = self.child.kill();
                panic!("it hangs:\n{}{}", self.out.so_far(), self.err.so_far());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let elapsed = self.begun.elapsed();
        let _ = (self.out.reader.join(), self.err.reader.join());
        let text = |bytes: &std::sync::Mutex<Vec<u8>>| String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned();
        Said {
            code: status.code().unwrap_or(-1),
            out: text(&self.out.text),
            err: text(&self.err.text),
            elapsed,
        }
    }
}

/// What a run of the program came to.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub elapsed: Duration,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

impl Said {
    /// It ended with this exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Said {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// All of these are in what it said; line breaks of wrapped text do not count.
    #[track_caller]
    pub fn says(&self, fragments: &[&str]) -> &Said {
        let flat = self.flat();
        for fragment in fragments {
            assert!(flat.contains(fragment), "it does not say `{fragment}`:\n{self}");
        }
        self
    }

    /// None of these are.
    #[track_caller]
    pub fn does_not_say(&self, fragments: &[&str]) -> &Said {
        let flat = self.flat();
        for fragment in fragments {
            assert!(!flat.contains(fragment), "it says `{fragment}`:\n{self}");
        }
        self
    }

    fn flat(&self) -> String {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{} {}", words(&self.out), words(&self.err))
    }

    /// The row of a minion in the table of results, its columns in one line.
    #[track_caller]
    pub fn row(&self, minion: &str) -> String {
        let mut table = self.out.lines().skip_while(|line| !line.starts_with("minion "));
        let row = table.find(|line| line.split_whitespace().next() == Some(minion));
        let row = row.unwrap_or_else(|| panic!("no line for {minion}:\n{self}"));
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// States of a JSON report with this result.
pub fn with_result(report: &Json, minion: &str, result: Json) -> Vec<String> {
    states(report, minion)
        .filter(|(_, state)| state["result"] == result)
        .map(|(tag, _)| tag.to_owned())
        .collect()
}

/// States of a JSON report that changed something, or would.
pub fn changed(report: &Json, minion: &str) -> Vec<String> {
    states(report, minion)
        .filter(|(_, state)| state["result"].is_null() || state["changes"].as_object().is_some_and(|changes| !changes.is_empty()))
        .map(|(tag, _)| tag.to_owned())
        .collect()
}

fn states<'a>(report: &'a Json, minion: &str) -> impl Iterator<Item = (&'a str, &'a Json)> {
    let all = report[minion].as_object();
    all.into_iter()
        .flatten()
        .filter(|(tag, _)| !tag.starts_with("__"))
        .map(|(tag, state)| (tag.as_str(), state))
}
