//! Shell text that fetches, lists and extracts an archive with what a minion has: tar, unzip, bsdtar, busybox.
//!
//! What was extracted is remembered in a *stamp* on the minion: its first line names the archive, the others its members. By it a
//! later run knows, without fetching anything, that nothing has to be done.

use crate::shell::quote;

/// The archives that are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Tar,
    Zip,
    Rar,
}

impl Format {
    /// The format called `name`.
    pub fn named(name: &str) -> Option<Format> {
        match name.to_ascii_lowercase().as_str() {
            "tar" => Some(Format::Tar),
            "zip" => Some(Format::Zip),
            "rar" => Some(Format::Rar),
            _ => None,
        }
    }

    /// The format that a file's name ends with.
    pub fn guess(name: &str) -> Option<Format> {
        let name = name.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let name = name.trim_end_matches('/');
        let tar = [
            ".tar",
            ".tgz",
            ".taz",
            ".tar.gz",
            ".tar.bz2",
            ".tar.xz",
            ".txz",
            ".tbz",
            ".tbz2",
            ".tz2",
            ".tb2",
            ".tar.lzma",
            ".tlz",
            ".tar.z",
            ".tar.zst",
            ".tzst",
        ];
        if tar.iter().any(|end| name.ends_with(end)) {
            Some(Format::Tar)
        } else if [".zip", ".jar", ".war"].iter().any(|end| name.ends_with(end)) {
            Some(Format::Zip)
        } else {
            name.ends_with(".rar").then_some(Format::Rar)
        }
    }
}

/// The options that are given to tar or unzip, sorted out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Options {
    /// Letters that tar takes without a dash: `z`, `J`.
    pub letters: String,
    pub words: Vec<String>,
    /// How many leading parts of each member's path tar leaves out.
    pub strip: usize,
    /// Whether members have other names on disk than in the archive.
    pub renames: bool,
}

impl Options {
    /// `text` as Salt reads it. `None`: a quote in it is not closed.
    pub fn parse(text: &str, format: Format) -> Option<Options> {
        let mut options = Options::default();
        let words = split(text)?;
        let mut expects_strip = false;
        for (n, word) in words.iter().enumerate() {
            if std::mem::take(&mut expects_strip) {
                options.strip = word.parse().unwrap_or(0);
            }
            if matches!(word.as_str(), "v" | "-v" | "--verbose") {
                continue;
            }
            if n == 0 && !word.starts_with('-') && format == Format::Tar {
                options.letters = word.chars().filter(|c| !matches!(c, 'x' | 'f' | 'v')).collect();
                continue;
            }
            for name in ["--strip-components", "--strip"] {
                if let Some(number) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                    options.strip = number.parse().unwrap_or(0);
                }
                expects_strip |= word == name;
            }
            let renames = ["--transform", "--xform", "-C", "--directory", "-d", "-j"];
            options.renames |= renames.iter().any(|name| word.starts_with(name));
            options.words.push(word.clone());
        }
        Some(options)
    }
}

/// `text` as words, quoted as for a shell.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\\' if c == '"' => into.push(chars.next()?),
                        inside => into.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Where a minion keeps its stamps: `$stamp` is the one called `key`.
fn stamp(key: &str) -> String {
    format!(
        "stamp=/var/lib/picloud/archives\n[ -w /var/lib ] || stamp=${{HOME:-/tmp}}/.local/state/picloud/archives\nstamp=$stamp/{key}\n"
    )
}

/// The owner that everything of an archive is to have.
#[derive(Clone, Copy)]
pub(super) struct Owned<'a> {
    pub user: Option<&'a str>,
    pub group: Option<&'a str>,
    /// Just this path, instead of all that was extracted.
    pub only: Option<&'a str>,
}

impl Owned<'_> {
    fn is_said(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }

    /// What `find` takes for something that is another's.
    fn others(&self) -> String {
        let user = self.user.map(|user| format!("! -user {}", quote(user)));
        let group = self.group.map(|group| format!("! -group {}", quote(group)));
        format!("\\( {} \\)", user.into_iter().chain(group).collect::<Vec<_>>().join(" -o "))
    }

    fn word(&self) -> String {
        match (self.user, self.group) {
            (Some(user), None) => quote(user).into_owned(),
            (user, group) => quote(&format!("{}:{}", user.unwrap_or_default(), group.unwrap_or_default())).into_owned(),
        }
    }

    /// Shell that runs `command` with the paths in question behind it; the folder is `$name`, `$list` has the members.
    fn over(&self, command: &str) -> String {
        match self.only {
            Some(only) => format!("{command} {}", quote(only)),
            // Names with a newline in them are none that a list could tell apart.
            None => format!(
                "cut -d/ -f1 \"$list\" | sort -u | while IFS= read -r top; do [ -z \"$top\" ] || {command} \"$name/$top\"; done"
            ),
        }
    }
}

