//! apt's sources: `deb [options] URI SUITE COMPONENTS` (sources.list(5)), and the stanzas of `.sources` files.

/// A source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    pub disabled: bool,
    /// `deb` or `deb-src`.
    pub kind: String,
    /// `arch=amd64`, `signed-by=...`, in the order in which they were written.
    pub options: Vec<(String, String)>,
    pub uri: String,
    pub suite: String,
    pub components: Vec<String>,
    pub comment: String,
}

impl Source {
    /// A line; one that is commented out is disabled.
    pub fn parse(line: &str) -> Option<Source> {
        let line = line.trim();
        let (disabled, line) = match line.strip_prefix('#') {
            Some(rest) => (true, rest.trim_start_matches(['#', ' ', '\t'])),
            None => (false, line),
        };
        let (line, comment) = match line.split_once(" #") {
            Some((line, comment)) => (line, comment.trim()),
            None => (line, ""),
        };
        let (kind, rest) = line.split_once(char::is_whitespace)?;
        if kind != "deb" && kind != "deb-src" {
            return None;
        }
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let options = options.split_whitespace().map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, "yes"));
            (key.to_owned(), value.to_owned())
        });
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        uri.contains(':').then(|| Source {
            disabled,
            kind: kind.to_owned(),
            options: options.collect(),
            uri: uri.to_owned(),
            suite: suite.to_owned(),
            components: words.map(str::to_owned).collect(),
            comment: comment.to_owned(),
        })
    }

    pub fn line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.disabled {
            words.push("#".to_owned());
        }
        words.push(self.kind.clone());
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
            words.push(format!("[{}]", options.join(" ")));
        }
        words.extend([self.uri.clone(), self.suite.clone()]);
        words.extend(self.components.iter().cloned());
        if !self.comment.is_empty() {
            words.push(format!("# {}", self.comment));
        }
        words.join(" ")
    }

    pub fn option(&self, wanted: &str) -> Option<&str> {
        let found = self.options.iter().find(|(key, _)| key == wanted);
        found.map(|(_, value)| value.as_str())
    }

    pub fn set_option(&mut self, key: &str, value: &str) {
        match self.options.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.options.push((key.to_owned(), value.to_owned())),
        }
    }

    /// Whether both speak of the same suite of the same archive.
    pub fn is_same_place(&self, other: &Source) -> bool {
        let bare = |uri: &str| uri.trim_end_matches('/').to_owned();
        self.kind == other.kind && bare(&self.uri) == bare(&other.uri) && self.suite == other.suite
    }

    /// Whether nothing is to be changed, in whatever order things stand. Comments say nothing, unless one is wanted.
    pub fn is_as(&self, wanted: &Source) -> bool {
        let sorted = |words: &[String]| {
            let mut words = words.to_vec();
            words.sort();
            words
        };
        let options = |source: &Source| {
            let mut options = source.options.clone();
            options.sort();
            options
        };
        self.is_same_place(wanted)
            && self.disabled == wanted.disabled
            && options(self) == options(wanted)
            && sorted(&self.components) == sorted(&wanted.components)
            && (wanted.comment.is_empty() || self.comment == wanted.comment)
    }

    /// As a stanza of a `.sources` file.
    pub fn stanza(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.comment.is_empty() {
            lines.push(format!("# {}", self.comment));
        }
        if self.disabled {
            lines.push("Enabled: no".to_owned());
        }
        lines.extend([
            format!("Types: {}", self.kind),
            format!("URIs: {}", self.uri),
            format!("Suites: {}", self.suite),
        ]);
        if !self.components.is_empty() {
            lines.push(format!("Components: {}", self.components.join(" ")));
        }
        for (key, value) in &self.options {
            let value = value.replace(',', " ");
            let field = OPTIONS
                .iter()
                .find(|(option, _)| option == key)
                .map_or(key.as_str(), |(_, field)| field);
            lines.push(format!("{field}: {value}"));
        }
        lines
    }
}

/// Options of a line, and the fields that they are in a stanza.
const OPTIONS: [(&str, &str); 9] = [
    ("arch", "Architectures"),
    ("lang", "Languages"),
    ("target", "Targets"),
    ("pdiffs", "PDiffs"),
    ("by-hash", "By-Hash"),
    ("trusted", "Trusted"),
    ("signed-by", "Signed-By"),
    ("check-valid-until", "Check-Valid-Until"),
    ("allow-insecure", "Allow-Insecure"),
];

/// A stanza of a `.sources` file: the lines that it is made of, and the sources that it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stanza {
    pub first: usize,
    /// Behind the last.
    pub end: usize,
    pub sources: Vec<Source>,
}

