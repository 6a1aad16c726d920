//! Python's two ways to format: `'{:>5}'.format(x)` and `'%5s' % x`.

use super::string::{Side, justify};
use crate::template::args::shown;
use crate::template::value::{as_float, as_int, fail, is_mapping, is_string, lookup, repr, text, type_name, undefined};
use crate::yaml::python_float;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// `[[fill]align][sign][#][0][width][,][.precision][type]`.
#[derive(Default, Debug)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: i64,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `template.format(*positional, **named)`.
///
/// # Errors
/// A field that has no value, or a value that does not fit its format.
pub fn format_fields(template: &str, positional: &[Value], named: &[(String, Value)]) -> Result<String, Error> {
    let mut next = 0;
    fields(template, positional, named, &mut next, 0)
}

fn fields(
    template: &str,
    positional: &[Value],
    named: &[(String, Value)],
    next: &mut usize,
    depth: usize,
) -> Result<String, Error> {
    if depth > 2 {
        return Err(fail("format fields are nested too deep"));
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(fail("a single `}` in a format string; write `}}` for the character itself"));
        }
        let end =
            closing(rest).ok_or_else(|| fail("a `{` in a format string is never closed; write `{{` for the character itself"))?;
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
        let value = field_value(name, positional, named, next)?;
        let value = match conversion {
            "" => value,
            "s" => Value::from(text(&value)),
            "r" | "a" => Value::from(repr(&value)),
            other => return Err(fail(format!("unknown conversion `!{other}` in a format string"))),
        };
        let spec = fields(spec, positional, named, next, depth + 1)?;
        out.push_str(&format_value(&value, &spec)?);
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the field that has just been opened is closed; fields may be nested in its format.
fn closing(rest: &str) -> Option<usize> {
    let mut depth = 0;
    rest.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return true,
            b'}' => depth -= 1,
            _ => {}
        }
        false
    })
}

/// The value that a field such as `0`, `name`, `a.b[c]` or the empty one means.
fn field_value(name: &str, positional: &[Value], named: &[(String, Value)], next: &mut usize) -> Result<Value, Error> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut path) = name.split_at(end);
    let mut value = if let Ok(at) = first.parse::<usize>() {
        positional.get(at).cloned()
    } else if first.is_empty() {
        *next += 1;
        positional.get(*next - 1).cloned()
    } else {
        named.iter().find(|(key, _)| key == first).map(|(_, value)| value.clone())
    }
    .ok_or_else(|| fail(format!("the format field {{{name}}} has no value")))?;
    while !path.is_empty() {
        let (key, after) = if let Some(inner) = path.strip_prefix('[') {
            inner
                .split_once(']')
                .ok_or_else(|| fail(format!("the format field {{{name}}} lacks a `]`")))?
        } else {
            let inner = &path[1..];
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        };
        let index = key.parse::<i64>().ok().map(Value::from);
        value = lookup(&value, &Value::from(key))
            .or_else(|| lookup(&value, &index?))
            .ok_or_else(|| fail(format!("the format field {{{name}}} has no value")))?;
        path = after;
    }
    if value.is_undefined() {
        Err(undefined(&value))
    } else {
        Ok(value)
    }
}

/// Python's `format(value, spec)`.
pub fn format_value(value: &Value, spec: &str) -> Result<String, Error> {
    if spec.is_empty() {
        return Ok(text(value));
    }
    let parsed = parse(spec).ok_or_else(|| fail(format!("{spec:?} is not a format")))?;
    let kind = parsed.kind;
    let numeric = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    let body = match kind {
        None | Some('s') if !numeric || (kind.is_none() && value.kind() == ValueKind::Bool) => {
            let text = text(value);
            let cut = match parsed.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            };
            return justify(&cut, parsed.width, parsed.fill.unwrap_or(' '), side(parsed.align, Side::Left));
        }
        None | Some('d' | 'n' | 'x' | 'X' | 'o' | 'b' | 'c') if as_int(value).is_some() && parsed.precision.is_none() => {
            integer(as_int(value).unwrap_or_default(), kind.unwrap_or('d'), &parsed)
        }
        None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' | 'n') if as_float(value).is_some() => {
            float(as_float(value).unwrap_or_default(), kind, &parsed)
        }
        _ => {
            return Err(fail(format!(
                "the format {spec:?} does not fit {} (a value of type {})",
                shown(value),
                type_name(value)
            )));
        }
    };
    padded(&body, &parsed)
}

