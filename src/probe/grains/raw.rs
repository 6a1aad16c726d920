//! The section's lines, by what stands before their first colon.

use std::collections::HashMap;

/// The lines of each kind, in their order.
pub(super) struct Raw<'a>(HashMap<&'a str, Vec<&'a str>>);

impl<'a> Raw<'a> {
    pub(super) fn read(text: &'a str) -> Raw<'a> {
        let mut lines: HashMap<&str, Vec<&str>> = HashMap::new();
        for line in text.split('\n') {
            // An interface's name may have a colon in it.
            let known = line.strip_prefix("/sys/class/net/").and_then(|rest| rest.find("/address:"));
            let colon = known
                .map(|at| at + "/sys/class/net/".len() + "/address".len())
                .or_else(|| line.find(':'));
            if let Some(colon) = colon {
                lines.entry(&line[..colon]).or_default().push(&line[colon + 1..]);
            }
        }
        Raw(lines)
    }

    pub(super) fn lines(&self, what: &str) -> &[&'a str] {
        self.0.get(what).map_or(&[], Vec::as_slice)
    }

    pub(super) fn first(&self, what: &str) -> Option<&'a str> {
        self.lines(what).first().copied()
    }

    /// Whether the minion has this file or folder.
    pub(super) fn there(&self, what: &str) -> bool {
        self.lines("there").contains(&what)
    }

    /// The names that stand for `*` in files of the form `before*after`, with their first lines; sorted.
    pub(super) fn each(&self, before: &str, after: &str) -> Vec<(&'a str, &'a str)> {
        let mut found: Vec<(&str, &str)> = self
            .0
            .iter()
            .filter_map(|(file, lines)| Some((file.strip_prefix(before)?.strip_suffix(after)?, *lines.first()?)))
            .collect();
        found.sort_unstable();
        found
    }

    /// A file of `KEY=value` lines, as os-release(5) has them: quotes removed, the last of a key wins.
    pub(super) fn assignments(&self, file: &str) -> HashMap<&'a str, String> {
        let lines = self.lines(file).iter().filter(|line| !line.trim_start().starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.trim(), unquoted(value.trim()))).collect()
    }
}

/// A value of os-release(5): in single or double quotes, or bare; a backslash takes the next character as it is.
fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let mut text = String::with_capacity(value.len());
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}