/// The stanzas of a `.sources` file.
pub fn stanzas(lines: &[String]) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    let mut first = 0;
    while first < lines.len() {
        let end = lines[first..]
            .iter()
            .position(|line| line.trim().is_empty())
            .map_or(lines.len(), |n| first + n);
        if end > first {
            stanzas.push(Stanza {
                first,
                end,
                sources: sources(&lines[first..end]),
            });
        }
        first = end + 1;
    }
    stanzas
}

fn sources(lines: &[String]) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut comment = String::new();
    for line in lines {
        if let Some(text) = line.strip_prefix('#') {
            text.trim().clone_into(&mut comment);
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                *value += " ";
                *value += line.trim();
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    let field = |wanted: &str| {
        fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(wanted))
            .map_or("", |(_, value)| value)
    };
    let list = |wanted: &str| field(wanted).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let disabled = matches!(field("Enabled").to_ascii_lowercase().as_str(), "no" | "false" | "0");
    let options: Vec<(String, String)> = fields
        .iter()
        .filter_map(|(key, value)| {
            let (option, _) = OPTIONS.iter().find(|(_, field)| field.eq_ignore_ascii_case(key))?;
            Some(((*option).to_owned(), value.split_whitespace().collect::<Vec<_>>().join(",")))
        })
        .collect();
    let mut sources = Vec::new();
    for kind in list("Types") {
        for uri in list("URIs") {
            for suite in list("Suites") {
                sources.push(Source {
                    disabled,
                    kind: kind.clone(),
                    options: options.clone(),
                    uri: uri.clone(),
                    suite,
                    components: list("Components"),
                    comment: comment.clone(),
                });
            }
        }
    }
    sources
}

/// Puts `wanted` among `lines` of the file at `path`: in place of the source that speaks of the same place, or at the end. `None`: it
/// stands there already.
pub fn put(path: &str, lines: &[String], wanted: &Source) -> Option<Vec<String>> {
    let mut new = lines.to_vec();
    if !path.ends_with(".sources") {
        let found: Vec<(usize, Source)> = lines
            .iter()
            .enumerate()
            .filter_map(|(n, line)| {
                Source::parse(line)
                    .filter(|source| source.is_same_place(wanted))
                    .map(|source| (n, source))
            })
            .collect();
        if found.iter().any(|(_, source)| source.is_as(wanted)) {
            return None;
        }
        // One that counts before one that is commented out.
        let place = found.iter().find(|(_, source)| !source.disabled).or(found.first());
        match place {
            Some((n, _)) => new[*n] = wanted.line(),
            None => new.push(wanted.line()),
        }
        return Some(new);
    }
    let all = stanzas(lines);
    if all
        .iter()
        .flat_map(|stanza| &stanza.sources)
        .any(|source| source.is_as(wanted))
    {
        return None;
    }
    // A stanza that speaks of other places too is left as it is.
    let own = all
        .iter()
        .find(|stanza| matches!(stanza.sources.as_slice(), [one] if one.is_same_place(wanted)));
    match own {
        Some(stanza) => drop(new.splice(stanza.first..stanza.end, wanted.stanza())),
        None => {
            if new.last().is_some_and(|last| !last.trim().is_empty()) {
                new.push(String::new());
            }
            new.extend(wanted.stanza());
        }
    }
    Some(new)
}

/// Whether a source for the same place stands in the file at `path`.
pub fn speaks_of(path: &str, lines: &[String], wanted: &Source) -> bool {
    if path.ends_with(".sources") {
        let all = stanzas(lines);
        return all.iter().any(|stanza| {
            stanza.sources.iter().any(|source| source.is_as(wanted))
                || matches!(stanza.sources.as_slice(), [one] if one.is_same_place(wanted))
        });
    }
    lines
        .iter()
        .filter_map(|line| Source::parse(line))
        .any(|source| source.is_same_place(wanted))
}

