//! Opening a disk: in this process where the user may, else through a small process that is elevated.

use super::remote::Remote;
use super::target::Target;
use super::{boxed, serve};
use crate::error::{Error, Result};
use crate::flash::device::open::{self, Confirmed};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What makes a process root's, in the order in which they are tried.
pub const TOOLS: [&str; 4] = ["sudo", "doas", "run0", "pkexec"];

/// The subcommand of this program that serves.
pub const SUBCOMMAND: &str = "flash-writer";

/// How to get the privileges that this user lacks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Elevate {
    /// By the first of [`TOOLS`] that is there.
    #[default]
    Auto,
    By(String),
    Never,
}

impl Elevate {
    /// Reads `--elevate`.
    ///
    /// # Errors
    /// It is none of the tools, nor `never`.
    pub fn parse(name: &str) -> Result<Elevate> {
        match name {
            "auto" => Ok(Elevate::Auto),
            "never" => Ok(Elevate::Never),
            _ if TOOLS.contains(&name) => Ok(Elevate::By(name.to_owned())),
            _ => Err(Error::usage(format!("`{name}` is no way to elevate"))
                .did_you_mean(name, TOOLS)
                .hint("sudo, doas, run0, pkexec, auto or never")),
        }
    }

    fn tool(&self, path: Option<&std::ffi::OsStr>) -> Result<PathBuf> {
        let names: Vec<&str> = match self {
            Elevate::Auto => TOOLS.to_vec(),
            Elevate::By(name) => vec![name],
            Elevate::Never => Vec::new(),
        };
        let folders: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        let mut all = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        all.find(|path| path.is_file()).ok_or_else(|| {
            let error = Error::usage("this user may not write to the device");
            match self {
                Elevate::Never => error.hint("add the user to the device's group (`disk`), or leave `--elevate never` out"),
                Elevate::Auto => error.hint("none of sudo, doas, run0 and pkexec is here; run picloud as a user who may"),
                Elevate::By(name) => error.hint(format!("{name} is not here")),
            }
        })
    }
}

/// Opens what was confirmed, with the privileges that are needed.
///
/// # Errors
/// The rules refuse it; it is another disk by now; it is in use; nobody may open it.
pub fn open(confirmed: &Confirmed, elevate: &Elevate) -> Result<Box<dyn Target>> {
    if let Some(opened) = open::open(confirmed)? {
        return Ok(boxed(opened));
    }
    let tool = elevate.tool(std::env::var_os("PATH").as_deref())?;
    let program = std::env::current_exe().map_err(|e| Error::usage(format!("cannot find this program: {e}")))?;
    start(command(&tool, &program), confirmed).map(|remote| Box::new(remote) as Box<dyn Target>)
}

/// How `tool` runs the writer.
fn command(tool: &Path, program: &Path) -> Command {
    let mut command = Command::new(tool);
    match tool.file_name().and_then(|name| name.to_str()) {
        // Nothing of the environment is needed; the question for the password is asked at the terminal.
        Some("sudo") => command.args(["-p", "[sudo] password of %p, to write to the card: ", "--"]),
        Some("run0") => command.args(["--description=picloud writes to a card", "--"]),
        _ => &mut command,
    };
    command.arg(program).arg(SUBCOMMAND);
    command
}

/// Starts the writer that `command` runs.
///
/// # Errors
/// It cannot be started, or refuses.
pub fn start(mut command: Command, confirmed: &Confirmed) -> Result<Remote> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = started.map_err(|e| Error::usage(format!("cannot start {name}: {e}")))?;
    let (Some(output), Some(input)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::usage(format!("cannot talk to {name}")));
    };
    // A megabyte is as much as a user may have: fewer changes between the processes.
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::pipe::fcntl_setpipe_size(&output, 1 << 20);
        let _ = rustix::pipe::fcntl_setpipe_size(&input, 1 << 20);
    }
    Remote::open(Box::new(input), Box::new(output), Some(child), confirmed)
}

/// Serves the process at the other end of `input` and `output`, as root.
///
/// # Errors
/// It asks for what it must not have.
pub fn serve_device(input: std::fs::File, output: std::fs::File) -> Result<()> {
    serve::serve(input, output, |confirmed| match open::open(confirmed)? {
        Some(opened) => Ok(boxed(opened)),
        None => Err(Error::usage(format!(
            "even elevated, {} cannot be opened",
            confirmed.path.display()
        ))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tool_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().as_os_str());
        assert!(Elevate::Auto.tool(path).is_err());
        std::fs::write(folder.path().join("pkexec"), "").unwrap();
        assert!(Elevate::Auto.tool(path).unwrap().ends_with("pkexec"));
        std::fs::write(folder.path().join("doas"), "").unwrap();
        assert!(Elevate::Auto.tool(path).unwrap().ends_with("doas"));
        assert!(Elevate::parse("pkexec").unwrap().tool(path).unwrap().ends_with("pkexec"));
        assert!(Elevate::parse("sudo").unwrap().tool(path).is_err());
        assert!(Elevate::Never.tool(path).is_err());
        assert!(Elevate::parse("suod").unwrap_err().diagnostics()[0].hints[0].contains("sudo"));
    }

    #[test]
    fn it_runs_this_program() {
        let command = command(Path::new("/usr/bin/sudo"), Path::new("/usr/bin/picloud"));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments[2..], ["--", "/usr/bin/picloud", "flash-writer"]);
    }

    #[test]
    fn a_tool_that_fails_is_told() {
        use crate::flash::device::rules::{Allow, tests::card};
        let error = start(Command::new("false"), &Confirmed::of(&card(), 0, Allow::default()))
            .err()
            .unwrap();
        assert!(error.to_string().contains("did not start"), "{error}");
    }
}
