//! The text of an INI file, edited in place: what is not named stays as it is written, comments and order included.

use crate::error::Result;
use crate::pattern::{Flags, Pattern, escape};
use std::ops::Range;

/// An INI file's lines, with their ends.
pub(super) struct Document {
    lines: Vec<String>,
    separator: String,
}

/// One option as it stands in the file.
struct Place {
    /// The line of the key, and those that continue its value.
    lines: Range<usize>,
    key: String,
    value: String,
    /// What stands before the value in the key's line.
    head: String,
}

/// How an option was changed; `None`: there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Changed {
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Document {
    /// `separator` stands between key and value; white space around it does not count.
    pub fn new(text: &str, separator: &str) -> Document {
        Document {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            separator: separator.to_owned(),
        }
    }

    pub fn text(&self) -> String {
        self.lines.concat()
    }

    /// The name of the section that `line` begins.
    fn header(line: &str) -> Option<&str> {
        line.trim()
            .strip_prefix('[')?
            .strip_suffix(']')
            .filter(|name| !name.is_empty())
    }

    /// The lines of a section (`None`: those before the first) without its header. A section that stands several times counts as the
    /// last, as it does to most who read it.
    fn body(&self, section: Option<&str>) -> Option<Range<usize>> {
        let headers: Vec<(usize, &str)> = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(n, line)| Some((n, Document::header(line)?)))
            .collect();
        let end_of = |start: usize| {
            headers
                .iter()
                .map(|(n, _)| *n)
                .find(|n| *n >= start)
                .unwrap_or(self.lines.len())
        };
        match section {
            None => Some(0..end_of(0)),
            Some(section) => {
                let start = headers.iter().rev().find(|(_, name)| *name == section)?.0 + 1;
                Some(start..end_of(start))
            }
        }
    }

    fn is_comment(line: &str) -> bool {
        line.trim_start().starts_with(['#', ';'])
    }

    /// Key, head and value of a line, if it has a key.
    fn split<'a>(&self, line: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
        let bare = line.trim_end_matches(['\r', '\n']);
        let indent = bare.len() - bare.trim_start().len();
        // A separator of white space alone stands behind the key; others may stand anywhere behind its first character.
        let separator = if self.separator.trim().is_empty() {
            &self.separator
        } else {
            self.separator.trim()
        };
        let at = bare[indent..]
            .char_indices()
            .skip(1)
            .find(|(at, _)| bare[indent + at..].starts_with(separator))?
            .0
            + indent;
        let behind = at + separator.len();
        let value = bare[behind..].trim_start();
        let head = &bare[..bare.len() - value.len()];
        Some((bare[indent..at].trim_end(), head, value.trim_end()))
    }

    /// The options in `body`, in order.
    fn places(&self, body: Range<usize>) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut current = 0;
        for n in body {
            let line = &self.lines[n];
            if line.trim().is_empty() || Document::is_comment(line) {
                continue;
            }
            if let Some(last) = places.last_mut().filter(|last| last.lines.end == n && indent(line) > current) {
                last.lines.end = n + 1;
                last.value = format!("{}\n{}", last.value, line.trim_end_matches(['\r', '\n']));
                continue;
            }
            if let Some((key, head, value)) = self.split(line) {
                current = indent(line);
                places.push(Place {
                    lines: n..n + 1,
                    key: key.to_owned(),
                    value: value.to_owned(),
                    head: head.to_owned(),
                });
            }
        }
        places
    }

    /// The options of a section with their values, each key once.
    pub fn options(&self, section: Option<&str>) -> Vec<(String, String)> {
        let mut options: Vec<(String, String)> = Vec::new();
        for place in self.body(section).map(|body| self.places(body)).unwrap_or_default() {
            match options.iter_mut().find(|(key, _)| *key == place.key) {
                Some(known) => known.1 = place.value,
                None => options.push((place.key, place.value)),
            }
        }
        options
    }

    /// `key`, the separator and what is usual around it in this file, for a new line.
    fn head(&self, key: &str) -> String {
        let bare = self.separator.trim();
        if bare.is_empty() || bare != self.separator {
            return format!("{key}{}", self.separator);
        }
        let tight = |place: &Place| !place.head.ends_with(char::is_whitespace) && !place.value.is_empty();
        let places: Vec<Place> = self.places(0..self.lines.len());
        if !places.is_empty() && places.iter().any(tight) && places.iter().all(|place| tight(place) || place.value.is_empty()) {
            format!("{key}{bare}")
        } else {
            format!("{key} {bare} ")
        }
    }

    fn end(&self) -> &'static str {
        if self.lines.first().is_some_and(|line| line.ends_with("\r\n")) {
            "\r\n"
        } else {
            "\n"
        }
    }

    /// Ensures a section, `None` being always there; says whether it was added.
    pub fn add_section(&mut self, section: Option<&str>) -> bool {
        let Some(name) = section else { return false };
        if self.body(section).is_some() {
            return false;
        }
        self.end_last_line();
        let end = self.end();
        if self.lines.last().is_some_and(|last| !last.trim().is_empty()) {
            self.lines.push(end.to_owned());
        }
        self.lines.push(format!("[{name}]{end}"));
        true
    }

    fn end_last_line(&mut self) {
        let end = self.end();
        if let Some(last) = self.lines.last_mut().filter(|last| !last.ends_with('\n')) {
            last.push_str(end);
        }
    }

    /// Ensures that `key` has `value`; in place, in place of a line that has the key commented out, or behind the section's last line.
    ///
    /// # Errors
    /// Never in practice: a pattern of our own that is none.
    pub fn set(&mut self, section: Option<&str>, key: &str, value: &str) -> Result<Option<Changed>> {
        self.add_section(section);
        let body = self.body(section).unwrap_or(0..0);
        let end = self.end();
        // Of several the last one counts.
        if let Some(place) = self.places(body.clone()).into_iter().rev().find(|place| place.key == key) {
            if place.value == value {
                return Ok(None);
            }
            self.lines.splice(place.lines, [format!("{}{value}{end}", place.head)]);
            return Ok(Some(Changed {
                before: Some(place.value),
                after: Some(value.to_owned()),
            }));
        }
        let line = format!("{}{value}{end}", self.head(key));
        let changed = Changed {
            before: None,
            after: Some(value.to_owned()),
        };
        let separator = if self.separator.trim().is_empty() {
            &self.separator
        } else {
            self.separator.trim()
        };
        let commented = Pattern::new(&format!("^#+\\s*{}\\s*{}", escape(key), escape(separator)), Flags::default())?;
        for n in body.clone() {
            if commented.starts(&self.lines[n])? {
                self.lines[n] = line;
                return Ok(Some(changed));
            }
        }
        let last = body.clone().rev().find(|n| !self.lines[*n].trim().is_empty());
        let at = last.map_or(body.start, |last| last + 1);
        if at == self.lines.len() {
            self.end_last_line();
        }
        self.lines.insert(at, line);
        Ok(Some(changed))
    }

    /// Takes `key` away, wherever it stands in the section; says what it was.
    pub fn remove(&mut self, section: Option<&str>, key: &str) -> Option<String> {
        let places = self.places(self.body(section)?);
        let mut last = None;
        for place in places.into_iter().rev().filter(|place| place.key == key) {
            self.lines.drain(place.lines);
            last.get_or_insert(place.value);
        }
        last
    }

    /// Takes a section away with all that is in it; says whether it was there.
    pub fn remove_section(&mut self, section: &str) -> bool {
        let mut found = false;
        while let Some(body) = self.body(Some(section)) {
            self.lines.drain(body.start - 1..body.end);
            found = true;
        }
        found
    }
}
