//! `picloud init`: a project to start from.

use super::app::App;
use crate::error::{Error, Result};
use crate::project::FILE;
use std::path::{Path, PathBuf};

/// Make a project to start from: commented, and working as it is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder to make it in; made if it does not exist.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// The files of a new project.
const FILES: [(&str, &str); 8] = [
    (FILE, include_str!("project/picloud.yaml")),
    ("inventory/minions.yaml", include_str!("project/minions.yaml")),
    ("states/top.sls", include_str!("project/states-top.sls")),
    ("states/hello.sls", include_str!("project/hello.sls")),
    ("pillar/top.sls", include_str!("project/pillar-top.sls")),
    ("pillar/cluster.sls", include_str!("project/cluster.sls")),
    ("images/README.md", include_str!("project/images.md")),
    (".gitignore", include_str!("project/gitignore")),
];

pub fn run(app: &App, args: Args) -> Result<u8> {
    let folder = &args.folder;
    let there: Vec<&str> = FILES
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| folder.join(path).symlink_metadata().is_ok())
        .collect();
    if !there.is_empty() {
        return Err(Error::usage(format!("{} exists already", shown(folder, there[0])))
            .hint("nothing was written; `picloud init NAME` makes a project in a new folder"));
    }
    for (path, text) in FILES {
        write(&folder.join(path), text).map_err(|e| Error::usage(format!("cannot write {}: {e}", shown(folder, path))))?;
    }
    let mut text = String::new();
    for (path, what) in [
        (FILE, "settings, all with their defaults"),
        ("inventory/", "the minions pi0 to pi2: put your addresses here"),
        ("states/", "what they should be: top.sls assigns, hello.sls is an example"),
        ("pillar/", "data that states are given"),
        ("images/", "OS images for cards"),
    ] {
        text += &format!("  {:<12}  {what}\n", path);
    }
    let cd = if folder == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", crate::shell::quote(&folder.to_string_lossy()))
    };
    app.print(&text);
    app.note(&format!("next: {cd}picloud check && picloud ping && picloud apply --test"));
    Ok(0)
}

fn shown(folder: &Path, path: &str) -> String {
    match folder == Path::new(".") {
        true => path.to_owned(),
        false => folder.join(path).display().to_string(),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Never over something that came there in the meantime.
    std::fs::File::create_new(path)?.write_all(text.as_bytes())
}
