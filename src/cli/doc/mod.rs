//! `picloud doc`: the reference of the state functions, from the code's own documentation.

mod globals;
mod page;

use super::app::App;
use crate::error::{Error, Result};
use crate::report::Paper;
use crate::states::{Function, function, functions};
use globals::GLOBALS;
use page::{Argument, Page};
use serde_json::Value as Json;
use std::fmt::Write;

/// Explain a state function: what it does and which arguments it takes.
///
/// Without a name, list all of them; with a module's name, those of the module.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A function (file.managed), a module (file), or `arguments` for those that every state takes.
    name: Option<String>,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let paper = app.paper();
    let Some(name) = args.name else {
        let all: Vec<&Function> = sorted(|_| true);
        app.result(
            || schemas(&all),
            || listing(&all, paper) + "\npicloud doc NAME explains one; picloud doc arguments, what all of them take\n",
        );
        return Ok(0);
    };
    if name == "arguments" {
        app.result(
            || {
                GLOBALS
                    .iter()
                    .map(|(name, kind, text)| serde_json::json!({"name": name, "kind": kind, "text": text}))
                    .collect()
            },
            || global_page(paper),
        );
        return Ok(0);
    }
    let module = sorted(|function| function.name.split('.').next() == Some(name.as_str()));
    if !module.is_empty() {
        app.result(|| schemas(&module), || listing(&module, paper));
        return Ok(0);
    }
    let function = match function(&name) {
        Ok(function) => function,
        // A bare name is likely to be one half of a full one.
        Err(_) if !name.contains('.') => return Err(unknown(&name)),
        Err(error) => return Err(error),
    };
    app.result(|| (function.schema)().to_value(), || terminal(&Page::of(function), paper));
    Ok(0)
}

fn sorted(keep: impl Fn(&Function) -> bool) -> Vec<&'static Function> {
    let mut all: Vec<&Function> = functions().filter(|function| keep(function)).collect();
    all.sort_by_key(|function| function.name);
    all
}

fn unknown(name: &str) -> Error {
    let modules = || functions().filter_map(|function| function.name.split('.').next());
    let error = Error::usage(format!("no state module or function is called `{name}`")).did_you_mean(name, modules());
    let ending: Vec<&str> = functions()
        .map(|function| function.name)
        .filter(|full| full.split('.').nth(1) == Some(name))
        .take(6)
        .collect();
    match ending.is_empty() {
        true => error.hint("`picloud doc` lists the state functions that picloud knows"),
        false => error.hint(format!("there is {}", ending.join(", "))),
    }
}

fn schemas(functions: &[&Function]) -> Json {
    Json::Object(
        functions
            .iter()
            .map(|function| (function.name.to_owned(), (function.schema)().to_value()))
            .collect(),
    )
}

