//! Python's regular expressions over `fancy-regex`: the patterns and replacements that formulas are written in.
//!
//! What differs is translated: `$` before a last newline, `\Z`, `\<`, `{` that repeats nothing, `[` in a class, flags that Rust does
//! not have, and how `re.sub` goes on after an empty match. Knows no files.

use crate::error::{Error, Result};
use fancy_regex::{Captures, Regex, RegexBuilder};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The flags of Python's `re` that change what a pattern means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    pub ignore_case: bool,
    pub multiline: bool,
    pub dot_all: bool,
    pub verbose: bool,
}

impl Flags {
    /// What `file.replace` takes when no flags are given.
    pub const MULTILINE: Flags = Flags {
        ignore_case: false,
        multiline: true,
        dot_all: false,
        verbose: false,
    };

    /// The flag called `name` (`MULTILINE`, `M`, ...), turned on. The flags without a meaning here (`UNICODE`, ...) are accepted.
    pub fn named(&mut self, name: &str) -> Result<()> {
        match name.to_ascii_uppercase().as_str() {
            "IGNORECASE" | "I" => self.ignore_case = true,
            "MULTILINE" | "M" => self.multiline = true,
            "DOTALL" | "S" => self.dot_all = true,
            "VERBOSE" | "X" => self.verbose = true,
            "ASCII" | "A" | "UNICODE" | "U" | "LOCALE" | "L" | "DEBUG" | "NOFLAG" => {}
            _ => {
                let known = ["IGNORECASE", "MULTILINE", "DOTALL", "VERBOSE", "ASCII", "UNICODE", "LOCALE"];
                return Err(Error::usage(format!("invalid re flag given: {name}"))
                    .did_you_mean(&name.to_ascii_uppercase(), known)
                    .hint(format!("the flags are {}", known.join(", "))));
            }
        }
        Ok(())
    }

    /// Python's numbers: 2 ignores case, 8 is multi-line, 16 lets the dot match newlines, 64 is verbose.
    pub fn number(&mut self, number: i64) {
        self.ignore_case |= number & 2 != 0;
        self.multiline |= number & 8 != 0;
        self.dot_all |= number & 16 != 0;
        self.verbose |= number & 64 != 0;
    }
}

/// How many compiled patterns are kept.
const KEPT: usize = 256;

/// The patterns that were compiled last, by their translated text: a state has the same ones on each minion, and compiling one
/// takes longer than all else that a state does.
static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Arc<Regex>,
    written: String,
}

impl Pattern {
    /// Compiles a pattern in Python's syntax.
    ///
    /// # Errors
    /// It is none, or uses what is not known here.
    pub fn new(pattern: &str, flags: Flags) -> Result<Pattern> {
        let (translated, flags) = translate(pattern, flags);
        let mut prefix = String::new();
        for (letter, on) in [
            ('i', flags.ignore_case),
            ('m', flags.multiline),
            ('s', flags.dot_all),
            ('x', flags.verbose),
        ] {
            if on {
                prefix.push(letter);
            }
        }
        let whole = if prefix.is_empty() {
            translated
        } else {
            format!("(?{prefix}){translated}")
        };
        let compiled = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let written = pattern.to_owned();
        if let Some(regex) = compiled().get(&whole).cloned() {
            return Ok(Pattern { regex, written });
        }
        match RegexBuilder::new(&whole).build() {
            Ok(regex) => {
                let regex = Arc::new(regex);
                let mut compiled = compiled();
                if compiled.len() >= KEPT {
                    compiled.clear();
                }
                compiled.insert(whole, regex.clone());
                Ok(Pattern { regex, written })
            }
            Err(why) => Err(Error::usage(format!("{pattern:?} is no regular expression: {why}"))
                .hint("patterns are Python's; a `\\`, `.`, `*`, `[` or `(` that means itself is written with a `\\` before it")),
        }
    }

