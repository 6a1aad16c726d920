//! Jinja2's syntax with Salt's tags, rewritten to what minijinja understands.
//!
//! The templates that people have are written for Jinja2 and Python: `{% do %}` with any expression, `import_yaml`,
//! `'%s' % x`, lists that are appended to. [`rewrite`] reads all of it by Jinja2's grammar and writes the same template in
//! minijinja's dialect, line by line, so that every place can be told in the source's own lines and columns.
//! Knows no values and runs nothing.

mod expr;
mod nodes;
mod out;
mod stmt;
mod token;

pub use out::{Lines, Offsets};
pub use token::SyntaxError;

use nodes::Node;
use out::Out;
use std::borrow::Cow;
use stmt::Rewriter;
use token::Parsed;

/// What minijinja is given, and the way back.
#[derive(Clone, Debug)]
pub struct Rewritten {
    pub text: String,
    pub offsets: Offsets,
    /// The names that the template assigns.
    pub assigned: Vec<String>,
    /// The filters (`true`) and tests (`false`) that it uses unconditionally, with where in the source.
    pub used: Vec<(bool, String, usize)>,
}

/// Jinja2's whitespace options; Salt leaves both off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Whitespace {
    pub trim_blocks: bool,
    pub lstrip_blocks: bool,
}

/// Line ends as Jinja2 sees them: only `\n`.
pub fn normalize(source: &str) -> Cow<'_, str> {
    if source.contains('\r') {
        Cow::Owned(source.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(source)
    }
}

/// `source`, which has no `\r`, in minijinja's dialect. `prologue` is a statement to be run before all others.
pub fn rewrite(source: &str, lines: &Lines, whitespace: Whitespace, prologue: &str) -> Parsed<Rewritten> {
    let nodes = nodes::cut(source)?;
    let mut out = Out::new(source, lines);
    out.add(prologue);
    out.renames_self = nodes.iter().any(|node| match node {
        Node::Tag(tag) if matches!(tag.name(), Some("set" | "for" | "import" | "from" | "macro" | "with")) => {
            tag.mentions("self")
        }
        _ => false,
    });
    let mut rewriter = Rewriter::new(&mut out);
    // The line end that a tag before it has taken.
    let mut taken = 0;
    for (n, node) in nodes.iter().enumerate() {
        let following = &nodes[n + 1..];
        match node {
            Node::Text { from, to } => {
                let to = *to - stripped(source, *from, *to, following.first(), whitespace);
                rewriter.out.verbatim(from + taken, to.max(from + taken));
                taken = 0;
            }
            Node::Comment {
                from, to, close_mark, ..
            } => {
                taken = trims(source, *to, close_mark, whitespace);
                if taken > 0 {
                    rewriter.out.verbatim(*from, to - 2);
                    rewriter.out.catch_up(to + taken);
                    rewriter.out.verbatim(to - 2, *to);
                } else {
                    rewriter.out.verbatim(*from, *to);
                }
            }
            Node::Print(tag) => rewriter.print(tag, false)?,
            Node::Tag(tag) => {
                taken = trims(source, tag.inside.end, tag.inside.close_mark, whitespace);
                rewriter.tag(tag, following, taken > 0)?;
            }
        }
    }
    rewriter.finish()?;
    let assigned = rewriter.assigned.iter().map(|name| (*name).to_owned()).collect();
    Ok(Rewritten {
        text: out.text,
        offsets: out.offsets,
        assigned,
        used: out.used,
    })
}

/// 1 where `trim_blocks` takes the line end after a tag that ends at `end`.
fn trims(source: &str, end: usize, close_mark: &str, whitespace: Whitespace) -> usize {
    (whitespace.trim_blocks && close_mark.is_empty() && source[end..].starts_with('\n')) as usize
}

