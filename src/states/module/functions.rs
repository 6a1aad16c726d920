//! Salt's execution functions that `module.run` can carry out, each as shell text. A new one is a line in [`EXECUTIONS`].

use super::call::Given;
use crate::error::{Error, Result};
use crate::probe::Resource;
use crate::shell::{Command, NOT_BEGUN, quote};
use crate::states::{Context, PackageManager, pkg, platform};

/// What carries out a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    /// Empty: there is nothing to do on a minion of picloud's.
    pub script: String,
    pub writes: Vec<Resource>,
    /// What is printed is the function's value; else that is `True`.
    pub prints: bool,
}

/// An execution function.
pub(super) struct Execution {
    pub name: &'static str,
    /// Its parameters in order; those before the `|` are needed.
    pub parameters: &'static str,
    pub make: fn(&Given, &Context) -> Result<Done>,
}

const fn execution(name: &'static str, parameters: &'static str, make: fn(&Given, &Context) -> Result<Done>) -> Execution {
    Execution { name, parameters, make }
}

/// The arguments of `cmd.run` and its kin.
const COMMAND: &str = "cmd | cwd stdin runas group shell python_shell env clean_env template rstrip umask output_encoding output_loglevel hide_output timeout reset_system_locale ignore_retcode saltenv use_vt prepend_path user";

