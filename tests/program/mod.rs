//! Runs the binary in a folder of its own and compares all that it says.

use std::path::Path;
use std::process::Command;

/// A folder in which the program is run, with a home of its own and no terminal.
pub struct Program {
    folder: tempfile::TempDir,
}

/// What a run said: standard output, and after `--- stderr` standard error, if there was any.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub text: String,
}

#[allow(dead_code, reason = "each file of tests uses what it needs")]
impl Program {
    pub fn new() -> Program {
        Program {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and the folders that it needs.
    pub fn file(&self, path: &str, text: &str) -> &Program {
        let path = self.folder().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// As [`Program::file`], with bytes that need not be text.
    pub fn bytes(&self, path: &str, bytes: &[u8]) -> &Program {
        self.file(path, "");
        std::fs::write(self.folder().join(path), bytes).unwrap();
        self
    }

    /// The program with `arguments`, ready to be started in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picloud"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder().join("home"))
            .env("TZ", "UTC")
            .stdin(std::process::Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.said(&mut self.command(arguments))
    }

    /// What a [`Program::command`] says.
    pub fn said(&self, command: &mut Command) -> Said {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| {
            let folder = self.folder().canonicalize().unwrap();
            String::from_utf8_lossy(bytes)
                .replace(&*folder.to_string_lossy(), "[DIR]")
                .replace(&*self.folder().to_string_lossy(), "[DIR]")
        };
        let text = |bytes: &[u8]| without_times(&text(bytes));
        let mut said = text(&output.stdout);
        if !output.stderr.is_empty() {
            said += "--- stderr\n";
            said += &text(&output.stderr);
        }
        Said {
            code: output.status.code().unwrap_or(-1),
            text: said,
        }
    }
}

#[allow(dead_code, reason = "each file of tests uses what it needs")]
impl Said {
    /// It exited with 0 and said this.
    #[track_caller]
    pub fn shows(&self, expected: &str) {
        self.fails_with(0, expected);
    }

    /// It exited with `code` and said this.
    #[track_caller]
    pub fn fails_with(&self, code: i32, expected: &str) {
        assert_eq!(self.text.trim_start(), expected.trim_start(), "exit code {}", self.code);
        assert_eq!(self.code, code);
    }
}

/// `text` with `[TIME]` for every duration in it.
fn without_times(text: &str) -> String {
    let durations = regex::Regex::new(r"\b\d+(\.\d+)? (ms|s|min \d+ s)\b").unwrap();
    durations.replace_all(text, "[TIME]").into_owned()
}