fn side(align: Option<char>, default: Side) -> Side {
    match align {
        Some('<') => Side::Left,
        Some('>') => Side::Right,
        Some('^') => Side::Center,
        _ => default,
    }
}

/// A signed number's text, padded.
fn padded(body: &str, spec: &Spec) -> Result<String, Error> {
    if (spec.zero && spec.align.is_none()) || spec.align == Some('=') {
        let digits = body.trim_start_matches(['-', '+', ' ']);
        let sign = &body[..body.len() - digits.len()];
        let fill = if spec.zero { '0' } else { spec.fill.unwrap_or(' ') };
        return Ok(format!(
            "{sign}{}",
            justify(digits, spec.width - sign.len() as i64, fill, Side::Right)?
        ));
    }
    justify(body, spec.width, spec.fill.unwrap_or(' '), side(spec.align, Side::Right))
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    }
}

fn integer(int: i64, kind: char, spec: &Spec) -> String {
    let size = int.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0o", format!("{size:o}")),
        'b' => ("0b", format!("{size:b}")),
        'c' => {
            return u32::try_from(int)
                .ok()
                .and_then(char::from_u32)
                .map(String::from)
                .unwrap_or_default();
        }
        _ => ("", size.to_string()),
    };
    let prefix = if spec.alternate { prefix } else { "" };
    format!("{}{prefix}{}", sign(int < 0, spec), grouped(&digits, spec.grouping))
}

/// Digits in groups of three, up to the decimal point.
fn grouped(digits: &str, separator: Option<char>) -> String {
    let Some(separator) = separator else {
        return digits.to_owned();
    };
    let whole = digits.find(['.', 'e']).unwrap_or(digits.len());
    let mut out = String::new();
    for (n, c) in digits[..whole].chars().enumerate() {
        if n > 0 && (whole - n).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(c);
    }
    out + &digits[whole..]
}

fn float(float: f64, kind: Option<char>, spec: &Spec) -> String {
    let negative = float.is_sign_negative() && !float.is_nan();
    let size = float.abs();
    if !size.is_finite() {
        let text = if size.is_nan() { "nan" } else { "inf" };
        return format!("{}{text}", sign(negative, spec));
    }
    let precision = spec.precision.unwrap_or(6).min(300);
    let digits = match kind {
        Some('f' | 'F') => format!("{size:.precision$}"),
        Some('%') => format!("{:.precision$}%", size * 100.0),
        Some('e' | 'E') => exponent(size, precision),
        Some('g' | 'G' | 'n') => general(size, precision.max(1), spec.alternate),
        _ => match spec.precision {
            Some(precision) => {
                let text = general(size, precision.max(1), false);
                if text.contains(['.', 'e']) { text } else { text + ".0" }
            }
            None => python_float(size),
        },
    };
    let digits = if matches!(kind, Some('E' | 'G' | 'F')) {
        digits.to_uppercase()
    } else {
        digits
    };
    format!("{}{}", sign(negative, spec), grouped(&digits, spec.grouping))
}

/// `1.5e+03`.
fn exponent(size: f64, precision: usize) -> String {
    let text = format!("{size:.precision$e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", power.abs())
}

/// C's `%g`.
fn general(size: f64, precision: usize, keep_zeros: bool) -> String {
    let power = match format!("{size:.*e}", precision - 1).split_once('e') {
        Some((_, power)) => power.parse::<i32>().unwrap_or(0),
        None => 0,
    };
    let trimmed = |text: String| match text.contains('.') && !keep_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if size != 0.0 && !(-4..precision as i32).contains(&power) {
        let text = exponent(size, precision - 1);
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{power}", trimmed(mantissa.to_owned()));
    }
    let decimals = usize::try_from(precision as i32 - 1 - power).unwrap_or(0);
    trimmed(format!("{size:.decimals$}"))
}