pub(super) static EXECUTIONS: &[Execution] = &[
    execution("cmd.retcode", COMMAND, |given, _| command(given)),
    execution("cmd.run", COMMAND, |given, _| command(given)),
    execution("cmd.run_all", COMMAND, |given, _| command(given)),
    execution("cmd.run_stdout", COMMAND, |given, _| command(given)),
    execution("cmd.shell", COMMAND, |given, _| command(given)),
    execution("event.fire", "| data tag timeout", nothing),
    execution("event.fire_master", "| data tag preload timeout", nothing),
    execution(
        "event.send",
        "| tag data preload with_env with_grains with_pillar show_changed",
        nothing,
    ),
    execution("file.append", "path | args", |given, _| {
        let path = given.path("path")?;
        let lines: Vec<String> = given.list("args").iter().map(|line| quote(line).into_owned()).collect();
        // A last line without an end is ended first.
        let script = format!(
            "[ ! -s {path} ] || [ -z \"$(tail -c 1 {path})\" ] || echo >>{path}\nprintf '%s\\n' {} >>{path}",
            lines.join(" ")
        );
        touches(given, "path", script)
    }),
    execution("file.check_hash", "path file_hash", |given, _| {
        let hash = given.text("file_hash")?;
        let (kind, digest) = match hash.split_once('=') {
            Some((kind, digest)) => (kind.trim().to_owned(), digest.trim().to_owned()),
            None => {
                let kind = match hash.len() {
                    32 => "md5",
                    40 => "sha1",
                    56 => "sha224",
                    64 => "sha256",
                    96 => "sha384",
                    128 => "sha512",
                    _ => return Err(Error::usage(format!("{hash:?} is no digest")).hint("write it as `sha256=...`")),
                };
                (kind.to_owned(), hash)
            }
        };
        let path = given.text("path")?;
        Ok(Done {
            script: format!(
                "tmp={}\n{}",
                quote(&path),
                crate::states::fetch::verify(&kind, &digest, &path)?
            ),
            ..Done::default()
        })
    }),
    execution("file.chgrp", "path group", |given, _| {
        touches(
            given,
            "path",
            format!("chgrp -- {} {}", given.word("group")?, given.path("path")?),
        )
    }),
    execution("file.chown", "path user group", |given, _| {
        let owner = format!("{}:{}", given.text("user")?, given.text("group")?);
        touches(given, "path", format!("chown -- {} {}", quote(&owner), given.path("path")?))
    }),
    execution("file.copy", "src dst | recurse remove_existing", |given, _| {
        let (src, dst) = (given.path("src")?, given.path("dst")?);
        let clear = if given.flag("remove_existing") {
            format!("rm -rf -- {dst} && ")
        } else {
            String::new()
        };
        let flag = if given.flag("recurse") { "-R " } else { "" };
        touches(given, "dst", format!("{clear}cp {flag}-- {src} {dst}"))
    }),
    execution("file.makedirs", "path | user group mode", |given, _| {
        // The last part of the path is a file's, unless a slash ends it.
        let path = given.text("path")?;
        folder(given, path.rsplit_once('/').map_or("/", |(folder, _)| folder))
    }),
    execution("file.mkdir", "dir_path | user group mode", |given, _| {
        folder(given, &given.text("dir_path")?)
    }),
    execution("file.remove", "path", |given, _| {
        if given.text("path")?.trim_end_matches('/').is_empty() {
            return Err(Error::usage("refusing to remove /"));
        }
        touches(given, "path", format!("rm -rf -- {}", given.path("path")?))
    }),
    execution("file.rename", "src dst", |given, _| {
        let mut done = touches(
            given,
            "dst",
            format!("mv -f -- {} {}", given.path("src")?, given.path("dst")?),
        )?;
        done.writes.push(Resource::Tree(given.text("src")?));
        Ok(done)
    }),
    execution("file.set_mode", "path mode", |given, _| {
        let mode = crate::yaml::Mode::parse(&given.text("mode")?)
            .ok_or_else(|| Error::usage("`mode` must be octal digits such as `0644`"))?;
        touches(given, "path", format!("chmod {:05o} {}", mode.0, given.path("path")?))
    }),
    execution("file.symlink", "src path | force", |given, _| {
        let flag = if given.flag("force") { "f" } else { "" };
        touches(
            given,
            "path",
            format!("ln -s{flag}n -- {} {}", given.word("src")?, given.path("path")?),
        )
    }),
    execution("file.touch", "name | atime mtime", |given, _| {
        touches(given, "name", format!("touch {}", given.path("name")?))
    }),
    execution("file.truncate", "path length", |given, _| {
        let length: u64 = given
            .text("length")?
            .parse()
            .map_err(|_| Error::usage("`length` is a number of bytes"))?;
        let path = given.path("path")?;
        touches(
            given,
            "path",
            format!("dd if=/dev/null of={path} bs=1 seek={length} 2>/dev/null"),
        )
    }),
    execution("file.write", "path | args", |given, _| {
        let lines: Vec<String> = given.list("args").iter().map(|line| quote(line).into_owned()).collect();
        touches(
            given,
            "path",
            format!("printf '%s\\n' {} >{}", lines.join(" "), given.path("path")?),
        )
    }),
    execution("kmod.load", "mod | persist", |given, _| {
        let module = given.word("mod")?;
        let keep = if given.flag("persist") {
            format!(" && {{ grep -qxF -- {module} /etc/modules 2>/dev/null || printf '%s\\n' {module} >>/etc/modules; }}")
        } else {
            String::new()
        };
        Ok(changes(format!("modprobe -- {module}{keep}"), vec![Resource::Modules]))
    }),
    execution("kmod.remove", "mod | persist comment", |given, _| {
        Ok(changes(
            format!("modprobe -r -- {}", given.word("mod")?),
            vec![Resource::Modules],
        ))
    }),
    execution("mine.flush", "", nothing),
    execution("mine.send", "name | args", nothing),
    execution("mine.update", "| clear mine_functions", nothing),
    execution("mount.mount", "name device | mkmnt fstype opts user util", |given, _| {
        let name = given.path("name")?;
        let make = if given.flag("mkmnt") {
            format!("mkdir -p -- {name} && ")
        } else {
            String::new()
        };
        let kind = given.optional("fstype").filter(|kind| !kind.is_empty());
        let kind = kind.map_or(String::new(), |kind| format!("-t {} ", quote(&kind)));
        let options = given.list("opts").join(",");
        let options = if options.is_empty() {
            String::new()
        } else {
            format!("-o {} ", quote(&options))
        };
        let script = format!("{make}mount {kind}{options}{} {name}", given.word("device")?);
        Ok(changes(script, vec![Resource::Mounts, Resource::Tree(given.text("name")?)]))
    }),
    execution("mount.remount", "name device | mkmnt fstype opts user", |given, _| {
        let mut options = given.list("opts");
        options.insert(0, "remount".to_owned());
        let options = quote(&options.join(",")).into_owned();
        Ok(changes(
            format!("mount -o {options} {}", given.path("name")?),
            vec![Resource::Mounts],
        ))
    }),
    execution("mount.swapoff", "name", |given, _| {
        Ok(changes(format!("swapoff {}", given.word("name")?), vec![Resource::Mounts]))
    }),
    execution("mount.swapon", "name | priority", |given, _| {
        let priority = given
            .optional("priority")
            .map_or(String::new(), |priority| format!("-p {} ", quote(&priority)));
        Ok(changes(
            format!("swapon {priority}{}", given.word("name")?),
            vec![Resource::Mounts],
        ))
    }),
    execution("mount.umount", "name | device user util lazy", |given, _| {
        let lazy = if given.flag("lazy") { "-l " } else { "" };
        let writes = vec![Resource::Mounts, Resource::Tree(given.text("name")?)];
        Ok(changes(format!("umount {lazy}{}", given.path("name")?), writes))
    }),
    execution("pkg.refresh_db", "| cache_valid_time failhard force", |_, context| {
        let manager = platform::Platform::of(context.grains).packages()?;
        Ok(changes(pkg::renewal(manager, context.run), vec![Resource::Packages]))
    }),
    execution("pkg.upgrade", "| refresh dist_upgrade", |given, context| {
        let manager = platform::Platform::of(context.grains).packages()?;
        let dist = given.flag("dist_upgrade");
        let upgrade = match manager {
            PackageManager::Apt => format!(
                "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold {}",
                if dist { "dist-upgrade" } else { "upgrade" }
            ),
            PackageManager::Pacman => "pacman -Su --noconfirm --noprogressbar".to_owned(),
            PackageManager::Apk => "apk upgrade".to_owned(),
            PackageManager::Dnf => "if command -v dnf >/dev/null; then dnf -q -y upgrade; else yum -q -y upgrade; fi".to_owned(),
        };
        let script = format!("(\n{}\n) || exit 1\n{upgrade}", pkg::renewal(manager, context.run));
        Ok(changes(script, vec![Resource::Packages]))
    }),
    execution("saltutil.clear_cache", "| days", nothing),
    execution("saltutil.refresh_grains", "| refresh_pillar clean_cache", nothing),
    execution("saltutil.refresh_modules", "| async", nothing),
    execution("saltutil.refresh_pillar", "| wait timeout clean_cache", nothing),
    execution(
        "saltutil.sync_all",
        "| saltenv refresh extmod_whitelist extmod_blacklist clean_pillar_cache",
        nothing,
    ),
    execution(
        "saltutil.sync_grains",
        "| saltenv refresh extmod_whitelist extmod_blacklist",
        nothing,
    ),
    execution(
        "saltutil.sync_modules",
        "| saltenv refresh extmod_whitelist extmod_blacklist",
        nothing,
    ),
    execution(
        "saltutil.sync_states",
        "| saltenv refresh extmod_whitelist extmod_blacklist",
        nothing,
    ),
    execution(
        "saltutil.sync_utils",
        "| saltenv refresh extmod_whitelist extmod_blacklist",
        nothing,
    ),
    execution("service.disable", "name | no_block root", |given, _| enable(given, false)),
    execution("service.enable", "name | no_block unmask unmask_runtime root", |given, _| {
        enable(given, true)
    }),
    execution("service.force_reload", "name | no_block", |given, _| {
        service(given, "force-reload")
    }),
    execution("service.full_restart", "name", |given, _| service(given, "restart")),
    execution("service.reload", "name | no_block unmask unmask_runtime", |given, _| {
        service(given, "reload")
    }),
    execution("service.restart", "name | no_block unmask unmask_runtime", |given, _| {
        service(given, "restart")
    }),
    execution("service.start", "name | no_block unmask unmask_runtime", |given, _| {
        service(given, "start")
    }),
    execution("service.stop", "name | no_block", |given, _| service(given, "stop")),
    execution("service.systemctl_reload", "", |_, _| {
        Ok(changes("systemctl daemon-reload".to_owned(), vec![Resource::Units]))
    }),
    execution("sysctl.assign", "name value", |given, _| {
        let name = given.text("name")?.replace('/', ".");
        let setting = format!("{name}={}", given.text("value")?);
        Ok(changes(
            format!("sysctl -w {}", quote(&setting)),
            vec![Resource::Sysctl(name)],
        ))
    }),
    execution("system.halt", "", |_, _| later("halt")),
    execution("system.poweroff", "", |_, _| later("poweroff")),
    execution("system.reboot", "| at_time", |given, _| down(given, "-r", "reboot")),
    execution("system.shutdown", "| at_time", |given, _| down(given, "-h", "poweroff")),
    execution("test.echo", "text", |given, _| {
        printed(format!("printf '%s\\n' {}", given.word("text")?))
    }),
    execution("test.false", "", |_, _| printed("echo False; exit 1".to_owned())),
    execution("test.false_", "", |_, _| printed("echo False; exit 1".to_owned())),
    execution("test.ping", "", |_, _| printed("echo True".to_owned())),
    execution("test.sleep", "length", |given, _| {
        let seconds: f64 = given
            .text("length")?
            .parse()
            .map_err(|_| Error::usage("`length` is a number of seconds"))?;
        Ok(changes(format!("sleep {}", seconds.clamp(0.0, 86400.0)), Vec::new()))
    }),
    execution("test.true", "", |_, _| printed("echo True".to_owned())),
    execution("test.true_", "", |_, _| printed("echo True".to_owned())),
];

