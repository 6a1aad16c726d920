//! Versions of packages: how each package manager orders them, and what a state may say about them (`1.2`, `>=1.2,<2`, `1.2*`).
//!
//! The orders are those of Debian Policy 5.6.12 (deb), rpm's `rpmvercmp`, pacman's `vercmp` and apk-tools' `version.c`, told from
//! their documentation and checked against the tools.

use crate::states::PackageManager;
use std::cmp::Ordering;

/// Compares two versions as `manager` does.
pub fn compare(manager: PackageManager, a: &str, b: &str) -> Ordering {
    match manager {
        PackageManager::Apk => apk(a, b),
        PackageManager::Apt => {
            let (a, b) = (Parts::of(a), Parts::of(b));
            (a.epoch.cmp(&b.epoch))
                .then_with(|| deb(a.version, b.version))
                .then_with(|| deb(a.release.unwrap_or("0"), b.release.unwrap_or("0")))
        }
        PackageManager::Dnf | PackageManager::Pacman => {
            let order = if manager == PackageManager::Dnf { rpm } else { alpm };
            let (a, b) = (Parts::of(a), Parts::of(b));
            let releases = || match (a.release, b.release) {
                (Some(a), Some(b)) => order(a, b),
                // A version without a release stands for all of its releases.
                _ => Ordering::Equal,
            };
            (a.epoch.cmp(&b.epoch))
                .then_with(|| order(a.version, b.version))
                .then_with(releases)
        }
    }
}

/// `1:2.3-4`: epoch, version, release.
struct Parts<'a> {
    epoch: u64,
    version: &'a str,
    release: Option<&'a str>,
}

impl Parts<'_> {
    fn of(text: &str) -> Parts<'_> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch.parse().unwrap_or(0), rest),
            _ => (0, text),
        };
        match rest.rsplit_once('-') {
            Some((version, release)) => Parts {
                epoch,
                version,
                release: Some(release),
            },
            None => Parts {
                epoch,
                version: rest,
                release: None,
            },
        }
    }
}

/// `text` without its epoch.
fn without_epoch(text: &str) -> &str {
    match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    }
}

/// The run of bytes at the start of `text` for which `of` holds, and what follows.
fn run(text: &str, of: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !of(b)).unwrap_or(text.len());
    text.split_at(end)
}

/// Compares runs of digits of any length.
fn numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn deb(mut a: &str, mut b: &str) -> Ordering {
    // Tilde sorts before the end, the end before letters, letters before all else.
    let weight = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = run(a, |byte| !byte.is_ascii_digit());
        let (text_b, rest_b) = run(b, |byte| !byte.is_ascii_digit());
        for n in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.as_bytes().get(n).copied()).cmp(&weight(text_b.as_bytes().get(n).copied()));
            if order != Ordering::Equal {
                return order;
            }
        }
        let (number_a, rest_a) = run(rest_a, |byte| byte.is_ascii_digit());
        let (number_b, rest_b) = run(rest_b, |byte| byte.is_ascii_digit());
        match numbers(number_a, number_b) {
            Ordering::Equal => (a, b) = (rest_a, rest_b),
            order => return order,
        }
    }
    Ordering::Equal
}

fn rpm(a: &str, b: &str) -> Ordering {
    segments(a, b, false)
}

fn alpm(a: &str, b: &str) -> Ordering {
    segments(a, b, true)
}

