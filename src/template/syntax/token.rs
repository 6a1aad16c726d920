//! Words and signs inside `{{ }}` and `{% %}`, as Jinja2's lexer sees them.

/// What is wrong with a template's text, and where (a byte offset into it).
#[derive(Clone, PartialEq, Debug)]
pub struct SyntaxError {
    pub at: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl SyntaxError {
    pub fn new(at: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            at,
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> SyntaxError {
        self.hint = Some(hint.into());
        self
    }
}

pub type Parsed<T> = Result<T, SyntaxError>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'s> {
    Name(&'s str),
    /// With its quotes, as written.
    Str(&'s str),
    /// As written.
    Number(&'s str),
    Sign(&'static str),
    /// The end of the tag.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'s> {
    pub kind: Kind<'s>,
    pub at: usize,
}

impl Kind<'_> {
    /// How a message names it.
    pub fn shown(&self) -> String {
        match self {
            Kind::Name(text) | Kind::Str(text) | Kind::Number(text) => format!("`{text}`"),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::End => "the end of the tag".to_owned(),
        }
    }
}

/// The tokens of one tag and how it ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Inside<'s> {
    pub tokens: Vec<Token<'s>>,
    /// Where the closing delimiter begins, with its `-` or `+`.
    pub close_at: usize,
    /// Just after the closing delimiter.
    pub end: usize,
    /// `-`, `+` or nothing.
    pub close_mark: &'s str,
}

/// Longer signs first.
const SIGNS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|",
    ",", ";",
];

/// Reads from `from`, just after an opening delimiter, up to `close` (`}}` or `%}`) outside of strings and brackets.
pub fn inside<'s>(text: &'s str, from: usize, opened_at: usize, close: &'static str) -> Parsed<Inside<'s>> {
    let bytes = text.as_bytes();
    let mut at = from;
    let mut tokens: Vec<Token> = Vec::new();
    let mut depth: Vec<(u8, usize)> = Vec::new();
    loop {
        while bytes.get(at).is_some_and(|b| b.is_ascii_whitespace()) || text[at..].starts_with('\u{a0}') {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        let rest = &text[at..];
        if depth.is_empty() {
            for mark in ["-", "+", ""] {
                if rest.strip_prefix(mark).is_some_and(|r| r.starts_with(close)) && !(mark == "+" && close == "}}") {
                    return Ok(Inside {
                        tokens,
                        close_at: at,
                        end: at + mark.len() + close.len(),
                        close_mark: &rest[..mark.len()],
                    });
                }
            }
        }
        let Some(first) = rest.chars().next() else {
            let what = if close == "}}" { "{{" } else { "{%" };
            return Err(SyntaxError::new(opened_at, format!("`{what}` is never closed by `{close}`")));
        };
        let after_dot = matches!(tokens.last().map(|t| t.kind), Some(Kind::Sign(".")));
        let (kind, length) = if first == '"' || first == '\'' {
            let length = string_length(rest).ok_or_else(|| SyntaxError::new(at, "this string is never closed"))?;
            (Kind::Str(&rest[..length]), length)
        } else if first.is_ascii_digit() {
            let length = number_length(rest, after_dot);
            (Kind::Number(&rest[..length]), length)
        } else if first == '_' || first.is_alphabetic() {
            let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
            (Kind::Name(&rest[..length]), length)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            balance(sign, at, &mut depth, opened_at, close)?;
            (Kind::Sign(sign), sign.len())
        } else {
            return Err(SyntaxError::new(
                at,
                format!("unexpected character {first:?} in an expression"),
            ));
        };
        tokens.push(Token { kind, at });
        at += length;
    }
}

/// Keeps track of brackets: a closing delimiter inside of them is text, as in `{{ {'a': {}} }}`.
fn balance(sign: &str, at: usize, depth: &mut Vec<(u8, usize)>, opened_at: usize, close: &str) -> Parsed<()> {
    let opener = match sign {
        "(" | "[" | "{" => {
            depth.push((sign.as_bytes()[0], at));
            return Ok(());
        }
        ")" => b'(',
        "]" => b'[',
        "}" => b'{',
        _ => return Ok(()),
    };
    match depth.pop() {
        Some((open, _)) if open == opener => Ok(()),
        Some((open, open_at)) => Err(SyntaxError::new(at, format!("`{sign}` does not close `{}`", open as char))
            .hint(format!("the bracket is opened {} characters before", at - open_at))),
        None if close.starts_with(sign) => Err(SyntaxError::new(
            opened_at,
            format!("this tag is closed by `{sign}` instead of `{close}`"),
        )),
        None => Err(SyntaxError::new(at, format!("`{sign}` closes nothing"))),
    }
}

fn string_length(rest: &str) -> Option<usize> {
    let quote = rest.as_bytes()[0];
    let mut escaped = false;
    rest.bytes()
        .enumerate()
        .skip(1)
        .find(|(_, byte)| {
            let closes = !escaped && *byte == quote;
            escaped = !escaped && *byte == b'\\';
            closes
        })
        .map(|(at, _)| at + 1)
}

/// The length of the number at the start of `rest`. After a dot (`a.1.b`) a number has no fraction.
fn number_length(rest: &str, after_dot: bool) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize, ok: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| ok(b) || **b == b'_').count();
    if let Some(b"0x" | b"0X" | b"0b" | b"0B" | b"0o" | b"0O") = bytes.get(..2) {
        return digits(2, u8::is_ascii_hexdigit);
    }
    let mut length = digits(0, u8::is_ascii_digit);
    if after_dot {
        return length;
    }
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        length = digits(length + 1, u8::is_ascii_digit);
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = matches!(bytes.get(length + 1), Some(b'+' | b'-')) as usize;
        if bytes.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            length = digits(length + 1 + sign, u8::is_ascii_digit);
        }
    }
    length
}
