//! minijinja's errors as the project's own: with the place in the template as it was written, the way there, and hints.

use super::context::Root;
use super::files::{Files, Source};
use super::value::{fail, missed};
use crate::error::{Error as Told, Pos, nearest};
use minijinja::{Error, ErrorKind};
use std::error::Error as _;
use std::sync::Arc;

/// Begins the detail of an error that tells of a macro's call.
const IN_MACRO: &str = "\u{1}macro ";

/// An error of the project's own on its way through minijinja.
pub fn from_error(error: Told) -> Error {
    let message = error
        .diagnostics()
        .first()
        .map_or_else(String::new, |first| first.message.clone());
    fail(message).with_source(error)
}

/// `error` came out of the macro `name`; the place of the call is added by minijinja.
pub fn in_macro(name: &str, error: Error) -> Error {
    Error::new(ErrorKind::EvalBlock, format!("{IN_MACRO}{name}")).with_source(error)
}

/// One of minijinja's errors in a chain.
struct Link<'e> {
    error: &'e Error,
    source: Option<Arc<Source>>,
}

impl Link<'_> {
    fn place(&self) -> Option<Pos> {
        let source = self.source.as_ref()?;
        match (self.error.range(), self.error.line()) {
            (Some(range), _) => Some(source.place(self.key_in(source, &range).unwrap_or(range.start))),
            (None, Some(line)) => Some(source.line(line)),
            _ => None,
        }
    }

    /// Where the key that is missing stands within the expression at `range`.
    fn key_in(&self, source: &Source, range: &std::ops::Range<usize>) -> Option<usize> {
        let (before, _) = self.error.detail()?.split_once("` is undefined")?;
        let (_, key) = last_key(before.rsplit('`').next()?)?;
        Some(range.start + source.rewritten.get(range.clone())?.rfind(&key)?)
    }

    /// How the place within was reached from this one.
    fn how(&self) -> String {
        let detail = self.error.detail().unwrap_or_default();
        if let Some(name) = detail.strip_prefix(IN_MACRO) {
            return format!("in the macro `{name}`, called from");
        }
        let imports = self.source.as_ref().zip(self.error.range()).is_some_and(|(source, range)| {
            let statement = source.rewritten.get(range).unwrap_or_default();
            statement.contains("import")
        });
        if imports { "imported from" } else { "included from" }.to_owned()
    }
}

/// `error` as it is told to the user. `steps` is the limit on a rendering's length.
pub fn told(error: &Error, files: &Files, steps: u64) -> Told {
    let mut chain = Vec::new();
    let mut carried = None;
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(own) = current.downcast_ref::<Told>() {
            carried = Some(own.clone());
            break;
        }
        let Some(error) = current.downcast_ref::<Error>() else { break };
        let source = error.name().and_then(|name| files.get(name));
        chain.push(Link { error, source });
        next = error.source();
    }
    let innermost = chain.iter().rposition(|link| link.place().is_some());
    let cause = chain
        .iter()
        .rev()
        .find(|link| link.error.kind() != ErrorKind::BadInclude)
        .or(chain.last());
    let mut result = match (carried, cause) {
        (Some(carried), _) => carried,
        (None, Some(link)) => describe(link.error, link.source.as_deref(), files, steps),
        (None, None) => Told::usage(error.to_string()),
    };
    let Some(innermost) = innermost else { return result };
    let already_placed = result.diagnostics().iter().any(|d| d.at.is_known());
    if let Some(at) = chain[innermost].place() {
        if already_placed {
            result = result.trail(&chain[innermost].how(), at);
        } else {
            result = result.at(at);
            if let Some(excerpt) = chain[innermost].source.as_ref().and_then(|source| source.excerpt(at)) {
                result = result.excerpt(excerpt);
            }
        }
    }
    for link in chain[..innermost].iter().rev() {
        if let Some(at) = link.place() {
            result = result.trail(&link.how(), at);
        }
    }
    result
}

fn describe(error: &Error, source: Option<&Source>, files: &Files, steps: u64) -> Told {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError if detail.is_empty() => nameless(error, source),
        ErrorKind::UndefinedError => undefined(detail, source, files),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
            let mut words = detail.split(' ');
            let (what, name) = (words.next().unwrap_or("filter"), words.next().unwrap_or_default());
            let known: Vec<&str> = match error.kind() {
                ErrorKind::UnknownFilter => super::filters::names().collect(),
                _ => super::checks::names().collect(),
            };
            Told::usage(format!("there is no {what} `{name}`")).did_you_mean(name, known)
        }
        ErrorKind::UnknownFunction => {
            let name = detail.strip_suffix(" is unknown").unwrap_or(detail);
            let assigned = source.into_iter().flat_map(|source| &source.assigned);
            let known = super::globals::NAMES.iter().copied().chain(assigned.map(String::as_str));
            Told::usage(format!("there is no function or macro `{name}`")).did_you_mean(name, known)
        }
        ErrorKind::TemplateNotFound => match quoted(detail) {
            Some(name) => files.missing(&name),
            None => Told::usage(detail),
        },
        ErrorKind::OutOfFuel => Told::usage(format!("the template takes too long; it was stopped after {steps} steps"))
            .hint("look for a loop over something large, or a macro that calls itself"),
        ErrorKind::WriteFailure => Told::usage("the template's text grows too large"),
        ErrorKind::CannotUnpack => Told::usage(format!("cannot unpack: {detail}")),
        _ if detail == "recursion limit exceeded" => Told::usage("the template imports, includes or calls itself without end"),
        // minijinja adds where an undefined value came from to whatever came of using it.
        _ if let Some((_, origin)) = detail.split_once(" (`")
            && origin.contains("` is undefined") =>
        {
            undefined(&format!("`{}", origin.trim_end_matches(')')), source, files)
        }
        _ if detail.is_empty() => Told::usage(error.kind().to_string()),
        _ => Told::usage(detail),
    }
}

