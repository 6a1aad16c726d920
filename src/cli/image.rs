//! `picloud image`: what can be put on a card.

use super::app::App;
use super::screen::{Screen, interrupts};
use crate::error::{Error, Result};
use crate::flash::add;
use crate::flash::catalogue::{Catalogue, Image};
use crate::flash::fetch::{Expected, Fetcher, Location, cache_folder};
use crate::flash::job;
use crate::inventory::FirstBoot;
use crate::project::Project;
use crate::report::Table;
use crate::tree::Tree;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// List the OS images that are known, or add one.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List the catalogue: the project's images/ and what picloud ships.
    List,
    /// Add an image to the project's images/: its checksum is taken, its format and first-boot method are found out.
    Add {
        /// A URL, or a file.
        #[arg(value_name = "URL|FILE")]
        location: String,
        /// The name that minions call it by; made of the file's where not said.
        #[arg(long)]
        name: Option<String>,
    },
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    match args.command {
        Command::List => list(app),
        Command::Add { location, name } => add(app, &location, name),
    }
}

fn list(app: &App) -> Result<u8> {
    let project = app.project_if_any()?.unwrap_or_else(|| Project::without(Tree::default()));
    let catalogue = Catalogue::load(&project)?;
    let fetcher = Fetcher::new(
        cache_folder(),
        Arc::new(|_: &crate::flash::event::Event| {}),
        Arc::new(AtomicBool::new(false)),
    );
    let here = |image: &Image| matches!(image.location, Location::Url(_)) && fetcher.here(&image.wanted()).is_some();
    app.result(
        || catalogue.iter().map(|image| as_json(image, here(image))).collect(),
        || {
            let mut table = Table::new(&["image", "os", "arch", "boards", "size", "first boot", ""], &[4]);
            for image in catalogue.iter() {
                let notes = [
                    (!image.shipped, "own"),
                    (here(image), "cached"),
                    (!image.is_checked(), "unverified"),
                    (image.expected == Expected::Nothing, "no checksum"),
                ];
                let notes: Vec<&str> = notes.iter().filter(|(is, _)| *is).map(|(_, note)| *note).collect();
                table.row([
                    image.name.clone(),
                    image
                        .version
                        .as_ref()
                        .map_or(image.os.clone(), |version| format!("{} {version}", image.os)),
                    image.architectures.join(" "),
                    image.boards.join(" "),
                    image
                        .size
                        .map_or(String::new(), |size| format!("{} MB", size.div_ceil(1_000_000))),
                    image.first_boot.map_or("detected", FirstBoot::name).to_owned(),
                    notes.join(", "),
                ]);
            }
            table.draw(app.paper())
        },
    );
    Ok(0)
}

fn as_json(image: &Image, cached: bool) -> Json {
    json!({
        "name": image.name,
        "os": image.os,
        "version": image.version,
        "url": image.location.to_string(),
        "size": image.size,
        "format": image.format.to_string(),
        "architectures": image.architectures,
        "boards": image.boards,
        "first_boot": image.first_boot,
        "checked": image.checked,
        "unverified": !image.is_checked(),
        "shipped": image.shipped,
        "cached": cached,
    })
}

fn add(app: &App, text: &str, name: Option<String>) -> Result<u8> {
    let folder = app.project()?.image_folder();
    let folder = folder.ok_or_else(|| Error::usage("an image is added to a project"))?;
    let location = Location::parse(text)?;
    let name = name.unwrap_or_else(|| add::name_of(&location));
    let path = folder.join(format!("{name}.yaml"));
    if path.exists() {
        // Before hours of downloading.
        return Err(Error::usage(format!("{} exists already", path.display())).hint("`--name` gives another name"));
    }
    let screen = Screen::beside_result(app);
    let stop = interrupts(app, "stopping: what was downloaded is kept")?;
    let fetcher = Fetcher::new(cache_folder(), screen.listener.clone(), stop);
    let work = app.project()?.cache.folder("images")?;
    let found = add::look(&fetcher, &location, &name, &work, &mut job::first_boot)?;
    screen.clear();
    let path = add::write(&folder, &found, &location)?;
    app.result(
        || {
            json!({
                "name": found.name,
                "file": path.display().to_string(),
                "sha256": found.sha256,
                "size": found.size,
                "decoded_size": found.decoded,
                "format": found.format.to_string(),
                "first_boot": found.first_boot,
            })
        },
        || {
            format!(
                "{}: {}, {} MB ({} MB on a card), first boot by {}\n",
                found.name,
                found.format,
                found.size.div_ceil(1_000_000),
                found.decoded.div_ceil(1_000_000),
                found.first_boot.map_or("a method that is not known", FirstBoot::name)
            )
        },
    );
    if let Some(error) = &found.undetected {
        app.warn(error);
    }
    app.note(&format!(
        "written to {}: say there which boards it is for; a minion takes it by `image: {}`",
        crate::tree::shown(&path).name(),
        found.name
    ));
    Ok(0)
}
