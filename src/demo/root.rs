//! A private root for a minion of the demo: a copy-on-write view of this machine where the system allows it, else a folder.
//!
//! The name spaces are made by `unshare` and entered by `nsenter` (util-linux). What runs in them has its own processes, host
//! name and (empty) network, no devices but the harmless ones, and capabilities for nothing outside its files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::error::{Error, Result};

/// How private a root is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All of this machine's files, copied when they are written to. It takes root.
    Overlay,
    /// A copy of `/etc`, the machine's programs (read-only), the rest empty; there is but one account, root. It takes user name
    /// spaces, which most kernels allow everyone.
    Copy,
    /// A folder and nothing more: what runs there sees this machine as it is, with the rights of who started it, and must keep
    /// to [`Root::base`] of its own accord.
    Folder,
}

impl Kind {
    /// The minion has a file system of its own, so that states may name any path.
    pub fn is_private(self) -> bool {
        self != Kind::Folder
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Overlay => "a private copy-on-write root",
            Kind::Copy => "a private root with a copy of /etc",
            Kind::Folder => "a private folder",
        })
    }
}

/// In a folder: what picloud keeps on a minion.
const OWN: &str = ".picloud";

/// A private root, gone with all that runs in it when it is dropped.
pub struct Root {
    kind: Kind,
    /// Why it is not a better one.
    why: Option<String>,
    /// The place of the mounts, or the private folder itself.
    folder: tempfile::TempDir,
    holder: Option<Holder>,
    /// The process groups that were started in a folder, with the time at which their first process was.
    started: Mutex<Vec<(u32, Option<String>)>>,
}

/// The first process of the name spaces. It lives until its input ends, so they are gone even when this process is killed.
struct Holder {
    /// Outside's number of that process.
    pid: u32,
    /// The name of a file that only this root has.
    token: String,
    _stdin: ChildStdin,
    _child: Child,
}

