//! The lock that keeps two runs from changing one minion at once: a section for the first batch, and its answer.
//!
//! It is a folder (`mkdir` is atomic everywhere, and needs no tool that busybox lacks) with one file, named after the process id
//! and the start time of the session's shell. The shell removes it when it ends, in whatever way but SIGKILL (the trap is set in
//! `frame.rs`); a lock whose process is gone is stale, and the one who manages to remove its file takes it over. While the step
//! of a dead connection is still under way its shell lives, and so does the lock.

use crate::shell::{Answer, Section, quote};

/// The status of [`lock_section`] where another run holds the lock (`EX_TEMPFAIL`).
pub const BUSY: i32 = 75;

/// Takes the minion's lock until the session ends, or until [`unlock_section`]. Taking what the session holds already is fine.
///
/// Root's runs exclude each other; those of another account only its own, as it can write nothing that root would trust.
/// `who` and `run` are for the other's message ("ana@laptop", "apply docker, run 17"); the time is this machine's, since a minion
/// without a clock of its own may not know it yet.
pub fn lock_section(who: &str, run: &str) -> Section {
    let line = |text: &str| text.replace(['\n', '\r', '\t', '\0'], " ");
    let since = jiff::Zoned::now().strftime("%F %T %Z").to_string();
    let told = quote(&format!("{}\t{since}\t{}", line(who), line(run))).into_owned();
    Section::own(SCRIPT.replace("@TOLD@", &told))
}

/// Frees the lock that this session holds, for a session that is kept open between runs.
pub fn unlock_section() -> Section {
    Section::new("_x")
}

/// How the lock is taken: `_l` is its folder, `$$` the session's shell (a subshell has its parent's).
///
/// `PICLOUD_STATE` is a folder for all that picloud keeps on a minion, where that is not the whole machine: several minions of the
/// demo may be but folders of one.
const SCRIPT: &str = r#"_l=/run/picloud.lock; [ -w /run ] || _l=/tmp/picloud-$(id -u).lock; [ -z "$PICLOUD_STATE" ] || _l=$PICLOUD_STATE/lock
born() { read -r _s <"/proc/$1/stat" && _s=${_s##*) } && set -- $_s && _s=${20}; } 2>/dev/null
born $$ || _s=0
_me=$$.$_s; _n=0
while [ $_n -lt 8 ]; do
  _n=$((_n + 1))
  if mkdir "$_l" 2>/dev/null; then
    (set -C; printf '%s\n' @TOLD@ >"$_l/$_me") 2>/dev/null && exit 0
    continue
  fi
  [ -d "$_l" ] || continue
  for _f in "$_l"/*; do
    _o=${_f##*/}
    if [ ! -e "$_f" ]; then
      # Its maker is just about to name itself, or died before it could.
      [ $_n -lt 4 ] && sleep 1 || rmdir "$_l" 2>/dev/null
    elif [ "$_o" = "$_me" ]; then exit 0
    elif born "${_o%.*}" && [ "$_s" = "${_o#*.}" ]; then cat "$_f"; exit 75
    else rm "$_f" 2>/dev/null && rmdir "$_l"
    fi
  done
done
mkdir "$_l" && rmdir "$_l"; exit 73"#;

/// Who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    pub who: String,
    /// Date, time and zone of the machine that took it.
    pub since: String,
    pub run: String,
}

