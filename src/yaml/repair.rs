//! What PyYAML reads and our parser refuses: the text is changed so that it reads it, and means the same.
//!
//! There are two such things. `key:<tab>value`; and lines of `[...]`, `{...}` or quotes that are not indented more than what they
//! belong to, as PyYAML itself writes them when what it writes is put into another document.

use std::collections::{BTreeMap, BTreeSet};

/// A place in the text as the parser counts: the line from 1, the column from 0.
pub(super) type Place = (usize, usize);

/// A text and what was done to it.
#[derive(Default)]
pub(super) struct Repairs {
    /// By how much lines were indented.
    indented: BTreeMap<usize, usize>,
    repaired: BTreeSet<Place>,
}

impl Repairs {
    /// The column that `place` had in the text as it was.
    pub fn column(&self, (line, column): Place) -> usize {
        column.saturating_sub(self.indented.get(&line).copied().unwrap_or(0))
    }

    /// Makes the tab before `at` a space. `None`: that has been done before and did not help.
    pub fn space_behind_colon(&mut self, text: &str, at: Place) -> Option<String> {
        if !self.repaired.insert(at) {
            return None;
        }
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let line = lines.get_mut(at.0.checked_sub(1)?)?;
        *line = line
            .chars()
            .enumerate()
            .map(|(n, c)| if n + 1 == at.1 { ' ' } else { c })
            .collect();
        Some(lines.join("\n"))
    }

    /// Indents the further lines of what is open at `wrong`. `flow`: where a flow collection is known to begin; else it is looked for
    /// behind `read`. `None`: nothing is open there, or that has been done before and did not help.
    pub fn indent(&mut self, text: &str, flow: Option<Place>, read: Place, wrong: Place) -> Option<String> {
        let start = flow.or_else(|| open_at(text, read, wrong))?;
        if !self.repaired.insert(start) {
            return None;
        }
        let from = offset(text, start)?;
        let end = from + end_of(&text[from..]).unwrap_or(text.len() - from);
        let last = text[..end].matches('\n').count() + 1;
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        for number in start.0 + 1..=last {
            let line = lines.get_mut(number - 1)?;
            let indentation = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && indentation <= start.1 {
                line.insert_str(0, &" ".repeat(start.1 + 1));
                *self.indented.entry(number).or_default() += start.1 + 1;
            }
        }
        Some(lines.join("\n"))
    }
}

fn offset(text: &str, (line, column): Place) -> Option<usize> {
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let line = text.get(before..)?;
    let within = line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(column)?;
    Some(before + within)
}

/// Where the outermost `[`, `{` or quote begins that is open at `to`, when all before `from` is closed.
fn open_at(text: &str, from: Place, to: Place) -> Option<Place> {
    let (mut at, to) = (offset(text, from)?, offset(text, to)?);
    // Whether a value can begin here.
    let mut begins = true;
    while at <= to && at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next()?;
        let next = rest[c.len_utf8()..].chars().next();
        let spaced = next.is_none_or(char::is_whitespace);
        match c {
            '[' | '{' | '\'' | '"' if begins => {
                let end = end_of(rest).map_or(text.len(), |length| at + length);
                if end > to {
                    let line_start = text[..at].rfind('\n').map_or(0, |at| at + 1);
                    let line = text[..at].matches('\n').count() + 1;
                    return Some((line, text[line_start..at].chars().count()));
                }
                at = end;
                begins = false;
                continue;
            }
            '#' if text[..at].ends_with(char::is_whitespace) => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            ':' if spaced => begins = true,
            '-' | '?' if begins && spaced => {}
            // A tag or an anchor: the value follows.
            '!' | '&' if begins => {
                at += rest.find(char::is_whitespace).unwrap_or(rest.len());
                continue;
            }
            '\n' => begins = true,
            c if c.is_whitespace() => {}
            _ => begins = false,
        }
        at += c.len_utf8();
    }
    None
}

/// The length of the flow collection or the quoted text that begins `text`; `None` if it does not end.
fn end_of(text: &str) -> Option<usize> {
    let mut at = 0;
    let mut depth = 0usize;
    // Whether a quote that stands here opens a text: in the middle of words it does not.
    let mut begins = true;
    loop {
        let rest = text.get(at..)?;
        let c = rest.chars().next()?;
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            '\'' | '"' if begins => {
                at += quoted(rest)?;
                if depth == 0 {
                    return Some(at);
                }
                begins = false;
                continue;
            }
            '#' if text[..at].ends_with(char::is_whitespace) => {
                at += rest.find('\n')?;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
        if !c.is_whitespace() {
            begins = matches!(c, '[' | '{' | ',' | ':' | '?');
        }
    }
}

/// The length of the quoted text that begins `text`, its quotes included.
fn quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && text[at + 1..].starts_with('\'') {
                chars.next();
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_begins_is_found() {
        let cases = [
            ("[a, b] c", Some(6)),
            ("{a: [b, '}'], c: \"]\\\"\"}x", Some(23)),
            ("{a: it's, b: c}", Some(15)),
            ("{a: b, # }\n c: d}", Some(17)),
            ("'it''s' x", Some(7)),
            ("[a", None),
            ("'a", None),
        ];
        for (text, expected) in cases {
            assert_eq!(end_of(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_open_is_found() {
        let cases = [
            ("a: [b]\nc: {d,\ne", (1, 0), (3, 0), Some((2, 3))),
            ("a: b[c\nd: 'e\nf'", (1, 0), (3, 0), Some((2, 3))),
            ("- &x !y {a:\nb", (1, 0), (2, 0), Some((1, 8))),
            ("a: b # {\nc", (1, 0), (2, 0), None),
        ];
        for (text, from, to, expected) in cases {
            assert_eq!(open_at(text, from, to), expected, "{text}");
        }
    }
}
