//! Tests that run the fused scripts for real: under dash, bash and busybox' ash, with coreutils' tools and with busybox' alone.

use super::*;
use crate::shell::Answer;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

/// A shell and the folders in which it looks for tools.
#[derive(Clone, Debug)]
pub(crate) struct Minion {
    shell: Vec<&'static str>,
    path: String,
}

/// Every shell that is installed here, and a busybox that has nothing but itself.
pub(crate) fn minions() -> Vec<Minion> {
    let usual = std::env::var("PATH").unwrap_or_default();
    let mut minions = Vec::new();
    for shell in [vec!["dash"], vec!["bash"], vec!["busybox", "ash"]] {
        if installed(shell[0]) {
            minions.push(Minion {
                shell,
                path: usual.clone(),
            });
        }
    }
    if let Some(folder) = applets() {
        minions.push(Minion {
            shell: vec!["busybox", "ash"],
            path: folder.display().to_string(),
        });
    }
    minions
}

fn installed(tool: &str) -> bool {
    std::process::Command::new(tool)
        .arg("--help")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// A folder with a symlink to busybox for each of its applets.
fn applets() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<tempfile::TempDir>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let list = std::process::Command::new("busybox").arg("--list").output().ok()?;
        let folder = tempfile::tempdir().ok()?;
        let busybox = std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|folder| folder.join("busybox"))
            .find(|path| path.exists())?;
        symlink(&busybox, folder.path().join("busybox")).ok()?;
        for applet in String::from_utf8_lossy(&list.stdout)
            .lines()
            .filter(|applet| *applet != "busybox")
        {
            symlink(&busybox, folder.path().join(applet)).ok()?;
        }
        Some(folder)
    });
    Some(folder.as_ref()?.path().to_owned())
}

/// Runs each section as a session would: in a subshell with an empty standard input.
pub(crate) fn answers(minion: &Minion, sections: &[crate::shell::Section]) -> Vec<Answer> {
    sections
        .iter()
        .map(|section| {
            let mut child = std::process::Command::new(minion.shell[0])
                .args(&minion.shell[1..])
                .env("PATH", &minion.path)
                .env("LC_ALL", "C")
                // as sshd sets it; bash would set it itself where it is missing, the others not
                .env("SHELL", "/bin/sh")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let script = format!("export LC_ALL=C\n(\n{}\n) </dev/null\n", section.script);
            let mut input = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap().unwrap();
            Answer {
                status: output.status.code().unwrap_or(-1),
                stdout: output.stdout,
                stderr: output.stderr,
                dropped: 0,
            }
        })
        .collect()
}

