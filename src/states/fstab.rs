//! `/etc/fstab` as lines that can be found, changed and written back (fstab(5)).

/// A line that mounts something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// A device, `UUID=...`, `LABEL=...`, `host:/path`, or a swap file.
    pub source: String,
    /// The mount point; `none` for swap.
    pub target: String,
    pub fstype: String,
    /// Separated by commas.
    pub options: String,
    pub dump: u32,
    pub pass: u32,
}

impl Line {
    /// The line's fields; `None` for comments, blank lines and what is not one.
    pub fn parse(text: &str) -> Option<Line> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let mut fields = text.split_whitespace();
        Some(Line {
            source: unescape(fields.next()?),
            target: unescape(fields.next()?),
            fstype: fields.next()?.to_owned(),
            options: fields.next().unwrap_or("defaults").to_owned(),
            dump: fields.next().and_then(|n| n.parse().ok()).unwrap_or(0),
            pass: fields.next().and_then(|n| n.parse().ok()).unwrap_or(0),
        })
    }

    pub fn text(&self) -> String {
        let Line {
            fstype,
            options,
            dump,
            pass,
            ..
        } = self;
        format!(
            "{}\t{}\t{fstype}\t{options}\t{dump} {pass}",
            escape(&self.source),
            escape(&self.target)
        )
    }
}

/// `text` with `line` in the place of those that `same` picks, or at its end; `None` where it says so already.
pub fn with(text: &str, line: &Line, same: impl Fn(&Line) -> bool) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut placed, mut changed) = (false, false);
    for written in text.lines() {
        match Line::parse(written) {
            Some(old) if same(&old) => {
                if std::mem::replace(&mut placed, true) {
                    changed = true;
                } else if old == *line {
                    lines.push(written.to_owned());
                } else {
                    changed = true;
                    lines.push(line.text());
                }
            }
            _ => lines.push(written.to_owned()),
        }
    }
    if !placed {
        lines.push(line.text());
    }
    (changed || !placed).then(|| super::etc::joined(&lines))
}

/// `text` without the lines that `gone` picks; `None` where there are none.
pub fn without(text: &str, gone: impl Fn(&Line) -> bool) -> Option<String> {
    let is_gone = |written: &str| Line::parse(written).is_some_and(|line| gone(&line));
    let left: Vec<String> = text.lines().filter(|written| !is_gone(written)).map(str::to_owned).collect();
    (left.len() < text.lines().count()).then(|| super::etc::joined(&left))
}

/// Blanks in a field are written in octal.
fn escape(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_replaced_added_and_removed() {
        let line = Line {
            source: "/dev/sda1".into(),
            target: "/my data".into(),
            fstype: "ext4".into(),
            options: "noatime".into(),
            dump: 0,
            pass: 2,
        };
        let text = "# disks\nUUID=1 / ext4 defaults 0 1\n";
        let with_it = with(text, &line, |old| old.target == line.target).unwrap();
        assert_eq!(
            with_it,
            "# disks\nUUID=1 / ext4 defaults 0 1\n/dev/sda1\t/my\\040data\text4\tnoatime\t0 2\n"
        );
        assert_eq!(with(&with_it, &line, |old| old.target == line.target), None);
        assert_eq!(without(&with_it, |old| old.target == "/my data").as_deref(), Some(text));
        assert_eq!(without(text, |old| old.target == "/my data"), None);
    }
}
