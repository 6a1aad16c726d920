//! The means of drawing: colours, widths, wrapping, tables, and text made safe for a terminal.

use anstyle::{AnsiColor, Style};
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(super) const BLUE: Style = AnsiColor::Blue.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();

/// `text` in `style`.
pub(super) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` as it stands out; the empty text stays so.
pub fn bold(text: &str) -> String {
    if text.is_empty() { String::new() } else { paint(BOLD, text) }
}

/// What is drawn on.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    /// Columns for text, which is wrapped.
    pub width: usize,
    /// Columns for tables, which are cut.
    pub table: usize,
}

impl Paper {
    /// Messages are wrapped at the terminal's width, and at 100 columns where it is wider: longer lines are hard to read. Without
    /// a terminal there are 80, and tables are not cut: a program may want to read them.
    pub fn of(stream: &impl std::os::fd::AsFd) -> Paper {
        match rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col)) {
            0 => Paper {
                width: 80,
                table: usize::MAX,
            },
            columns => Paper {
                width: columns.clamp(40, 100),
                table: columns.max(40),
            },
        }
    }

    /// So many columns for everything.
    pub fn wide(columns: usize) -> Paper {
        Paper {
            width: columns,
            table: columns,
        }
    }
}

/// Columns that `text`, which has no colours in it, takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` with control characters made visible, so that a minion's output cannot drive the terminal. Line ends and tabs stay.
pub fn safe(text: &str) -> Cow<'_, str> {
    let odd =
        |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            c if !odd(c) => out.push(c),
            c if c.is_ascii() => {
                out.push('^');
                out.push(char::from(c as u8 ^ 0x40));
            }
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// `text` broken at spaces so that no line is wider than `width`; the first is `first` columns shorter. A word that is wider than a
/// line is left whole: paths and commands are copied.
pub fn wrap(text: &str, width: usize, first: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut room = width.saturating_sub(first).max(1);
    for paragraph in text.split('\n') {
        let mut line = String::new();
        // Spaces at the start are an indentation and stay.
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        line.push_str(&indent);
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            let blank = line.len() == indent.len();
            if !blank && line.width() + 1 + word.width() > room {
                lines.push(std::mem::replace(&mut line, indent.clone()));
                room = width.max(1);
                line.push_str(word);
            } else {
                if !blank {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines.push(line);
        room = width.max(1);
    }
    lines
}

/// `text` cut to `width` columns, with `…` where something was cut.
pub(super) fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut taken = 0;
    let mut out = String::new();
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    Cow::Owned(out)
}

/// `1 minion`, `2 minions`.
pub fn plural(n: usize, one: &str) -> String {
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (n, Some(stem)) => format!("{n} {stem}ies"),
        (n, None) => format!("{n} {one}s"),
    }
}

/// A time as a person says it: `45 ms`, `1.2 s`, `3 min 20 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// Columns of text, as wide as their widest cell, two spaces apart.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    /// The columns whose cells stand at the right.
    right: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Cell {
    text: String,
    style: Style,
}

impl Table {
    pub fn new(heading: &[&str], right: &[usize]) -> Table {
        let mut table = Table {
            rows: Vec::new(),
            right: right.to_vec(),
        };
        table.row(heading.iter().map(|text| (*text).to_owned()));
        table.rows[0].iter_mut().for_each(|cell| cell.style = BOLD);
        table
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Table {
        let cells = cells.into_iter().map(|text| Cell {
            text: safe(&text).into_owned(),
            style: Style::new(),
        });
        self.rows.push(cells.collect());
        self
    }

    /// Gives a cell of the last row a colour.
    pub(super) fn style(&mut self, column: usize, style: Style) -> &mut Table {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.get_mut(column)) {
            cell.style = style;
        }
        self
    }

    /// The table's lines; the last column is cut where the paper ends.
    pub fn draw(&self, paper: Paper) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        // A cell that is the last of its row (a message across the other columns) does not widen its column.
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter(|row| row.len() == columns || column + 1 < row.len());
                cells
                    .filter_map(|row| row.get(column))
                    .map(|cell| width(&cell.text))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut used = 0;
            for (column, cell) in row.iter().enumerate() {
                let last = column + 1 == row.len();
                let text = if last {
                    cut(&cell.text, paper.table.saturating_sub(used).max(12))
                } else {
                    Cow::Borrowed(cell.text.as_str())
                };
                let fill = " ".repeat(widths[column].saturating_sub(width(&text)));
                let right = self.right.contains(&column) && row.len() == columns;
                let style = cell.style;
                let text = if style == Style::new() || text.is_empty() {
                    text.into_owned()
                } else {
                    paint(style, text)
                };
                match (right, last) {
                    (true, _) => line.extend([fill.as_str(), &text]),
                    (false, true) => line.push_str(&text),
                    (false, false) => line.extend([&text, fill.as_str()]),
                }
                if !last {
                    line.push_str("  ");
                }
                used += widths[column] + 2;
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_spaces() {
        for (text, columns, first, expected) in [
            ("one two three", 9, 0, vec!["one two", "three"]),
            ("one two three", 9, 4, vec!["one", "two three"]),
            ("/a/very/long/path and", 6, 0, vec!["/a/very/long/path", "and"]),
            ("a\n  indented words here", 12, 0, vec!["a", "  indented", "  words here"]),
            ("", 10, 0, vec![""]),
        ] {
            assert_eq!(wrap(text, columns, first), expected, "{text}");
        }
    }

    #[test]
    fn output_cannot_drive_the_terminal() {
        for (text, expected) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31mred", "^[[31mred"),
            ("line\r\nnext\rover", "line\nnext^Mover"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\u{9b}1m", "\\u{9b}1m"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn tables_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["minion", "ok", "note"], &[1]);
        table.row(["pi0".into(), "10".into(), "x".into()]);
        table.row(["pi10".into(), "not reached: connection refused".into()]);
        table.row(["pi1".into(), "9".into(), "a note that is longer".into()]);
        assert_eq!(
            anstream::adapter::strip_str(&table.draw(Paper::wide(30))).to_string(),
            "minion  ok  note\npi0     10  x\npi10    not reached: connecti…\npi1      9  a note that is lo…\n"
        );
    }

    #[test]
    fn times_and_counts_are_words() {
        assert_eq!(
            [45, 1_250, 200_000, 7_260_000].map(duration),
            ["45 ms", "1.2 s", "3 min 20 s", "2 h 1 min"]
        );
        assert_eq!(
            [(1, "minion"), (0, "minion"), (2, "entry")].map(|(n, what)| plural(n, what)),
            ["1 minion", "0 minions", "2 entries"]
        );
    }
}
