//! Steps as shell text: what is sent to a minion to change it, and to change it back.
//!
//! A file is written beside its place, given its owner and mode, checked, and renamed into place, so that nobody ever sees half of
//! it. What it replaces is kept for `picloud undo`. Pure: the engine sends what is made here.

use crate::shell::{Content, Section, quote};
use crate::states::{PutFile, RunShell, Step};

/// The largest contents that travel inside a batch, in bytes; larger ones have a channel of their own.
const INLINE: usize = 32 << 10;

/// The exit status of a step that was not begun because the one before it failed.
pub const NOT_BEGUN: i32 = 125;

/// A step ready to be sent.
#[derive(Clone, Debug)]
pub struct Staged {
    pub section: Section,
    /// Contents to be uploaded before the batch, and where to; to the second place if the first one's folder does not exist yet.
    pub upload: Option<Upload>,
}

#[derive(Clone, Debug)]
pub struct Upload {
    pub content: Content,
    pub beside: String,
    pub fallback: String,
}

/// `step` as a section. `number` is unique within the run; `follows` says that an earlier step of the same state precedes it in the
/// batch, whose failure (`$picloud_last`, which the session sets) must keep this one from beginning.
pub fn stage(step: &Step, run: &str, number: usize, follows: bool) -> Staged {
    let (script, upload) = match step {
        Step::Shell(step) => shell(step, run, number),
        Step::Put(file) => put(file, run, number),
        Step::Remove(path) => (remove(path, run, number), None),
    };
    let guard = match (follows, &upload) {
        (false, _) => String::new(),
        (true, None) => format!("[ \"$picloud_last\" = 0 ] || exit {NOT_BEGUN}\n"),
        (true, Some(upload)) => format!(
            "[ \"$picloud_last\" = 0 ] || {{ rm -f {} {}; exit {NOT_BEGUN}; }}\n",
            quote(&upload.beside),
            quote(&upload.fallback)
        ),
    };
    Staged {
        section: Section::new(guard + &script),
        upload,
    }
}

fn shell(step: &RunShell, run: &str, number: usize) -> (String, Option<Upload>) {
    let Some(stdin) = &step.stdin else {
        return (step.script.clone(), None);
    };
    match printed(stdin) {
        Some(print) => (format!("{print} | (\n{}\n)", step.script), None),
        None => {
            let place = format!("/tmp/.picloud-{run}-{number}");
            let quoted = quote(&place);
            let script = format!("trap 'rm -f {quoted}' EXIT\n(\n{}\n) <{quoted}", step.script);
            (
                script,
                Some(Upload {
                    content: stdin.clone(),
                    beside: place.clone(),
                    fallback: place,
                }),
            )
        }
    }
}

/// A command that prints `content`, if it is small enough to travel in a batch. `printf` is built into all shells: nothing of it is
/// seen in the list of processes.
fn printed(content: &Content) -> Option<String> {
    let Content::Bytes(bytes) = content else { return None };
    if bytes.len() > INLINE {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Some(format!("printf %s {}", quote(text))),
        _ if bytes.len() > INLINE / 4 => None,
        _ => {
            let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            Some(format!("printf '{octal}'"))
        }
    }
}