pub(crate) fn observe(minion: &Minion, probes: Vec<Probe>) -> Observed {
    let fused = fuse(probes);
    let mut observed = Observed::default();
    let answers = answers(minion, &fused.sections);
    let facts = fused.parse(&answers).unwrap_or_else(|error| {
        let errors: Vec<_> = answers.iter().map(|answer| answer.error_text().into_owned()).collect();
        panic!("{minion:?}: {error}: {errors:?}")
    });
    for (probe, fact) in facts {
        observed.answer(&probe, fact);
    }
    observed
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Names that mean something to a shell, to a tool, or to a careless parser.
const HOSTILE: [&str; 22] = [
    "plain",
    "with space",
    " leading and trailing ",
    "new\nline",
    "ends in newline\n",
    "\n",
    "quote ' and \" and `",
    "$HOME ${x} $(false)",
    "back\\slash \\n \\0",
    "-n",
    "--help",
    "*",
    "[a-z]?",
    "ümläut 日本",
    "tab\tbell\u{7}",
    "carriage\rreturn",
    "==> x <==",
    "a\n==> ",
    "81a4:0:0:1:1:root:root",
    "a -> b",
    "%s %n \\t",
    "~;&|<>(){}!#",
];

#[test]
fn a_path_with_any_name_is_seen_as_it_is() {
    for minion in minions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut probes = Vec::new();
        let mut expected: HashMap<String, Vec<u8>> = HashMap::new();
        for (n, name) in HOSTILE.iter().enumerate() {
            let path = format!("{}/{name}", root.display());
            // Contents that look like frames, and ones that are not text.
            let contents = match n % 4 {
                0 => Vec::new(),
                1 => format!(
                    "a\n==> {path} <==\nb\n\n==> {}/{} <==\n",
                    root.display(),
                    HOSTILE[(n + 1) % HOSTILE.len()]
                )
                .into_bytes(),
                2 => vec![0, 1, 255, b'\n', 0],
                _ => b"no newline at the end".to_vec(),
            };
            std::fs::write(&path, &contents).unwrap();
            probes.push(Probe::text(path.as_str()));
            probes.push(Probe::sha256(format!("{path}/below")));
            probes.push(Probe::meta(format!("{path} missing")));
            let link = format!("{}/link to {name}", root.display());
            symlink(&path, &link).unwrap();
            probes.push(if n % 2 == 0 { Probe::text(link) } else { Probe::sha256(link) });
            let dangling = format!("{}/dangling {name}", root.display());
            symlink(format!("no {name}"), &dangling).unwrap();
            probes.push(Probe::text(dangling));
            expected.insert(path, contents);
        }
        let seen = observe(&minion, probes);
        for (n, name) in HOSTILE.iter().enumerate() {
            let path = format!("{}/{name}", root.display());
            let contents = &expected[&path];
            let entry = seen.entry(&path).unwrap().unwrap();
            let what = format!("{minion:?} {name:?}");
            assert_eq!(
                (entry.kind, entry.mode, entry.size),
                (FileKind::File, 0o644, contents.len() as u64),
                "{what}"
            );
            assert_eq!(entry.contents.as_deref(), Some(contents.as_slice()), "{what}");
            assert_eq!(entry.sha256, Some(sha256(contents)), "{what}");
            assert_eq!(seen.entry(&format!("{path}/below")).unwrap(), None, "{what}");
            assert_eq!(seen.entry(&format!("{path} missing")).unwrap(), None, "{what}");

            let link = seen.entry(&format!("{}/link to {name}", root.display())).unwrap().unwrap();
            assert_eq!(
                (link.kind, link.target.as_deref()),
                (FileKind::Symlink, Some(path.as_str())),
                "{what}"
            );
            assert_eq!((&link.sha256, &link.contents), (&None, &None), "{what}");
            let end = link.leads_to.as_deref().unwrap();
            assert_eq!(
                (end.path.as_str(), &end.entry.sha256),
                (path.as_str(), &Some(sha256(contents))),
                "{what}"
            );
            let text = (n % 2 == 0).then_some(contents.as_slice());
            assert_eq!(end.entry.contents.as_deref(), text, "{what}");

            let dangling = seen.entry(&format!("{}/dangling {name}", root.display())).unwrap().unwrap();
            assert_eq!(dangling.target, Some(format!("no {name}")), "{what}");
            assert_eq!(dangling.leads_to, None, "{what}");
        }
    }
}