/// The function called `name`.
///
/// # Errors
/// It is none of those that can be carried out here.
pub(super) fn find(name: &str) -> Result<&'static Execution> {
    EXECUTIONS.iter().find(|execution| execution.name == name).ok_or_else(|| {
        let mut modules: Vec<&str> = EXECUTIONS
            .iter()
            .filter_map(|execution| execution.name.split('.').next())
            .collect();
        modules.dedup();
        let own: Vec<&str> = EXECUTIONS
            .iter()
            .map(|execution| execution.name)
            .filter(|known| known.split('.').next() == name.split('.').next())
            .collect();
        let known = if own.is_empty() {
            format!("`module.run` knows functions of {}", modules.join(", "))
        } else {
            format!("of that module it knows {}", own.join(", "))
        };
        Error::usage(format!("`module.run` cannot carry out `{name}`"))
            .did_you_mean(name, EXECUTIONS.iter().map(|execution| execution.name))
            .hint(known)
            .hint("a state that says what is wanted, or `cmd.run`, does the same")
    })
}

fn changes(script: String, writes: Vec<Resource>) -> Done {
    Done {
        script,
        writes,
        prints: false,
    }
}

fn printed(script: String) -> Result<Done> {
    Ok(Done {
        script,
        prints: true,
        ..Done::default()
    })
}