fn parse(spec: &str) -> Option<Spec> {
    let mut parsed = Spec::default();
    let chars: Vec<char> = spec.chars().collect();
    let is_align = |c: Option<&char>| matches!(c, Some('<' | '>' | '=' | '^'));
    let mut at = 0;
    if is_align(chars.get(1)) {
        (parsed.fill, parsed.align) = (chars.first().copied(), chars.get(1).copied());
        at = 2;
    } else if is_align(chars.first()) {
        parsed.align = chars.first().copied();
        at = 1;
    }
    if let Some(sign @ ('+' | '-' | ' ')) = chars.get(at) {
        parsed.sign = Some(*sign);
        at += 1;
    }
    if chars.get(at) == Some(&'#') {
        parsed.alternate = true;
        at += 1;
    }
    if chars.get(at) == Some(&'0') {
        parsed.zero = true;
        at += 1;
    }
    let number = |at: &mut usize| {
        let digits: String = chars[*at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        *at += digits.len();
        digits.parse::<usize>().ok()
    };
    parsed.width = number(&mut at).map_or(0, |width| width as i64);
    if let Some(separator @ (',' | '_')) = chars.get(at) {
        parsed.grouping = Some(*separator);
        at += 1;
    }
    if chars.get(at) == Some(&'.') {
        at += 1;
        parsed.precision = Some(number(&mut at)?);
    }
    if let Some(kind) = chars.get(at) {
        parsed.kind = Some(*kind);
        at += 1;
    }
    (at == chars.len()).then_some(parsed)
}

/// `template % values`: one value, a tuple of them, or a dictionary for `%(name)s`.
///
/// # Errors
/// Too many or too few values, or one that does not fit.
pub fn percent(template: &str, values: &Value) -> Result<String, Error> {
    let mut next = match values.is_tuple() {
        true => crate::template::value::items(values)?,
        false => vec![values.clone()],
    }
    .into_iter();
    let chars: Vec<char> = template.chars().collect();
    let mut named = false;
    let mut out = String::new();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        at += 1;
        if *c != '%' {
            out.push(*c);
            continue;
        }
        let mut value = None;
        if chars.get(at) == Some(&'(') {
            let end = chars[at..].iter().position(|c| *c == ')').map(|found| at + found);
            let end = end.ok_or_else(|| fail("`%(` in a format string is never closed"))?;
            let name: String = chars[at + 1..end].iter().collect();
            if !is_mapping(values) {
                return Err(fail(format!(
                    "`%({name})` needs a dictionary after the `%`, not {}",
                    shown(values)
                )));
            }
            value = Some(lookup(values, &Value::from(name.as_str())).ok_or_else(|| fail(format!("`%({name})` has no value")))?);
            named = true;
            at = end + 1;
        }
        let mut spec = Spec::default();
        while let Some(flag @ ('-' | '+' | ' ' | '#' | '0')) = chars.get(at) {
            match flag {
                '-' => spec.align = Some('<'),
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                sign => spec.sign = Some(*sign),
            }
            at += 1;
        }
        let mut number = |at: &mut usize| {
            if chars.get(*at) == Some(&'*') {
                *at += 1;
                return next.next().as_ref().and_then(as_int).unwrap_or(0);
            }
            let mut number = 0_i64;
            while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
                number = number.saturating_mul(10).saturating_add(i64::from(digit));
                *at += 1;
            }
            number
        };
        spec.width = number(&mut at);
        if spec.width < 0 {
            spec.align = Some('<');
            spec.width = -spec.width;
        }
        if chars.get(at) == Some(&'.') {
            at += 1;
            spec.precision = usize::try_from(number(&mut at)).ok();
        }
        while let Some('h' | 'l' | 'L') = chars.get(at) {
            at += 1;
        }
        let Some(kind) = chars.get(at).copied() else {
            return Err(fail("a format string ends within a `%` field"));
        };
        at += 1;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => next
                .next()
                .ok_or_else(|| fail(format!("there are fewer values than `%` fields in {template:?}")))?,
        };
        if value.is_undefined() {
            return Err(undefined(&value));
        }
        out.push_str(&percent_field(&value, kind, spec)?);
    }
    if !named && !is_mapping(values) && next.next().is_some() {
        return Err(fail(format!("there are more values than `%` fields in {template:?}")));
    }
    Ok(out)
}

