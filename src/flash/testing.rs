//! What the tests of this room share: tools that may be missing.

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether a tool can be run.
pub enum Tool {
    There,
    Missing,
}

/// Looks for a tool; where it is missing says so, and fails where all must be there (`CI=true`).
pub fn tool(name: &str, package: &str) -> Tool {
    if find(name).is_some() {
        return Tool::There;
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is missing: install {package}");
    println!("skipped: {name} is missing (Debian's package {package})");
    Tool::Missing
}

fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Runs a tool and returns what it prints. It must succeed.
pub fn run(name: &str, arguments: &[&str], input: &str) -> String {
    let (status, text) = attempt(name, arguments, input);
    assert_eq!(status, 0, "{name} {arguments:?}: {text}");
    text
}

/// Runs a tool; its exit code and what it prints on both outputs.
pub fn attempt(name: &str, arguments: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(find(name).unwrap())
        .args(arguments)
        .env("LC_ALL", "C")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}
