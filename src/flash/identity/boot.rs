//! `config.txt` and `cmdline.txt` of a Raspberry Pi, changed as text.

use super::files::{Files, text};
use crate::error::{Error, Result};
use crate::flash::change::Change;
use crate::inventory::card::Boot;

const BEGIN: &str = "# picloud: begin";
const END: &str = "# picloud: end";

/// `cmdline.txt` where the firmware looks for it. Ubuntu keeps those of its kernels in `current/` since 24.10.
pub(super) fn cmdline_file(boot: &dyn Files) -> Option<&'static str> {
    ["/cmdline.txt", "/current/cmdline.txt"]
        .into_iter()
        .find(|path| boot.exists(path))
}

/// `now` with `settings` in a block of their own at the end, for all models: of a key that is given twice, the last counts. A block
/// that was there before is replaced.
fn config(now: &str, settings: &Boot) -> String {
    let mut out = String::new();
    let mut ours = false;
    for line in now.lines() {
        match line.trim() {
            BEGIN => ours = true,
            END if ours => ours = false,
            _ if ours => {}
            _ => {
                out += line;
                out.push('\n');
            }
        }
    }
    if settings.config.is_empty() {
        return out;
    }
    out += &format!("{BEGIN}\n[all]\n");
    for (key, values) in &settings.config {
        for value in values {
            out += &format!("{key}={value}\n");
        }
    }
    out + END + "\n"
}

/// The one line of `now` without the words that `drop` tells, and with `add` behind those that it has already.
///
/// The firmware reads the first line alone; what was on others is lost, as it was before.
pub(super) fn cmdline(now: &str, drop: impl Fn(&str) -> bool, add: &[String]) -> String {
    let line = now.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut words: Vec<&str> = line.split_ascii_whitespace().filter(|word| !drop(word)).collect();
    for word in add {
        if !words.contains(&word.as_str()) {
            words.push(word);
        }
    }
    words.join(" ") + "\n"
}

/// The changes that `settings`, and the words that a method adds to the kernel's command line, mean for a boot partition.
///
/// # Errors
/// Something is set and its file is not there.
pub(super) fn changes(boot: &dyn Files, settings: &Boot, drop: impl Fn(&str) -> bool, add: &[String]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let missing = |what: &str, file: &str| {
        Error::usage(format!(
            "`boot: {{{what}: ...}}` is set, and this image has no {file} on a boot partition"
        ))
        .at(settings.at)
        .hint("it is for Raspberry Pis; take it away for this minion")
    };
    if !settings.config.is_empty() {
        let now = text(boot, "/config.txt").ok_or_else(|| missing("config", "config.txt"))?;
        changes.push(Change::write("/config.txt", config(&now, settings), 0o644));
    }
    let words: Vec<String> = settings.cmdline.iter().chain(add).cloned().collect();
    match cmdline_file(boot) {
        Some(path) => {
            let now = text(boot, path).unwrap_or_default();
            let new = cmdline(&now, drop, &words);
            if new.trim_end() != now.trim_end() {
                changes.push(Change::write(path, new, 0o644));
            }
        }
        None if !settings.cmdline.is_empty() => return Err(missing("cmdline", "cmdline.txt")),
        None => {}
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::files::table::{files, shown};
    use super::*;

    fn settings() -> Boot {
        Boot {
            config: vec![
                ("gpu_mem".into(), vec!["16".into()]),
                ("dtoverlay".into(), vec!["disable-bt".into(), "disable-wifi".into()]),
            ],
            cmdline: ["cgroup_enable=memory", "cgroup_memory=1", "quiet"].map(Into::into).into(),
            at: Default::default(),
        }
    }

    #[test]
    fn settings_are_for_all_models_and_one_line_stays_one() {
        let boot = files([
            ("/config.txt", "arm_64bit=1\n[cm4]\notg_mode=1"),
            ("/cmdline.txt", "console=tty1 root=PARTUUID=1-02  rootwait quiet \n"),
        ]);
        let changes = changes(&boot, &settings(), |word| word == "rootwait", &["ds=nocloud".into()]).unwrap();
        assert_eq!(
            shown(&changes),
            "== /config.txt 0644 0:0\n\
             arm_64bit=1\n[cm4]\notg_mode=1\n\
             # picloud: begin\n[all]\ngpu_mem=16\ndtoverlay=disable-bt\ndtoverlay=disable-wifi\n# picloud: end\n\
             == /cmdline.txt 0644 0:0\n\
             console=tty1 root=PARTUUID=1-02 quiet cgroup_enable=memory cgroup_memory=1 ds=nocloud\n"
        );
        // Again: nothing is put there twice.
        let now = config("a=1\n", &settings());
        assert_eq!(config(&now, &settings()), now);
        assert_eq!(config(&now, &Boot::default()), "a=1\n");
    }

    #[test]
    fn what_cannot_be_set_is_an_error() {
        let error = |boot: &[(&str, &str)]| {
            changes(&files(boot.iter().copied()), &settings(), |_| false, &[])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&[]),
            "`boot: {config: ...}` is set, and this image has no config.txt on a boot partition"
        );
        assert_eq!(
            error(&[("/config.txt", "")]),
            "`boot: {cmdline: ...}` is set, and this image has no cmdline.txt on a boot partition"
        );
        let ubuntu = files([("/current/cmdline.txt", "a\n")]);
        let words = changes(&ubuntu, &Boot::default(), |_| false, &["b".into()]).unwrap();
        assert_eq!(shown(&words), "== /current/cmdline.txt 0644 0:0\na b\n");
        assert!(changes(&ubuntu, &Boot::default(), |_| false, &[]).unwrap().is_empty());
    }
}