/// rpm's order, and pacman's, which was made of it: there letters that are left over make a version older (`1.0rc` before `1.0`).
fn segments(mut a: &str, mut b: &str, letters_are_older: bool) -> Ordering {
    let separator = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~' && byte != b'^';
    'segments: loop {
        a = run(a, separator).1;
        b = run(b, separator).1;
        for (mark, order) in [('~', Ordering::Less), ('^', Ordering::Greater)] {
            match (a.starts_with(mark), b.starts_with(mark)) {
                (true, true) => {}
                // A caret sorts after the end, but before anything else.
                (true, false) if mark == '^' && !b.is_empty() => return Ordering::Less,
                (false, true) if mark == '^' && !a.is_empty() => return Ordering::Greater,
                (true, false) => return order,
                (false, true) => return order.reverse(),
                (false, false) => continue,
            }
            (a, b) = (&a[1..], &b[1..]);
            continue 'segments;
        }
        if a.is_empty() || b.is_empty() {
            break;
        }
        let digits = a.as_bytes()[0].is_ascii_digit();
        let of = |byte: u8| {
            if digits {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphabetic()
            }
        };
        let ((one, rest_a), (two, rest_b)) = (run(a, of), run(b, of));
        if two.is_empty() {
            // Numbers are newer than letters.
            return if digits { Ordering::Greater } else { Ordering::Less };
        }
        let order = if digits { numbers(one, two) } else { one.cmp(two) };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    let letters = |rest: &str| letters_are_older && rest.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    match (a.is_empty(), b.is_empty()) {
        (true, true) => Ordering::Equal,
        (false, _) if letters(a) => Ordering::Less,
        (_, false) if letters(b) => Ordering::Greater,
        (false, _) => Ordering::Greater,
        (true, false) => Ordering::Less,
    }
}

/// apk's: `1.2.3b_rc4-r5`.
fn apk(a: &str, b: &str) -> Ordering {
    /// Numbers, letter, suffixes with their numbers, release.
    type Key<'a> = (Vec<u64>, Option<u8>, Vec<(i32, u64)>, u64);
    fn key(text: &str) -> Key<'_> {
        let (text, release) = match text.rsplit_once("-r") {
            Some((text, release)) => (text, release.parse().unwrap_or(0)),
            None => (text, 0),
        };
        let mut suffixes = text.split('_');
        let numbers = suffixes.next().unwrap_or("");
        let (numbers, letter) = match numbers.as_bytes().last() {
            Some(letter) if letter.is_ascii_lowercase() => (&numbers[..numbers.len() - 1], Some(*letter)),
            _ => (numbers, None),
        };
        let numbers = numbers.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        let suffixes = suffixes
            .map(|suffix| {
                let (name, number) = run(suffix, |b| b.is_ascii_alphabetic());
                let rank = ["alpha", "beta", "pre", "rc"].iter().position(|known| *known == name);
                // Those come before the version itself; `cvs`, `svn`, `git`, `hg` and `p` after it.
                let after = ["cvs", "svn", "git", "hg", "p"].iter().position(|known| *known == name);
                let rank = rank.map_or_else(|| after.map_or(0, |n| n as i32 + 1), |n| n as i32 - 4);
                (rank, number.parse().unwrap_or(0))
            })
            .collect();
        (numbers, letter, suffixes, release)
    }
    let (a, b) = (key(a), key(b));
    let suffixes = || {
        let end = (0, 0);
        (0..a.2.len().max(b.2.len()))
            .map(|n| a.2.get(n).unwrap_or(&end).cmp(b.2.get(n).unwrap_or(&end)))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    };
    (a.0.cmp(&b.0))
        .then_with(|| a.1.cmp(&b.1))
        .then_with(suffixes)
        .then_with(|| a.3.cmp(&b.3))
}

/// What a state says about a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Constraint {
    /// Salt's `version: latest`.
    Latest,
    /// Just this one.
    Exact(String),
    /// Shell wildcards: `1.2*`.
    Glob(String),
    /// All of these: `>=1.2,<2`.
    Terms(Vec<(Operator, String)>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Operator {
    /// The longest first: `<` begins `<=`.
    const WRITTEN: [(&'static str, Operator); 8] = [
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<>", Operator::NotEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
    ];

    fn admits(self, order: Ordering) -> bool {
        match self {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Greater => order.is_gt(),
        }
    }

    /// `>=`.
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::GreaterOrEqual => ">=",
            Operator::Greater => ">",
        }
    }

    /// The word of `dpkg --compare-versions`.
    pub fn dpkg(self) -> &'static str {
        match self {
            Operator::Less => "lt",
            Operator::LessOrEqual => "le",
            Operator::Equal => "eq",
            Operator::NotEqual => "ne",
            Operator::GreaterOrEqual => "ge",
            Operator::Greater => "gt",
        }
    }
}