#[test]
fn kinds_wants_and_limits_of_paths() {
    for minion in minions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name).display().to_string();
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::set_permissions(at("dir"), std::fs::Permissions::from_mode(0o2751)).unwrap();
        std::fs::write(at("file"), "x").unwrap();
        std::fs::write(at("large"), vec![b'y'; TEXT_LIMIT as usize + 1]).unwrap();
        std::fs::write(at("largest"), vec![b'z'; TEXT_LIMIT as usize]).unwrap();
        symlink("dir", at("to-dir")).unwrap();
        symlink("to-dir/../file", at("around")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("large", at("to-large")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(at("fifo"))
                .status()
                .unwrap()
                .success()
        );
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let names = [
            "dir", "file", "large", "largest", "to-dir", "around", "loop", "to-large", "fifo", "socket", "none",
        ];
        let mut probes: Vec<Probe> = names.iter().map(|name| Probe::text(at(name))).collect();
        probes.push(Probe::meta(at("file")));
        probes.push(Probe::text("/proc/version"));
        probes.push(Probe::text("/dev/null"));
        probes.push(Probe::text("relative"));
        probes.push(Probe::text("/"));
        probes.push(Probe::text(at("file") + "/"));
        let seen = observe(&minion, probes);
        let entry = |name: &str| seen.entry(&at(name)).unwrap().unwrap();
        let contents = |name: &str| entry(name).contents.as_ref().map(|c| c.len());
        assert_eq!(
            (entry("dir").kind, entry("dir").mode),
            (FileKind::Directory, 0o2751),
            "{minion:?}"
        );
        assert_eq!((contents("file"), entry("file").size), (Some(1), 1), "{minion:?}");
        assert_eq!(contents("large"), None);
        assert_eq!(
            entry("large").sha256,
            Some(sha256(&vec![b'y'; TEXT_LIMIT as usize + 1])),
            "{minion:?}"
        );
        assert_eq!(contents("largest"), Some(TEXT_LIMIT as usize));
        let end = entry("to-dir").leads_to.as_deref().unwrap();
        assert_eq!((end.path.clone(), end.entry.kind), (at("dir"), FileKind::Directory));
        let end = entry("around").leads_to.as_deref().unwrap();
        assert_eq!(
            (end.path.clone(), end.entry.contents.as_deref()),
            (at("file"), Some(&b"x"[..])),
            "{minion:?}"
        );
        assert_eq!(
            (entry("loop").target.as_deref(), &entry("loop").leads_to),
            (Some("loop"), &None),
            "{minion:?}"
        );
        assert!(
            entry("to-large").leads_to.as_ref().unwrap().entry.sha256.is_some(),
            "{minion:?}"
        );
        assert_eq!((entry("fifo").kind, contents("fifo")), (FileKind::Fifo, None));
        assert_eq!((entry("socket").kind, contents("socket")), (FileKind::Socket, None));
        assert_eq!(seen.entry(&at("none")).unwrap(), None);
        assert_eq!(seen.entry("relative").unwrap(), None);
        assert_eq!(seen.entry(&(at("file") + "/")).unwrap(), None);
        let version = seen.entry("/proc/version").unwrap().unwrap();
        assert_eq!(
            version.contents.as_deref(),
            Some(std::fs::read("/proc/version").unwrap().as_slice()),
            "{minion:?}"
        );
        let null = std::fs::symlink_metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(seen.entry("/dev/null").unwrap().unwrap().kind, FileKind::CharDevice);
        assert_eq!(seen.entry("/").unwrap().unwrap().kind, FileKind::Directory);
    }
}

#[test]
fn the_fastest_digest_is_taken_where_any_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for name in ["one", "new\nline", "two"] {
        std::fs::write(at(name), "x").unwrap();
    }
    symlink("one", at("link")).unwrap();
    symlink("two", at("other")).unwrap();
    let wants = [
        ("two", Want::Sha256),
        ("new\nline", Want::Digest),
        ("other", Want::Sha256),
        ("link", Want::Digest),
        ("one", Want::Digest),
        ("none", Want::Digest),
    ];
    // `printf x | b2sum`
    let blake2 = "0909377ad35110cafb2909e185672b7f2728d1f5094f8ad68d6fac6274bf1f499485a80ea364c04ed006d29459ea3cb7c600280e2f83e032529906f88ae30d0a";
    for minion in minions() {
        let seen = observe(&minion, wants.map(|(name, want)| Probe::Path { path: at(name), want }).into());
        let has_b2sum = std::env::split_paths(&minion.path).any(|folder| folder.join("b2sum").exists());
        for (name, want) in wants {
            let Some(entry) = seen.entry(&at(name)).unwrap() else {
                assert_eq!(name, "none");
                continue;
            };
            let entry = entry.leads_to.as_ref().map_or(entry, |end| &end.entry);
            let expected = match want == Want::Digest && has_b2sum {
                true => (None, Some(blake2.to_owned())),
                false => (Some(sha256(b"x")), None),
            };
            assert_eq!(
                (&entry.sha256, &entry.blake2),
                (&expected.0, &expected.1),
                "{minion:?} {name:?}"
            );
        }
    }
}

#[test]
fn owners_without_a_name_are_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file").display().to_string();
    std::fs::write(&path, "x").unwrap();
    if std::os::unix::fs::chown(&path, Some(54321), Some(54322)).is_err() {
        return;
    }
    for minion in minions() {
        let root = folder.path().display().to_string();
        let seen = observe(
            &minion,
            vec![
                Probe::meta(path.as_str()),
                Probe::Tree {
                    path: root.clone(),
                    hashes: false,
                },
            ],
        );
        for entry in [
            seen.entry(&path).unwrap().unwrap(),
            &seen.tree(&root).unwrap().entries[1].entry,
        ] {
            let owner = (entry.uid, entry.gid, entry.user.as_str(), entry.group.as_str());
            assert_eq!(owner, (54321, 54322, "54321", "54322"), "{minion:?}");
        }
    }
}

