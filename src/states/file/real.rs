//! `file.*` applied on this machine, under every shell that is here.

use crate::states::SourceFile;
use crate::states::here::{Here, everywhere};
use crate::states::testing::{Case, state};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

/// A state whose arguments name the folder as `ROOT`.
fn of(here: &Here, function: &str, arguments: &str) -> Case {
    state(function, &arguments.replace("ROOT", &here.root))
}

fn at(here: &Here, path: &str) -> PathBuf {
    PathBuf::from(&here.root).join(path)
}

fn read(here: &Here, path: &str) -> String {
    std::fs::read_to_string(at(here, path)).unwrap()
}

fn write(here: &Here, path: &str, text: &str) {
    std::fs::create_dir_all(at(here, path).parent().unwrap()).unwrap();
    std::fs::write(at(here, path), text).unwrap();
}

fn mode(here: &Here, path: &str) -> u32 {
    std::fs::symlink_metadata(at(here, path)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn managed() {
    everywhere(|here| {
        let arguments =
            "{name: 'ROOT/a b/it''s', contents: new, mode: '0640', makedirs: true, dir_mode: 710, check_cmd: grep -q new}";
        here.converges(&of(here, "file.managed", arguments));
        assert_eq!(
            (read(here, "a b/it's").as_str(), mode(here, "a b/it's"), mode(here, "a b")),
            ("new\n", 0o640, 0o710)
        );
        write(here, "x", "old\n");
        symlink("x", at(here, "l")).unwrap();
        here.converges(&of(here, "file.managed", "{name: ROOT/l, contents: new, backup: .bak}"));
        assert!(at(here, "l").is_symlink());
        assert_eq!((read(here, "x").as_str(), read(here, "x.bak").as_str()), ("new\n", "old\n"));
        let refused = here.apply(&of(
            here,
            "file.managed",
            "{name: ROOT/x, contents: other, check_cmd: grep -q new}",
        ));
        assert!(refused.starts_with("failed: "), "{refused}");
        assert_eq!(read(here, "x"), "new\n");
        here.converges(&of(
            here,
            "file.managed",
            "{name: ROOT/x, mode: 4711, user: 65534, group: 65534}",
        ));
        let meta = std::fs::metadata(at(here, "x")).unwrap();
        assert_eq!((mode(here, "x"), meta.uid(), meta.gid()), (0o4711, 65534, 65534));
    });
}

#[test]
fn managed_from_the_minion_itself() {
    everywhere(|here| {
        write(here, "from", "hello");
        let url = format!("{}/from", here.root);
        let case = of(here, "file.managed", "{name: ROOT/to, source: ROOT/from}").resolves(|_| {
            Ok(SourceFile::OnMinion {
                url: url.clone(),
                sha256: None,
                hash: None,
            })
        });
        here.converges(&case);
        assert_eq!(read(here, "to"), "hello");
    });
}

#[test]
fn directory() {
    everywhere(|here| {
        here.converges(&of(here, "file.directory", "{name: ROOT/a/b, mode: 2750, makedirs: true}"));
        assert_eq!((mode(here, "a"), mode(here, "a/b")), (0o2750, 0o2750));
        write(here, "a/b/c/x y", "");
        write(here, "a/b/gone", "");
        symlink("/etc", at(here, "a/b/l")).unwrap();
        let arguments = "{name: ROOT/a/b, user: 65534, dir_mode: 755, file_mode: 600, recurse: [user, mode], clean: true, exclude_pat: [c, c/*, l]}";
        here.converges(&of(here, "file.directory", arguments));
        assert_eq!((mode(here, "a/b/c"), mode(here, "a/b/c/x y")), (0o755, 0o600));
        assert_eq!(std::fs::symlink_metadata(at(here, "a/b/l")).unwrap().uid(), 65534);
        assert_eq!(std::fs::metadata("/etc").unwrap().uid(), 0);
        assert!(!at(here, "a/b/gone").exists());
        write(here, "f", "");
        here.converges(&of(here, "file.directory", "{name: ROOT/f, force: true}"));
        assert!(at(here, "f").is_dir());
    });
}

#[test]
fn symlinks() {
    everywhere(|here| {
        write(here, "one/x", "");
        write(here, "two/x", "");
        here.converges(&of(here, "file.symlink", "{name: ROOT/l, target: ROOT/one}"));
        // The old one leads to a folder: the new one must replace it, not go into it.
        here.converges(&of(here, "file.symlink", "{name: ROOT/l, target: two}"));
        assert_eq!(std::fs::read_link(at(here, "l")).unwrap().to_str(), Some("two"));
        assert_eq!(std::fs::read_dir(at(here, "one")).unwrap().count(), 1);
        here.converges(&of(
            here,
            "file.symlink",
            "{name: ROOT/one, target: two, backupname: one.old, user: 65534}",
        ));
        assert!(at(here, "one.old/x").exists());
        assert_eq!(std::fs::symlink_metadata(at(here, "one")).unwrap().uid(), 65534);
        here.converges(&of(here, "file.symlink", "{name: ROOT/d/e/l, target: '-n', makedirs: true}"));
        here.converges(&of(here, "file.absent", "{name: ROOT/l}"));
        here.converges(&of(here, "file.absent", "{name: ROOT/two}"));
        assert!(!at(here, "two").exists());
    });
}

#[test]
fn touch_copy_rename() {
    everywhere(|here| {
        here.converges(&of(
            here,
            "file.touch",
            "{name: ROOT/t/x, makedirs: true, mtime: 86400, atime: 5}",
        ));
        assert_eq!(std::fs::metadata(at(here, "t/x")).unwrap().mtime(), 86400);
        here.converges(&of(here, "file.touch", "{name: ROOT/t/x, mtime: 100}"));
        write(here, "t/y z", "1");
        std::fs::set_permissions(at(here, "t/y z"), PermissionsExt::from_mode(0o600)).unwrap();
        here.converges(&of(here, "file.copy", "{name: ROOT/y, source: 'ROOT/t/y z'}"));
        assert_eq!((read(here, "y").as_str(), mode(here, "y")), ("1", 0o600));
        write(here, "t/y z", "2");
        here.converges(&of(
            here,
            "file.copy",
            "{name: ROOT/y, source: 'ROOT/t/y z', force: true, preserve: true}",
        ));
        assert_eq!(read(here, "y"), "2");
        here.converges(&of(
            here,
            "file.copy",
            "{name: ROOT/c/t, source: ROOT/t, makedirs: true, user: 65534}",
        ));
        assert_eq!((read(here, "c/t/y z").as_str(), mode(here, "c/t/y z")), ("2", 0o600));
        write(here, "t/new", "");
        here.converges(&of(
            here,
            "file.copy",
            "{name: ROOT/c/t, source: ROOT/t, force: true, preserve: true}",
        ));
        assert!(at(here, "c/t/new").exists());
        here.converges(&of(here, "file.rename", "{name: ROOT/r/t, source: ROOT/c/t, makedirs: true}"));
        assert!(at(here, "r/t/new").exists() && !at(here, "c/t").exists());
    });
}

#[test]
fn recurse() {
    everywhere(|here| {
        write(here, "d/old", "");
        write(here, "d/a/b", "a folder stands where a file is to be");
        let case = of(
            here,
            "file.recurse",
            "{name: ROOT/d, source: 'salt://d', clean: true, file_mode: 640, dir_mode: 750}",
        );
        let case = case.source_tree(&[("a", "1\n"), ("s/t/u", "2\n"), ("it's", "3\n")]);
        here.converges(&case);
        assert_eq!(
            (
                read(here, "d/a").as_str(),
                read(here, "d/s/t/u").as_str(),
                read(here, "d/it's").as_str()
            ),
            ("1\n", "2\n", "3\n")
        );
        assert_eq!((mode(here, "d/s/t"), mode(here, "d/s/t/u")), (0o750, 0o640));
        assert!(!at(here, "d/old").exists());
    });
}

#[test]
fn edits() {
    everywhere(|here| {
        here.converges(&of(
            here,
            "file.append",
            "{name: ROOT/e/x, text: [Port 1, b], makedirs: true}",
        ));
        here.converges(&of(
            here,
            "file.replace",
            "{name: ROOT/e/x, pattern: '^Port.*', repl: Port 22}",
        ));
        here.converges(&of(
            here,
            "file.keyvalue",
            "{name: ROOT/e/x, key: k, value: v, append_if_not_found: true}",
        ));
        here.converges(&of(here, "file.serialize", "{name: ROOT/e/y, dataset: {a: 1}, mode: 600}"));
        assert_eq!(
            (read(here, "e/x").as_str(), read(here, "e/y").as_str()),
            ("Port 22\nb\nk=v\n", "a: 1\n")
        );
        let once = of(here, "file.replace", "{name: ROOT/e/x, pattern: b, repl: bb}");
        assert_eq!(here.apply(&once), "ok: Changes were made");
    });
}
