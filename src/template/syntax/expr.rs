//! Expressions: Jinja2's grammar and precedence, as a tree that still knows where everything was written.

use super::token::{Kind, Parsed, SyntaxError, Token};

pub enum Expr<'s> {
    Name(&'s str, usize),
    /// Adjacent string literals, each as written.
    Str(Vec<(&'s str, usize)>),
    /// A number, `true`, `false` or `none`, as written.
    Word(&'s str, usize),
    Attr {
        of: Box<Expr<'s>>,
        name: &'s str,
        at: usize,
    },
    Item {
        of: Box<Expr<'s>>,
        key: Box<Expr<'s>>,
        at: usize,
    },
    Slice {
        of: Box<Expr<'s>>,
        parts: [Option<Box<Expr<'s>>>; 3],
        at: usize,
    },
    Call {
        of: Box<Expr<'s>>,
        args: Vec<Arg<'s>>,
        at: usize,
    },
    Filter {
        of: Box<Expr<'s>>,
        filter: Named<'s>,
    },
    Test {
        of: Box<Expr<'s>>,
        test: Named<'s>,
        negated: bool,
    },
    Unary {
        op: &'static str,
        of: Box<Expr<'s>>,
        at: usize,
    },
    Binary {
        op: &'static str,
        left: Box<Expr<'s>>,
        right: Box<Expr<'s>>,
        at: usize,
    },
    /// `a < b < c`: more than one comparison.
    Chain {
        first: Box<Expr<'s>>,
        rest: Vec<(&'static str, usize, Expr<'s>)>,
    },
    Cond {
        yes: Box<Expr<'s>>,
        test: Box<Expr<'s>>,
        no: Option<Box<Expr<'s>>>,
        at: usize,
    },
    List(Vec<Expr<'s>>, usize),
    Tuple(Vec<Expr<'s>>, usize),
    Dict(Vec<(Expr<'s>, Expr<'s>)>, usize),
}

/// A filter or a test with its arguments.
pub struct Named<'s> {
    pub name: String,
    pub args: Vec<Arg<'s>>,
    pub at: usize,
}

pub enum Arg<'s> {
    Positional(Expr<'s>),
    Star(Expr<'s>, usize),
    Keyword(&'s str, usize, Expr<'s>),
    StarStar(Expr<'s>, usize),
}

/// Names that end an expression, or go on with it; none is a variable.
const RESERVED: &[&str] = &["and", "or", "not", "if", "else", "in", "is", "elif"];
/// As deep as brackets may nest; a template deeper than this is a mistake or an attack on the stack.
const DEEPEST: usize = 60;

pub struct Parser<'t, 's> {
    tokens: &'t [Token<'s>],
    next: usize,
    end: usize,
    depth: usize,
}

impl<'t, 's> Parser<'t, 's> {
    /// `end` is where the tag closes, for messages.
    pub fn new(tokens: &'t [Token<'s>], end: usize) -> Parser<'t, 's> {
        Parser {
            tokens,
            next: 0,
            end,
            depth: 0,
        }
    }

    pub fn peek(&self) -> Kind<'s> {
        self.tokens.get(self.next).map_or(Kind::End, |t| t.kind)
    }

    fn peek_second(&self) -> Kind<'s> {
        self.tokens.get(self.next + 1).map_or(Kind::End, |t| t.kind)
    }

    /// Where the next token stands.
    pub fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |t| t.at)
    }

    pub fn advance(&mut self) -> Token<'s> {
        let token = Token {
            kind: self.peek(),
            at: self.at(),
        };
        self.next += 1;
        token
    }

    pub fn skip_name(&mut self, name: &str) -> bool {
        let is = self.peek() == Kind::Name(name);
        self.next += is as usize;
        is
    }

    pub fn skip_sign(&mut self, sign: &'static str) -> bool {
        let is = self.peek() == Kind::Sign(sign);
        self.next += is as usize;
        is
    }

    pub fn expect_sign(&mut self, sign: &'static str) -> Parsed<usize> {
        let at = self.at();
        if self.skip_sign(sign) {
            Ok(at)
        } else {
            Err(self.unexpected(&format!("`{sign}`")))
        }
    }

    pub fn expect_name(&mut self) -> Parsed<(&'s str, usize)> {
        match self.peek() {
            Kind::Name(name) => Ok((name, self.advance().at)),
            _ => Err(self.unexpected("a name")),
        }
    }

    pub fn expect_end(&self) -> Parsed<()> {
        match self.peek() {
            Kind::End => Ok(()),
            _ => Err(self.unexpected("the end of the tag")),
        }
    }

    pub fn unexpected(&self, expected: &str) -> SyntaxError {
        SyntaxError::new(self.at(), format!("expected {expected}, found {}", self.peek().shown()))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(SyntaxError::new(
                self.at(),
                format!("this expression is nested deeper than {DEEPEST} levels"),
            ));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// An expression, or several with commas between them, which are a tuple.
    pub fn tuple(&mut self, with_condition: bool) -> Parsed<Expr<'s>> {
        let at = self.at();
        let first = self.one(with_condition)?;
        if self.peek() != Kind::Sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign(",") {
            if self.ends_tuple() {
                break;
            }
            items.push(self.one(with_condition)?);
        }
        Ok(Expr::Tuple(items, at))
    }

    fn ends_tuple(&self) -> bool {
        matches!(
            self.peek(),
            Kind::End | Kind::Sign(")" | "]" | "}" | "=") | Kind::Name("in" | "recursive")
        )
    }

    fn one(&mut self, with_condition: bool) -> Parsed<Expr<'s>> {
        if with_condition { self.expression() } else { self.or() }
    }

    pub fn expression(&mut self) -> Parsed<Expr<'s>> {
        self.deeper(|parser| {
            let mut expr = parser.or()?;
            while parser.peek() == Kind::Name("if") {
                let at = parser.advance().at;
                let test = parser.or()?;
                let no = if parser.skip_name("else") {
                    Some(Box::new(parser.expression()?))
                } else {
                    None
                };
                expr = Expr::Cond {
                    yes: Box::new(expr),
                    test: Box::new(test),
                    no,
                    at,
                };
            }
            Ok(expr)
        })
    }

    fn or(&mut self) -> Parsed<Expr<'s>> {
        let mut left = self.and()?;
        while self.peek() == Kind::Name("or") {
            let at = self.advance().at;
            left = binary("or", left, self.and()?, at);
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr<'s>> {
        let mut left = self.not()?;
        while self.peek() == Kind::Name("and") {
            let at = self.advance().at;
            left = binary("and", left, self.not()?, at);
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Expr<'s>> {
        if self.peek() != Kind::Name("not") {
            return self.compare();
        }
        let at = self.advance().at;
        let of = Box::new(self.deeper(|parser| parser.not())?);
        Ok(Expr::Unary { op: "not", of, at })
    }

    fn compare(&mut self) -> Parsed<Expr<'s>> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let at = self.at();
            let op = match self.peek() {
                Kind::Sign(sign @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => sign,
                Kind::Name("in") => "in",
                Kind::Name("not") if self.peek_second() == Kind::Name("in") => {
                    self.advance();
                    "not in"
                }
                _ => break,
            };
            self.advance();
            rest.push((op, at, self.sum()?));
        }
        Ok(match rest.len() {
            0 => first,
            1 => match rest.pop() {
                Some((op, at, right)) => binary(op, first, right, at),
                None => first,
            },
            _ => Expr::Chain {
                first: Box::new(first),
                rest,
            },
        })
    }

    fn left_associative(&mut self, signs: &[&'static str], operand: fn(&mut Self) -> Parsed<Expr<'s>>) -> Parsed<Expr<'s>> {
        let mut left = operand(self)?;
        while let Kind::Sign(sign) = self.peek() {
            if !signs.contains(&sign) {
                break;
            }
            let at = self.advance().at;
            left = binary(sign, left, operand(self)?, at);
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed<Expr<'s>> {
        self.left_associative(&["+", "-"], Self::concat)
    }

    fn concat(&mut self) -> Parsed<Expr<'s>> {
        self.left_associative(&["~"], Self::product)
    }

    fn product(&mut self) -> Parsed<Expr<'s>> {
        self.left_associative(&["*", "/", "//", "%"], Self::power)
    }

    fn power(&mut self) -> Parsed<Expr<'s>> {
        self.left_associative(&["**"], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Parsed<Expr<'s>> {
        let expr = match self.peek() {
            Kind::Sign(op @ ("-" | "+")) => {
                let at = self.advance().at;
                let of = Box::new(self.deeper(|parser| parser.unary(false))?);
                Expr::Unary { op, of, at }
            }
            _ => self.primary()?,
        };
        let expr = self.postfix(expr)?;
        if with_filter { self.filters(expr) } else { Ok(expr) }
    }

    fn primary(&mut self) -> Parsed<Expr<'s>> {
        let at = self.at();
        match self.peek() {
            Kind::Name("true" | "True" | "false" | "False" | "none" | "None") => {
                let Kind::Name(word) = self.advance().kind else {
                    return Err(self.unexpected("a value"));
                };
                Ok(Expr::Word(word, at))
            }
            Kind::Name(name) if !RESERVED.contains(&name) => {
                self.advance();
                Ok(Expr::Name(name, at))
            }
            Kind::Str(_) => {
                let mut parts = Vec::new();
                while let Kind::Str(text) = self.peek() {
                    parts.push((text, self.advance().at));
                }
                Ok(Expr::Str(parts))
            }
            Kind::Number(text) => {
                self.advance();
                Ok(Expr::Word(text, at))
            }
            Kind::Sign("(") => {
                self.advance();
                if self.skip_sign(")") {
                    return Ok(Expr::Tuple(Vec::new(), at));
                }
                let inner = self.tuple(true)?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            Kind::Sign("[") => {
                self.advance();
                let mut items = Vec::new();
                while !self.skip_sign("]") {
                    items.push(self.expression()?);
                    if self.peek() != Kind::Sign("]") {
                        self.expect_sign(",")?;
                    }
                }
                Ok(Expr::List(items, at))
            }
            Kind::Sign("{") => {
                self.advance();
                let mut items = Vec::new();
                while !self.skip_sign("}") {
                    let key = self.expression()?;
                    if matches!(self.peek(), Kind::Sign("," | "}")) {
                        return Err(self
                            .unexpected("`:` and a value")
                            .hint("templates have no sets; write a list in `[ ]` and use `|unique`"));
                    }
                    self.expect_sign(":")?;
                    items.push((key, self.expression()?));
                    if self.peek() != Kind::Sign("}") {
                        self.expect_sign(",")?;
                    }
                }
                Ok(Expr::Dict(items, at))
            }
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn postfix(&mut self, mut expr: Expr<'s>) -> Parsed<Expr<'s>> {
        loop {
            expr = match self.peek() {
                Kind::Sign("." | "[") => self.subscript(expr)?,
                Kind::Sign("(") => self.call(expr)?,
                _ => return Ok(expr),
            };
        }
    }

    fn call(&mut self, of: Expr<'s>) -> Parsed<Expr<'s>> {
        let at = self.at();
        Ok(Expr::Call {
            of: Box::new(of),
            args: self.args()?,
            at,
        })
    }

    fn subscript(&mut self, of: Expr<'s>) -> Parsed<Expr<'s>> {
        let of = Box::new(of);
        let at = self.at();
        if self.skip_sign(".") {
            return match self.advance() {
                Token {
                    kind: Kind::Name(name),
                    at,
                } => Ok(Expr::Attr { of, name, at }),
                Token {
                    kind: Kind::Number(text),
                    at,
                } => Ok(Expr::Item {
                    of,
                    key: Box::new(Expr::Word(text, at)),
                    at,
                }),
                token => Err(SyntaxError::new(
                    token.at,
                    format!("expected a name after `.`, found {}", token.kind.shown()),
                )),
            };
        }
        self.expect_sign("[")?;
        let mut parts = [None, None, None];
        let mut colons = 0;
        loop {
            match self.peek() {
                Kind::Sign("]") => break,
                Kind::Sign(":") if colons < 2 => {
                    self.advance();
                    colons += 1;
                }
                _ if parts[colons].is_none() => parts[colons] = Some(Box::new(self.expression()?)),
                _ => return Err(self.unexpected("`]`")),
            }
        }
        self.expect_sign("]")?;
        if colons > 0 {
            return Ok(Expr::Slice { of, parts, at });
        }
        match parts {
            [Some(key), ..] => Ok(Expr::Item { of, key, at }),
            _ => Err(SyntaxError::new(at, "the brackets hold no key")),
        }
    }

    /// `(a, b=c, *d, **e)`.
    pub fn args(&mut self) -> Parsed<Vec<Arg<'s>>> {
        self.expect_sign("(")?;
        let mut args = Vec::new();
        let mut keyword_seen = false;
        while !self.skip_sign(")") {
            let at = self.at();
            args.push(match self.peek() {
                Kind::Sign("**") => {
                    self.advance();
                    keyword_seen = true;
                    Arg::StarStar(self.expression()?, at)
                }
                Kind::Sign("*") => {
                    self.advance();
                    Arg::Star(self.expression()?, at)
                }
                Kind::Name(name) if self.peek_second() == Kind::Sign("=") => {
                    self.advance();
                    self.advance();
                    keyword_seen = true;
                    Arg::Keyword(name, at, self.expression()?)
                }
                _ if keyword_seen => {
                    return Err(SyntaxError::new(at, "an argument without a name follows one with a name"));
                }
                _ => Arg::Positional(self.expression()?),
            });
            if self.peek() != Kind::Sign(")") {
                self.expect_sign(",")?;
            }
        }
        Ok(args)
    }

    fn filters(&mut self, mut expr: Expr<'s>) -> Parsed<Expr<'s>> {
        loop {
            expr = match self.peek() {
                Kind::Sign("|") => {
                    self.advance();
                    Expr::Filter {
                        of: Box::new(expr),
                        filter: self.named()?,
                    }
                }
                Kind::Name("is") => {
                    self.advance();
                    let negated = self.skip_name("not");
                    let (name, at) = self.dotted()?;
                    let args = match self.peek() {
                        Kind::Sign("(") => self.args()?,
                        Kind::Sign("[" | "{") | Kind::Str(_) | Kind::Number(_) => vec![self.test_operand()?],
                        Kind::Name(name) if !RESERVED.contains(&name) && name != "recursive" => vec![self.test_operand()?],
                        _ => Vec::new(),
                    };
                    Expr::Test {
                        of: Box::new(expr),
                        test: Named { name, args, at },
                        negated,
                    }
                }
                // Calls are valid after filters too: `x|attr('f')()`.
                Kind::Sign("(") => self.call(expr)?,
                _ => return Ok(expr),
            };
        }
    }

    fn test_operand(&mut self) -> Parsed<Arg<'s>> {
        Ok(Arg::Positional(self.unary(false)?))
    }

    fn dotted(&mut self) -> Parsed<(String, usize)> {
        let (first, at) = self.expect_name()?;
        let mut name = first.to_owned();
        while self.peek() == Kind::Sign(".") {
            self.advance();
            name.push('.');
            name.push_str(self.expect_name()?.0);
        }
        Ok((name, at))
    }

    /// A filter's name and arguments, after the `|`.
    pub fn named(&mut self) -> Parsed<Named<'s>> {
        let (name, at) = self.dotted()?;
        let args = if self.peek() == Kind::Sign("(") {
            self.args()?
        } else {
            Vec::new()
        };
        Ok(Named { name, args, at })
    }
}

fn binary<'s>(op: &'static str, left: Expr<'s>, right: Expr<'s>, at: usize) -> Expr<'s> {
    Expr::Binary {
        op,
        left: Box::new(left),
        right: Box::new(right),
        at,
    }
}