/// A script that prints what is known of an extraction: `none`; or `id ...`, `missing PATH` and `owner PATH` as they apply. For an
/// archive on the minion itself it prints `now ...` before.
pub(super) fn probe(key: &str, name: &str, local: Option<&str>, owned: Owned) -> String {
    let mut script = format!("name={}\n", quote(name));
    script += &stamp(key);
    if let Some(local) = local {
        script += &format!(
            "now=$(stat -c 'file:%s:%Y' -- {} 2>/dev/null) && printf 'now %s\\n' \"$now\"\n",
            quote(local)
        );
    }
    script += "[ -f \"$stamp\" ] || { echo none; exit 0; }
IFS= read -r id <\"$stamp\"
printf 'id %s\\n' \"$id\"
cd \"$name\" 2>/dev/null || { echo 'missing .'; exit 0; }
tail -n +2 \"$stamp\" | while IFS= read -r path; do
[ -e \"$path\" ] || [ -L \"$path\" ] || { printf 'missing %s\\n' \"$path\"; break; }
done\n";
    if owned.is_said() {
        let find = owned.over("find").replace("\"$list\"", "-");
        let (find, input) = match owned.only {
            Some(_) => (find, String::new()),
            None => (
                find.replace("cut -d/ -f1 -", "tail -n +2 \"$stamp\" | cut -d/ -f1"),
                String::new(),
            ),
        };
        let find = match owned.only {
            Some(_) => format!("{find} {}", owned.others()),
            None => find.replace("\"$name/$top\"", &format!("\"$name/$top\" {}", owned.others())),
        };
        script += &format!(
            "{input}other=$({{ {find}; }} 2>/dev/null | head -n 1)\n[ -z \"$other\" ] || printf 'owner %s\\n' \"$other\"\n"
        );
    }
    script
}

/// How an archive is got to `$tmp`.
pub(super) enum From<'a> {
    /// It stands on standard input.
    Input,
    /// It is a file of the minion's own.
    Path(&'a str),
    /// Shell that writes it to `$tmp`.
    Fetch(String),
}

/// What is to be done.
pub(super) struct Extraction<'a> {
    pub key: &'a str,
    pub name: &'a str,
    pub from: From<'a>,
    /// What the stamp will say; for a file of the minion's own it finds that out by itself.
    pub id: &'a str,
    pub format: Format,
    pub options: &'a Options,
    pub list_options: &'a str,
    pub owned: Owned<'a>,
    pub enforce_toplevel: bool,
    /// Extract even if everything is there.
    pub always: bool,
    pub force: bool,
    pub clean: bool,
    pub clean_parent: bool,
}