/// One line for each function.
fn listing(functions: &[&Function], paper: Paper) -> String {
    let column = functions.iter().map(|function| function.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut module = "";
    for function in functions {
        let own = function.name.split('.').next().unwrap_or_default();
        if own != module && !module.is_empty() {
            out.push('\n');
        }
        module = own;
        let summary = Page::of(function).summary();
        let lines = wrap(&summary, paper.width.saturating_sub(column + 2).max(24));
        for (n, line) in lines.iter().enumerate() {
            let name = if n == 0 { function.name } else { "" };
            let fill = " ".repeat(column - name.len());
            let _ = writeln!(out, "{}", format!("{}{fill}  {line}", bold(name)).trim_end());
        }
    }
    out
}

/// The page of one function, for a terminal.
fn terminal(page: &Page, paper: Paper) -> String {
    let mut out = format!("{}\n\n", bold(page.name));
    out += &prose(&page.text, "  ", paper);
    if !page.arguments.is_empty() {
        let _ = write!(out, "\n{}\n", bold("Arguments"));
        for argument in &page.arguments {
            let _ = writeln!(out, "\n  {}  {}", bold(&argument.name), describe(argument));
            out += &prose(&argument.text, "      ", paper);
        }
    }
    let _ = write!(
        out,
        "\nEvery state also takes `require`, `watch`, `unless` and others: picloud doc arguments\n"
    );
    out
}

fn describe(argument: &Argument) -> String {
    let mut text = argument.kind.clone();
    if argument.required {
        text += ", required";
    }
    if let Some(default) = &argument.default {
        let _ = write!(text, ", default {}", shown(default));
    }
    text
}

fn shown(default: &Json) -> String {
    match default {
        Json::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn global_page(paper: Paper) -> String {
    let mut out = format!("{}\n", bold("Arguments that every state takes"));
    for (name, kind, text) in GLOBALS {
        let lines: Vec<String> = wrap(name, paper.width.saturating_sub(4))
            .iter()
            .map(|line| format!("  {}", bold(line)))
            .collect();
        let _ = writeln!(out, "\n{}  {kind}", lines.join("\n"));
        out += &prose(text, "      ", paper);
    }
    out
}

/// The whole reference, as `docs/states.md` has it.
pub fn markdown() -> String {
    let mut out = String::from(
        "# State functions\n\nGenerated from the code's own documentation; `picloud doc NAME` shows one function.\n",
    );
    let mut module = "";
    for function in sorted(|_| true) {
        let own = function.name.split('.').next().unwrap_or_default();
        if own != module {
            let _ = write!(out, "\n## {own}\n");
            module = own;
        }
        let page = Page::of(function);
        let _ = write!(out, "\n### {}\n\n{}\n", page.name, page.text.trim());
        if !page.arguments.is_empty() {
            out += "\n";
        }
        for argument in &page.arguments {
            let text = argument.text.trim().replace('\n', "\n  ");
            let _ = writeln!(
                out,
                "- **`{}`** ({}){}{text}",
                argument.name,
                describe(argument),
                if text.is_empty() { "" } else { ": " }
            );
        }
    }
    out += "\n## Arguments that every state takes\n\n";
    for (name, kind, text) in GLOBALS {
        let names: Vec<String> = name.split(", ").map(|name| format!("**`{name}`**")).collect();
        let _ = writeln!(out, "- {} ({kind}): {text}", names.join(", "));
    }
    out
}

/// Markdown as indented text: paragraphs are wrapped anew, lists and code keep their lines.
fn prose(text: &str, indent: &str, paper: Paper) -> String {
    let room = paper.width.saturating_sub(indent.len()).max(24);
    let mut out = String::new();
    let mut code = false;
    let mut paragraph: Vec<&str> = Vec::new();
    let flush = |paragraph: &mut Vec<&str>, out: &mut String| {
        let words = paragraph.join(" ");
        paragraph.clear();
        if words.is_empty() {
            return;
        }
        // The second and further lines of a list's item stand under its text.
        let hang = if words.starts_with("- ") || words.starts_with("* ") {
            "  "
        } else {
            ""
        };
        for (n, line) in wrap(&words, room - hang.len()).iter().enumerate() {
            let _ = writeln!(out, "{indent}{}{line}", if n == 0 { "" } else { hang });
        }
    };
    for line in text.trim().lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            flush(&mut paragraph, &mut out);
            code = !code;
        } else if code {
            let _ = writeln!(out, "{}", format!("{indent}    {line}").trim_end());
        } else if trimmed.is_empty() {
            flush(&mut paragraph, &mut out);
            out.push('\n');
        } else {
            if trimmed.starts_with("- ") || trimmed.starts_with("* ") || trimmed.starts_with('#') {
                flush(&mut paragraph, &mut out);
            }
            paragraph.push(trimmed);
        }
    }
    flush(&mut paragraph, &mut out);
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    crate::report::wrap(text, width, 0)
}

fn bold(text: &str) -> String {
    crate::report::bold(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_documentation_of_the_code() {
        let page = terminal(&Page::of(function("test.succeed_without_changes").unwrap()), Paper::wide(60));
        let expected = "\
test.succeed_without_changes

  Succeeds and changes nothing.

Arguments

  name  string, required
      Any text.

  comment  string
      The comment to give.

Every state also takes `require`, `watch`, `unless` and others: picloud doc arguments
";
        assert_eq!(anstream::adapter::strip_str(&page).to_string(), expected);
    }

    #[test]
    fn prose_is_wrapped_and_code_is_not() {
        let text = "One sentence that is\nbroken here.\n\n- an item with many words\n- another\n\n```yaml\na:\n  b: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n```\nEnd.";
        let expected = "  One sentence that is broken\n  here.\n\n  - an item with many words\n  - another\n\n      a:\n        b: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n  End.\n";
        assert_eq!(prose(text, "  ", Paper::wide(30)), expected);
    }
}
