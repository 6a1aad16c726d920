//! Public keys as `authorized_keys` has them: `OPTIONS TYPE KEY COMMENT` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A line with a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Key {
    /// Separated by commas.
    pub options: String,
    /// `ssh-ed25519`.
    pub kind: String,
    /// In base64.
    pub key: String,
    pub comment: String,
}

/// Whether `word` names a type of keys.
fn is_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
        .iter()
        .any(|begin| word.starts_with(begin))
}

/// The first word of `text`, in which quotes hold spaces together, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return (&text[..at], text[at..].trim_start()),
            _ => {}
        }
    }
    (text, "")
}

impl Key {
    /// A whole line with a type in it; `None` for empty lines, comments and what else is no key.
    pub fn parse(line: &str) -> Option<Key> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (first, rest) = word(line);
        let (options, kind, rest) = if is_kind(first) {
            ("", first, rest)
        } else {
            let (kind, rest) = word(rest);
            (first, kind, rest)
        };
        let (key, comment) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        (is_kind(kind) && !key.is_empty()).then(|| Key {
            options: options.to_owned(),
            kind: kind.to_owned(),
            key: key.to_owned(),
            comment: comment.trim().to_owned(),
        })
    }

    /// A line, or a key alone with its comment; the type is then read out of the key, or is `kind`.
    pub fn given(text: &str, kind: &str) -> Key {
        if let Some(key) = Key::parse(text) {
            return key;
        }
        let text = text.trim();
        let (key, comment) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Key {
            options: String::new(),
            kind: kind_of(key).unwrap_or_else(|| full_kind(kind).to_owned()),
            key: key.to_owned(),
            comment: comment.trim().to_owned(),
        }
    }

    pub fn line(&self) -> String {
        let parts = [&self.options, &self.kind, &self.key, &self.comment];
        let parts: Vec<&str> = parts
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(" ")
    }

    /// Why no server would take the key; `None` if it looks whole.
    pub fn fault(&self) -> Option<String> {
        let Some(blob) = decode(&self.key) else {
            return Some("it is not base64".to_owned());
        };
        let mut fields = 0;
        let mut rest = blob.as_slice();
        let mut kind = None;
        while !rest.is_empty() {
            let Some((field, after)) = field(rest) else {
                return Some("it is cut short".to_owned());
            };
            if fields == 0 {
                kind = Some(String::from_utf8_lossy(field).into_owned());
            }
            fields += 1;
            rest = after;
        }
        match kind {
            Some(kind) if fields > 1 && kind != self.kind => Some(format!("it is of type {kind}, not {}", self.kind)),
            Some(_) if fields > 1 => None,
            _ => Some("it is cut short".to_owned()),
        }
    }
}

/// Salt's short words for types.
fn full_kind(kind: &str) -> &str {
    match kind {
        "" | "r" | "rsa" => "ssh-rsa",
        "d" | "dsa" | "dss" => "ssh-dss",
        "e" | "ed25519" => "ssh-ed25519",
        "ecdsa" => "ecdsa-sha2-nistp256",
        other => other,
    }
}

/// A field of a key: four bytes of length, and as many bytes as that says.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn decode(key: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&base64::alphabet::STANDARD, lenient).decode(key).ok()
}

/// The type that a key says it has.
fn kind_of(key: &str) -> Option<String> {
    let blob = decode(key)?;
    let (kind, _) = field(&blob)?;
    let kind = std::str::from_utf8(kind).ok()?;
    is_kind(kind).then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const ED: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIDaCAKpQV4JGoKqCmzDgXVxxUp5LxDxU0xrHqkwpWPVp";

    fn key(options: &str, kind: &str, key: &str, comment: &str) -> Key {
        Key {
            options: options.into(),
            kind: kind.into(),
            key: key.into(),
            comment: comment.into(),
        }
    }

    #[test]
    fn lines_are_understood() {
        for (line, expected) in [
            ("ssh-rsa AAAA bob@x", Some(key("", "ssh-rsa", "AAAA", "bob@x"))),
            (
                " ssh-ed25519  AAAA  the laptop of bob ",
                Some(key("", "ssh-ed25519", "AAAA", "the laptop of bob")),
            ),
            (
                "no-pty,command=\"echo \\\"a b\\\" ssh-rsa\" ecdsa-sha2-nistp256 AAAA",
                Some(key(
                    "no-pty,command=\"echo \\\"a b\\\" ssh-rsa\"",
                    "ecdsa-sha2-nistp256",
                    "AAAA",
                    "",
                )),
            ),
            (
                "sk-ssh-ed25519@openssh.com AAAA",
                Some(key("", "sk-ssh-ed25519@openssh.com", "AAAA", "")),
            ),
            ("# ssh-rsa AAAA", None),
            ("", None),
            ("AAAA comment", None),
        ] {
            assert_eq!(Key::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn a_key_alone_tells_its_type() {
        assert_eq!(Key::given(&format!("{ED} me"), "ssh-rsa"), key("", "ssh-ed25519", ED, "me"));
        assert_eq!(Key::given("xyz", "ed25519"), key("", "ssh-ed25519", "xyz", ""));
        assert_eq!(Key::given("no-pty ssh-rsa AAAA c", "").line(), "no-pty ssh-rsa AAAA c");
    }

    #[test]
    fn damaged_keys_are_told() {
        for (kind, text, expected) in [
            ("ssh-ed25519", ED, None),
            ("ssh-rsa", ED, Some("it is of type ssh-ed25519, not ssh-rsa")),
            ("ssh-ed25519", &ED[..40], Some("it is cut short")),
            ("ssh-ed25519", "AAAA", Some("it is cut short")),
            ("ssh-ed25519", "???", Some("it is not base64")),
        ] {
            assert_eq!(key("", kind, text, "").fault().as_deref(), expected, "{text}");
        }
    }
}
