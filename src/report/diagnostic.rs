//! Errors as a person reads them: what, where with the source line, how it came there, and what to do.

use super::paint::{BLUE, BOLD, CYAN, Paper, RED, YELLOW, cut, paint, safe, width, wrap};
use crate::error::{Diagnostic, Error, Pos};
use crate::pillar::is_secret;
use regex::{Captures, Regex};
use std::fmt::Write;
use std::sync::LazyLock;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

/// More diagnostics than this of one error are counted rather than drawn.
const MOST: usize = 30;

/// Source files larger than this are not read for a line of them.
const LARGEST: u64 = 16 << 20;

/// All of `error`, each part after an empty line.
pub fn draw(error: &Error, paper: Paper) -> String {
    draw_as(Severity::Error, error, paper)
}

/// As [`draw`], for what may be a warning.
pub fn draw_as(severity: Severity, error: &Error, paper: Paper) -> String {
    let groups = grouped(error.diagnostics());
    let mut out = String::new();
    for (n, (diagnostic, minions)) in groups.iter().take(MOST).enumerate() {
        if n > 0 {
            out.push('\n');
        }
        one(&mut out, severity, diagnostic, minions, paper);
    }
    if groups.len() > MOST {
        let _ = writeln!(out, "\n… and {} more", groups.len() - MOST);
    }
    out
}

/// At most so many lines tell how a place was reached.
const LONGEST_WAY: usize = 12;

/// The same mistake on several minions is told once, with all of their names.
fn grouped(diagnostics: &[Diagnostic]) -> Vec<(&Diagnostic, Vec<&str>)> {
    let mut groups: Vec<(&Diagnostic, Vec<&str>)> = Vec::new();
    for d in diagnostics {
        let same = |other: &Diagnostic| {
            (&other.message, other.at, &other.state, &other.hints, &other.trail)
                == (&d.message, d.at, &d.state, &d.hints, &d.trail)
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, minions)) => {
                if let Some(minion) = d.minion.as_deref()
                    && !minions.contains(&minion)
                {
                    minions.push(minion);
                }
            }
            None => groups.push((d, d.minion.as_deref().into_iter().collect())),
        }
    }
    groups
}

fn one(out: &mut String, severity: Severity, d: &Diagnostic, minions: &[&str], paper: Paper) {
    let (word, style) = match severity {
        Severity::Error => ("error: ", RED.bold()),
        Severity::Warning => ("warning: ", YELLOW.bold()),
    };
    labelled(out, word, style, &d.message, BOLD, paper);

    let line = source_line(d);
    let number = if line.is_some() {
        d.at.line.to_string()
    } else {
        String::new()
    };
    let gutter = " ".repeat(number.len());
    if d.at.is_known() {
        let _ = writeln!(out, "{gutter}{} {}", paint(BLUE, " -->"), safe(&d.at.to_string()));
    }
    if let Some(line) = line {
        let (line, start, length) = marked(&hush(&line), d.at.column, paper.width.saturating_sub(number.len() + 4));
        let bar = paint(BLUE, "|");
        let _ = writeln!(out, "{gutter}  {bar}");
        let _ = writeln!(out, " {} {bar} {line}", paint(BLUE, number));
        if length > 0 {
            let _ = writeln!(
                out,
                "{gutter}  {bar} {}{}",
                " ".repeat(start),
                paint(style, "^".repeat(length))
            );
        }
    }
    let mut note = |text: &str| {
        let start = format!("{gutter}  {} ", paint(BLUE, "="));
        let lines = wrap(&safe(text), paper.width.saturating_sub(gutter.len() + 4), 0);
        for (n, line) in lines.iter().enumerate() {
            let start = if n == 0 { start.clone() } else { " ".repeat(gutter.len() + 4) };
            let _ = writeln!(out, "{start}{line}");
        }
    };
    if let Some(state) = &d.state {
        note(&format!("state: {state}"));
    }
    match minions {
        [] => {}
        [one] => note(&format!("minion: {one}")),
        several => note(&format!("minions: {}", several.join(", "))),
    }
    let mut way: Vec<(String, usize)> = Vec::new();
    for (how, at) in &d.trail {
        let line = if at.is_known() { format!("{how}: {at}") } else { how.clone() };
        match way.last_mut().filter(|(last, _)| *last == line) {
            Some((_, times)) => *times += 1,
            None => way.push((line, 1)),
        }
    }
    // A way in circles is long; its ends tell all.
    let left_out = way.len().saturating_sub(LONGEST_WAY);
    for (n, (line, times)) in way.iter().enumerate() {
        match n.checked_sub(LONGEST_WAY / 2) {
            Some(0) if left_out > 0 => note(&format!("… {left_out} more …")),
            Some(past) if past < left_out => {}
            _ if *times > 1 => note(&format!("{line} ({times} times)")),
            _ => note(line),
        }
    }
    for hint in &d.hints {
        labelled(out, "hint: ", CYAN, hint, anstyle::Style::new(), paper);
    }
}

