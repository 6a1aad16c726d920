//! `picloud demo` in every kind of root that this machine gives it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The account that has no rights anywhere.
const NOBODY: u32 = 65534;

/// Who runs the demo, and with which tools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum As {
    WhoWeAre,
    /// Nobody, where the tests are run by root.
    Nobody,
    /// Without the programs that make name spaces.
    WithoutTools,
    /// Both of these.
    NobodyWithoutTools,
}

/// A place where everybody may read, gone in the end.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Place(folder)
    }

    /// The program, where nobody may run it: the folder that it was built in may be closed to others.
    fn program(&self) -> PathBuf {
        let program = self.0.path().join("picloud");
        if !program.exists() {
            let built = env!("CARGO_BIN_EXE_picloud");
            std::fs::hard_link(built, &program)
                .or_else(|_| std::fs::copy(built, &program).map(drop))
                .unwrap();
        }
        program
    }

    fn tmp(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// What is still there of temporary files.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.tmp()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// The demo as `who`, to be run.
fn prepared(who: As) -> (Place, Command) {
    let place = Place::new();
    let mut command = Command::new(place.program());
    let tmp = place.tmp();
    std::fs::create_dir(&tmp).unwrap();
    command
        .arg("demo")
        .env_clear()
        .env("TMPDIR", &tmp)
        .env("HOME", "/nonexistent")
        .current_dir("/");
    command.env(
        "PATH",
        match who {
            As::WhoWeAre | As::Nobody => std::env::var_os("PATH").unwrap_or_default(),
            As::WithoutTools | As::NobodyWithoutTools => "/nonexistent".into(),
        },
    );
    if matches!(who, As::Nobody | As::NobodyWithoutTools) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&tmp, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    (place, command)
}

/// What the demo prints, its exit code, and what it has left behind.
fn demo(who: As, arguments: &[&str]) -> (String, Option<i32>, Vec<String>) {
    let (place, mut command) = prepared(who);
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout) + &text(&output.stderr),
        output.status.code(),
        place.left(),
    )
}

