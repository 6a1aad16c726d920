//! What the tests of host keys share.

use crate::project::{FILE, Project};
use std::path::Path;
use std::process::Command;

/// A project with this inventory.
pub fn project(inventory: &str) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), "name: lab\n").unwrap();
    std::fs::create_dir(folder.path().join("inventory")).unwrap();
    std::fs::write(folder.path().join("inventory/minions.yaml"), inventory).unwrap();
    let project = Project::open(folder.path()).unwrap();
    (folder, project)
}

/// What `ssh-keygen` says of a file; `None`, with the reason printed, where there is none.
pub fn keygen(arguments: &[&str], file: &Path) -> Option<String> {
    let output = match Command::new("ssh-keygen").args(arguments).arg(file).output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no ssh-keygen (apt-get install openssh-client)");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}
