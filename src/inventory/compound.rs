//! Compound expressions: terms, `and`, `or`, `not` and parentheses.

use super::target::{Expr, FindGroup, Source, TargetKind, Word};
use crate::error::Result;

/// Parentheses deeper than this are an error rather than a deep recursion.
const DEEPEST: usize = 64;

/// Reads all of `source`.
pub(super) fn parse(source: Source, groups: FindGroup) -> Result<Expr> {
    let words = words(source);
    let mut parser = Parser {
        source,
        words: &words,
        next: 0,
        groups,
        depth: 0,
    };
    let expr = parser.any()?;
    match parser.peek() {
        None => Ok(expr),
        Some(word) if word.text == ")" => Err(source.error("this `)` closes nothing", word.offset)),
        Some(word) => Err(source
            .error(&format!("expected `and` or `or` before `{}`", word.text), word.offset)
            .hint("terms are joined by `and` and `or`: `web* and not web1`")),
    }
}

/// Words at white space; parentheses are words of their own, unless a word opens and closes them itself (`E@web(1|2)`).
fn words(source: Source<'_>) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = source.text;
    loop {
        let blank = rest.len() - rest.trim_start().len();
        rest = &rest[blank..];
        if rest.is_empty() {
            return words;
        }
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let mut word = Word {
            text: &rest[..length],
            offset: source.text.len() - rest.len(),
        };
        rest = &rest[length..];
        while let Some(inner) = word.text.strip_prefix('(') {
            words.push(Word {
                text: "(",
                offset: word.offset,
            });
            word = Word {
                text: inner,
                offset: word.offset + 1,
            };
        }
        let balance = |text: &str| text.matches(')').count() as i64 - text.matches('(').count() as i64;
        let mut closing = 0;
        while word.text.ends_with(')') && balance(word.text) > 0 {
            word.text = &word.text[..word.text.len() - 1];
            closing += 1;
        }
        if !word.text.is_empty() {
            words.push(word);
        }
        let end = word.offset + word.text.len();
        words.extend((0..closing).map(|n| Word {
            text: ")",
            offset: end + n,
        }));
    }
}

/// Recursive descent: `not` binds before `and`, `and` before `or`.
struct Parser<'a, 'g> {
    source: Source<'a>,
    words: &'a [Word<'a>],
    next: usize,
    groups: FindGroup<'g>,
    depth: usize,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<Word<'a>> {
        self.words.get(self.next).copied()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|word| word.text == text);
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Expr> {
        let mut exprs = vec![self.all()?];
        while self.eat("or") {
            exprs.push(self.all()?);
        }
        Ok(if exprs.len() == 1 { exprs.remove(0) } else { Expr::Any(exprs) })
    }

    fn all(&mut self) -> Result<Expr> {
        let mut exprs = vec![self.not()?];
        while self.eat("and") {
            exprs.push(self.not()?);
        }
        Ok(if exprs.len() == 1 { exprs.remove(0) } else { Expr::All(exprs) })
    }

    fn not(&mut self) -> Result<Expr> {
        let mut negated = false;
        while self.eat("not") {
            negated = !negated;
        }
        let expr = self.one()?;
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn one(&mut self) -> Result<Expr> {
        let source = self.source;
        let Some(word) = self.peek() else {
            return Err(source.error("the expression ends where a term was expected", source.text.trim_end().len()));
        };
        match word.text {
            "and" | "or" | ")" => Err(source
                .error(&format!("expected a term, not `{}`", word.text), word.offset)
                .hint("terms are joined by `and` and `or`: `web* and not web1`")),
            "(" => {
                self.next += 1;
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(source.error("the parentheses are nested too deeply", word.offset));
                }
                let expr = self.any()?;
                self.depth -= 1;
                if !self.eat(")") {
                    let error = match self.peek() {
                        None => source.error("this `(` is never closed", word.offset),
                        Some(odd) => source.error(&format!("expected `and`, `or` or `)` before `{}`", odd.text), odd.offset),
                    };
                    return Err(error);
                }
                Ok(expr)
            }
            text => {
                self.next += 1;
                let Some((prefix, rest)) = text.split_once('@') else {
                    return source.term(TargetKind::Glob, word, ":", self.groups);
                };
                let offset = word.offset + prefix.len() + 1;
                // `G|@a|b`: the character between the letter and the `@` takes the colon's place.
                let mut chars = prefix.chars();
                let letter = chars.next().map(String::from).unwrap_or_default();
                let delimiter = match chars.as_str() {
                    "" => ":",
                    delimiter => delimiter,
                };
                let kind = TargetKind::from_letter(&letter).filter(|_| delimiter.chars().count() == 1).ok_or_else(|| {
                    source
                        .error(&format!("unknown matcher `{prefix}@`"), word.offset)
                        .hint("G@ grain, P@ grain by regex, I@ pillar, J@ pillar by regex, E@ id by regex, L@ list, S@ subnet, N@ nodegroup, R@ range")
                })?;
                if rest.is_empty() {
                    return Err(source.error(&format!("nothing follows `{prefix}@`"), word.offset));
                }
                source.term(kind, Word { text: rest, offset }, delimiter, self.groups)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Pos;

    #[test]
    fn words_keep_the_parentheses_of_regular_expressions() {
        let words = |text| {
            let at = Pos::default();
            words(Source { text, at })
                .into_iter()
                .map(|word| word.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(words("( a and b )"), ["(", "a", "and", "b", ")"]);
        assert_eq!(words("(a and E@web(1|2))"), ["(", "a", "and", "E@web(1|2)", ")"]);
        assert_eq!(words("((a))"), ["(", "(", "a", ")", ")"]);
    }
}
