//! Target expressions, parsed: which minions a command or a line of `top.sls` is meant for.

use super::glob::Glob;
use super::groups::Nodegroups;
use super::matching::Subnet;
use crate::error::{Error, FileId, Pos, Result};
use fancy_regex::Regex;
use std::sync::Arc;

/// How an expression is to be read; Salt's matchers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetKind {
    /// `web* and G@os:Debian and not pi0`; a glob is the simple case.
    #[default]
    Compound,
    Glob,
    /// `pi0,pi1`: exact ids.
    List,
    /// A regular expression that must match from the start of the id.
    Regex,
    /// `os:Debian`, with globs.
    Grain,
    GrainRegex,
    /// `role:web`, with globs.
    Pillar,
    PillarRegex,
    PillarExact,
    Nodegroup,
    /// `192.168.1.0/24`, or one address.
    Subnet,
    /// Salt's range expressions, of which picloud knows `pi[0-3],web1`.
    Range,
}

impl TargetKind {
    /// The matcher that `- match: name` of a top file names.
    ///
    /// # Errors
    /// No such matcher, with the nearest; or one that needs what picloud has not.
    pub fn from_salt(name: &str) -> Result<TargetKind> {
        const NAMES: [(&str, TargetKind); 12] = [
            ("compound", TargetKind::Compound),
            ("glob", TargetKind::Glob),
            ("list", TargetKind::List),
            ("pcre", TargetKind::Regex),
            ("grain", TargetKind::Grain),
            ("grain_pcre", TargetKind::GrainRegex),
            ("pillar", TargetKind::Pillar),
            ("pillar_pcre", TargetKind::PillarRegex),
            ("pillar_exact", TargetKind::PillarExact),
            ("nodegroup", TargetKind::Nodegroup),
            ("ipcidr", TargetKind::Subnet),
            ("range", TargetKind::Range),
        ];
        if name == "data" {
            return Err(Error::usage(
                "the matcher `data` asks a minion's data store, which minions without an agent do not have",
            ));
        }
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| {
                Error::usage(format!("unknown matcher `{name}`"))
                    .did_you_mean(name, NAMES.iter().map(|(known, _)| *known))
                    .hint(format!("the matchers are {}", NAMES.map(|(known, _)| known).join(", ")))
            })
    }

    /// The letter of a compound expression: `G` in `G@os:Debian`.
    pub(super) fn from_letter(letter: &str) -> Option<TargetKind> {
        Some(match letter {
            "G" => TargetKind::Grain,
            "P" => TargetKind::GrainRegex,
            "E" => TargetKind::Regex,
            "L" => TargetKind::List,
            "I" => TargetKind::Pillar,
            "J" => TargetKind::PillarRegex,
            "S" => TargetKind::Subnet,
            "R" => TargetKind::Range,
            "N" => TargetKind::Nodegroup,
            _ => return None,
        })
    }
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it was written.
    pub text: String,
    pub(super) expr: Expr,
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    /// Any of these; each as it was written, too.
    Names(Vec<(String, Glob)>),
    List(Vec<String>),
    Regex(Box<Regex>),
    Data(Data),
    Subnet(Subnet),
    Group(Arc<Expr>),
    Not(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
}

/// A look into grains or pillar.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) pillar: bool,
    /// `os:Debian`: keys and, last, the value.
    pub(super) path: String,
    pub(super) delimiter: String,
    pub(super) compare: Compare,
}

/// How a value of grains or pillar is compared, always without regard to case, as Salt does.
#[derive(Clone, Debug)]
pub enum Compare {
    Glob,
    Exact,
    /// The expression as it was written: what of it is the key is found out while matching.
    Regex,
}

impl Target {
    /// Reads an expression of the command line.
    ///
    /// # Errors
    /// What is wrong with it, pointing into the expression.
    pub fn parse(kind: TargetKind, text: &str, groups: &Nodegroups) -> Result<Target> {
        Target::parse_at(kind, text, groups, Pos::default())
    }

    /// Reads an expression that stands at `at` in a file.
    ///
    /// # Errors
    /// What is wrong with it, at that place.
    pub fn parse_at(kind: TargetKind, text: &str, groups: &Nodegroups, at: Pos) -> Result<Target> {
        let find = |name: &str| groups.find(name);
        let expr = Source { text, at }.parse(kind, &find)?;
        Ok(Target {
            text: text.to_owned(),
            expr,
        })
    }

    /// All minions.
    pub fn all() -> Target {
        Target {
            text: "*".to_owned(),
            expr: Expr::Names(vec![("*".to_owned(), Glob::ids("*"))]),
        }
    }

    /// Whether grains, or addresses, which are among them, are asked for.
    pub fn uses_grains(&self) -> bool {
        self.expr
            .any(&|expr| matches!(expr, Expr::Data(Data { pillar: false, .. }) | Expr::Subnet(_)))
    }

