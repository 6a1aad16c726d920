//! Statements, rewritten one by one.

use super::expr::{Expr, Parser};
use super::nodes::{Node, Tag};
use super::out::Out;
use super::token::{Kind, Parsed, SyntaxError};
use crate::error::nearest;

/// What [`Rewriter`] must know of the text around a tag.
pub struct Rewriter<'o, 's> {
    pub out: &'o mut Out<'s>,
    /// Tags that are open: the statement's name, where it stands, and what to write when it closes.
    open: Vec<Open<'s>>,
    /// Names that the template assigns: candidates when an unknown name is read.
    pub assigned: Vec<&'s str>,
}

struct Open<'s> {
    name: &'s str,
    at: usize,
    end: &'static str,
    /// Written in place of the source's end tag, with what follows it.
    end_as: &'static str,
    after: String,
}

/// Every statement with the tag that ends it; `""` for those that have none.
const STATEMENTS: &[(&str, &str)] = &[
    ("for", "endfor"),
    ("if", "endif"),
    ("set", "endset"),
    ("filter", "endfilter"),
    ("macro", "endmacro"),
    ("call", "endcall"),
    ("with", "endwith"),
    ("block", "endblock"),
    ("autoescape", "endautoescape"),
    ("load_yaml", "endload"),
    ("load_json", "endload"),
    ("load_text", "endload"),
    ("profile", "endprofile"),
    ("import_yaml", ""),
    ("import_json", ""),
    ("import_text", ""),
    ("import", ""),
    ("from", ""),
    ("include", ""),
    ("extends", ""),
    ("do", ""),
    ("print", ""),
    ("break", ""),
    ("continue", ""),
    ("elif", ""),
    ("else", ""),
    ("raw", "endraw"),
];

impl<'o, 's> Rewriter<'o, 's> {
    pub fn new(out: &'o mut Out<'s>) -> Rewriter<'o, 's> {
        Rewriter {
            out,
            open: Vec::new(),
            assigned: Vec::new(),
        }
    }

    /// `{{ ... }}`.
    pub fn print(&mut self, tag: &Tag<'s>, newline: bool) -> Parsed<()> {
        let mut parser = Parser::new(&tag.inside.tokens, tag.inside.close_at);
        if parser.peek() == Kind::End {
            return Err(SyntaxError::new(tag.at, "the braces `{{ }}` hold no expression"));
        }
        let expr = parser.tuple(true)?;
        parser.expect_end()?;
        self.opening("{{", tag);
        self.out.expr(&expr);
        self.closing("}}", tag, newline);
        Ok(())
    }

    fn opening(&mut self, delimiter: &str, tag: &Tag) {
        self.out.put(tag.at, delimiter);
        self.out.add(if tag.mark == "-" { "- " } else { " " });
    }

    /// `newline`: the line end after the tag is part of it (`trim_blocks`).
    fn closing(&mut self, delimiter: &str, tag: &Tag, newline: bool) {
        self.out.add(" ");
        self.out
            .catch_up(tag.inside.close_at + newline as usize * (tag.inside.end - tag.inside.close_at + 1));
        if tag.inside.close_mark == "-" {
            self.out.add("-");
        }
        self.out.add(delimiter);
    }