fn put(file: &PutFile, run: &str, number: usize) -> (String, Option<Upload>) {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or((".", &file.path));
    let hidden = format!(
        ".{}.picloud-{run}-{number}{}",
        name.chars().take(120).collect::<String>(),
        file.tmp_ext.as_deref().unwrap_or("")
    );
    let beside = format!("{}/{hidden}", file.tmp_dir.as_deref().unwrap_or(folder).trim_end_matches('/'));
    let fallback = format!("/var/tmp/.picloud-{run}-{number}");
    let (dst, tmp) = (quote(&file.path), quote(&beside));

    let mut script = format!("umask 077\ndst={dst}\ntmp={tmp}\ntrap 'rm -f \"$tmp\"' EXIT\n");
    script += "if [ -d \"$dst\" ]; then printf '%s is a folder\\n' \"$dst\" >&2; exit 1; fi\n";
    let keeps_some = file.user.is_none() || file.group.is_none() || file.mode.is_none();
    let print = match &file.fetch {
        None => printed(&file.content).map(|print| format!("{print} >\"$tmp\"")),
        Some(fetch) => Some(format!("(\n{fetch}\n)")),
    };
    match &print {
        // `set -C` makes the shell create the file anew, so that nothing planted under its name is followed.
        Some(_) => script += "set -C; : >\"$tmp\" || exit 1; set +C\n",
        None => {
            let fallback = quote(&fallback);
            script += &format!("[ -f \"$tmp\" ] || mv {fallback} \"$tmp\" || {{ rm -f {fallback}; exit 1; }}\n");
        }
    }
    if let Some(print) = &print {
        if keeps_some {
            script += "[ ! -f \"$dst\" ] || cp -p \"$dst\" \"$tmp\" || exit 1\n";
        }
        // The shell's own `printf` does not say what an I/O error was; `cat` does.
        script += &format!("{print} || {{ echo | cat >>\"$tmp\"; exit 1; }}\n");
    } else if keeps_some {
        // The uploaded candidate takes over owner and mode by way of a copy of the old file that its contents are poured into.
        script += "if [ -f \"$dst\" ]; then cp -p \"$dst\" \"$tmp.old\" && cat \"$tmp\" >\"$tmp.old\" && mv -f \"$tmp.old\" \"$tmp\" || { rm -f \"$tmp.old\"; exit 1; }; fi\n";
    }
    let owner = match (&file.user, &file.group) {
        (Some(user), Some(group)) => Some(format!("chown {}", quote(&format!("{user}:{group}")))),
        (Some(user), None) => Some(format!("chown {}", quote(user))),
        (None, Some(group)) => Some(format!("chgrp {}", quote(group))),
        (None, None) => None,
    };
    // The owner first: a change of owner clears the set-user-ID bit.
    if let Some(owner) = owner {
        script += &format!("{owner} \"$tmp\" || exit 1\n");
    }
    match &file.mode {
        Some(mode) => script += &format!("chmod {} \"$tmp\" || exit 1\n", quote(mode)),
        None => script += "[ -f \"$dst\" ] || chmod 0644 \"$tmp\" || exit 1\n",
    }
    if let Some(check) = &file.check {
        let command = format!("{check} \"$0\"");
        script += &format!(
            "sh -c {} \"$tmp\" </dev/null || {{ s=$?; printf 'check_cmd failed with exit status %s; the file was left as it was\\n' \"$s\" >&2; exit 1; }}\n",
            quote(&command)
        );
    }
    if file.keep {
        script += &keep(run, number);
    }
    // A file that is itself a mount (a container's /etc/hosts) cannot be renamed over: it is written in place.
    script += "mv -f \"$tmp\" \"$dst\" 2>/dev/null || { grep -qF \" $dst \" /proc/self/mountinfo && cat \"$tmp\" >\"$dst\"; } || mv -f \"$tmp\" \"$dst\"";
    let upload = print.is_none().then(|| Upload {
        content: file.content.clone(),
        beside,
        fallback,
    });
    (script, upload)
}

/// Where a minion keeps what runs replaced: `/var/lib/picloud/undo`, or below the home folder for those who may not write there;
/// below `PICLOUD_STATE` where that is set (see `ssh/lock.rs`).
const KEPT: &str = "kept=/var/lib/picloud/undo; [ -w /var/lib ] || kept=${HOME:-/tmp}/.local/state/picloud/undo\n\
    [ -z \"$PICLOUD_STATE\" ] || kept=$PICLOUD_STATE/undo\n";

fn remove(path: &str, run: &str, number: usize) -> String {
    let keep = keep(run, number);
    format!(
        "umask 077\ndst={}\n[ -e \"$dst\" ] || [ -L \"$dst\" ] || exit 0\n{keep}rm -f -- \"$dst\"",
        quote(path)
    )
}

/// Keeps `$dst` as entry `number` of `run`; an entry without a file beside its `.path` says that there was none before.
fn keep(run: &str, number: usize) -> String {
    let run = quote(run);
    format!(
        "{KEPT}k=$kept/{run}\n\
         if [ ! -d \"$k\" ]; then mkdir -p \"$k\" || exit 1; ls -1dt \"$kept\"/*/ | tail -n +31 | while IFS= read -r old; do rm -rf \"$old\"; done; fi\n\
         if [ -e \"$dst\" ] || [ -L \"$dst\" ]; then ln \"$dst\" \"$k/{number}\" 2>/dev/null || cp -pP \"$dst\" \"$k/{number}\" || exit 1; fi\n\
         printf %s \"$dst\" >\"$k/{number}.path\" || exit 1\n"
    )
}

