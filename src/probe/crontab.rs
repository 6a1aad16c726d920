//! Users' crontabs, by `crontab -l`: one process for each user.

use super::read::Reader;
use super::{Fact, Probe};
use crate::error::Result;
use crate::shell::words;

/// Prints for each user `+` and the text, or `-`, ended by NUL. Only root may name a user, so somebody else asks for their own.
const SCRIPT: &str = r#"crontabs() {
for u; do
if c=$(crontab -u "$u" -l 2>/dev/null) || { ! [ -O /proc/1 ] && [ "$(id -un)" = "$u" ] && c=$(crontab -l 2>/dev/null); }; then printf '+%s\0' "$c"; else printf '%s\0' -; fi
done
}
"#;

pub(super) fn script(users: &[String]) -> String {
    format!("{SCRIPT}crontabs {}\n", words(users.iter().map(String::as_str)))
}

pub(super) fn parse(users: &[String], answer: &mut Reader) -> Result<Vec<(Probe, Fact)>> {
    answer.now("crontabs");
    let mut facts = Vec::new();
    for user in users {
        let block = answer.text()?;
        // The shell took the newlines at the end.
        let text = block
            .strip_prefix('+')
            .map(|text| if text.is_empty() { String::new() } else { format!("{text}\n") });
        facts.push((Probe::Crontab { user: user.clone() }, Fact::Crontab(user.clone(), text)));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crontab_is_its_text() {
        let users = ["root", "bob", "eve"].map(String::from);
        let mut answer = Reader::new("", b"+# m h\n* * * * * true\0-\0+\0");
        let facts = parse(&users, &mut answer).unwrap();
        let texts: Vec<_> = facts.iter().map(|(_, fact)| fact.clone()).collect();
        assert_eq!(
            texts,
            [
                Fact::Crontab("root".into(), Some("# m h\n* * * * * true\n".into())),
                Fact::Crontab("bob".into(), None),
                Fact::Crontab("eve".into(), Some(String::new())),
            ]
        );
    }
}