impl Constraint {
    /// What `text` says.
    ///
    /// # Errors
    /// Why it says nothing: an operator without a version, characters that no version has.
    pub fn parse(text: &str) -> Result<Constraint, String> {
        let text = text.trim();
        let sound = |version: &str| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b".+-~:_^*?".contains(&b);
            if !version.is_empty() && version.bytes().all(known) && !version.starts_with('-') {
                Ok(())
            } else {
                Err(format!("`{version}` is not a version (in `{text}`)"))
            }
        };
        if text == "latest" {
            return Ok(Constraint::Latest);
        }
        let mut terms = Vec::new();
        for term in text.split(',').map(str::trim) {
            let written = Operator::WRITTEN.iter().find(|(symbol, _)| term.starts_with(symbol));
            let (operator, version) = written.map_or((Operator::Equal, term), |(symbol, operator)| {
                (*operator, term[symbol.len()..].trim())
            });
            sound(version)?;
            terms.push((operator, version.to_owned()));
        }
        match terms.as_slice() {
            [(Operator::Equal, version)] if version.contains(['*', '?']) => Ok(Constraint::Glob(version.clone())),
            [(Operator::Equal, version)] => Ok(Constraint::Exact(version.clone())),
            _ if terms.iter().any(|(_, version)| version.contains(['*', '?'])) => {
                Err(format!("wildcards and operators cannot stand together (in `{text}`)"))
            }
            _ => Ok(Constraint::Terms(terms)),
        }
    }

    /// Whether a package of version `installed` is as wanted. `Latest` admits all: only the indexes know.
    pub fn admits(&self, manager: PackageManager, installed: &str, ignore_epoch: bool) -> bool {
        let bare = |text: &str| -> String {
            let text = if ignore_epoch { without_epoch(text) } else { text };
            text.to_owned()
        };
        // Only dpkg's versions are named in full; the others leave out the epoch (rpm) and the release.
        let like = |wanted: &str| -> String {
            let installed = match manager {
                PackageManager::Dnf if !wanted.contains(':') => without_epoch(installed),
                _ => installed,
            };
            let installed = match (manager, wanted.contains('-')) {
                (PackageManager::Apt, _) | (_, true) => installed,
                (_, false) => installed.rsplit_once('-').map_or(installed, |(version, _)| version),
            };
            bare(installed)
        };
        match self {
            Constraint::Latest => true,
            Constraint::Exact(wanted) => compare(manager, &like(wanted), &bare(wanted)).is_eq(),
            Constraint::Glob(pattern) => glob(&bare(pattern), &like(pattern)) || glob(&bare(pattern), &bare(installed)),
            Constraint::Terms(terms) => terms
                .iter()
                .all(|(operator, wanted)| operator.admits(compare(manager, &like(wanted), &bare(wanted)))),
        }
    }

    /// As it is shown and written: `>=1.2,<2`.
    pub fn text(&self) -> String {
        match self {
            Constraint::Latest => "latest".to_owned(),
            Constraint::Exact(version) | Constraint::Glob(version) => version.clone(),
            Constraint::Terms(terms) => terms
                .iter()
                .map(|(operator, version)| format!("{}{version}", operator.symbol()))
                .collect::<Vec<_>>()
                .join(","),
        }
    }
}