/// What Salt keeps on its minions, picloud does not: there is nothing to synchronise or to refresh.
fn nothing(_: &Given, _: &Context) -> Result<Done> {
    Ok(Done::default())
}

/// A change of the path that the parameter names, and of what is below it.
fn touches(given: &Given, parameter: &str, script: String) -> Result<Done> {
    let path = given.text(parameter)?;
    let mut writes = crate::states::file::place::touched(&path);
    writes.push(Resource::Tree(path));
    Ok(changes(script, writes))
}

fn folder(given: &Given, path: &str) -> Result<Done> {
    let word = quote(path).into_owned();
    let mut script = format!("mkdir -p -- {word}");
    let (user, group) = (given.optional("user"), given.optional("group"));
    if user.is_some() || group.is_some() {
        let owner = format!("{}:{}", user.unwrap_or_default(), group.unwrap_or_default());
        script += &format!(" && chown {} {word}", quote(owner.trim_end_matches(':')));
    }
    if let Some(mode) = given.optional("mode") {
        let mode = crate::yaml::Mode::parse(&mode).ok_or_else(|| Error::usage("`mode` must be octal digits such as `0755`"))?;
        script += &format!(" && chmod {:05o} {word}", mode.0);
    }
    Ok(changes(script, vec![Resource::Tree(path.to_owned())]))
}