    /// The first match's captures at or after byte `from`.
    fn captures<'t>(&self, text: &'t str, from: usize) -> Result<Option<Captures<'t, str>>> {
        self.regex
            .captures_from_pos(text, from)
            .map_err(|why| Error::state(format!("{:?} could not be matched: {why}", self.written)))
    }

    /// Whether it matches anywhere (`re.search`).
    pub fn found(&self, text: &str) -> Result<bool> {
        Ok(self.captures(text, 0)?.is_some())
    }

    /// Whether it matches at the start (`re.match`).
    pub fn starts(&self, text: &str) -> Result<bool> {
        Ok(self
            .captures(text, 0)?
            .and_then(|found| found.get(0))
            .is_some_and(|whole| whole.start() == 0))
    }

    /// The groups of the first match (`re.search(text).groups()`); `None` in it for a group that took no part. `at_start`: of a
    /// match at the start (`re.match`).
    pub fn groups_in<'t>(&self, text: &'t str, at_start: bool) -> Result<Option<Vec<Option<&'t str>>>> {
        let found = self.captures(text, 0)?.filter(|found| {
            let starts = found.get(0).is_some_and(|whole| whole.start() == 0);
            starts || !at_start
        });
        Ok(found.map(|found| found.iter().skip(1).map(|group| group.map(|group| group.as_str())).collect()))
    }

    /// `re.subn`: `text` with the first `count` matches (0: all) replaced, and how many there were.
    pub fn replace<'t>(&self, text: &'t str, replacement: &Replacement, count: usize) -> Result<(Cow<'t, str>, usize)> {
        let mut made = String::new();
        let mut replaced = 0;
        let mut copied = 0;
        let mut from = 0;
        // After an empty match the next one must get on; after any other, an empty one may follow at once, as in Python 3.7.
        let mut must_advance = false;
        while from <= text.len() && (count == 0 || replaced < count) {
            let Some(captures) = self.captures(text, from)? else { break };
            let Some(whole) = captures.get(0) else { break };
            if must_advance && whole.end() == from {
                let Some(next) = text[from..].chars().next() else { break };
                from += next.len_utf8();
                must_advance = false;
                continue;
            }
            made.push_str(&text[copied..whole.start()]);
            replacement.expand(&captures, &mut made);
            replaced += 1;
            copied = whole.end();
            from = whole.end();
            must_advance = whole.start() == whole.end();
        }
        if replaced == 0 {
            return Ok((Cow::Borrowed(text), 0));
        }
        made.push_str(&text[copied..]);
        Ok((Cow::Owned(made), replaced))
    }

    /// How many groups there are, the whole match not counted.
    fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }

    fn has_name(&self, name: &str) -> bool {
        self.regex.capture_names().flatten().any(|known| known == name)
    }
}

/// `text` as a pattern that matches just it.
pub fn escape(text: &str) -> String {
    regex::escape(text)
}

/// What a match is replaced by: Python's template, read once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replacement(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Group(usize),
    Name(String),
}

impl Replacement {
    /// A text without any meaning of its own (`backslash_literal`).
    pub fn literal(text: &str) -> Replacement {
        Replacement(vec![Part::Text(text.to_owned())])
    }

    /// A template: `\1`, `\g<1>`, `\g<name>`, `\n`, `\\`; the groups must be `pattern`'s.
    ///
    /// # Errors
    /// A group that the pattern does not have, or an escape that Python does not know.
    pub fn new(template: &str, pattern: &Pattern) -> Result<Replacement> {
        let wrong = |what: String| Error::usage(format!("{what} in the replacement {template:?}"));
        let group = |number: usize| -> Result<Part> {
            if number > pattern.groups() {
                return Err(wrong(format!("invalid group reference {number}")).hint(format!(
                    "the pattern has {} groups; a group is written with `(` and `)`",
                    pattern.groups()
                )));
            }
            Ok(Part::Group(number))
        };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(escaped) = rest.chars().next() else {
                return Err(wrong("a `\\` at the end".to_owned()).hint("a backslash that means itself is written twice"));
            };
            rest = &rest[escaped.len_utf8()..];
            let part = match escaped {
                'g' => {
                    let Some((name, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
                        return Err(wrong("a `\\g` without `<name>`".to_owned()));
                    };
                    rest = after;
                    match name.parse::<usize>() {
                        Ok(number) => group(number)?,
                        Err(_) if pattern.has_name(name) => Part::Name(name.to_owned()),
                        Err(_) => return Err(wrong(format!("unknown group name {name:?}"))),
                    }
                }
                '0'..='9' => {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).take(2).collect();
                    let octal = |digit: char| ('0'..='7').contains(&digit);
                    if escaped == '0' || (escaped <= '3' && digits.len() == 2 && digits.chars().all(octal)) {
                        let octal: String = std::iter::once(escaped)
                            .chain(digits.chars().take_while(|d| octal(*d)))
                            .collect();
                        rest = &rest[octal.len() - 1..];
                        text.push(char::from_u32(u32::from_str_radix(&octal, 8).unwrap_or(0) & 0xff).unwrap_or('\0'));
                        continue;
                    }
                    let number: String = std::iter::once(escaped).chain(digits.chars().take(1)).collect();
                    rest = &rest[number.len() - 1..];
                    group(number.parse().unwrap_or(usize::MAX))?
                }
                'n' | 't' | 'r' | 'a' | 'f' | 'v' | 'b' | '\\' => {
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'a' => '\x07',
                        'f' => '\x0c',
                        'v' => '\x0b',
                        'b' => '\x08',
                        other => other,
                    });
                    continue;
                }
                other if other.is_ascii_alphabetic() => {
                    return Err(wrong(format!("bad escape \\{other}")).hint("a backslash that means itself is written twice"));
                }
                other => {
                    text.push('\\');
                    text.push(other);
                    continue;
                }
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Replacement(parts))
    }

    fn expand(&self, captures: &Captures<str>, made: &mut String) {
        for part in &self.0 {
            // A group that took no part in the match is empty, as in Python 3.5.
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Group(n) => made.push_str(captures.get(*n).map_or("", |group| group.as_str())),
                Part::Name(name) => made.push_str(captures.name(name).map_or("", |group| group.as_str())),
            }
        }
    }
}