/// Takes `unwanted` out of the lines of the file at `path`; of a source with more components only those that it names. `None`: it is
/// not there.
pub fn take(path: &str, lines: &[String], unwanted: &Source) -> Option<Vec<String>> {
    let mut changed = false;
    let mut rest = |source: &Source| -> Option<Source> {
        if !source.is_same_place(unwanted) {
            return Some(source.clone());
        }
        let mut left = source.clone();
        left.components.retain(|component| !unwanted.components.contains(component));
        let keeps = !unwanted.components.is_empty() && !left.components.is_empty();
        changed |= !keeps || left.components != source.components;
        keeps.then_some(left)
    };
    let mut new = Vec::new();
    if path.ends_with(".sources") {
        let all = stanzas(lines);
        for (n, line) in lines.iter().enumerate() {
            let stanza = all.iter().find(|stanza| (stanza.first..stanza.end).contains(&n));
            match stanza.map(|stanza| (stanza, stanza.sources.as_slice())) {
                Some((stanza, [one])) if one.is_same_place(unwanted) => {
                    if n == stanza.first
                        && let Some(left) = rest(one)
                    {
                        new.extend(if left == *one {
                            lines[stanza.first..stanza.end].to_vec()
                        } else {
                            left.stanza()
                        });
                    }
                }
                _ => new.push(line.clone()),
            }
        }
    } else {
        for line in lines {
            match Source::parse(line) {
                Some(source) if !source.disabled => match rest(&source) {
                    Some(left) if left == source => new.push(line.clone()),
                    Some(left) => new.push(left.line()),
                    None => {}
                },
                _ => new.push(line.clone()),
            }
        }
    }
    // What is left of a file of its own may say nothing any more.
    let says = |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if path.contains("/sources.list.d/") && !new.iter().any(says) {
        new.clear();
    }
    changed.then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const DOCKER: &str =
        "deb [arch=arm64 signed-by=/etc/apt/keyrings/docker.gpg] https://download.docker.com/linux/debian bookworm stable";

    #[test]
    fn lines_are_read_and_written() {
        for (line, written) in [
            (DOCKER, DOCKER),
            (
                "#  deb-src http://x/debian  sid main contrib",
                "# deb-src http://x/debian sid main contrib",
            ),
            ("deb http://x ./ # mine", "deb http://x ./ # mine"),
            ("deb [trusted=yes] file:/srv/repo ./", "deb [trusted=yes] file:/srv/repo ./"),
        ] {
            assert_eq!(Source::parse(line).unwrap().line(), written);
        }
        for wrong in ["", "# a comment", "deb x", "rpm http://x y", "deb nowhere stable main"] {
            assert_eq!(Source::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_source_takes_the_place_of_the_one_for_the_same_suite() {
        let wanted = Source::parse(DOCKER).unwrap();
        let put = |path: &str, text: &str| put(path, &lines(text), &wanted).map(|lines| lines.join("\n"));
        assert_eq!(put("x.list", ""), Some(DOCKER.to_owned()));
        assert_eq!(put("x.list", &format!("# old\n{DOCKER}")), None);
        let other = DOCKER.replace(
            "arch=arm64 signed-by=/etc/apt/keyrings/docker.gpg",
            "signed-by=/etc/apt/keyrings/docker.gpg arch=arm64",
        );
        assert_eq!(put("x.list", &other), None, "the order of options says nothing");
        assert_eq!(
            put(
                "x.list",
                "# deb https://download.docker.com/linux/debian/ bookworm stable\ndeb https://download.docker.com/linux/debian bookworm edge test\ndeb http://y z"
            ),
            Some(format!(
                "# deb https://download.docker.com/linux/debian/ bookworm stable\n{DOCKER}\ndeb http://y z"
            ))
        );
        let stanza = "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\nArchitectures: arm64\nSigned-By: /etc/apt/keyrings/docker.gpg";
        assert_eq!(put("x.sources", ""), Some(stanza.to_owned()));
        assert_eq!(put("x.sources", stanza), None);
        assert_eq!(
            put("x.sources", &stanza.replace("Suites: bookworm", "Suites: bookworm trixie")),
            None
        );
        assert_eq!(
            put(
                "x.sources",
                &format!(
                    "Types: deb\nURIs: http://y\nSuites: z\n\n{}",
                    stanza.replace("stable", "edge")
                )
            ),
            Some(format!("Types: deb\nURIs: http://y\nSuites: z\n\n{stanza}"))
        );
    }

    #[test]
    fn a_source_is_taken_out() {
        let text = "# docker\ndeb http://d bookworm stable test\ndeb http://y z main";
        for (unwanted, expected) in [
            ("deb http://d/ bookworm", Some("# docker\ndeb http://y z main")),
            (
                "deb http://d bookworm test",
                Some("# docker\ndeb http://d bookworm stable\ndeb http://y z main"),
            ),
            ("deb http://d bookworm test stable", Some("# docker\ndeb http://y z main")),
            ("deb http://d bookworm none", None),
            ("deb http://d trixie stable", None),
        ] {
            let left = take("/etc/apt/sources.list", &lines(text), &Source::parse(unwanted).unwrap());
            assert_eq!(left.map(|lines| lines.join("\n")).as_deref(), expected, "{unwanted}");
        }
        let path = "/etc/apt/sources.list.d/d.list";
        let unwanted = Source::parse("deb http://d bookworm").unwrap();
        assert_eq!(
            take(path, &lines("# docker\ndeb http://d bookworm stable"), &unwanted),
            Some(Vec::new())
        );
        let stanzas =
            lines("Types: deb\nURIs: http://d\nSuites: bookworm\nComponents: a b\n\nTypes: deb\nURIs: http://y\nSuites: z");
        let left = take("/etc/apt/sources.list.d/d.sources", &stanzas, &unwanted).unwrap();
        assert_eq!(left, lines("\nTypes: deb\nURIs: http://y\nSuites: z"));
    }
}