fn command(given: &Given) -> Result<Done> {
    let mut text = given.text("cmd")?;
    if let Some(first) = given.optional("prepend_path") {
        text = format!("PATH={}:$PATH; export PATH\n{text}", quote(&first));
    }
    let timeout = given.optional("timeout").map(|seconds| seconds.parse()).transpose();
    let command = Command {
        text,
        shell: given.optional("shell"),
        user: given.optional("runas").or_else(|| given.optional("user")),
        cwd: given.optional("cwd"),
        env: given.pairs("env")?,
        clean_env: given.flag("clean_env"),
        umask: given.optional("umask"),
        timeout: timeout.map_err(|_| Error::usage("`timeout` is a number of seconds"))?,
        stdin: given.optional("stdin"),
    };
    Ok(Done {
        script: command.script(),
        writes: vec![Resource::Everything],
        prints: true,
    })
}

/// The name of a service, as systemd and as others call it.
const SERVICE: &str = "case $u in *.service) s=${u%.service};; *) s=$u;; esac\n";

fn service(given: &Given, action: &str) -> Result<Done> {
    let name = given.text("name")?;
    let systemd = if action == "force-reload" {
        "reload-or-restart"
    } else {
        action
    };
    let script = format!(
        "u={}\n{SERVICE}if [ -d /run/systemd/system ]; then systemctl {systemd} -- \"$u\"
elif command -v rc-service >/dev/null; then rc-service \"$s\" {action}
elif command -v service >/dev/null; then service \"$s\" {action}
elif [ -x \"/etc/init.d/$s\" ]; then \"/etc/init.d/$s\" {action}
else echo 'nothing on this minion starts services' >&2; exit {NOT_BEGUN}; fi",
        quote(&name)
    );
    Ok(changes(script, vec![Resource::Unit(name), Resource::Listeners]))
}

fn enable(given: &Given, enable: bool) -> Result<Done> {
    let name = given.text("name")?;
    let (systemd, openrc, debian, redhat) = if enable {
        (
            "enable",
            "add \"$s\" default",
            "update-rc.d \"$s\" defaults && update-rc.d \"$s\" enable",
            "on",
        )
    } else {
        ("disable", "-a del \"$s\"", "update-rc.d \"$s\" disable", "off")
    };
    let script = format!(
        "u={}\n{SERVICE}if command -v systemctl >/dev/null; then systemctl {systemd} -- \"$u\"
elif command -v rc-update >/dev/null; then rc-update {openrc}
elif command -v update-rc.d >/dev/null; then {debian}
elif command -v chkconfig >/dev/null; then chkconfig \"$s\" {redhat}
else echo 'nothing on this minion starts services' >&2; exit {NOT_BEGUN}; fi",
        quote(&name)
    );
    Ok(changes(script, vec![Resource::Unit(name)]))
}

/// Begun when the session is gone, so that it is not torn off in the middle of its report.
fn later(command: &str) -> Result<Done> {
    let script = format!("(trap '' HUP; sleep 5; {command}) </dev/null >/dev/null 2>&1 &");
    Ok(changes(script, Vec::new()))
}

fn down(given: &Given, flag: &str, otherwise: &str) -> Result<Done> {
    match given.optional("at_time") {
        // Minutes, or a time of the day.
        Some(at) => {
            let at = if at.bytes().all(|b| b.is_ascii_digit()) {
                format!("+{at}")
            } else {
                at
            };
            Ok(changes(format!("shutdown {flag} {}", quote(&at)), Vec::new()))
        }
        None => later(otherwise),
    }
}
