//! A template cut into text, prints and tags.

use super::token::{self, Inside, Kind, Parsed, SyntaxError, Token};

/// One piece of a template; offsets are bytes of the source.
pub enum Node<'s> {
    /// Text outside of tags, and `raw` blocks whole.
    Text {
        from: usize,
        to: usize,
    },
    /// `{# ... #}`; `mark` and `close_mark` are its `-` or `+`.
    Comment {
        from: usize,
        to: usize,
        mark: &'s str,
        close_mark: &'s str,
    },
    Print(Tag<'s>),
    Tag(Tag<'s>),
}

pub struct Tag<'s> {
    /// Where it opens, and its `-` or `+`.
    pub at: usize,
    pub mark: &'s str,
    pub inside: Inside<'s>,
}

impl<'s> Tag<'s> {
    /// The statement's name; `None` for a tag that begins with something else.
    pub fn name(&self) -> Option<&'s str> {
        match self.inside.tokens.first()?.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        }
    }

    /// The tokens after the statement's name.
    pub fn rest(&self) -> &[Token<'s>] {
        self.inside.tokens.get(1..).unwrap_or_default()
    }

    pub fn mentions(&self, name: &str) -> bool {
        self.inside.tokens.iter().any(|token| token.kind == Kind::Name(name))
    }
}

/// Cuts `text` at its tags.
pub fn cut(text: &str) -> Parsed<Vec<Node<'_>>> {
    let mut nodes = Vec::new();
    let mut from = 0;
    let mut search = 0;
    while let Some(at) = opening(text, search) {
        if text.as_bytes()[at + 1] == b'%'
            && let Some(length) = basic_tag(&text[at..], "raw")
        {
            // minijinja knows `raw` itself; here its end must be found, so that nothing in it is read as a tag.
            search = raw_end(text, at + length).ok_or_else(|| SyntaxError::new(at, "`raw` is never closed by `{% endraw %}`"))?;
            continue;
        }
        if from < at {
            nodes.push(Node::Text { from, to: at });
        }
        let mark = mark_at(text, at + 2);
        let inner = at + 2 + mark.len();
        let end = match text.as_bytes()[at + 1] {
            b'#' => {
                let Some(close) = text[at + 2..].find("#}").map(|found| at + 2 + found) else {
                    return Err(SyntaxError::new(at, "`{#` is never closed by `#}`"));
                };
                let close_mark = if close > inner.min(close) {
                    mark_at(text, close - 1)
                } else {
                    ""
                };
                nodes.push(Node::Comment {
                    from: at,
                    to: close + 2,
                    mark,
                    close_mark,
                });
                close + 2
            }
            b'{' => {
                let inside = token::inside(text, inner, at, "}}")?;
                let end = inside.end;
                nodes.push(Node::Print(Tag { at, mark, inside }));
                end
            }
            _ => {
                let inside = token::inside(text, inner, at, "%}")?;
                let end = inside.end;
                nodes.push(Node::Tag(Tag { at, mark, inside }));
                end
            }
        };
        from = end;
        search = end;
    }
    if from < text.len() {
        nodes.push(Node::Text { from, to: text.len() });
    }
    Ok(nodes)
}

fn opening(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    (from..bytes.len().saturating_sub(1)).find(|at| bytes[*at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

fn mark_at(text: &str, at: usize) -> &str {
    match text.as_bytes().get(at) {
        Some(b'-' | b'+') => &text[at..at + 1],
        _ => "",
    }
}

/// The length of a `{%- name -%}` at the start of `text`.
fn basic_tag(text: &str, name: &str) -> Option<usize> {
    let rest = text.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start();
    let rest = rest.strip_prefix(name)?.trim_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// Just after the `endraw` tag that closes a `raw` whose contents begin at `from`.
fn raw_end(text: &str, from: usize) -> Option<usize> {
    let mut search = from;
    loop {
        let at = search + text[search..].find("{%")?;
        if let Some(length) = basic_tag(&text[at..], "endraw") {
            return Some(at + length);
        }
        search = at + 2;
    }
}