/// `word` and `text`, whose further lines stand under its first.
fn labelled(out: &mut String, word: &str, style: anstyle::Style, text: &str, text_style: anstyle::Style, paper: Paper) {
    let indent = 2;
    for (n, line) in wrap(&safe(text), paper.width - indent, word.len() - indent)
        .iter()
        .enumerate()
    {
        let line = if text_style == anstyle::Style::new() {
            line.clone()
        } else {
            paint(text_style, line)
        };
        let _ = match n {
            0 => writeln!(out, "{}{line}", paint(style, word)),
            _ => writeln!(out, "{}{line}", " ".repeat(indent)),
        };
    }
}

/// The line that is pointed at: as it was read, or else as it is on disk.
fn source_line(d: &Diagnostic) -> Option<String> {
    if d.excerpt.is_some() {
        return d.excerpt.clone();
    }
    let Pos { file, line, .. } = d.at;
    if let Some(text) = crate::project::shipped_text(file.name()) {
        return text.lines().nth((line as usize).checked_sub(1)?).map(str::to_owned);
    }
    let path = std::path::Path::new(file.name());
    if line == 0 || !std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST) {
        return None;
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    Some(text.lines().nth(line as usize - 1)?.trim_start_matches('\u{feff}').to_owned())
}

/// `line` with stars for the values of keys that hold secrets. As wide as before: places in it stay where they are.
fn hush(line: &str) -> String {
    static ENTRY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"([\w-]+)["']?[ \t]*[:=][ \t]*("[^"]*"?|'[^']*'?|[^\s"'{\[,}\]#][^,}\]#]*)"#).ok());
    let Some(entry) = ENTRY.as_ref() else {
        return line.to_owned();
    };
    let stars = |found: &Captures| match is_secret(&found[1]) {
        true => {
            let kept = found[0].len() - found[2].len();
            let value = found[2].trim_end();
            let rest = &found[2][value.len()..];
            format!("{}{}{rest}", &found[0][..kept], "*".repeat(value.chars().count()))
        }
        false => found[0].to_owned(),
    };
    entry.replace_all(line, stars).into_owned()
}

/// The line as it is drawn, and the columns of the carets below it: from `column` to the end of the word there. A long line is cut
/// around the place.
fn marked(line: &str, column: u32, room: usize) -> (String, usize, usize) {
    let line = line.lines().next().unwrap_or_default();
    let known = column > 0;
    let at = line
        .char_indices()
        .nth(column.saturating_sub(1) as usize)
        .map_or(line.len(), |(at, _)| at);
    let (before, rest) = line.split_at(at);
    let word: String = rest
        .chars()
        .take_while(|c| c.is_alphanumeric() || "_.-/".contains(*c))
        .collect();
    let word = if word.is_empty() {
        rest.chars().take(1).collect()
    } else {
        word
    };
    let drawn = |text: &str| safe(&text.replace('\t', "    ")).into_owned();
    let length = width(&drawn(&word)).clamp(1, room.max(1));
    let before = drawn(before);
    // What stands left of the place gives way first.
    let goes_on = usize::from(rest.len() > word.len());
    let skip = (width(&before) + length.min(room / 2) + goes_on).saturating_sub(room);
    let (before, rest) = match skip {
        0 => (before, drawn(rest)),
        skip => {
            let mut skipped = 0;
            let kept = before.chars().skip_while(|c| {
                skipped += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
                skipped <= skip + 1
            });
            (format!("…{}", kept.collect::<String>()), drawn(rest))
        }
    };
    let start = width(&before);
    let length = length.min(room.saturating_sub(start).max(1));
    (
        cut(&format!("{before}{rest}"), room).into_owned(),
        start,
        if known { length } else { 0 },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;

    fn plain(error: &Error, width: usize) -> String {
        anstream::adapter::strip_str(&draw(error, Paper::wide(width))).to_string()
    }

    #[test]
    fn an_error_shows_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sls");
        std::fs::write(&path, "motd:\n\tfile.manged:\n    - name: /etc/motd\n").unwrap();
        let file = FileId::of(path.to_str().unwrap());
        let error = Error::usage("unknown state function `file.manged`")
            .at(Pos::new(file, 2, 2))
            .trail("included from", Pos::new(FileId::of("states/top.sls"), 3, 7))
            .minion("pi0")
            .did_you_mean("file.manged", ["file.managed"])
            .hint("`picloud doc` lists the state functions");
        let expected = "\
error: unknown state function `file.manged`
  --> FOLDER/web.sls:2:2
   |
 2 |     file.manged:
   |     ^^^^^^^^^^^
   = minion: pi0
   = included from: states/top.sls:3:7
hint: did you mean `file.managed`?
hint: `picloud doc` lists the state functions
";
        assert_eq!(plain(&error, 80), expected.replace("FOLDER", folder.path().to_str().unwrap()));
    }

    #[test]
    fn the_same_error_on_several_minions_is_told_once() {
        let error = |minion| Error::unreachable("connection refused").minion(minion);
        let all = Error::all([error("pi0"), error("pi1"), Error::usage("something else")]).unwrap();
        assert_eq!(
            plain(&all, 80),
            "error: connection refused\n  = minions: pi0, pi1\n\nerror: something else\n"
        );
    }

    #[test]
    fn long_texts_are_wrapped_and_long_lines_cut_around_the_place() {
        let excerpt = format!("{}G@os{}", "pi0 or ".repeat(10), " and web*".repeat(10));
        let error = Error::usage("`os` names no value, and this message is longer than a line of the terminal")
            .at(Pos::new(FileId::of("target"), 1, 73))
            .excerpt(excerpt);
        let expected = "\
error: `os` names no value, and this
  message is longer than a line of the
  terminal
  --> target:1:73
   |
 1 | … pi0 or pi0 or pi0 or pi0 or G@os…
   |                                 ^^
";
        assert_eq!(plain(&error, 40), expected);
    }

    #[test]
    fn the_line_shows_no_secret() {
        for (line, expected) in [
            (
                "m: {user: pw, password: hunter2, sudo: true}",
                "m: {user: pw, password: *******, sudo: true}",
            ),
            (
                "  wifi_passphrase: 'it is, a secret'  # x",
                "  wifi_passphrase: *****************  # x",
            ),
            ("api-key = \"abc\"", "api-key = *****"),
            ("password: {{ pillar['db'] }}", "password: {{ pillar['db'] }}"),
            ("password: ask me twice # x", "password: ************ # x"),
            ("password_file: /etc/pw", "password_file: /etc/pw"),
            ("name: value", "name: value"),
        ] {
            assert_eq!(hush(line), expected);
        }
    }

    #[test]
    fn places_without_a_file_are_named_only() {
        let error = Error::usage("wrong").at(Pos::new(FileId::of("no/such/file"), 3, 1));
        assert_eq!(plain(&error, 80), "error: wrong\n --> no/such/file:3:1\n");
    }
}
