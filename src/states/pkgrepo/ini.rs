//! Files with sections, as dnf and pacman have them, as lines: one section is set or taken out, all else stays.

/// The lines of the section called `name`, its heading included.
fn section(lines: &[String], name: &str) -> Option<std::ops::Range<usize>> {
    let heading = |line: &String| {
        line.trim()
            .strip_prefix('[')
            .and_then(|line| line.split(']').next())
            .map(str::to_owned)
    };
    let first = lines.iter().position(|line| heading(line).as_deref() == Some(name))?;
    let after = lines[first + 1..].iter().position(|line| heading(line).is_some());
    let end = after.map_or(lines.len(), |n| first + 1 + n);
    Some(first..end)
}

/// The settings of a section, where there is one.
pub fn settings(lines: &[String], name: &str) -> Option<Vec<(String, String)>> {
    let range = section(lines, name)?;
    let mut settings: Vec<(String, String)> = Vec::new();
    for line in &lines[range.start + 1..range.end] {
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        // A line that begins with a blank goes on with the one above.
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), settings.last_mut()) {
            *value += "\n";
            *value += line.trim();
        } else {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Some(settings)
}

/// Sets `wanted` in the section called `name`, which is made at the end where it is missing; other settings of it stay.
pub fn set(lines: &[String], name: &str, comments: &[String], wanted: &[(String, String)], between: &str) -> Vec<String> {
    let mut new = lines.to_vec();
    let written = |key: &str, value: &str| format!("{key}{between}{}", value.replace('\n', "\n    "));
    let Some(range) = section(lines, name) else {
        if new.last().is_some_and(|last| !last.trim().is_empty()) {
            new.push(String::new());
        }
        new.push(format!("[{name}]"));
        new.extend(
            comments
                .iter()
                .map(|comment| format!("# {}", comment.trim_start_matches(['#', ' ']))),
        );
        for (key, value) in wanted {
            new.extend(written(key, value).split('\n').map(str::to_owned));
        }
        return new;
    };
    let mut body: Vec<String> = Vec::new();
    let mut left: Vec<&(String, String)> = wanted.iter().collect();
    let mut replaced = false;
    for line in &lines[range.start + 1..range.end] {
        let goes_on = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        if goes_on && replaced {
            continue;
        }
        let key = line.split('=').next().unwrap_or("").trim();
        let found = left
            .iter()
            .position(|(known, _)| known == key && !line.starts_with(['#', ';']));
        replaced = found.is_some();
        match found {
            Some(n) => {
                let (key, value) = left.remove(n);
                body.extend(written(key, value).split('\n').map(str::to_owned));
            }
            None => body.push(line.clone()),
        }
    }
    // Behind the last setting, before the empty lines that end the section.
    let end = body.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |n| n + 1);
    let more: Vec<String> = left
        .iter()
        .flat_map(|(key, value)| written(key, value).split('\n').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    body.splice(end..end, more);
    new.splice(range.start + 1..range.end, body);
    new
}

/// Without the section called `name`; `None`: there is none.
pub fn take(lines: &[String], name: &str) -> Option<Vec<String>> {
    let range = section(lines, name)?;
    let mut new = lines.to_vec();
    new.drain(range);
    while new.last().is_some_and(|last| last.trim().is_empty()) {
        new.pop();
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn sections_are_set_and_taken_out() {
        let text = "[a]\nname=A\nbaseurl=x\n    y\n# no\n\n[b]\nname=B";
        assert_eq!(
            settings(&lines(text), "a"),
            Some(pairs(&[("name", "A"), ("baseurl", "x\ny")]))
        );
        assert_eq!(settings(&lines(text), "c"), None);
        let set =
            |name: &str, wanted: &[(&str, &str)]| set(&lines(text), name, &["# hi".to_owned()], &pairs(wanted), "=").join("\n");
        assert_eq!(
            set("a", &[("baseurl", "z"), ("enabled", "1")]),
            "[a]\nname=A\nbaseurl=z\n# no\nenabled=1\n\n[b]\nname=B"
        );
        assert_eq!(
            set("c", &[("baseurl", "p\nq")]),
            format!("{text}\n\n[c]\n# hi\nbaseurl=p\n    q")
        );
        assert_eq!(take(&lines(text), "b"), Some(lines("[a]\nname=A\nbaseurl=x\n    y\n# no")));
        assert_eq!(take(&lines(text), "a"), Some(lines("[b]\nname=B")));
        assert_eq!(take(&lines(text), "c"), None);
    }
}
