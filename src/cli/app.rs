//! What all commands share: the global options, the project, and where things are printed.

use crate::error::{Error, Result};
use crate::inventory::Inventory;
use crate::project::Project;
use crate::report::{Bars, Paper, Severity, draw, draw_as};
use clap::{Args, ValueEnum};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde_json::Value as Json;
use std::cell::OnceCell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// In what form results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Out {
    /// For people.
    #[default]
    Text,
    Json,
    Yaml,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Options that stand before or behind any command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work in this project, as if started there; before the command, -C is short for it.
    #[arg(long, global = true, value_name = "DIR", env = "PICLOUD_PROJECT", hide_env = true)]
    project: Option<PathBuf>,
    /// The form of results.
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "text",
        hide_possible_values = true,
        help = "The form of results: text, json or yaml"
    )]
    pub out: Out,
    /// Connect to at most this many minions at the same time.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub forks: Option<u16>,
    /// Tell more of what is done.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Show no bars, only lines.
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help = "When to use colours: auto, always or never"
    )]
    pub color: Color,
}

/// One invocation.
pub struct App {
    pub global: Global,
    folder: Option<PathBuf>,
    multi: MultiProgress,
    /// Made when it is first needed: most commands never do. There is one, as connections outlive the call that made them.
    runtime: OnceCell<Runtime>,
}

impl App {
    pub fn new(global: Global, folder: Option<PathBuf>) -> App {
        let choice = match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        App {
            global,
            folder,
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(12)),
            runtime: OnceCell::new(),
        }
    }

    /// Where the command is to look for a project.
    fn start(&self) -> Result<PathBuf> {
        let here = std::env::current_dir().map_err(|e| Error::usage(format!("the current folder cannot be used: {e}")))?;
        let Some(named) = self.folder.as_ref().or(self.global.project.as_ref()) else {
            return Ok(here);
        };
        let folder = here.join(named);
        match folder.is_dir() {
            true => Ok(folder),
            false => Err(Error::usage(format!("{} is not a folder", named.display()))),
        }
    }

    /// The project that the command works in.
    ///
    /// # Errors
    /// There is none, or something is wrong with it.
    pub fn project(&self) -> Result<Project> {
        let mut project = Project::find(&self.start()?)?;
        if let Some(forks) = self.global.forks {
            project.config.forks = usize::from(forks);
        }
        Ok(project)
    }

    /// The project that the command works in, or none where there is none.
    ///
    /// # Errors
    /// Something is wrong with it; it was named and is not there.
    pub fn project_if_any(&self) -> Result<Option<Project>> {
        let named = self.folder.is_some() || self.global.project.is_some();
        match named || Project::folder_of(&self.start()?).is_some() {
            true => self.project().map(Some),
            false => Ok(None),
        }
    }

    /// The project's inventory; warnings about it are printed.
    ///
    /// # Errors
    /// Something is wrong in it.
    pub fn inventory(&self, project: &Project) -> Result<Inventory> {
        let inventory = project.inventory()?;
        inventory.warnings.iter().for_each(|warning| self.warn(warning));
        Ok(inventory)
    }

    /// What bars and questions are drawn through, so that they keep out of each other's way.
    pub fn multi(&self) -> MultiProgress {
        self.multi.clone()
    }

    /// Bars, where somebody would see them.
    pub fn bars(&self) -> Option<Bars> {
        let seen = std::io::stderr().is_terminal()
            && !self.global.no_progress
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        seen.then(|| Bars::new(self.multi()))
    }

    /// Runs `future` to its end.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        if self.runtime.get().is_none() {
            let runtime = Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Error::usage(format!("the system refuses threads or file descriptors: {e}")))?;
            let _ = self.runtime.set(runtime);
        }
        match self.runtime.get() {
            Some(runtime) => Ok(runtime.block_on(future)),
            None => Err(Error::usage("internal: there is no runtime")),
        }
    }

    /// Prints a result, as it is.
    pub fn print(&self, text: &str) {
        let mut out = anstream::stdout().lock();
        // A reader that has gone away (`| head`) has what it wanted.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints a result in the form that was asked for; `text` makes the one for people.
    pub fn result(&self, json: impl FnOnce() -> Json, text: impl FnOnce() -> String) {
        match self.global.out {
            Out::Text => self.print(&text()),
            Out::Json => self.print(&(serde_json::to_string_pretty(&json()).unwrap_or_default() + "\n")),
            Out::Yaml => self.print(&yaml(&json())),
        }
    }

    /// Prints something that is not a result: progress, questions, advice.
    pub fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    pub fn warn(&self, warning: &Error) {
        let _ = write!(
            anstream::stderr().lock(),
            "{}",
            draw_as(Severity::Warning, warning, self.error_paper())
        );
    }

    /// Prints an error, with all that is known about it.
    pub fn complain(&self, error: &Error) {
        let _ = write!(anstream::stderr().lock(), "{}", draw(error, self.error_paper()));
    }

    /// What results are drawn on.
    pub fn paper(&self) -> Paper {
        Paper::of(&std::io::stdout())
    }

    fn error_paper(&self) -> Paper {
        Paper::of(&std::io::stderr())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // A look-up of a name that nobody answers must not keep the program from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// `json` as YAML.
pub fn yaml(json: &Json) -> String {
    crate::yaml::emit_with(&crate::yaml::Value::from(json), crate::yaml::Style::READABLE)
}