/// `text` without what differs from run to run: times, and the columns that are as wide as these.
fn settled(text: &str) -> String {
    let time = regex::Regex::new(r"\b\d+(\.\d+)? (ms|s|min \d+ s)\b").unwrap();
    let gap = regex::Regex::new(r"(\S)  +").unwrap();
    let table = |line: &str| line.starts_with("minion ") || line.starts_with("pi") && line.ends_with('T');
    time.replace_all(text, "T")
        .lines()
        .map(|line| {
            if table(line) {
                gap.replace_all(line, "$1  ").into_owned()
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// What holds in every kind of root: it all goes as told, in lines that fit, and leaves nothing.
#[track_caller]
fn goes_as_told(who: As) -> String {
    let (text, code, left) = demo(who, &[]);
    assert_eq!(code, Some(0), "{who:?}\n{text}");
    assert_eq!(left, [""; 0], "{who:?}");
    for line in [
        "3 minions in this process (pi0 to pi2)",
        "$ picloud apply --test",
        "  would change  file.managed ",
        "nothing was changed, this was a dry run",
        "  changed  file.managed ",
        ": 3 changed\n",
        ": 3 unchanged\n",
        " by 1 command in 1 round",
        "Somebody breaks pi1.\n$ picloud run pi1 -- ",
        "      -oops\n",
        ": 1 would change, 2 unchanged",
        ": 1 changed, 2 unchanged\n",
        "$ picloud init mycluster",
    ] {
        assert!(text.contains(line), "{who:?}: {line:?} is not in\n{text}");
    }
    let kinds = [
        "Each has a private copy-on-write root:",
        "Each has a private root:",
        "Each has a private folder,",
    ];
    let prose = text.replace('\n', " ");
    assert_eq!(
        kinds.iter().filter(|kind| prose.contains(*kind)).count(),
        1,
        "{who:?}\n{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{who:?}: {line}");
    }
    assert!(text.lines().count() < 110, "{who:?}");
    text
}

#[test]
fn as_who_we_are() {
    println!("{}", goes_as_told(As::WhoWeAre));
}

#[test]
fn as_nobody() {
    println!("{}", goes_as_told(As::Nobody));
}

#[test]
fn in_a_folder_as_nobody() {
    goes_as_told(As::NobodyWithoutTools);
}

#[test]
fn in_a_folder_the_whole_story() {
    assert_eq!(settled(&goes_as_told(As::WithoutTools)), STORY);
}

#[test]
fn ctrl_c_leaves_nothing() {
    let (place, mut command) = prepared(As::WhoWeAre);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().ends_with("picloud apply --test"))
        .unwrap()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: stopped by Ctrl-C\n");
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn as_many_as_wanted() {
    let (text, code, left) = demo(As::WithoutTools, &["--minions", "1"]);
    assert_eq!((code, left.len()), (Some(0), 0), "{text}");
    assert!(
        text.starts_with("1 minion in this process (pi0)") && text.contains("Somebody breaks pi0."),
        "{text}"
    );
    let (text, code, _) = demo(As::WithoutTools, &["--minions", "0"]);
    assert_eq!(code, Some(1), "{text}");
}

const STORY: &str = r#"3 minions in this process (pi0 to pi2), reached by SSH through memory. Each has
a private folder, ~ in what follows, which the states of this demo keep to.
Nothing that follows changes this machine.
(No better: failed to make a private copy-on-write root: there is no `unshare`
(util-linux).)
Their states: a web site. (What picloud ships would need a root: time zone,
users, docker...)

What would they change?
$ picloud apply --test
pi0, pi1, pi2
  would change  file.directory ~/demo/www (site-folders)
  would change  file.directory ~/demo/conf (site-folders)
  would change  file.managed ~/demo/www/index.html
  would change  json.keys ~/demo/conf/site.json
  would change  file.symlink ~/demo/current
  would change  cmd.run cksum current/* >checksums (site-checksums)

minion  ok  would change  failed  skipped  time
pi0  0  6  0  0  T
pi1  0  6  0  0  T
pi2  0  6  0  0  T
3 minions in T: 3 would change; nothing was changed, this was a dry run

Now for real. Whatever is changed is observed again.
$ picloud apply
pi0, pi1, pi2
  changed  file.directory ~/demo/www (site-folders)
  changed  file.directory ~/demo/conf (site-folders)
  changed  file.managed ~/demo/www/index.html
  changed  json.keys ~/demo/conf/site.json
  changed  file.symlink ~/demo/current
  changed  cmd.run cksum current/* >checksums (site-checksums)

minion  ok  changed  failed  skipped  time
pi0  0  6  0  0  T
pi1  0  6  0  0  T
pi2  0  6  0  0  T
3 minions in T: 3 changed

Once more: nothing is left to do.
$ picloud apply
minion  ok  changed  failed  skipped  time
pi0  5  0  0  1  T
pi1  5  0  0  1  T
pi2  5  0  0  1  T
3 minions in T: 3 unchanged
Each minion was asked about its 6 states at once, by 1 command in 1 round trip.

Somebody breaks pi1.
$ picloud run pi1 -- 'cd ~/demo && rm current && echo oops >>www/index.html'

It is found...
$ picloud apply --test
pi1
  would change  file.managed ~/demo/www/index.html
      @@ -7,4 +7,3 @@
       <li>swap
       <li>haproxy
       </ul>
      -oops
  would change  file.symlink ~/demo/current
      new: ~/demo/current
  would change  cmd.run cksum current/* >checksums (site-checksums)
      cmd: cksum current/* >checksums

minion  ok  would change  failed  skipped  time
pi0  5  0  0  1  T
pi1  3  3  0  0  T
pi2  5  0  0  1  T
3 minions in T: 1 would change, 2 unchanged
nothing was changed, this was a dry run

... and repaired.
$ picloud apply
pi1
  changed  file.managed ~/demo/www/index.html
  changed  file.symlink ~/demo/current
  changed  cmd.run cksum current/* >checksums (site-checksums)

minion  ok  changed  failed  skipped  time
pi0  5  0  0  1  T
pi1  3  3  0  0  T
pi2  5  0  0  1  T
3 minions in T: 1 changed, 2 unchanged

That was all of it, in T; nothing of it is left.
With machines of your own, which need nothing but sshd and sh:
  $ picloud init mycluster && cd mycluster    a project to start from
  $ vi inventory/minions.yaml                 their addresses
  $ picloud ping                              who can be reached, or why not
  $ picloud apply --test                      and so on, as above
  $ picloud doc                               all that a state can be"#;