#[test]
fn what_may_not_be_looked_at_is_no_absence() {
    // Root may look at everything: another user does, where there is a way to become one.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(at("closed")).unwrap();
    std::fs::write(at("closed/file"), "x").unwrap();
    std::fs::write(at("secret"), "x").unwrap();
    std::fs::set_permissions(at("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(at("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let probes = vec![
        Probe::meta(at("closed/file")),
        Probe::meta(at("closed/deeper/file")),
        Probe::text(at("secret")),
        Probe::sha256(at("closed")),
        Probe::sha256(at("none/file")),
    ];
    let fused = fuse(probes);
    let command = crate::shell::Command {
        text: fused.sections[0].script.clone(),
        user: Some("nobody".into()),
        cwd: Some("/".into()),
        ..crate::shell::Command::default()
    };
    let minion = &minions()[0];
    let answers = answers(minion, &[crate::shell::Section::new(command.script())]);
    let mut observed = Observed::default();
    if answers[0].status != 0 {
        return;
    }
    for (probe, fact) in fused.parse(&answers).unwrap() {
        observed.answer(&probe, fact);
    }
    for name in ["closed/file", "closed/deeper/file", "secret"] {
        assert!(observed.entry(&at(name)).is_err(), "{name}");
    }
    assert!(observed.entry(&at("closed")).unwrap().is_some());
    assert_eq!(observed.entry(&at("none/file")).unwrap(), None);
}

#[test]
fn a_tree_is_listed_with_its_digests() {
    for minion in minions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        let mut expected: Vec<(String, Option<String>)> = ["", "sub", "sub/deep", "link"]
            .iter()
            .map(|name| ((*name).to_owned(), None))
            .collect();
        for name in HOSTILE {
            let contents = format!("contents of {name}");
            std::fs::write(root.join("sub").join(name), &contents).unwrap();
            expected.push((format!("sub/{name}"), Some(sha256(contents.as_bytes()))));
        }
        symlink("a target\nof two lines", root.join("link")).unwrap();
        symlink("tree", root.parent().unwrap().join("alias")).unwrap();
        expected.sort();
        let tree = |path: &Path, hashes| Probe::Tree {
            path: path.display().to_string(),
            hashes,
        };
        let (alias, sub) = (root.parent().unwrap().join("alias"), root.join("sub/"));
        let seen = observe(
            &minion,
            vec![
                tree(&root, true),
                tree(&alias, true),
                tree(&sub, false),
                tree(&root.join("none"), true),
                tree(&root.join("sub/plain"), true),
            ],
        );
        let of = |path: &Path| seen.tree(&path.display().to_string()).unwrap().entries.clone();
        let digests = |path: &Path| -> Vec<(String, Option<String>)> {
            of(path).into_iter().map(|found| (found.path, found.entry.sha256)).collect()
        };
        assert_eq!(digests(&root), expected, "{minion:?}");
        assert_eq!(digests(&alias), expected, "{minion:?}");
        let below: Vec<String> = of(&sub).into_iter().map(|found| found.path).collect();
        assert_eq!(below.len(), HOSTILE.len() + 2, "{minion:?}");
        assert!(of(&sub).iter().all(|found| found.entry.sha256.is_none()), "{minion:?}");
        assert_eq!(of(&root.join("none")), []);
        assert_eq!(of(&root.join("sub/plain")).len(), 1, "{minion:?}");
        let link = of(&root).into_iter().find(|found| found.path == "link").unwrap().entry;
        assert_eq!(
            (link.kind, link.target.as_deref()),
            (FileKind::Symlink, Some("a target\nof two lines")),
            "{minion:?}"
        );
        assert_eq!(of(&root)[0].entry.kind, FileKind::Directory);
    }
}

#[test]
fn many_paths_are_split_over_sections() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<String> = (0..1500)
        .map(|n| format!("{}/{}{n}", folder.path().display(), "x".repeat(100)))
        .collect();
    for path in paths.iter().step_by(3) {
        std::fs::write(path, path).unwrap();
    }
    let probes: Vec<Probe> = paths.iter().map(|path| Probe::text(path.as_str())).collect();
    assert!(fuse(probes.clone()).sections.len() > 1);
    for minion in minions() {
        let seen = observe(&minion, probes.clone());
        for (n, path) in paths.iter().enumerate() {
            let contents = seen.entry(path).unwrap().and_then(|entry| entry.contents.clone());
            assert_eq!(contents.as_deref(), (n % 3 == 0).then_some(path.as_bytes()), "{minion:?}");
        }
    }
}