fn percent_field(value: &Value, kind: char, mut spec: Spec) -> Result<String, Error> {
    let refused = |wanted: &str| fail(format!("`%{kind}` needs {wanted}, not {}", shown(value)));
    let body = match kind {
        's' | 'r' | 'a' | 'c' => {
            let text = match kind {
                's' => text(value),
                'c' => match as_int(value).and_then(|int| char::from_u32(u32::try_from(int).ok()?)) {
                    Some(c) => c.to_string(),
                    None if is_string(value) => text(value),
                    None => return Err(refused("a character")),
                },
                _ => repr(value),
            };
            let cut = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect::<String>();
            let side = if spec.align.is_some() { Side::Left } else { Side::Right };
            return justify(&cut, spec.width, ' ', side);
        }
        'd' | 'i' | 'u' => {
            let float = as_float(value).ok_or_else(|| refused("a number"))?;
            let int = as_int(value).unwrap_or(float.trunc() as i64);
            let digits = integer(int, 'd', &spec);
            let missing = spec
                .precision
                .unwrap_or(0)
                .saturating_sub(digits.trim_start_matches(['-', '+']).len());
            let sign = digits.len() - digits.trim_start_matches(['-', '+', ' ']).len();
            format!("{}{}{}", &digits[..sign], "0".repeat(missing.min(300)), &digits[sign..])
        }
        'x' | 'X' | 'o' => integer(as_int(value).ok_or_else(|| refused("an integer"))?, kind, &spec),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => float(as_float(value).ok_or_else(|| refused("a number"))?, Some(kind), &spec),
        _ => return Err(fail(format!("unknown format `%{kind}`; write `%%` for the character itself"))),
    };
    if spec.align == Some('<') {
        spec.zero = false;
    }
    padded(&body, &spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::value::{dict, list, tuple};

    fn outcome(result: Result<String, Error>) -> String {
        result.unwrap_or_else(|error| error.detail().unwrap_or_default().to_owned())
    }

    #[test]
    fn percent_formats_as_python() {
        let table = [
            ("%s", Value::from("a"), "a"),
            (
                "%s-%05d-%.2f",
                tuple(vec!["a".into(), 42.into(), 1.005.into()]),
                "a-00042-1.00",
            ),
            ("%5s|%-5s|", tuple(vec!["a".into(), "b".into()]), "    a|b    |"),
            (
                "%x %X %#x %o",
                tuple(vec![255.into(), 255.into(), 255.into(), 8.into()]),
                "ff FF 0xff 10",
            ),
            (
                "%(a)s=%(b)r",
                dict([("a".into(), 1.into()), ("b".into(), "x".into())]),
                "1='x'",
            ),
            ("%s", list(vec![1.into(), "a".into()]), "[1, 'a']"),
            ("100%%", tuple(vec![]), "100%"),
            ("%d", Value::from(3.9), "3"),
            ("%+d % d", tuple(vec![3.into(), 4.into()]), "+3  4"),
            ("%03d", Value::from("x"), "`%d` needs a number, not 'x'"),
            ("%s %s", Value::from(1), "there are fewer values than `%` fields in \"%s %s\""),
            (
                "%s",
                tuple(vec![1.into(), 2.into()]),
                "there are more values than `%` fields in \"%s\"",
            ),
            (
                "%e %g %g",
                tuple(vec![12345.678.into(), 0.0001.into(), 1e20.into()]),
                "1.234568e+04 0.0001 1e+20",
            ),
        ];
        for (template, values, expected) in table {
            assert_eq!(outcome(percent(template, &values)), expected, "{template}");
        }
    }

    #[test]
    fn format_formats_as_python() {
        let named = [
            ("name".to_owned(), dict([("x".into(), list(vec![7.into()]))])),
            ("w".to_owned(), 6.into()),
        ];
        let table: &[(&str, &[Value], &str)] = &[
            ("{}-{}", &["a".into(), 1.into()], "a-1"),
            ("{1}{0}", &["a".into(), 1.into()], "1a"),
            ("{name.x[0]}", &[], "7"),
            (
                "{:>5}|{:<5}|{:^5}",
                &["a".into(), "b".into(), "c".into()],
                "    a|b    |  c  ",
            ),
            (
                "{:05d} {:+} {:,}",
                &[42.into(), 1.into(), 1234567.into()],
                "00042 +1 1,234,567",
            ),
            (
                "{:.2f} {:.3} {:e}",
                &[1.5.into(), "abcdef".into(), 1500.0.into()],
                "1.50 abc 1.500000e+03",
            ),
            ("{:#x} {:b} {:%}", &[255.into(), 5.into(), 0.5.into()], "0xff 101 50.000000%"),
            ("{:{w}}|", &["a".into()], "a     |"),
            ("{{}} {!r}", &["a".into()], "{} 'a'"),
            ("{2}", &["a".into()], "the format field {2} has no value"),
            (
                "{",
                &[],
                "a `{` in a format string is never closed; write `{{` for the character itself",
            ),
            (
                "{:d}",
                &["a".into()],
                "the format \"d\" does not fit 'a' (a value of type str)",
            ),
        ];
        for (template, positional, expected) in table {
            assert_eq!(outcome(format_fields(template, positional, &named)), *expected, "{template}");
        }
    }
}