/// Makes the mounts of a private root and waits in it. Its arguments: the folder, the kind, the host name, the token.
///
/// It says `pid N` (as seen from outside: the old `/proc` is still there), then `ready`. By then the private root is the only
/// one that the name space has: the machine's files are not below some other path, they are not there.
const SETUP: &str = r#"t=$1 kind=$2 name=$3 token=$4
read -r pid _ </proc/self/stat; echo "pid $pid"
set -e
PATH=$PATH:/usr/sbin:/sbin; export PATH
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755 picloud "$t"
r=$t/root
mkdir "$r" "$t/layers"
mount --bind "$r" "$r"
for d in /*; do
  n=${d#/}
  case $n in etc|usr|var|opt|srv|bin|sbin|lib|lib32|lib64|libx32|nix) ;; *) continue;; esac
  if [ -L "$d" ]; then ln -s "$(readlink "$d")" "$r/$n"; continue; fi
  [ -d "$d" ] || continue
  mkdir "$r/$n"
  case $kind:$n in
  overlay:*)
    mkdir "$t/layers/$n" "$t/layers/$n.work"
    mount -t overlay -o "lowerdir=$d,upperdir=$t/layers/$n,workdir=$t/layers/$n.work" picloud "$r/$n" ;;
  copy:etc) cp -a /etc/. "$r/etc" 2>/dev/null || : ;;
  copy:var)
    mkdir -p "$r/var/lib/dpkg" "$r/var/cache" "$r/var/log" "$r/var/spool" "$r/var/lib/misc"
    mkdir -m 1777 "$r/var/tmp"; ln -s /run "$r/var/run"; ln -s /run/lock "$r/var/lock"
    cp /var/lib/dpkg/status "$r/var/lib/dpkg/" 2>/dev/null || : ;;
  copy:bin|copy:sbin|copy:lib*|copy:usr|copy:nix)
    mount --rbind "$d" "$r/$n"; mount -o remount,bind,ro "$r/$n" ;;
  esac
done
mkdir -m 700 "$r/root"
mkdir "$r/home" "$r/mnt" "$r/media" "$r/boot" "$r/proc" "$r/sys" "$r/dev" "$r/run" "$r/run/lock"
mkdir -m 1777 "$r/tmp"
for n in null zero full random urandom tty; do : >"$r/dev/$n"; mount --bind "/dev/$n" "$r/dev/$n"; done
ln -s /proc/self/fd "$r/dev/fd"; ln -s fd/0 "$r/dev/stdin"; ln -s fd/1 "$r/dev/stdout"; ln -s fd/2 "$r/dev/stderr"
mkdir -m 1777 "$r/dev/shm"
mount -t proc proc "$r/proc"
for n in sys sysrq-trigger irq bus; do
  [ ! -e "$r/proc/$n" ] || { mount --bind "$r/proc/$n" "$r/proc/$n" && mount -o remount,bind,ro "$r/proc/$n"; } 2>/dev/null || :
done
mount --rbind /sys "$r/sys" 2>/dev/null && mount -o remount,bind,ro "$r/sys" 2>/dev/null || :
hostname "$name" 2>/dev/null || :
{ rm -f "$r/etc/hostname" && echo "$name" >"$r/etc/hostname"; } 2>/dev/null || :
{ ip link set lo up || ifconfig lo up; } 2>/dev/null || :
: >"$r/$token"
mkdir "$r/.old"
cd "$r"
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old && rmdir /.old && [ -e "/$1" ] && echo ready && cat >/dev/null; :' sh "$token"
"#;

/// What runs every command: only in the root whose token is the first argument. A command that is meant for a private root must
/// never run in the machine's own, whatever went wrong with the name spaces.
const ENTER: &str = r#"[ -e "/$1" ] || { echo "picloud: this is not the private root" >&2; exit 126; }; cd; eval "$2""#;

/// What a process in an overlay keeps of root's powers: those over its files, its processes and its accounts.
const POWERS: &str = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_admin,net_raw,sys_chroot,audit_write,setfcap";

impl Root {
    /// The most private root that can be had; `name` is its host name.
    ///
    /// # Errors
    /// Not even a folder can be made.
    pub async fn make(name: &str) -> Result<Root> {
        let is_root = rustix::process::geteuid().is_root();
        let kinds = if is_root {
            &[Kind::Overlay, Kind::Copy][..]
        } else {
            &[Kind::Copy]
        };
        let mut why = None;
        for kind in kinds {
            match Root::of_kind(name, *kind).await {
                Ok(mut root) => {
                    root.why = why;
                    return Ok(root);
                }
                Err(error) => {
                    why.get_or_insert_with(|| error.to_string());
                }
            }
        }
        let mut root = Root::of_kind(name, Kind::Folder).await?;
        root.why = why;
        Ok(root)
    }

    /// A root of just this kind.
    ///
    /// # Errors
    /// The system does not allow it: says what it said.
    pub async fn of_kind(name: &str, kind: Kind) -> Result<Root> {
        let failed = |e: &dyn fmt::Display| Error::usage(format!("failed to make {kind}: {e}"));
        let folder = tempfile::Builder::new()
            .prefix("picloud-demo-")
            .tempdir()
            .map_err(|e| failed(&e))?;
        let holder = match kind {
            Kind::Folder => {
                std::fs::create_dir(folder.path().join(OWN)).map_err(|e| failed(&e))?;
                None
            }
            kind => Some(Holder::start(name, kind, folder.path()).await.map_err(|why| failed(&why))?),
        };
        let root = Root {
            kind,
            why: None,
            folder,
            holder,
            started: Mutex::default(),
        };
        root.prove().await.map_err(|why| failed(&why))?;
        Ok(root)
    }

    /// A command does run in it.
    async fn prove(&self) -> Result<(), String> {
        let mut child = self.spawn("echo inside").map_err(|e| e.to_string())?;
        drop(child.stdin.take());
        match tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await {
            Ok(Ok(output)) if output.stdout == b"inside\n" => Ok(()),
            Ok(Ok(output)) => Err(format!(
                "no command runs in it: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("no command runs in it in time".into()),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Why it is not as private as could be.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What paths inside must begin with to be this root's own: empty but for a folder.
    pub fn base(&self) -> &str {
        match self.kind {
            Kind::Folder => self.folder.path().to_str().unwrap_or_default(),
            _ => "",
        }
    }

    /// Where this machine sees the path that is `inside` to the minion (which begins with [`Root::base`]).
    pub fn seen_from_outside(&self, inside: &str) -> PathBuf {
        match &self.holder {
            Some(holder) => PathBuf::from(format!("/proc/{}/root/{}", holder.pid, inside.trim_start_matches('/'))),
            None => PathBuf::from(inside),
        }
    }

    /// Starts `command` by `/bin/sh` inside, its input and outputs piped.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn spawn(&self, command: &str) -> std::io::Result<Child> {
        let mut process = match &self.holder {
            None => Command::new("/bin/sh"),
            Some(holder) => {
                let mut process = Command::new("nsenter");
                process.arg(format!("--target={}", holder.pid));
                process.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]);
                match self.kind {
                    Kind::Overlay => process
                        .arg("--")
                        .args(["setpriv", "--bounding-set"])
                        .arg(bounds())
                        .arg("/bin/sh"),
                    _ => process.args(["--user", "--preserve-credentials", "--", "/bin/sh"]),
                };
                process
            }
        };
        let home = match self.kind {
            Kind::Folder => self.base().to_owned(),
            _ => "/root".to_owned(),
        };
        match &self.holder {
            Some(holder) => process.args(["-c", ENTER, "sh", &holder.token, command]),
            None => process.args(["-c", "cd && eval \"$1\"", "sh", command]),
        };
        process
            .env_clear()
            .envs([
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("LANG", "C.UTF-8"),
                ("SHELL", "/bin/sh"),
                ("HOME", &home),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        match self.kind.is_private() {
            true => process.envs([("USER", "root"), ("LOGNAME", "root")]),
            // Else minions that are folders of one machine would share a lock, and leave there what they replace.
            false => process.env("PICLOUD_STATE", format!("{}/{OWN}", self.base())),
        };
        let child = process.spawn()?;
        if let (Kind::Folder, Some(pid)) = (self.kind, child.id()) {
            self.started.lock().unwrap_or_else(|e| e.into_inner()).push((pid, born(pid)));
        }
        Ok(child)
    }
}

/// The bounding set of an overlay's processes, for `setpriv`.
fn bounds() -> String {
    let powers = POWERS.split(',').map(|power| format!(",+{power}"));
    format!("-all{}", powers.collect::<String>())
}

impl Drop for Root {
    fn drop(&mut self) {
        // The name spaces end with their first process.
        if let Some(holder) = &mut self.holder {
            let _ = holder._child.start_kill();
        }
        for (first, when) in self.started.lock().unwrap_or_else(|e| e.into_inner()).drain(..) {
            // A number is free for others once its group is empty: a process that has it, but not from then, is not ours.
            let is_ours = match born(first) {
                Some(now) => Some(now) == when,
                None => true,
            };
            if let Some(group) = i32::try_from(first)
                .ok()
                .filter(|_| is_ours)
                .and_then(rustix::process::Pid::from_raw)
            {
                // Most have ended long since.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        }
    }
}

/// When a process was started, in the kernel's count; nothing where there is none.
fn born(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses can hold anything; the 20th field after it is the time.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19).map(str::to_owned)
}

impl Holder {
    async fn start(name: &str, kind: Kind, folder: &Path) -> Result<Holder, String> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| e.to_string())?;
        let token = format!(".picloud-demo-{:032x}", u128::from_ne_bytes(random));
        let mut command = Command::new("unshare");
        if kind == Kind::Copy {
            command.args(["--user", "--map-root-user"]);
        }
        let mut child = command
            .args([
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--",
                "/bin/sh",
                "-c",
                SETUP,
                "sh",
            ])
            .arg(folder)
            .args([if kind == Kind::Overlay { "overlay" } else { "copy" }, name, &token])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => "there is no `unshare` (util-linux)".to_owned(),
                _ => format!("unshare: {e}"),
            })?;
        let (Some(stdin), Some(stdout), Some(mut stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err("no pipes".into());
        };
        let setting_up = async {
            let mut lines = BufReader::new(stdout).lines();
            let mut pid = None;
            while let Ok(Some(line)) = lines.next_line().await {
                match line.strip_prefix("pid ") {
                    Some(number) => pid = number.parse().ok(),
                    None if line == "ready" => return pid,
                    None => {}
                }
            }
            None
        };
        let pid = tokio::time::timeout(Duration::from_secs(20), setting_up).await;
        match pid {
            Ok(Some(pid)) => Ok(Holder {
                pid,
                token,
                _stdin: stdin,
                _child: child,
            }),
            Ok(None) => {
                let mut said = Vec::new();
                let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut said)).await;
                let said = String::from_utf8_lossy(&said);
                Err(said
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or("the name spaces were not made")
                    .trim()
                    .to_owned())
            }
            Err(_) => Err("it took too long".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(root: &Root, script: &str) -> String {
        let output = root.spawn(script).unwrap().wait_with_output().await.unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    #[tokio::test]
    async fn what_is_written_inside_is_not_outside() {
        for kind in [Kind::Overlay, Kind::Copy] {
            let (one, two) = match (Root::of_kind("one", kind).await, Root::of_kind("two", kind).await) {
                (Ok(one), Ok(two)) => (one, two),
                (Err(error), _) | (_, Err(error)) => {
                    println!("skipped: {error}");
                    continue;
                }
            };
            // Everything here is made by this test: were the root not private, nothing else would suffer.
            let folder = tempfile::tempdir_in("/var/tmp").unwrap();
            let mark = folder.path().join("mark");
            let (at, mark_text) = (folder.path().display(), mark.display());
            std::fs::write(&mark, "outside\n").unwrap();
            let script = format!("mkdir -p {at}; echo inside >{mark_text}; cat {mark_text}; pwd; id -u; uname -n");
            assert_eq!(sh(&one, &script).await, "inside\n/root\n0\none\n");
            assert_eq!(std::fs::read_to_string(&mark).unwrap(), "outside\n");
            assert_eq!(
                std::fs::read_to_string(one.seen_from_outside(mark.to_str().unwrap())).unwrap(),
                "inside\n"
            );
            assert_ne!(
                sh(&two, &format!("cat {mark_text} 2>/dev/null; uname -n")).await,
                "inside\ntwo\n"
            );
            assert_eq!(
                sh(
                    &one,
                    &format!("rm {mark_text}; rmdir {at}; ls -d {at} 2>/dev/null || echo gone")
                )
                .await,
                "gone\n"
            );
            assert!(mark.exists());
            // The machine's files are nowhere in the name space, and nothing of its kernel can be set.
            assert_eq!(sh(&one, "ls -d /.old 2>/dev/null || echo gone").await, "gone\n");
            assert_eq!(sh(&one, "cat /proc/sys/vm/swappiness >/tmp/old; { cat /tmp/old >/proc/sys/vm/swappiness; } 2>/dev/null || echo refused").await, "refused\n");
            assert_eq!(
                sh(&one, "mknod /tmp/node b 7 200 2>/dev/null || echo refused").await,
                "refused\n"
            );
            // A command that finds itself elsewhere is not run.
            let elsewhere = std::process::Command::new("sh")
                .args(["-c", ENTER, "sh", &one.holder.as_ref().unwrap().token, "echo ran"])
                .output()
                .unwrap();
            assert_eq!((elsewhere.status.code(), elsewhere.stdout.as_slice()), (Some(126), &b""[..]));
            // All of it ends with the root.
            let left = sh(&one, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started").await;
            assert_eq!(left, "started\n");
            let (pid, folder) = (one.holder.as_ref().unwrap().pid, one.folder.path().to_owned());
            drop(one);
            for _ in 0..100 {
                if !Path::new(&format!("/proc/{pid}")).exists() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(!Path::new(&format!("/proc/{pid}")).exists() && !folder.exists());
        }
    }

    /// Commands of an account in a root, as if it had logged in.
    struct Account(Root);

    impl crate::ssh::Opener for Account {
        fn open<'a>(
            &'a self,
            command: &'a str,
            _: Option<(&'a str, &'a str)>,
        ) -> futures::future::BoxFuture<'a, Result<crate::ssh::Pipes>> {
            let command = format!("exec su tester -c {}", crate::shell::quote(command));
            Box::pin(async move {
                let mut child = self.0.spawn(&command).map_err(|e| Error::unreachable(e.to_string()))?;
                let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                Ok(crate::ssh::Pipes::streams(stdin.unwrap(), stdout.unwrap(), stderr.unwrap()))
            })
        }
    }

    #[tokio::test]
    async fn the_real_sudo_takes_a_password() {
        use crate::ssh::{Batch, Privilege, Secret, Session, Sudo};
        let root = match Root::of_kind("sudoer", Kind::Overlay).await {
            Ok(root) => root,
            Err(error) => return println!("skipped: {error}"),
        };
        let made = "command -v sudo >/dev/null && useradd -m tester && echo tester:sesame | chpasswd && echo 'tester ALL=(ALL) ALL' >/etc/sudoers.d/tester && echo made";
        let made = sh(&root, made).await;
        if !made.ends_with("made\n") {
            return println!("skipped: no sudo, or no account: {made}");
        }
        let account = std::sync::Arc::new(Account(root));
        let whoami = |sudo: Sudo, user: Option<&str>| {
            let (account, user) = (account.clone(), user.map(str::to_owned));
            async move {
                let mut session = Session::open(account, Privilege { sudo, user, shell: None }).await?;
                let batch = Batch {
                    sections: vec![crate::shell::Section::new("id -un; echo $HOME; trap 'echo x' EXIT")],
                };
                let answers = session.run(&batch, &mut |_, _| ()).await?;
                Ok::<_, Error>(answers[0].text().into_owned())
            }
        };
        let password = |text: &str| Sudo::Password(Secret::new(text));
        assert_eq!(whoami(Sudo::No, None).await.unwrap(), "tester\n/home/tester\nx\n");
        assert_eq!(
            whoami(Sudo::NoPassword, None).await.unwrap_err().to_string(),
            "sudo wants a password"
        );
        assert_eq!(
            whoami(password("barley"), None).await.unwrap_err().to_string(),
            "sudo refused the password"
        );
        assert_eq!(whoami(password("sesame"), None).await.unwrap(), "root\n/root\nx\n");
        assert_eq!(
            whoami(password("sesame"), Some("daemon")).await.unwrap(),
            "daemon\n/usr/sbin\nx\n"
        );
        sh(&account.0, "echo 'tester ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/tester").await;
        assert_eq!(whoami(Sudo::NoPassword, None).await.unwrap(), "root\n/root\nx\n");
        assert_eq!(whoami(password("touch /leaked"), None).await.unwrap(), "root\n/root\nx\n");
        assert_eq!(sh(&account.0, "ls -d /leaked 2>/dev/null || echo none").await, "none\n");
        sh(&account.0, "rm /etc/sudoers.d/tester").await;
        let error = whoami(password("sesame"), None).await.unwrap_err().to_string();
        assert!(
            error.starts_with("the account may not use sudo: tester is not in the sudoers file"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_folder_is_a_home() {
        let root = Root::of_kind("x", Kind::Folder).await.unwrap();
        let base = root.base().to_owned();
        assert_eq!(sh(&root, "pwd; echo $HOME; echo x >f").await, format!("{base}\n{base}\n"));
        assert!(root.seen_from_outside(&format!("{base}/f")).exists());
        drop(root);
        assert!(!Path::new(&base).exists());
    }

    #[tokio::test]
    async fn there_is_always_a_root() {
        let root = Root::make("pi0").await.unwrap();
        println!("{}: {:?}", root.kind(), root.why());
        assert_eq!(sh(&root, "echo hello").await, "hello\n");
    }
}