    pub fn uses_pillar(&self) -> bool {
        self.expr.any(&|expr| matches!(expr, Expr::Data(Data { pillar: true, .. })))
    }

    /// The ids that are named in full: each is meant to exist.
    pub(super) fn literal_ids(&self) -> Vec<&str> {
        let mut ids = Vec::new();
        self.expr.literal_ids(&mut ids);
        ids
    }
}

impl Expr {
    fn any(&self, is: &dyn Fn(&Expr) -> bool) -> bool {
        is(self)
            || match self {
                Expr::Group(expr) => expr.any(is),
                Expr::Not(expr) => expr.any(is),
                Expr::All(exprs) | Expr::Any(exprs) => exprs.iter().any(|expr| expr.any(is)),
                _ => false,
            }
    }

    /// Without those of nodegroups, which are checked where they are defined.
    pub(super) fn literal_ids<'a>(&'a self, ids: &mut Vec<&'a str>) {
        match self {
            Expr::Names(names) => {
                ids.extend(
                    names
                        .iter()
                        .filter(|(_, glob)| glob.is_literal())
                        .map(|(name, _)| name.as_str()),
                );
            }
            Expr::List(names) => ids.extend(names.iter().map(String::as_str)),
            Expr::Not(expr) => expr.literal_ids(ids),
            Expr::All(exprs) | Expr::Any(exprs) => exprs.iter().for_each(|expr| expr.literal_ids(ids)),
            Expr::Regex(_) | Expr::Data(_) | Expr::Subnet(_) | Expr::Group(_) => {}
        }
    }
}

/// Finds a nodegroup's expression.
pub(super) type FindGroup<'a> = &'a dyn Fn(&str) -> Result<Arc<Expr>>;

/// The text of an expression, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// Unknown: on the command line.
    pub(super) at: Pos,
}

/// A word of a compound expression.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Bytes before it.
    pub(super) offset: usize,
}

impl Source<'_> {
    pub(super) fn parse(self, kind: TargetKind, groups: FindGroup) -> Result<Expr> {
        if self.text.trim().is_empty() {
            return Err(self.error("the target is empty", 0).hint("`'*'` means all minions"));
        }
        match kind {
            TargetKind::Compound => super::compound::parse(self, groups),
            kind => self.term(
                kind,
                Word {
                    text: self.text,
                    offset: 0,
                },
                ":",
                groups,
            ),
        }
    }

    pub(super) fn error(self, message: &str, offset: usize) -> Error {
        let error = Error::usage(message);
        if self.at.is_known() {
            return error.at(self.at);
        }
        let before = self.text.get(..offset).unwrap_or(self.text);
        let column = before.chars().count() as u32 + 1;
        error.at(Pos::new(FileId::of("target"), 1, column)).excerpt(self.text)
    }

    /// One term in the way of `kind`.
    pub(super) fn term(self, kind: TargetKind, word: Word, delimiter: &str, groups: FindGroup) -> Result<Expr> {
        let Word { text, offset } = word;
        let fail = |message: String| self.error(&message, offset);
        match kind {
            TargetKind::Compound | TargetKind::Glob => {
                let names = split_names(text);
                if names.iter().any(|name| name.is_empty()) {
                    return Err(fail(format!("`{text}` has an empty name in it")));
                }
                Ok(Expr::Names(
                    names.into_iter().map(|name| (name.to_owned(), Glob::ids(name))).collect(),
                ))
            }
            TargetKind::Range => {
                if let Some(odd) = text.chars().find(|c| "%&{}/".contains(*c)) {
                    return Err(fail(format!(
                        "`{odd}` of a range expression needs a range server, which picloud does not ask"
                    ))
                    .hint("ranges are written `pi[0-3],web1`; for more, define a nodegroup"));
                }
                self.term(TargetKind::Glob, word, delimiter, groups)
            }
            TargetKind::List => {
                let names: Vec<String> = text
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect();
                match names.is_empty() {
                    true => Err(fail("the list is empty".to_owned())),
                    false => Ok(Expr::List(names)),
                }
            }
            TargetKind::Regex => Ok(Expr::Regex(Box::new(self.regex(text, offset)?))),
            TargetKind::Nodegroup => match groups(text.trim()) {
                Ok(expr) => Ok(Expr::Group(expr)),
                Err(error) if self.at.is_known() => Err(error.at(self.at)),
                Err(error) => {
                    let at = fail(String::new()).diagnostics()[0].at;
                    Err(if error.diagnostics()[0].at.is_known() {
                        error
                    } else {
                        error.at(at).excerpt(self.text)
                    })
                }
            },
            TargetKind::Subnet => {
                let subnet = Subnet::parse(text.trim()).ok_or_else(|| {
                    fail(format!("`{text}` is neither an IP address nor a subnet")).hint("a subnet is written `192.168.1.0/24`")
                })?;
                Ok(Expr::Subnet(subnet))
            }
            TargetKind::Grain
            | TargetKind::GrainRegex
            | TargetKind::Pillar
            | TargetKind::PillarRegex
            | TargetKind::PillarExact => {
                let pillar = matches!(kind, TargetKind::Pillar | TargetKind::PillarRegex | TargetKind::PillarExact);
                let compare = match kind {
                    TargetKind::GrainRegex | TargetKind::PillarRegex => Compare::Regex,
                    TargetKind::PillarExact => Compare::Exact,
                    _ => Compare::Glob,
                };
                let (what, example) = if pillar {
                    ("pillar", "role:web")
                } else {
                    ("grain", "os:Debian")
                };
                let Some((_, value)) = text.rsplit_once(delimiter).filter(|(key, _)| !key.is_empty()) else {
                    return Err(fail(format!("`{text}` names no value")).hint(format!(
                        "a {what} and its value are written `{example}`; any value will do for `{}{delimiter}*`",
                        text.trim_end_matches(delimiter)
                    )));
                };
                if matches!(compare, Compare::Regex) {
                    self.regex(value, offset + text.len() - value.len())?;
                }
                Ok(Expr::Data(Data {
                    pillar,
                    path: text.to_owned(),
                    delimiter: delimiter.to_owned(),
                    compare,
                }))
            }
        }
    }

    fn regex(self, text: &str, offset: usize) -> Result<Regex> {
        // Compiled as it stands first, so that a position in the message is one in the user's text.
        let compiled = Regex::new(text).and_then(|_| anchored(text));
        compiled.map_err(|e| self.error(&format!("`{text}` is not a regular expression: {}", regex_error(&e)), offset))
    }
}