/// `pattern` in the syntax of `fancy-regex`, and `flags` with those that it sets for the whole of itself.
fn translate(pattern: &str, mut flags: Flags) -> (String, Flags) {
    let mut rest = pattern;
    // `(?im)` at the start is for the whole pattern: it must be known before the first `$`.
    while let Some((letters, after)) = global_flags(rest) {
        letters.chars().for_each(|letter| match letter {
            'i' => flags.ignore_case = true,
            'm' => flags.multiline = true,
            's' => flags.dot_all = true,
            'x' => flags.verbose = true,
            _ => {}
        });
        rest = after;
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('Z') => out.push_str("\\z"),
                Some('v') => out.push_str("\\x0B"),
                Some('0') => out.push_str("\\x00"),
                Some(escaped) if escaped.is_ascii_alphanumeric() => {
                    out.push('\\');
                    out.push(escaped);
                }
                // `\<` is no word boundary in Python, and `\/` or `\"` just themselves.
                Some(escaped) => literal(escaped, flags.verbose, &mut out),
                None => out.push('\\'),
            },
            '$' if !flags.multiline => out.push_str("(?=\\n?\\z)"),
            '[' => class(&mut chars, &mut out),
            '{' => match repetition(&rest[at..]) {
                Some((from, to, length)) => {
                    out.push_str(&match to {
                        None => format!("{{{from}}}"),
                        Some(to) => format!("{{{from},{to}}}"),
                    });
                    chars.by_ref().nth(length - 2);
                }
                None => out.push_str("\\{"),
            },
            '}' | ']' => literal(c, false, &mut out),
            '(' if rest[at..].starts_with("(?#") => {
                chars.by_ref().find(|(_, c)| *c == ')');
            }
            c => out.push(c),
        }
    }
    (out, flags)
}