/// A script that extracts; it prints `present` or `extracted`, then `created` where it made the folder, then the members.
pub(super) fn extract(extraction: &Extraction) -> String {
    let Extraction {
        name, options, owned, ..
    } = extraction;
    let mut script = format!("umask 022\nname={}\n", quote(name));
    script += &stamp(extraction.key);
    script += "list=$(mktemp) || exit 1\n";
    match &extraction.from {
        From::Path(path) => {
            script += &format!("tmp={}\ntrap 'rm -f \"$list\"' EXIT\n", quote(path));
            script += "id=$(stat -c 'file:%s:%Y' -- \"$tmp\") || exit 1\n";
        }
        from => {
            script += "tmp=$(mktemp /var/tmp/.picloud-archive-XXXXXX) || exit 1\ntrap 'rm -f \"$tmp\" \"$list\"' EXIT\n";
            script += &format!("id={}\n", quote(extraction.id));
            match from {
                From::Fetch(fetch) => script += fetch,
                _ => script += "cat >\"$tmp\" || exit 1\n",
            }
        }
    }
    script += &tools(extraction);
    // The members' names as they are on disk: without `./`, without what is stripped, folders with a slash at their end.
    let strip = match options.strip {
        0 => String::new(),
        n => format!(" | cut -s -d/ -f{}-", n + 1),
    };
    script += &format!(
        "members >\"$list.all\" || {{ rm -f \"$list.all\"; echo 'the archive cannot be listed' >&2; exit 1; }}\nsed 's,^\\./,,' \"$list.all\"{strip} | sed '/^$/d' >\"$list\"\nrm -f \"$list.all\"\n"
    );
    if extraction.enforce_toplevel && !options.renames {
        script += "tops=$(cut -d/ -f1 \"$list\" | sort -u | wc -l)
if [ \"$tops\" -gt 1 ] || ! grep -q / \"$list\"; then
echo 'Archive does not have a single top-level directory. To allow this archive to be extracted, set `enforce_toplevel` to False, or name a folder of its own for it.' >&2
exit 1
fi\n";
    }
    if !options.renames && !extraction.always {
        script += "missing=1
if cd \"$name\" 2>/dev/null; then
missing=$(while IFS= read -r path; do [ -e \"$path\" ] || [ -L \"$path\" ] || { echo 1; break; }; done <\"$list\")
cd /
fi\n";
    } else {
        script += "missing=1\n";
    }
    script += "if [ -n \"$missing\" ]; then\necho extracted\n";
    if extraction.clean_parent {
        script += "rm -rf -- \"$name\" || exit 1\n";
    }
    if extraction.clean {
        script += "cut -d/ -f1 \"$list\" | sort -u | while IFS= read -r top; do case $top in ''|.|..) ;; *) rm -rf -- \"$name/$top\";; esac; done\n";
    }
    if extraction.force {
        script += "while IFS= read -r path; do
case $path in
*/) [ -d \"$name/$path\" ] || rm -f -- \"$name/${path%/}\";;
*) [ ! -d \"$name/$path\" ] || [ -L \"$name/$path\" ] || rm -rf -- \"$name/$path\";;
esac
done <\"$list\"\n";
    }
    script += "if [ ! -d \"$name\" ]; then\nmkdir -p \"$name\" || exit 1\n";
    if owned.is_said() {
        script += &format!("chown {} \"$name\" || exit 1\n", owned.word());
    }
    script += "echo created\nfi\nunpack || exit 1\nelse echo present; fi\n";
    if owned.is_said() {
        script += &format!("{{ {}; }} || exit 1\n", owned.over(&format!("chown -hR {}", owned.word())));
    }
    script += "mkdir -p \"${stamp%/*}\" && { printf '%s\\n' \"$id\"; ";
    script += if options.renames { ":" } else { "cat \"$list\"" };
    script += "; } >\"$stamp.new\" && mv -f \"$stamp.new\" \"$stamp\" || exit 1\necho\ncat \"$list\"";
    script
}

/// The functions `members` and `unpack`, for `$tmp` and `$name`.
fn tools(extraction: &Extraction) -> String {
    let options = extraction.options;
    let words: String = options.words.iter().map(|word| format!(" {}", quote(word))).collect();
    match extraction.format {
        Format::Tar => format!(
            "command -v tar >/dev/null || {{ echo 'there is no tar on this minion' >&2; exit 1; }}
gnu= z={letters}
if tar --version 2>/dev/null | grep -q GNU; then gnu=--quoting-style=literal
elif [ -z \"$z\" ]; then
# GNU's sees for itself by what an archive is compressed, busybox's must be told.
case $(head -c 4 \"$tmp\" | od -An -tx1 | tr -d ' \\n') in
1f8b*) z=z;; 425a68*) z=j;; fd377a58*) z=J;; 5d0000*) z=a;; esac
fi
members() {{ tar t${{z}}f \"$tmp\" $gnu {list}; }}
unpack() {{ cd \"$name\" && tar x${{z}}f \"$tmp\"{words} && cd /; }}\n",
            letters = quote(&options.letters),
            list = split(extraction.list_options)
                .unwrap_or_default()
                .iter()
                .map(|word| quote(word).into_owned())
                .collect::<Vec<_>>()
                .join(" "),
        ),
        Format::Zip => format!(
            "if command -v zipinfo >/dev/null && command -v unzip >/dev/null; then
members() {{ zipinfo -1 \"$tmp\"; }}
unpack() {{ unzip -q -o{words} \"$tmp\" -d \"$name\" </dev/null; }}
elif command -v unzip >/dev/null; then
members() {{ unzip -l \"$tmp\" | sed -n 's/^ *[0-9][0-9]* *[0-9-]* *[0-9:]* *//p' | sed '$d'; }}
unpack() {{ unzip -q -o{words} \"$tmp\" -d \"$name\" </dev/null; }}
elif command -v bsdtar >/dev/null; then
members() {{ bsdtar tf \"$tmp\"; }}
unpack() {{ bsdtar xf \"$tmp\" -C \"$name\"; }}
else echo 'there is neither unzip nor bsdtar on this minion' >&2; exit 1; fi\n"
        ),
        Format::Rar => "if command -v unrar >/dev/null; then
members() { unrar lb \"$tmp\"; }
unpack() { unrar x -o+ -idq \"$tmp\" \"$name/\"; }
elif command -v bsdtar >/dev/null; then
members() { bsdtar tf \"$tmp\"; }
unpack() { bsdtar xf \"$tmp\" -C \"$name\"; }
else echo 'there is neither unrar nor bsdtar on this minion' >&2; exit 1; fi\n"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_guessed() {
        let table = [
            ("https://h/x-1.0.tar.gz?x=1", Some(Format::Tar)),
            ("salt://x.TGZ", Some(Format::Tar)),
            ("/x.tar.zst", Some(Format::Tar)),
            ("x.zip", Some(Format::Zip)),
            ("x.rar", Some(Format::Rar)),
            ("x.gz", None),
        ];
        for (name, expected) in table {
            assert_eq!(Format::guess(name), expected, "{name}");
        }
    }

    #[test]
    fn options_are_sorted_out() {
        let parsed = |text: &str| Options::parse(text, Format::Tar).unwrap();
        assert_eq!(parsed("xvzf").letters, "z");
        assert_eq!((parsed("J --strip-components=1").strip, parsed("--strip 2").strip), (1, 2));
        assert_eq!(parsed("z --exclude='a b' -v").words, ["--exclude=a b"]);
        assert!(parsed("--transform s,a,b,").renames);
        assert!(Options::parse("'", Format::Tar).is_none());
        assert_eq!(Options::parse("-j", Format::Zip).unwrap().words, ["-j"]);
    }
}