/// `pattern` as Python's `re.match` takes it: from the start, not to the end.
pub(super) fn anchored(pattern: &str) -> Result<Regex, fancy_regex::Error> {
    Regex::new(&format!("^(?:{pattern})"))
}

/// What is wrong, without the drawing of the expression above it and the byte position before it: ours say where better.
fn regex_error(error: &fancy_regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or(&text).trim_start_matches("error: ");
    let line = match line.split_once("position ").and_then(|(_, rest)| rest.split_once(": ")) {
        Some((_, what)) => what,
        None => line,
    };
    let mut chars = line.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// At the commas outside of brackets.
fn split_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            ',' if !inside => {
                names.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(&text[start..]);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Target> {
        Target::parse(TargetKind::Compound, text, &Nodegroups::default())
    }

    #[test]
    fn errors_point_into_the_expression() {
        for (text, expected) in [
            ("", "target:1:1: the target is empty"),
            ("web* and", "target:1:9: the expression ends where a term was expected"),
            ("web* pi0", "target:1:6: expected `and` or `or` before `pi0`"),
            ("and pi0", "target:1:1: expected a term, not `and`"),
            ("(pi0 or pi1", "target:1:1: this `(` is never closed"),
            ("pi0)", "target:1:4: this `)` closes nothing"),
            ("pi0 and (pi1 pi2)", "target:1:14: expected `and`, `or` or `)` before `pi2`"),
            ("pi0 or X@os:Debian", "target:1:8: unknown matcher `X@`"),
            ("pi0 or G@", "target:1:8: nothing follows `G@`"),
            ("pi0 or G@os", "target:1:10: `os` names no value"),
            (
                "not E@web(",
                "target:1:7: `web(` is not a regular expression: opening parenthesis without closing parenthesis",
            ),
            (
                "S@10.0.0.0/40",
                "target:1:3: `10.0.0.0/40` is neither an IP address nor a subnet",
            ),
            ("N@workers", "target:1:3: no nodegroup is called `workers`"),
            ("pi0,,pi1", "target:1:1: `pi0,,pi1` has an empty name in it"),
            (
                "R@%cluster",
                "target:1:3: `%` of a range expression needs a range server, which picloud does not ask",
            ),
        ] {
            assert_eq!(parse(text).map(|_| ()).unwrap_err().to_string(), expected, "{text}");
        }
        let deep = "(".repeat(5000);
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn matchers_have_salts_names() {
        assert_eq!(TargetKind::from_salt("grain_pcre").unwrap(), TargetKind::GrainRegex);
        let error = TargetKind::from_salt("grians").unwrap_err();
        assert_eq!(error.diagnostics()[0].hints[0], "did you mean `grain`?");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_text_is_too_odd(text in "([()\\[\\]@:*!|,é ]|and|or|not|G|E|S|N|pi[0-9]){0,24}") {
            let _ = parse(&text);
        }
    }
}
