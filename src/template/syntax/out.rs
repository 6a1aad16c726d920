//! The rewritten text, with every token on the line on which it was written, and the way back to its place.

use super::expr::{Arg, Expr, Named};

/// Line starts of a text, to turn byte offsets into lines and columns.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub fn of(text: &str) -> Lines {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines {
            starts: std::iter::once(0).chain(newlines).collect(),
        }
    }

    /// From 0.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Line and column, from 1; columns count characters.
    pub fn place(&self, text: &str, at: usize) -> (u32, u32) {
        let line = self.line(at);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let column = text.get(start..at.min(text.len())).map_or(0, |before| before.chars().count());
        (line as u32 + 1, column as u32 + 1)
    }

    /// The text of a line (from 1), without its end.
    pub fn text<'t>(&self, text: &'t str, line: u32) -> Option<&'t str> {
        let start = *self.starts.get((line as usize).checked_sub(1)?)?;
        let rest = text.get(start..)?;
        Some(rest.split('\n').next().unwrap_or(rest))
    }
}

/// Byte offsets of a rewritten text to those of the original.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    /// `(rewritten, original)`, ascending by the first.
    pairs: Vec<(u32, u32)>,
}

impl Offsets {
    fn add(&mut self, rewritten: usize, original: usize) {
        let pair = (rewritten as u32, original as u32);
        match self.pairs.last_mut() {
            Some(last) if last.0 == pair.0 => *last = pair,
            _ => self.pairs.push(pair),
        }
    }

    /// Where what stands at `rewritten` was written.
    pub fn original(&self, rewritten: usize) -> usize {
        let next = self.pairs.partition_point(|(from, _)| *from as usize <= rewritten);
        let Some((from, original)) = next.checked_sub(1).map(|at| self.pairs[at]) else {
            return 0;
        };
        let exact = original as usize + (rewritten - from as usize);
        // What was put in between two tokens belongs to the first of them.
        match self.pairs.get(next) {
            Some((_, limit)) if *limit > original => exact.min(*limit as usize),
            _ => exact,
        }
    }
}

/// Writes a template in minijinja's dialect.
///
/// Operators that Python's values would answer themselves become filters (`a % b` is `(a|_mod(b))`), and literals become
/// mutable (`[1]` is `[1]|_list`).
pub struct Out<'s> {
    pub text: String,
    pub offsets: Offsets,
    source: &'s str,
    lines: &'s Lines,
    line: usize,
    /// The filters (`true`) and tests (`false`) that are named, with where.
    pub used: Vec<(bool, String, usize)>,
    /// How many conditions surround what is written. Jinja2 lets a filter be unknown behind a condition.
    pub guards: usize,
    /// The template assigns to `self`, which minijinja reserves: all such names are written differently.
    pub renames_self: bool,
}