#[test]
fn every_kind_is_answered_whatever_the_minion_has() {
    let name = || String::from("root");
    let mut shell = ShellProbe {
        script: "echo out; echo error >&2; exit 3".into(),
        ..ShellProbe::default()
    };
    let probes = vec![
        Probe::Package { name: "dpkg".into() },
        Probe::Package {
            name: "no-such-package".into(),
        },
        Probe::Package { name: "a b'c".into() },
        Probe::Package { name: "awk".into() },
        Probe::Candidate { name: "dpkg".into() },
        Probe::Unit { name: "cron".into() },
        Probe::Unit { name: "no-such".into() },
        Probe::Unit { name: "a b\nc".into() },
        Probe::User { name: name() },
        Probe::User { name: "no-such".into() },
        Probe::User { name: "a b;c".into() },
        Probe::Group { name: name() },
        Probe::Sysctl {
            key: "kernel.ostype".into(),
        },
        Probe::Sysctl { key: "no.such".into() },
        Probe::Module { name: "no-such".into() },
        Probe::Module { name: "a b".into() },
        Probe::Mounts,
        Probe::Crontab { user: "no-such".into() },
        Probe::Listeners,
        Probe::Tree {
            path: "/no/such".into(),
            hashes: true,
        },
        Probe::meta("/"),
        Probe::Shell(shell.clone()),
        Probe::script("echo \"it's", vec![Resource::Mounts]),
        Probe::script("exit 4", vec![Resource::Mounts]),
    ];
    for minion in minions() {
        let seen = observe(&minion, probes.clone());
        assert!(probes.iter().all(|probe| seen.has(probe)), "{minion:?}");
        assert_eq!(seen.package("no-such-package").unwrap(), &PackageSeen::default());
        assert_eq!(seen.package("a b'c").unwrap(), &PackageSeen::default());
        assert!(!seen.unit("no-such").unwrap().exists, "{minion:?}");
        let root = seen.user("root").unwrap().account.as_ref().unwrap();
        assert_eq!((root.uid, root.group.as_str()), (0, "root"), "{minion:?}");
        assert_eq!(seen.user("no-such").unwrap().account, None);
        assert_eq!(seen.group("root").unwrap().gid, Some(0), "{minion:?}");
        assert_eq!(seen.sysctl("kernel.ostype").unwrap(), Some("Linux"), "{minion:?}");
        assert_eq!(seen.sysctl("no.such").unwrap(), None);
        assert!(!seen.module("no-such").unwrap().available);
        assert!(
            seen.mounts().unwrap().mounts.iter().any(|mount| mount.target == "/proc"),
            "{minion:?}"
        );
        assert_eq!(seen.crontab("no-such").unwrap(), None, "{minion:?}");
        let answered = seen.shell(&shell).unwrap();
        assert_eq!(
            (answered.status, answered.stdout.as_slice()),
            (3, &b"out\n"[..]),
            "{minion:?}"
        );
        assert_eq!(String::from_utf8_lossy(&answered.stderr), "error\n");
    }
    shell.user = Some("no\0body".into());
    let seen = observe(&minions()[0], vec![Probe::Shell(shell.clone())]);
    assert_eq!(seen.shell(&shell).unwrap().status, 126);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn paths_of_any_name_come_back(
        names in proptest::collection::hash_set("[^/\\x00]{1,40}", 1..8),
        contents in proptest::collection::vec(any::<u8>(), 0..200),
        which in 0usize..8,
    ) {
        let minions = minions();
        let minion = &minions[which % minions.len()];
        let folder = tempfile::tempdir().unwrap();
        let mut probes = Vec::new();
        let mut written = Vec::new();
        for (n, name) in names.iter().filter(|name| !matches!(name.as_str(), "." | "..")).enumerate() {
            let path = format!("{}/{name}", folder.path().display());
            if n % 3 != 2 {
                std::fs::write(&path, &contents).unwrap();
            }
            probes.push(Probe::text(path.as_str()));
            written.push((path, n % 3 != 2));
        }
        let seen = observe(minion, probes);
        for (path, there) in written {
            let found = seen.entry(&path).unwrap().and_then(|entry| entry.contents.clone());
            prop_assert_eq!(found.as_deref(), there.then_some(contents.as_slice()), "{:?} {:?}", minion, path);
        }
    }
}