/// Whether `text` matches `pattern` with `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.as_bytes().first(), text.as_bytes().first()) {
        (None, None) => true,
        (Some(b'*'), _) => (0..=text.len())
            .filter(|n| text.is_char_boundary(*n))
            .any(|n| glob(&pattern[1..], &text[n..])),
        (Some(b'?'), Some(_)) => {
            let first = text.chars().next().map_or(0, char::len_utf8);
            glob(&pattern[1..], &text[first..])
        }
        (Some(a), Some(b)) if a == b && a.is_ascii() => glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PackageManager::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_their_tools_do() {
        // Each line ascends.
        let table: &[(PackageManager, &[&str])] = &[
            (
                Apt,
                &[
                    "1.0~rc1",
                    "1.0",
                    "1.0-0ubuntu1",
                    "1.0-1",
                    "1.0-1+b1",
                    "1.0a",
                    "1.0+dfsg",
                    "1.0.1",
                    "1.9",
                    "1.10",
                    "1:0.1",
                ],
            ),
            (Apt, &["0~~", "0~~a", "0~", "0", "0a"]),
            (Apt, &["2.8.2+ds1-1", "2.8.2+ds1-1+b9", "2.8.3"]),
            (Dnf, &["1.0~rc1", "1.0", "1.0^git1", "1.0.a", "1.0.1", "1.9", "1.10", "1:0.1"]),
            (Dnf, &["1.0-1.el9", "1.0-2.el9", "1.0-10.el9", "1.0a"]),
            (Pacman, &["1.0rc1", "1.0", "1.0.1", "1.1-1", "1.1-2", "1:1.0-1"]),
            (
                Apk,
                &[
                    "1.2_alpha1",
                    "1.2_rc1",
                    "1.2_rc2",
                    "1.2",
                    "1.2-r1",
                    "1.2-r10",
                    "1.2_git20200101",
                    "1.2_p1",
                    "1.2a",
                    "1.2.1",
                    "1.10",
                ],
            ),
        ];
        for (manager, line) in table {
            for (n, a) in line.iter().enumerate() {
                for (m, b) in line.iter().enumerate() {
                    assert_eq!(compare(*manager, a, b), n.cmp(&m), "{manager:?} {a} {b}");
                }
            }
        }
        for (manager, a, b) in [
            (Apt, "1.0-0", "1.0"),
            (Apt, "1.00", "1.0"),
            (Dnf, "1.0-3", "1.0"),
            (Dnf, "1.0.", "1.0"),
            (Apk, "1.2-r0", "1.2"),
        ] {
            assert_eq!(compare(manager, a, b), Ordering::Equal, "{manager:?} {a} {b}");
        }
    }

    #[test]
    fn what_is_said_about_a_version() {
        let table: &[(PackageManager, &str, &str, bool)] = &[
            (Apt, "1.2-1", "1.2-1", true),
            (Apt, "1.2", "1.2-1", false),
            (Apt, "1.2*", "1.2-1", true),
            (Apt, "1.2*", "1.3-1", false),
            (Apt, ">=1.2", "1.2-1", true),
            (Apt, ">= 1.2, < 2", "2.0-1", false),
            (Apt, ">=1.2,<2", "1.9", true),
            (Apt, "!=1.2-1", "1.2-1", false),
            (Apt, "==1.2-1", "1.2-1", true),
            (Apt, "1:1.2-1", "1.2-1", false),
            (Dnf, "1.2", "1.2-3.el9", true),
            (Dnf, "1.2", "1:1.2-3.el9", true),
            (Dnf, "1.2-3.el9", "1:1.2-3.el9", true),
            (Dnf, "1.2-4.el9", "1:1.2-3.el9", false),
            (Dnf, "1.*", "1.2-3.el9", true),
            (Pacman, "1.2", "1.2-1", true),
            (Apk, "1.2", "1.2-r3", true),
            (Apk, "1.2-r2", "1.2-r3", false),
            (Apk, "latest", "1.2-r3", true),
        ];
        for (manager, wanted, installed, expected) in table {
            let constraint = Constraint::parse(wanted).unwrap();
            assert_eq!(
                constraint.admits(*manager, installed, false),
                *expected,
                "{manager:?} {wanted} {installed}"
            );
        }
        assert!(Constraint::parse("1.2-1").unwrap().admits(Apt, "1:1.2-1", true));
        for (wrong, why) in [
            (">=", "`` is not a version (in `>=`)"),
            ("1.2 3", "`1.2 3` is not a version (in `1.2 3`)"),
            ("-1", "`-1` is not a version (in `-1`)"),
            (">=1.*", "wildcards and operators cannot stand together (in `>=1.*`)"),
        ] {
            assert_eq!(Constraint::parse(wrong), Err(why.to_owned()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_order_is_an_order(a in "[0-9a-c.~^+:-]{0,8}", b in "[0-9a-c.~^+:-]{0,8}") {
            for manager in [Apt, Dnf, Pacman, Apk] {
                prop_assert_eq!(compare(manager, &a, &b), compare(manager, &b, &a).reverse());
                prop_assert_eq!(compare(manager, &a, &a), Ordering::Equal);
            }
        }
    }
}