impl<'s> Out<'s> {
    pub fn new(source: &'s str, lines: &'s Lines) -> Out<'s> {
        Out {
            text: String::with_capacity(source.len() + source.len() / 4),
            offsets: Offsets::default(),
            source,
            lines,
            line: 0,
            used: Vec::new(),
            guards: 0,
            renames_self: false,
        }
    }

    /// The source from `from` to `to` as it is.
    pub fn verbatim(&mut self, from: usize, to: usize) {
        if from < to {
            self.offsets.add(self.text.len(), from);
            self.text.push_str(&self.source[from..to]);
            self.line = self.lines.line(to);
        }
    }

    /// Goes on to the line of `at`, inside of a tag, where line ends mean nothing.
    pub fn catch_up(&mut self, at: usize) {
        let line = self.lines.line(at);
        while self.line < line {
            self.text.push('\n');
            self.line += 1;
        }
    }

    /// `text`, which stands for what was written at `at`.
    pub fn put(&mut self, at: usize, text: &str) {
        self.catch_up(at);
        self.offsets.add(self.text.len(), at);
        self.text.push_str(text);
        self.line += text.bytes().filter(|b| *b == b'\n').count();
    }

    /// The line of a place in the source, from 0.
    pub fn line_of(&self, at: usize) -> usize {
        self.lines.line(at)
    }

    /// `text` that belongs to what went before it.
    pub fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub fn name(&mut self, name: &str, at: usize) {
        self.put(at, if name == "self" && self.renames_self { "self_" } else { name });
    }

    pub fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Name(name, at) => self.name(name, *at),
            Expr::Str(parts) => {
                for (n, (text, at)) in parts.iter().enumerate() {
                    if n > 0 {
                        self.add(" ");
                    }
                    self.put(*at, text);
                }
            }
            Expr::Word(text, at) => self.put(*at, text),
            Expr::Attr { of, name, at } => {
                self.expr(of);
                self.add(".");
                self.put(*at, name);
            }
            Expr::Item { of, key, at } => {
                self.expr(of);
                self.put(*at, "[");
                self.expr(key);
                self.add("]");
            }
            Expr::Slice { of, parts, at } => {
                self.add("(");
                self.expr(of);
                self.put(*at, "|_slice(");
                for (n, part) in parts.iter().enumerate() {
                    if n > 0 {
                        self.add(", ");
                    }
                    match part {
                        Some(part) => self.expr(part),
                        None => self.add("none"),
                    }
                }
                self.add("))");
            }
            Expr::Call { of, args, at } => {
                self.expr(of);
                self.args(args, *at);
            }
            Expr::Filter { of, filter } => {
                self.add("(");
                self.expr(of);
                self.add("|");
                self.named(filter, true);
                self.add(")");
            }
            Expr::Test { of, test, negated } => {
                self.add("(");
                self.expr(of);
                self.add(if *negated { " is not " } else { " is " });
                self.named(test, false);
                self.add(")");
            }
            Expr::Unary { op, of, at } => {
                match *op {
                    "not" => {
                        self.put(*at, "(not ");
                        self.expr(of);
                    }
                    "-" => {
                        self.put(*at, "(-");
                        self.expr(of);
                    }
                    _ => {
                        self.put(*at, "(");
                        self.expr(of);
                        self.add("|_pos");
                    }
                }
                self.add(")");
            }
            Expr::Binary { op, left, right, at } => self.binary(op, left, right, *at),
            Expr::Chain { first, rest } => {
                self.add("(");
                self.expr(first);
                for (op, at, operand) in rest {
                    self.put(*at, " ");
                    self.add(op);
                    self.add(" ");
                    self.expr(operand);
                }
                self.add(")");
            }
            Expr::Cond { yes, test, no, at } => {
                self.guards += 1;
                self.add("(");
                self.expr(yes);
                self.put(*at, " if ");
                self.expr(test);
                // Without an `else` the value is undefined; Jinja2 is lenient with this one, and so is minijinja.
                if let Some(no) = no {
                    self.add(" else ");
                    self.expr(no);
                }
                self.add(")");
                self.guards -= 1;
            }
            Expr::List(items, at) => {
                self.put(*at, "([");
                self.items(items);
                self.add("]|_list)");
            }
            Expr::Tuple(items, at) => {
                self.put(*at, "(");
                self.items(items);
                self.add(if items.len() == 1 { ",)" } else { ")" });
            }
            Expr::Dict(items, at) => {
                self.put(*at, "({");
                for (n, (key, value)) in items.iter().enumerate() {
                    if n > 0 {
                        self.add(", ");
                    }
                    self.expr(key);
                    self.add(": ");
                    self.expr(value);
                }
                self.add(" }|_dict)");
            }
        }
    }

    fn binary(&mut self, op: &str, left: &Expr, right: &Expr, at: usize) {
        let filter = match op {
            "+" => "_add",
            "*" => "_mul",
            "%" => "_mod",
            "~" => "_cat",
            "==" => "_eq",
            "!=" => "_ne",
            "<" => "_lt",
            "<=" => "_le",
            ">" => "_gt",
            ">=" => "_ge",
            "in" => "_in",
            "not in" => "_not_in",
            "-" => "_sub",
            "/" => "_div",
            "//" => "_floordiv",
            "**" => "_pow",
            // `and`, `or`: the right side must not be looked at in vain.
            _ => "",
        };
        self.add("(");
        self.expr(left);
        if filter.is_empty() {
            self.put(at, " ");
            self.add(op);
            self.add(" ");
            self.expr(right);
        } else {
            self.put(at, "|");
            self.add(filter);
            self.add("(");
            self.expr(right);
            self.add(")");
        }
        self.add(")");
    }

    fn items(&mut self, items: &[Expr]) {
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                self.add(", ");
            }
            self.expr(item);
        }
    }

    pub fn named(&mut self, named: &Named, is_filter: bool) {
        if self.guards == 0 {
            self.used.push((is_filter, named.name.clone(), named.at));
        }
        self.put(named.at, &named.name);
        if !named.args.is_empty() {
            self.args(&named.args, named.at);
        }
    }

    pub fn args(&mut self, args: &[Arg], at: usize) {
        self.put(at, "(");
        for (n, arg) in args.iter().enumerate() {
            if n > 0 {
                self.add(", ");
            }
            match arg {
                Arg::Positional(expr) => self.expr(expr),
                Arg::Star(expr, at) => {
                    self.put(*at, "*");
                    self.expr(expr);
                }
                Arg::Keyword(name, at, expr) => {
                    self.put(*at, name);
                    self.add("=");
                    self.expr(expr);
                }
                Arg::StarStar(expr, at) => {
                    self.put(*at, "**");
                    self.expr(expr);
                }
            }
        }
        self.add(")");
    }
}