fn literal(c: char, verbose: bool, out: &mut String) {
    if verbose && c.is_whitespace() {
        out.push_str(&format!("\\x{{{:x}}}", c as u32));
    } else {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// `(?imsx)` at the start of `pattern`: its letters and what follows.
fn global_flags(pattern: &str) -> Option<(&str, &str)> {
    let (letters, after) = pattern.strip_prefix("(?")?.split_once(')')?;
    let known = !letters.is_empty() && letters.chars().all(|c| "aiLmsux".contains(c));
    known.then_some((letters, after))
}

/// `{m}`, `{m,}`, `{,n}` or `{m,n}` at the start of `text`: the two numbers as written (`None`: exactly), and its length.
fn repetition(text: &str) -> Option<(String, Option<String>, usize)> {
    let (inside, _) = text.strip_prefix('{')?.split_once('}')?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let length = inside.len() + 2;
    match inside.split_once(',') {
        None if !inside.is_empty() && digits(inside) => Some((inside.to_owned(), None, length)),
        Some((from, to)) if digits(from) && digits(to) => {
            let from = if from.is_empty() { "0" } else { from };
            Some((from.to_owned(), Some(to.to_owned()), length))
        }
        _ => None,
    }
}

/// A class, whose `[` has been read: in Rust `[`, `&&`, `--` and `~~` mean something in it, in Python nothing.
fn class(chars: &mut std::iter::Peekable<std::str::CharIndices>, out: &mut String) {
    out.push('[');
    if chars.next_if(|(_, c)| *c == '^').is_some() {
        out.push('^');
    }
    let mut first = true;
    while let Some((_, c)) = chars.next() {
        match c {
            ']' if !first => {
                out.push(']');
                return;
            }
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('v') => out.push_str("\\x0B"),
                Some('b') => out.push_str("\\x08"),
                Some('0') => out.push_str("\\x00"),
                Some(escaped) if escaped.is_ascii_alphanumeric() => {
                    out.push('\\');
                    out.push(escaped);
                }
                Some(escaped) => literal(escaped, true, out),
                None => out.push('\\'),
            },
            '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // A range's dash is followed by its end; before another dash or at the edges it means itself.
            '-' if first || matches!(chars.peek(), Some((_, ']' | '-'))) => out.push_str("\\-"),
            c => out.push(c),
        }
        first = false;
    }
}

/// Salt's include and exclude patterns: globs over whole paths, or regular expressions written `E@...`.
#[derive(Debug)]
pub struct Sieve {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Sieve {
    /// # Errors
    /// An `E@` pattern that is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Sieve> {
        let compiled = |patterns: &[String]| -> Result<Vec<Pattern>> {
            patterns
                .iter()
                .map(|pattern| match pattern.strip_prefix("E@") {
                    Some(regex) => Pattern::new(regex, Flags::default()),
                    None => Pattern::new(&glob(pattern), Flags::default()),
                })
                .collect()
        };
        Ok(Sieve {
            include: compiled(include)?,
            exclude: compiled(exclude)?,
        })
    }

    /// Whether `path` is included, or nothing is said of that, and not excluded.
    pub fn passes(&self, path: &str) -> Result<bool> {
        let any = |patterns: &[Pattern]| -> Result<bool> {
            for pattern in patterns {
                if pattern.found(path)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok((self.include.is_empty() || any(&self.include)?) && !any(&self.exclude)?)
    }
}

/// Python's `fnmatch` as a pattern: `*` and `?` match `/` too.
pub fn glob(glob: &str) -> String {
    let mut pattern = String::from("(?s)\\A");
    let mut rest = glob;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                let negated = rest.starts_with('!');
                let inside = rest.strip_prefix('!').unwrap_or(rest);
                // A `]` right at the start means itself.
                match inside.char_indices().skip(1).find(|(_, c)| *c == ']') {
                    Some((end, _)) => {
                        let class = inside[..end].replace('\\', "\\\\");
                        let caret = if !negated && class.starts_with('^') { "\\" } else { "" };
                        pattern += &format!("[{}{caret}{class}]", if negated { "^" } else { "" });
                        rest = &inside[end + 1..];
                    }
                    None => pattern.push_str("\\["),
                }
            }
            c => pattern.push_str(&escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern + "\\Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(pattern: &str, template: &str, text: &str, flags: Flags) -> String {
        let done = Pattern::new(pattern, flags).and_then(|pattern| {
            let replacement = Replacement::new(template, &pattern)?;
            pattern.replace(text, &replacement, 0).map(|(text, n)| format!("{n} {text}"))
        });
        done.unwrap_or_else(|e| format!("error: {e}"))
    }

    #[test]
    fn a_pattern_is_compiled_once_for_the_same_flags() {
        let compiled = |flags| Pattern::new("^once [0-9]+", flags).unwrap().regex;
        // Other tests compile theirs meanwhile, and what is kept has an end.
        assert!((0..9).any(|_| Arc::ptr_eq(&compiled(Flags::MULTILINE), &compiled(Flags::MULTILINE))));
        assert!(!Arc::ptr_eq(&compiled(Flags::MULTILINE), &compiled(Flags::default())));
    }

    #[test]
    fn patterns_mean_what_they_mean_in_python() {
        // The last column is what Python 3.11 gives for `'%d %s' % re.subn(...)[::-1]`.
        let none = Flags::default();
        let table: &[(&str, &str, &str, Flags, &str)] = &[
            (
                "^#?Port .*$",
                "Port 22",
                "a\n#Port 7\nb\n",
                Flags::MULTILINE,
                "1 a\nPort 22\nb\n",
            ),
            (
                "^(?P<key>\\w+)=(.*)",
                "\\g<key> = \\2",
                "a=1\nb=2",
                Flags::MULTILINE,
                "2 a = 1\nb = 2",
            ),
            ("(a)|b", "[\\1]", "ab", none, "2 [a][]"),
            ("a$", "x", "a\n", none, "1 x\n"),
            ("a\\Z", "x", "a\n", none, "0 a\n"),
            ("${HOME}", "x", "${HOME}", Flags::MULTILINE, "0 ${HOME}"),
            ("\\${HOME}", "x", "${HOME}", Flags::MULTILINE, "1 x"),
            ("a{,2}b", "x", "aab b", none, "2 x x"),
            ("{%.*%}", "x", "{% a %}", none, "1 x"),
            ("[[:a]+", "x", "[:a-b", none, "1 x-b"),
            ("[]a]", "x", "]ab", none, "2 xxb"),
            ("[a&&b]", "x", "a&b", none, "3 xxx"),
            ("[a-c-]", "x", "b-d", none, "2 xxd"),
            ("[--a]", "x", "a-.", none, "3 xxx"),
            ("\\<a\\>", "x", "<a>", none, "1 x"),
            ("\\/etc\\/x", "\\/y", "/etc/x", none, "1 \\/y"),
            ("(?i)ABC", "x", "abc", none, "1 x"),
            ("(?m)^a$", "x", "a\na", none, "2 x\nx"),
            ("a(?#note)b", "x", "ab", none, "1 x"),
            ("(?<!b)a(?=c)", "x", "ac bac", none, "1 xc bac"),
            ("(a)\\1", "x", "aab", none, "1 xb"),
            (".*", "x", "abc", none, "2 xx"),
            ("x*", "-", "abxd", none, "5 -a-b--d-"),
            ("^", "# ", "a\nb\n", Flags::MULTILINE, "3 # a\n# b\n# "),
            ("a", "\\n\\t\\\\", "a", none, "1 \n\t\\"),
            ("a", "\\.\\&", "a", none, "1 \\.\\&"),
            ("a", "\\060\\101", "a", none, "1 0A"),
            ("é+", "e", "éé", none, "1 e"),
            ("a", "\\d", "a", none, "error: bad escape \\d in the replacement \"\\\\d\""),
            (
                "a",
                "\\1",
                "a",
                none,
                "error: invalid group reference 1 in the replacement \"\\\\1\"",
            ),
        ];
        for (pattern, template, text, flags, expected) in table {
            assert_eq!(
                sub(pattern, template, text, *flags),
                *expected,
                "{pattern:?} {template:?} {text:?}"
            );
        }
        assert!(sub("(", "x", "a", none).starts_with("error: \"(\" is no regular expression"));
    }

    #[test]
    fn flags_have_names_and_numbers() {
        let mut flags = Flags::default();
        flags.number(8 | 2);
        flags.named("dotall").unwrap();
        assert_eq!(
            flags,
            Flags {
                ignore_case: true,
                multiline: true,
                dot_all: true,
                verbose: false
            }
        );
        let error = flags.named("MULTLINE").unwrap_err();
        assert_eq!(error.diagnostics()[0].hints[0], "did you mean `MULTILINE`?");
    }

    #[test]
    fn globs_and_patterns_sieve_paths() {
        let table: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &[], "a/b", true),
            (&["*.conf"], &[], "a/b.conf", true),
            (&["*.conf"], &[], "a/b.confx", false),
            (&[], &[".git*", "E@^tmp/"], "tmp/x", false),
            (&[], &[".git*", "E@^tmp/"], ".git/x", false),
            (&["*"], &["*.bak"], "x.bak", false),
            (&["[!a]?"], &[], "bc", true),
            (&["[!a]?"], &[], "ac", false),
            (&["[]x]"], &[], "]", true),
            (&["[x"], &[], "[x", true),
        ];
        for (include, exclude, path, expected) in table {
            let own = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
            let sieve = Sieve::new(&own(include), &own(exclude)).unwrap();
            assert_eq!(sieve.passes(path).unwrap(), *expected, "{include:?} {exclude:?} {path}");
        }
    }
}