/// A script that brings back what `run` replaced, last first, and prints a line for each: `restored PATH` or `removed PATH`.
/// Exits 3 when the minion has kept nothing of that run.
pub fn undo(run: &str, test: bool) -> String {
    let act = |command: &str| if test { ":".to_owned() } else { command.to_owned() };
    format!(
        "{KEPT}k=$kept/{}\n[ -d \"$k\" ] || exit 3\ncd \"$k\" || exit 1\nstatus=0\n\
         for n in $(ls | sed -n 's/\\.path$//p' | sort -rn); do\n\
           p=$(cat \"$n.path\"; printf x); p=${{p%x}}\n\
           if [ -e \"$n\" ] || [ -L \"$n\" ]; then\n\
             {} && printf 'restored %s\\n' \"$p\" || {{ printf 'could not restore %s\\n' \"$p\" >&2; status=1; }}\n\
           else\n\
             {} && printf 'removed %s\\n' \"$p\" || {{ printf 'could not remove %s\\n' \"$p\" >&2; status=1; }}\n\
           fi\n\
         done\n{}exit $status",
        quote(run),
        act("cp -pP \"$n\" \"$p.picloud-undo\" && mv -f \"$p.picloud-undo\" \"$p\""),
        act("rm -f \"$p\""),
        if test {
            String::new()
        } else {
            "[ $status != 0 ] || rm -rf \"$k\"\n".to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output};

    fn sh(script: &str, home: &Path) -> Output {
        Command::new("sh")
            .arg("-c")
            .arg(script.replace("/var/lib", &home.to_string_lossy()))
            .env("picloud_last", "0")
            .output()
            .unwrap()
    }

    fn put_step(path: &Path, content: &str) -> PutFile {
        PutFile {
            path: path.to_string_lossy().into_owned(),
            content: content.into(),
            ..PutFile::default()
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's here");
        std::fs::write(&file, "old\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let step = PutFile {
            keep: true,
            ..put_step(&file, "new\n")
        };
        let staged = stage(&step.into(), "run1", 7, true);
        let out = sh(&staged.section.script, dir.path());
        assert!(out.status.success(), "{out:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);

        let made = dir.path().join("made");
        let staged = stage(
            &PutFile {
                keep: true,
                ..put_step(&made, "")
            }
            .into(),
            "run1",
            12,
            false,
        );
        assert!(sh(&staged.section.script, dir.path()).status.success());
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o7777, 0o644);

        let gone = dir.path().join("gone");
        std::os::unix::fs::symlink("nowhere", &gone).unwrap();
        let staged = stage(&Step::Remove(gone.to_string_lossy().into_owned()), "run1", 13, false);
        assert!(sh(&staged.section.script, dir.path()).status.success());
        assert!(gone.symlink_metadata().is_err());

        let out = sh(&undo("run1", false), dir.path());
        let restored = std::fs::read_link(&gone).unwrap();
        assert_eq!(restored.to_str(), Some("nowhere"));
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            format!(
                "restored {}\nremoved {}\nrestored {}\n",
                gone.display(),
                made.display(),
                file.display()
            ),
            "{out:?}"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\n");
        assert!(!made.exists());
        assert_eq!(sh(&undo("run1", false), dir.path()).status.code(), Some(3));
    }

    #[test]
    fn a_check_that_fails_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conf");
        std::fs::write(&file, "good").unwrap();
        let step = PutFile {
            check: Some("grep -q good".into()),
            ..put_step(&file, "bad")
        };
        let out = sh(&stage(&step.into(), "r", 1, false).section.script, dir.path());
        assert_eq!(out.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&out.stderr),
            "check_cmd failed with exit status 1; the file was left as it was\n"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "good");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the candidate was removed");
    }

    #[test]
    fn a_step_behind_a_failed_one_is_not_begun() {
        let staged = stage(&Step::shell("x", "echo ran"), "r", 1, true);
        let out = Command::new("sh")
            .arg("-c")
            .arg(&staged.section.script)
            .env("picloud_last", "4")
            .output()
            .unwrap();
        assert_eq!((out.status.code(), out.stdout.len()), (Some(NOT_BEGUN), 0));
    }

    #[test]
    fn large_contents_have_a_channel_of_their_own() {
        let big = PutFile {
            path: "/srv/big".into(),
            content: "x".repeat(INLINE + 1).into(),
            ..PutFile::default()
        };
        let upload = stage(&big.into(), "r", 3, false).upload.unwrap();
        assert_eq!(
            (upload.beside.as_str(), upload.fallback.as_str()),
            ("/srv/.big.picloud-r-3", "/var/tmp/.picloud-r-3")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_put_is_what_was_given(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("f");
            let step = PutFile { content: Content::Bytes(bytes.clone().into()), ..put_step(&file, "") };
            prop_assert!(sh(&stage(&step.into(), "r", 1, false).section.script, dir.path()).status.success());
            prop_assert_eq!(std::fs::read(&file).unwrap(), bytes);
        }
    }
}