    /// `{% ... %}`. `nodes` are those that follow the tag.
    pub fn tag(&mut self, tag: &Tag<'s>, nodes: &[Node<'s>], newline: bool) -> Parsed<()> {
        let Some(name) = tag.name() else {
            let found = tag.inside.tokens.first().map_or(Kind::End, |t| t.kind);
            return Err(SyntaxError::new(
                tag.at,
                format!("expected a statement in `{{% %}}`, found {}", found.shown()),
            ));
        };
        let at = tag.inside.tokens.first().map_or(tag.at, |t| t.at);
        if name.starts_with("end") {
            return self.end(name, at, tag, newline);
        }
        let mut parser = Parser::new(tag.rest(), tag.inside.close_at);
        let parser = &mut parser;
        self.opening(if name == "print" { "{{" } else { "{%" }, tag);
        match name {
            "for" => self.for_loop(parser, at)?,
            "if" => {
                self.out.put(at, "if ");
                self.out.expr(&parser.tuple(true)?);
                self.out.guards += 1;
                self.open("if", at, "endif", "endif", String::new());
            }
            "elif" | "else" => self.branch(name, parser, at)?,
            "set" => self.set(parser, at)?,
            "do" => {
                self.out.put(at, "set __do = ");
                self.out.expr(&parser.tuple(true)?);
            }
            "print" => self.out.expr(&parser.tuple(true)?),
            "import" => self.import(parser, at)?,
            "from" => self.import_names(parser, at)?,
            "include" => self.include(parser, at)?,
            "extends" => {
                self.out.put(at, "extends ");
                self.out.expr(&parser.expression()?);
                self.out.add("|_template(true)");
            }
            "import_yaml" | "import_json" | "import_text" => self.import_data(&name[7..], parser, at)?,
            "load_yaml" | "load_json" | "load_text" => self.load(name, parser, at)?,
            "macro" => self.macro_definition(parser, at, nodes)?,
            "call" => self.call(parser, at)?,
            "filter" => {
                self.out.put(at, "filter ");
                self.filter_chain(parser)?;
                self.open("filter", at, "endfilter", "endfilter", String::new());
            }
            "with" => self.with(parser, at)?,
            "block" => {
                self.out.put(at, "block ");
                let (block, block_at) = parser.expect_name()?;
                self.out.put(block_at, block);
                for word in ["scoped", "required"] {
                    if parser.skip_name(word) {
                        self.out.add(" ");
                        self.out.add(word);
                    }
                }
                self.open("block", at, "endblock", "endblock", String::new());
            }
            "autoescape" => {
                // Nothing is escaped in Salt's templates that has not been asked for.
                self.out.put(at, "if true");
                parser.expression()?;
                self.open("autoescape", at, "endautoescape", "endif", String::new());
            }
            "profile" => {
                self.out.put(at, "if true");
                if !parser.skip_name("as") {
                    return Err(parser.unexpected("`as` and a name for the profile"));
                }
                parser.expression()?;
                self.open("profile", at, "endprofile", "endif", String::new());
            }
            "break" | "continue" => {
                if !self
                    .open
                    .iter()
                    .rev()
                    .take_while(|open| open.name != "macro")
                    .any(|open| open.name == "for")
                {
                    return Err(SyntaxError::new(at, format!("`{name}` stands outside of any loop")));
                }
                self.out.put(at, name);
            }
            _ => {
                let known = STATEMENTS.iter().map(|(name, _)| *name);
                let error = SyntaxError::new(at, format!("unknown statement `{name}`"));
                return Err(match nearest(name, known) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                });
            }
        }
        parser.expect_end()?;
        self.closing(if name == "print" { "}}" } else { "%}" }, tag, newline);
        Ok(())
    }

    fn open(&mut self, name: &'s str, at: usize, end: &'static str, end_as: &'static str, after: String) {
        self.open.push(Open {
            name,
            at,
            end,
            end_as,
            after,
        });
    }

    fn end(&mut self, name: &str, at: usize, tag: &Tag<'s>, newline: bool) -> Parsed<()> {
        match self.open.pop() {
            Some(open) if open.end == name => {
                self.out.guards -= (open.name == "if") as usize;
                self.opening("{%", tag);
                self.out.put(at, open.end_as);
                if !open.after.is_empty() {
                    self.out.add(" %}{% ");
                    self.out.add(&open.after);
                }
                self.closing("%}", tag, newline);
                Ok(())
            }
            Some(open) => {
                Err(SyntaxError::new(at, format!("`{name}` where `{}` must come first", open.end)).hint(self.opened(&open)))
            }
            None => match STATEMENTS.iter().find(|(_, end)| *end == name) {
                Some((opener, _)) => Err(SyntaxError::new(
                    at,
                    format!("`{name}` closes nothing: there is no `{opener}` before it"),
                )),
                None => Err(SyntaxError::new(at, format!("unknown statement `{name}`"))),
            },
        }
    }

    fn opened(&self, open: &Open) -> String {
        format!("`{}` is opened in line {}", open.name, self.out.line_of(open.at) + 1)
    }

    /// Nothing may be open at the end of a template.
    pub fn finish(&mut self) -> Parsed<()> {
        match self.open.pop() {
            Some(open) => Err(SyntaxError::new(
                open.at,
                format!("`{}` is never closed by `{{% {} %}}`", open.name, open.end),
            )),
            None => Ok(()),
        }
    }

    fn branch(&mut self, name: &str, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        match self.open.last().map(|open| open.name) {
            Some("if") => {}
            Some("for") if name == "else" => {}
            Some(other) => return Err(SyntaxError::new(at, format!("`{name}` does not belong to a `{other}`"))),
            None => return Err(SyntaxError::new(at, format!("`{name}` stands outside of any `if`"))),
        }
        self.out.put(at, name);
        if name == "elif" {
            self.out.add(" ");
            self.out.expr(&parser.tuple(true)?);
        }
        Ok(())
    }

    /// Names to assign to, as in `a, (b, c)` and `ns.a`, up to what cannot be part of them.
    fn targets(&mut self, parser: &mut Parser<'_, 's>) -> Parsed<()> {
        let mut depth = 0;
        let mut after_dot = false;
        let mut any = false;
        loop {
            match parser.peek() {
                Kind::Name("in") if depth == 0 && any => break,
                Kind::Name(name) => {
                    let at = parser.advance().at;
                    self.out.name(name, at);
                    if !after_dot {
                        self.assigned.push(name);
                    }
                }
                Kind::Sign("(") => {
                    depth += 1;
                    self.out.put(parser.advance().at, "(");
                }
                Kind::Sign(")") if depth > 0 => {
                    depth -= 1;
                    self.out.put(parser.advance().at, ")");
                }
                Kind::Sign(sign @ ("," | ".")) if any => self.out.put(parser.advance().at, sign),
                _ if any => break,
                _ => return Err(parser.unexpected("a name to assign to")),
            }
            after_dot = self.out.text.ends_with('.');
            any = true;
        }
        Ok(())
    }

    fn for_loop(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "for ");
        self.targets(parser)?;
        if !parser.skip_name("in") {
            return Err(parser.unexpected("`in`"));
        }
        self.out.add(" in (");
        self.out.expr(&parser.tuple(false)?);
        self.out.add(")|_iter");
        if parser.skip_name("if") {
            self.out.add(" if ");
            self.out.expr(&parser.expression()?);
        }
        if parser.skip_name("recursive") {
            self.out.add(" recursive");
        }
        self.open("for", at, "endfor", "endfor", String::new());
        Ok(())
    }

    fn set(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "set ");
        self.targets(parser)?;
        if parser.skip_sign("=") {
            self.out.add(" = ");
            self.out.expr(&parser.tuple(true)?);
            return Ok(());
        }
        self.out.add(" | _captured");
        if parser.skip_sign("|") {
            self.out.add(" | ");
            self.filter_chain(parser)?;
        } else if parser.peek() != Kind::End {
            return Err(parser.unexpected("`=`"));
        }
        self.open("set", at, "endset", "endset", String::new());
        Ok(())
    }

    fn filter_chain(&mut self, parser: &mut Parser<'_, 's>) -> Parsed<()> {
        loop {
            self.out.named(&parser.named()?, true);
            if !parser.skip_sign("|") {
                return Ok(());
            }
            self.out.add("|");
        }
    }

    /// `with context`, `without context`: what was said, or `default`.
    fn context(parser: &mut Parser<'_, 's>, default: bool) -> Parsed<bool> {
        let said = if parser.skip_name("with") {
            true
        } else if parser.skip_name("without") {
            false
        } else {
            return Ok(default);
        };
        if parser.skip_name("context") {
            Ok(said)
        } else {
            Err(parser.unexpected("`context`"))
        }
    }

    fn template_name(&mut self, name: &Expr, context: bool) {
        self.out.add("(");
        self.out.expr(name);
        self.out.add(if context { ")|_template(true)" } else { ")|_template(false)" });
    }

    fn alias(parser: &mut Parser<'_, 's>) -> Parsed<(&'s str, usize)> {
        if !parser.skip_name("as") {
            return Err(parser.unexpected("`as` and a name"));
        }
        parser.expect_name()
    }

    fn import(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "import ");
        let name = parser.expression()?;
        let (alias, alias_at) = Self::alias(parser)?;
        let context = Self::context(parser, false)?;
        self.template_name(&name, context);
        self.out.add(" as ");
        self.out.name(alias, alias_at);
        self.assigned.push(alias);
        Ok(())
    }

    fn import_names(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "from ");
        let name = parser.expression()?;
        if !parser.skip_name("import") {
            return Err(parser.unexpected("`import`"));
        }
        let mut names = Vec::new();
        let mut context = None;
        loop {
            if matches!(parser.peek(), Kind::Name("with" | "without")) {
                context = Some(Self::context(parser, false)?);
                break;
            }
            if parser.peek() == Kind::End && !names.is_empty() {
                break;
            }
            if !names.is_empty() {
                parser.expect_sign(",")?;
                if matches!(parser.peek(), Kind::Name("with" | "without") | Kind::End) {
                    continue;
                }
            }
            let (name, at) = parser.expect_name()?;
            let alias = if parser.peek() == Kind::Name("as") {
                Some(Self::alias(parser)?)
            } else {
                None
            };
            names.push((name, at, alias));
        }
        self.template_name(&name, context.unwrap_or(false));
        self.out.add(" import ");
        for (n, (name, at, alias)) in names.iter().enumerate() {
            if n > 0 {
                self.out.add(", ");
            }
            self.out.put(*at, name);
            if let Some((alias, at)) = alias {
                self.out.add(" as ");
                self.out.name(alias, *at);
            }
            self.assigned.push(alias.map_or(name, |(alias, _)| alias));
        }
        Ok(())
    }

    /// What an included template assigns must not be seen by the one that includes it.
    fn include(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.add("with %}{% ");
        self.out.put(at, "include ");
        let name = parser.expression()?;
        let mut context = Self::context(parser, true)?;
        let ignore = parser.skip_name("ignore");
        if ignore && !parser.skip_name("missing") {
            return Err(parser.unexpected("`missing`"));
        }
        context = Self::context(parser, context)?;
        self.template_name(&name, context);
        if ignore {
            self.out.add(" ignore missing");
        }
        self.out.add(" %}{% endwith");
        Ok(())
    }

    /// The file is rendered as a template and its text is read as data.
    fn import_data(&mut self, format: &str, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "import ");
        let name = parser.expression()?;
        let (alias, alias_at) = Self::alias(parser)?;
        let context = Self::context(parser, false)?;
        self.template_name(&name, context);
        self.out.add(" as ");
        self.out.name(alias, alias_at);
        self.out.add(" %}{% set ");
        self.out.name(alias, alias_at);
        self.out.add(" = ");
        self.out.name(alias, alias_at);
        self.out.put(at, "|_load('");
        self.out.add(format);
        self.out.add("', (");
        self.out.expr(&name);
        self.out.add("))");
        self.assigned.push(alias);
        Ok(())
    }

    fn load(&mut self, name: &'s str, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        let (alias, alias_at) = Self::alias(parser)?;
        self.out.put(at, "set ");
        self.out.name(alias, alias_at);
        self.out.put(at, "|_captured|_load('");
        self.out.add(&name[5..]);
        let line = self.out.line_of(at) + 1;
        self.out.add(&format!("', none, {line})"));
        self.assigned.push(alias);
        self.open(name, at, "endload", "endset", String::new());
        Ok(())
    }

    fn macro_definition(&mut self, parser: &mut Parser<'_, 's>, at: usize, nodes: &[Node<'s>]) -> Parsed<()> {
        let (name, name_at) = parser.expect_name()?;
        self.out.put(at, "macro ");
        self.out.name(name, name_at);
        self.assigned.push(name);
        let body = || {
            let mut depth = 1;
            nodes.iter().map_while(move |node| {
                if let Node::Tag(tag) = node {
                    match tag.name() {
                        Some("macro") => depth += 1,
                        Some("endmacro") => depth -= 1,
                        _ => {}
                    }
                }
                (depth > 0).then_some(node)
            })
        };
        let mentions = |word: &str| {
            body().any(|node| match node {
                Node::Tag(tag) | Node::Print(tag) => tag.mentions(word),
                _ => false,
            })
        };
        let (varargs, kwargs) = (mentions("varargs"), mentions("kwargs"));
        let count = self.signature(parser, &[(varargs, "varargs"), (kwargs, "kwargs")])?;
        let name = if name == "self" && self.out.renames_self {
            "self_"
        } else {
            name
        };
        let after = format!("set {name} = {name}|_macro({count}, {varargs}, {kwargs})");
        self.open("macro", at, "endmacro", "endmacro", after);
        Ok(())
    }

    /// `(a, b=1)` with further parameters where they are wanted. The number of those that were written.
    fn signature(&mut self, parser: &mut Parser<'_, 's>, further: &[(bool, &str)]) -> Parsed<usize> {
        let at = parser.expect_sign("(")?;
        self.out.put(at, "(");
        let mut count = 0;
        while !parser.skip_sign(")") {
            if count > 0 {
                parser.expect_sign(",")?;
                if parser.skip_sign(")") {
                    break;
                }
                self.out.add(", ");
            }
            let (name, at) = parser.expect_name()?;
            self.out.name(name, at);
            self.assigned.push(name);
            if parser.skip_sign("=") {
                self.out.add("=");
                self.out.expr(&parser.expression()?);
            }
            count += 1;
        }
        for (n, (_, name)) in further.iter().filter(|(wanted, _)| *wanted).enumerate() {
            self.out.add(if count + n > 0 { ", " } else { "" });
            self.out.add(name);
            self.out.add("=none");
        }
        self.out.add(")");
        Ok(count)
    }

    fn call(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "call");
        if parser.peek() == Kind::Sign("(") {
            self.signature(parser, &[])?;
        }
        self.out.add(" ");
        let call_at = parser.at();
        match parser.expression()? {
            expr @ Expr::Call { .. } => self.out.expr(&expr),
            _ => return Err(SyntaxError::new(call_at, "expected the call of a macro after `call`")),
        }
        self.open("call", at, "endcall", "endcall", String::new());
        Ok(())
    }

    fn with(&mut self, parser: &mut Parser<'_, 's>, at: usize) -> Parsed<()> {
        self.out.put(at, "with ");
        let mut first = true;
        while parser.peek() != Kind::End {
            if !first {
                parser.expect_sign(",")?;
                self.out.add(", ");
            }
            first = false;
            let (name, at) = parser.expect_name()?;
            self.out.name(name, at);
            self.assigned.push(name);
            parser.expect_sign("=")?;
            self.out.add(" = ");
            self.out.expr(&parser.expression()?);
        }
        self.open("with", at, "endwith", "endwith", String::new());
        Ok(())
    }
}