impl Holder {
    /// The other run that the answer to [`lock_section`] tells of; `None` where the lock was taken, or could not be for another
    /// reason (its status is then neither 0 nor [`BUSY`]).
    pub fn of(answer: &Answer) -> Option<Holder> {
        if answer.status != BUSY {
            return None;
        }
        let text = answer.text();
        let mut fields = text.trim_end().split('\t').map(str::to_owned);
        let mut field = || {
            fields
                .next()
                .filter(|f| !f.is_empty())
                .unwrap_or_else(|| "unknown".to_owned())
        };
        Some(Holder {
            who: field(),
            since: field(),
            run: field(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::{batch, session, shells, wait};
    use super::*;
    use std::path::Path;

    /// The lock's section with its folder elsewhere, so that tests neither meet nor need root.
    fn section(folder: &Path, who: &str) -> Section {
        let place = format!("_l={}/lock\n", folder.display());
        Section::new(
            lock_section(who, "test\tof locks")
                .script
                .replacen(SCRIPT.lines().next().unwrap(), &place, 1),
        )
    }

    async fn take(session: &mut super::super::Session, section: Section) -> Answer {
        let batch = super::super::Batch { sections: vec![section] };
        session.run(&batch, &mut |_, _| ()).await.unwrap().remove(0)
    }

    #[test]
    fn only_one_holds_it_and_the_other_learns_who() {
        for shell in shells() {
            let folder = tempfile::tempdir().unwrap();
            wait(async {
                let (mut one, mut two) = (session(shell), session(shell));
                assert_eq!(
                    take(&mut one, section(folder.path(), "it's ana")).await,
                    Answer::default(),
                    "{shell}"
                );
                assert_eq!(
                    take(&mut one, section(folder.path(), "it's ana")).await,
                    Answer::default(),
                    "{shell}"
                );
                let busy = take(&mut two, section(folder.path(), "bob")).await;
                let holder = Holder::of(&busy).unwrap();
                assert_eq!(
                    (holder.who.as_str(), holder.run.as_str()),
                    ("it's ana", "test of locks"),
                    "{shell}"
                );
                assert!(holder.since.starts_with("20"), "{holder:?}");

                // A shell that was killed frees nothing; its lock is stale.
                one.run(&batch(["kill -9 $$"]), &mut |_, _| ()).await.unwrap_err();
                assert_eq!(
                    take(&mut two, section(folder.path(), "bob")).await,
                    Answer::default(),
                    "{shell}"
                );
            });
        }
    }

    #[test]
    fn a_lock_whose_maker_died_too_early_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lock")).unwrap();
        wait(async {
            assert_eq!(
                take(&mut session("sh"), section(folder.path(), "bob")).await,
                Answer::default()
            );
        });
        assert_eq!(std::fs::read_dir(folder.path().join("lock")).unwrap().count(), 1);
    }

    #[test]
    fn of_many_at_once_one_gets_a_stale_lock() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let _ = std::fs::remove_dir_all(folder.path().join("lock"));
            std::fs::create_dir(folder.path().join("lock")).unwrap();
            std::fs::write(folder.path().join("lock/1.1"), "gone\tlong ago\tx").unwrap();
            wait(async {
                let mut sessions: Vec<_> = (0..8).map(|_| session("sh")).collect();
                let takers = sessions
                    .iter_mut()
                    .map(|session| take(session, section(folder.path(), "one of many")));
                let answers = futures::future::join_all(takers).await;
                assert_eq!(answers.iter().filter(|a| a.status == 0).count(), 1, "{answers:?}");
                assert_eq!(answers.iter().filter(|a| a.status == BUSY).count(), 7, "{answers:?}");
            });
        }
    }

    #[test]
    fn a_shell_that_ends_frees_it() {
        for shell in shells() {
            wait(async {
                // The real place: only it is known to the trap.
                let mut one = session(shell);
                let answer = one
                    .run(
                        &batch([lock_section("ana", "test").script.as_str(), "echo $$"]),
                        &mut |_, _| (),
                    )
                    .await
                    .unwrap();
                assert_eq!(answer[0], Answer::default(), "{shell}");
                let pid = answer[1].text().trim().to_owned();
                let held = || {
                    let lock = |folder: std::path::PathBuf| {
                        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
                        files
                            .into_iter()
                            .any(|f| f.file_name().to_string_lossy().starts_with(&format!("{pid}.")))
                    };
                    let folders = std::fs::read_dir("/tmp").unwrap().flatten().map(|f| f.path());
                    lock("/run/picloud.lock".into()) || folders.filter(|f| f.to_string_lossy().ends_with(".lock")).any(lock)
                };
                assert!(held(), "{shell}");
                one.close().await;
                assert!(!held(), "{shell}");
            });
        }
    }
}
