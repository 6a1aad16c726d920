//! Text before and after, as a unified diff.

use super::paint::{BOLD, CYAN, GREEN, RED, paint, plural, safe};
use crate::states::TextDiff;
use similar::{ChangeTag, TextDiff as Lines};
use std::fmt::Write;
use std::time::Duration;

/// How much of a diff is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    All,
    /// At most so many lines, and how many more there are.
    Lines(usize),
}

/// `diff` as coloured lines; nothing where both sides are the same.
pub fn unified(diff: &TextDiff, shown: Shown) -> Vec<String> {
    // Two large files that have nothing in common would take minutes to compare well.
    let lines = Lines::configure()
        .timeout(Duration::from_millis(300))
        .diff_lines(diff.old.as_str(), diff.new.as_str());
    let mut out = Vec::new();
    for hunk in lines.unified_diff().context_radius(3).iter_hunks() {
        if out.is_empty() {
            let name = safe(&diff.name);
            out.push(paint(BOLD, format!("--- {name}")));
            out.push(paint(BOLD, format!("+++ {name}")));
        }
        out.push(paint(CYAN, hunk.header()));
        for change in hunk.iter_changes() {
            let text = safe(change.value().trim_end_matches('\n')).replace('\t', "    ");
            out.push(match change.tag() {
                ChangeTag::Delete => paint(RED, format!("-{text}")),
                ChangeTag::Insert => paint(GREEN, format!("+{text}")),
                ChangeTag::Equal => format!(" {text}"),
            });
            if change.missing_newline() {
                out.push("\\ no newline at the end".to_owned());
            }
        }
    }
    if let Shown::Lines(most) = shown
        && out.len() > most + 1
    {
        let hidden = out.len() - most;
        out.truncate(most);
        let mut more = String::new();
        let _ = write!(more, "… {}", plural(hidden, "more line"));
        out.push(more);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(old: &str, new: &str, shown: Shown) -> String {
        let diff = TextDiff {
            name: "/etc/motd".into(),
            old: old.into(),
            new: new.into(),
        };
        anstream::adapter::strip_str(&unified(&diff, shown).join("\n")).to_string()
    }

    #[test]
    fn changed_lines_are_shown_with_those_around_them() {
        let drawn = plain("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf", Shown::All);
        assert_eq!(
            drawn,
            "--- /etc/motd\n+++ /etc/motd\n@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n-f\n+E\n+f\n\\ no newline at the end"
        );
        assert_eq!(plain("same\n", "same\n", Shown::All), "");
    }

    #[test]
    fn a_long_diff_is_capped() {
        let new: String = (0..100).map(|n| format!("{n}\n")).collect();
        let drawn = plain("", &new, Shown::Lines(5));
        assert_eq!(
            drawn,
            "--- /etc/motd\n+++ /etc/motd\n@@ -0,0 +1,100 @@\n+0\n+1\n… 98 more lines"
        );
    }
}