/// The first name in quotes, as minijinja prints it.
fn quoted(detail: &str) -> Option<String> {
    let at = detail.find(['"', '\''])?;
    let quote = &detail[at..at + 1];
    let inner = detail[at + 1..].split(quote).next()?;
    Some(inner.replace("\\u{1}", "").replace("\\x01", ""))
}

/// From "`pillar.a['b']` is undefined (from web/init.sls:3)", which is all that minijinja tells.
fn undefined(detail: &str, source: Option<&Source>, files: &Files) -> Told {
    let mut parts = detail.split('`');
    let (Some(_), Some(path), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Told::usage("a value that is not defined is used");
    };
    let path = path.replace("self_", "self");
    let set_in = rest.split_once("from ").map(|(_, place)| {
        let place = place.trim_end_matches(')');
        let shown = match place.rsplit_once(':') {
            Some((name, line)) => match (files.get(name), line.parse()) {
                (Some(source), Ok(line)) => source.line(line).to_string(),
                _ => place.to_owned(),
            },
            None => place.to_owned(),
        };
        format!("it was looked up in {shown}")
    });
    let last_key = last_key(&path);
    let told = match &last_key {
        None => {
            let name = path.as_str();
            let assigned = source.into_iter().flat_map(|source| &source.assigned).map(String::as_str);
            let known = Root::COMMON.iter().chain(super::globals::NAMES).copied().chain(assigned);
            let told = Told::usage(format!("the variable `{name}` is not defined"));
            match near(name, known.collect::<Vec<_>>()) {
                Some(near) => told.hint(format!("did you mean `{near}`?")),
                // An import of what the imported file does not set.
                None => match files.nearest_assigned(name) {
                    Some((near, file)) => told.hint(format!("did you mean `{near}`, which {} sets?", file.name())),
                    None => told,
                },
            }
        }
        Some((of, key)) => {
            if let Some(function) = salt_function(&path) {
                return super::salt::unknown(&function);
            }
            let told = Told::usage(format!("`{path}` is not defined: there is no `{key}` in `{of}`"));
            match missed(key) {
                Some(keys) => match near(key, keys.iter().map(String::as_str)) {
                    Some(near) => told.hint(format!("did you mean `{near}`?")),
                    None if keys.is_empty() => told.hint(format!("`{of}` is empty")),
                    None => told.hint(format!("there are: {}", listed(&keys))),
                },
                None => told,
            }
        }
    };
    match set_in {
        Some(set_in) => told.hint(set_in),
        None => told,
    }
}

/// An undefined value whose origin is not known: an argument that a macro was not given.
fn nameless(error: &Error, source: Option<&Source>) -> Told {
    let written = source
        .zip(error.range())
        .and_then(|(source, range)| source.rewritten.get(range))
        .unwrap_or_default();
    let told = match !written.is_empty() && written.chars().all(|c| c == '_' || c == '.' || c.is_alphanumeric()) {
        true => Told::usage(format!(
            "`{written}` has no value: it is an argument that was not given, or names nothing"
        )),
        false => Told::usage("a value that is not defined is used"),
    };
    told.hint("`|default(...)` gives a value to what is not defined")
}

/// The candidate that a name was most likely meant to be; names of one or two letters are near to too much.
fn near<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.chars().count() < 3 {
        None
    } else {
        nearest(name, known)
    }
}

/// `salt['pillar.get']` and `salt.pillar.get` as `pillar.get`.
fn salt_function(path: &str) -> Option<String> {
    let rest = path.strip_prefix("salt")?;
    match rest.strip_prefix('.') {
        Some(name) => Some(name.to_owned()),
        None => Some(rest.strip_prefix("['")?.strip_suffix("']")?.to_owned()),
    }
}

/// The last key of a path such as `a.b` or `a['b']`, and what goes before it.
fn last_key(path: &str) -> Option<(String, String)> {
    if let Some(inner) = path.strip_suffix("']") {
        let (of, key) = inner.rsplit_once("['")?;
        return Some((of.to_owned(), key.to_owned()));
    }
    if let Some(inner) = path.strip_suffix(']') {
        let (of, key) = inner.rsplit_once('[')?;
        return Some((of.to_owned(), key.to_owned()));
    }
    let (of, key) = path.rsplit_once('.')?;
    (!of.is_empty()).then(|| (of.to_owned(), key.to_owned()))
}

fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut list = keys
        .iter()
        .take(SHOWN)
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if keys.len() > SHOWN {
        list += &format!(" and {} more", keys.len() - SHOWN);
    }
    list
}