/// How many bytes `lstrip_blocks` takes from the end of the text `from..to` before `next`.
fn stripped(source: &str, from: usize, to: usize, next: Option<&Node>, whitespace: Whitespace) -> usize {
    let mark = match next {
        Some(Node::Tag(tag)) => tag.mark,
        Some(Node::Comment { mark, .. }) => mark,
        _ => "+",
    };
    if !whitespace.lstrip_blocks || !mark.is_empty() {
        return 0;
    }
    let text = &source[from..to];
    let kept = text.trim_end_matches([' ', '\t']);
    if kept.ends_with('\n') || (kept.is_empty() && from == 0) {
        text.len() - kept.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str) -> String {
        match rewrite(source, &Lines::of(source), Whitespace::default(), "") {
            Ok(rewritten) => rewritten.text,
            Err(error) => format!("{}: {}", error.at, error.message),
        }
    }

    #[test]
    fn statements_and_expressions_are_rewritten_on_their_lines() {
        for (source, expected) in [
            ("plain text\n", "plain text\n"),
            ("{{ a }}", "{{ a }}"),
            ("{{- a.b['c'] -}}", "{{- a.b['c'] -}}"),
            ("{{ [1, 'x'] }}", "{{ ([1, 'x']|_list) }}"),
            ("{{ {'a': {}} }}", "{{ ({'a': ({ }|_dict) }|_dict) }}"),
            ("{{ '%s-%d' % (a, 1) }}", "{{ ('%s-%d'|_mod((a, 1))) }}"),
            ("{{ a + b * c }}", "{{ (a|_add((b|_mul(c)))) }}"),
            ("{{ not a in b }}", "{{ (not (a|_in(b))) }}"),
            ("{{ a is not defined or b }}", "{{ ((a is not defined) or b) }}"),
            ("{{ a if b }}", "{{ (a if b) }}"),
            ("{{ x[1:] }}", "{{ (x|_slice(1, none, none)) }}"),
            ("{{ -1 | abs }}", "{{ ((-1)|abs) }}"),
            (
                "{% do a.update({'b': 1}) if c %}",
                "{% set __do = (a.update(({'b': 1 }|_dict)) if c) %}",
            ),
            ("{% if a, b %}x{% endif %}", "{% if (a, b) %}x{% endif %}"),
            (
                "{% for k, v in d.items() %}{% endfor %}",
                "{% for k,v in (d.items())|_iter %}{% endfor %}",
            ),
            (
                "{% import_yaml 'a.yaml' as b with context %}",
                "{% import ('a.yaml')|_template(true) as b %}{% set b = b|_load('yaml', ('a.yaml')) %}",
            ),
            (
                "{% load_yaml as x %}\na: 1\n{% endload %}",
                "{% set x|_captured|_load('yaml', none, 1) %}\na: 1\n{% endset %}",
            ),
            (
                "{% include 'x' ignore missing %}",
                "{% with %}{% include ('x')|_template(true) ignore missing %}{% endwith %}",
            ),
            (
                "{% from 'a' import b as c, d with context %}",
                "{% from ('a')|_template(true) import b as c, d %}",
            ),
            (
                "{% macro m(a, b=1) %}{{ kwargs }}{% endmacro -%}",
                "{% macro m(a, b=1, kwargs=none) %}{{ kwargs }}{% endmacro %}{% set m = m|_macro(2, false, true) -%}",
            ),
            ("{% raw %}{{ x }}{% endraw %}", "{% raw %}{{ x }}{% endraw %}"),
            ("{# {{ x #}", "{# {{ x #}"),
            ("{{ f(a,\n   b\n) }}", "{{ f(a, \nb) \n}}"),
            ("{% set self = 1 %}{{ self }}", "{% set self_ = 1 %}{{ self_ }}"),
        ] {
            assert_eq!(rewritten(source), expected, "{source}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (source, expected) in [
            ("{{ a", "0: `{{` is never closed by `}}`"),
            ("{% if a %}x", "3: `if` is never closed by `{% endif %}`"),
            ("x{% endif %}", "4: `endif` closes nothing: there is no `if` before it"),
            ("{% for a in b %}{% endif %}", "19: `endif` where `endfor` must come first"),
            ("{{ a b }}", "5: expected the end of the tag, found `b`"),
            ("{{ 'a }}", "3: this string is never closed"),
            ("{% fro 'a' %}", "3: unknown statement `fro`"),
            ("{{ }}", "0: the braces `{{ }}` hold no expression"),
            ("{% else %}", "3: `else` stands outside of any `if`"),
            ("{{ {1, 2} }}", "5: expected `:` and a value, found `,`"),
        ] {
            assert_eq!(rewritten(source), expected, "{source}");
        }
    }

    #[test]
    fn blocks_are_trimmed_and_lines_kept() {
        let source = "a\n  {% if x %}\nb\n  {% endif %}\nc";
        let both = Whitespace {
            trim_blocks: true,
            lstrip_blocks: true,
        };
        let text = rewrite(source, &Lines::of(source), both, "").map(|r| r.text);
        assert_eq!(text, Ok("a\n{% if x \n%}b\n{% endif \n%}c".to_owned()));
    }

    #[test]
    fn places_lead_back_to_the_source() {
        let source = "a\n{{ x + missing.name }}";
        let lines = Lines::of(source);
        let rewritten = rewrite(source, &lines, Whitespace::default(), "").unwrap();
        let at = rewritten.text.find("missing").unwrap();
        assert_eq!(lines.place(source, rewritten.offsets.original(at)), (2, 8));
    }
}
