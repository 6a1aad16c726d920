//! Patterns over names: Python's `fnmatch`, and the numeric ranges of minion ids.
//!
//! Both match in time proportional to pattern times text, whatever the pattern.

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(Vec<Token>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `[a-z]`, `[!abc]`
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
    /// `[0-13]`, `[1,3,5-7]`
    Numbers(Vec<Numbers>),
}

/// `3`, `0-13`, or `00-13`, in which all numbers are two digits wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    pub first: u32,
    pub last: u32,
    /// Digits to fill up to with zeros; 0: none.
    pub width: usize,
}

impl Numbers {
    /// Reads the inside of brackets: numbers and ranges of numbers, separated by commas. `None`: it is something else.
    pub fn parse(inside: &str) -> Option<Vec<Numbers>> {
        inside.split(',').map(|part| Numbers::part(part.trim())).collect()
    }

    fn part(part: &str) -> Option<Numbers> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let digits = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return None;
        }
        let padded = first.len() > 1 && first.starts_with('0');
        let width = if padded { first.len() } else { 0 };
        Some(Numbers {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            width,
        })
    }

    /// The number as it stands in a name.
    pub fn text(self, n: u32) -> String {
        format!("{n:0width$}", width = self.width)
    }

    fn has(self, digits: &str) -> bool {
        digits
            .parse()
            .is_ok_and(|n| (self.first..=self.last).contains(&n) && self.text(n) == digits)
    }
}

impl Glob {
    /// A pattern of Python's `fnmatch`: `*`, `?`, `[seq]`, `[!seq]`. A bracket that is not closed stands for itself.
    pub fn fnmatch(pattern: &str) -> Glob {
        Glob::compile(pattern, false)
    }

    /// A pattern of minion ids: as `fnmatch`, but brackets in which numbers stand are ranges of numbers: `pi[0-13]` is pi0 to pi13
    /// (`fnmatch` would see the characters `0`, `1` and `3`), `node[1,3,5-7]` and `pi[00-13]` are what they look like. Without a dash
    /// or a comma it is a class of characters: `pi[13]` is pi1 and pi3.
    pub fn ids(pattern: &str) -> Glob {
        Glob::compile(pattern, true)
    }

    fn compile(pattern: &str, numbers: bool) -> Glob {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            tokens.push(match c {
                '*' => Token::Many,
                '?' => Token::Any,
                '[' => match bracket(rest) {
                    Some((inside, after)) => {
                        rest = after;
                        let range = numbers && inside.contains(['-', ',']);
                        match range.then(|| Numbers::parse(inside)).flatten() {
                            Some(ranges) => Token::Numbers(ranges),
                            None => class(inside),
                        }
                    }
                    None => Token::Char('['),
                },
                c => Token::Char(c),
            });
        }
        Glob(tokens)
    }

    /// Whether the pattern stands for one name only: itself.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Char(_)))
    }

    pub fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        // reached[n]: the tokens so far match the first n characters.
        let mut reached = vec![false; chars.len() + 1];
        reached[0] = true;
        for token in &self.0 {
            let mut next = vec![false; chars.len() + 1];
            match token {
                Token::Many => {
                    if let Some(first) = reached.iter().position(|r| *r) {
                        next[first..].fill(true);
                    }
                }
                Token::Numbers(ranges) => {
                    for at in (0..chars.len()).filter(|at| reached[*at]) {
                        let digits: String = chars[at..].iter().take_while(|c| c.is_ascii_digit()).take(9).collect();
                        for length in 1..=digits.len() {
                            next[at + length] |= ranges.iter().any(|range| range.has(&digits[..length]));
                        }
                    }
                }
                one => {
                    for at in (0..chars.len()).filter(|at| reached[*at]) {
                        next[at + 1] = one.has(chars[at]);
                    }
                }
            }
            reached = next;
        }
        reached[chars.len()]
    }
}

impl Token {
    fn has(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::Any => true,
            Token::Class { not, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not,
            Token::Many | Token::Numbers(_) => false,
        }
    }
}

/// The inside of a bracket that was opened before `rest`, and what follows it. A `]` that comes first belongs to the inside.
fn bracket(rest: &str) -> Option<(&str, &str)> {
    let skip = if rest.starts_with("!]") {
        2
    } else {
        usize::from(rest.starts_with(']'))
    };
    let close = skip + rest[skip..].find(']')?;
    Some((&rest[..close], &rest[close + 1..]))
}

fn class(inside: &str) -> Token {
    let (not, inside) = match inside.strip_prefix('!') {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let chars: Vec<char> = inside.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if at + 2 < chars.len() && chars[at + 1] == '-' {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    Token::Class { not, ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_python() {
        for (pattern, text, expected) in [
            ("pi*", "pi0", true),
            ("pi*", "api0", false),
            ("*", "", true),
            ("p?0", "pi0", true),
            ("p?0", "p0", false),
            ("[ab]x", "bx", true),
            ("[!ab]x", "bx", false),
            ("[!ab]x", "cx", true),
            ("[a-c]x", "bx", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("a[b", "a[b", true),
            ("[^a]", "^", true),
            ("[0-13]", "3", true),
            ("[0-13]", "12", false),
            ("Pi*", "pi0", false),
            ("*a*b*c", "xxaxxbxxc", true),
        ] {
            assert_eq!(Glob::fnmatch(pattern).matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn brackets_of_numbers_are_ranges_of_ids() {
        for (pattern, text, expected) in [
            ("pi[0-13]", "pi12", true),
            ("pi[0-13]", "pi14", false),
            ("pi[0-13]", "pi07", false),
            ("pi[00-13]", "pi07", true),
            ("pi[00-13]", "pi7", false),
            ("node[1,3,5-7]", "node6", true),
            ("node[1,3,5-7]", "node2", false),
            ("node[1,3,5-7]", "node,", false),
            ("pi[13]", "pi3", true),
            ("pi[13]", "pi13", false),
            ("pi[a-c]", "pib", true),
            ("r[1-2]n[8-11]*", "r2n10.local", true),
            ("pi[0-99999999999]", "pi5", true),
        ] {
            assert_eq!(Glob::ids(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
