//! Which values of a pillar are secrets, by the names of their keys and by their looks: they are masked wherever something is shown
//! or recorded.

use crate::yaml::{Data, Value};

/// Shorter ones are not masked: they would hit too much that is harmless.
const SHORTEST: usize = 4;

/// Lines of a secret of several lines are masked one by one, as a diff shows them; but only long ones, which say something.
const SHORTEST_LINE: usize = 16;

/// Parts of a key that say that its value is a secret.
const TELLING: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "privkey",
    "credential",
    "access_key",
    "encryption_key",
    "signing_key",
    "preshared_key",
    "psk",
];

/// Parts that say that it is not one after all: where it is kept, or what may be seen of it.
const HARMLESS: [&str; 6] = ["_file", "_path", "_dir", "public", "_name", "_length"];

/// The strings in `pillar` that must not be shown.
pub fn secrets(pillar: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(pillar, false, &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect(value: &Value, secret: bool, found: &mut Vec<String>) {
    match &value.data {
        Data::Map(map) => map
            .iter()
            .for_each(|(key, value)| collect(value, secret || is_secret(&key.text()), found)),
        Data::List(items) => items.iter().for_each(|item| collect(item, secret, found)),
        Data::Str(text) if secret || text.contains(" PRIVATE KEY-----") => {
            if text.len() >= SHORTEST {
                found.push(text.to_string());
            }
            if text.contains('\n') {
                let lines = text.lines().map(str::trim);
                let telling = lines.filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----"));
                found.extend(telling.map(str::to_owned));
            }
        }
        // A number may be a password; a short one is any number.
        Data::Int(_) if secret => found.extend(value.scalar_text().filter(|text| text.len() > SHORTEST)),
        _ => {}
    }
}

/// Whether a key of this name is taken to hold a secret.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    TELLING.iter().any(|part| key.contains(part)) && !HARMLESS.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;

    #[test]
    fn secrets_are_found_by_their_keys() {
        let text =
            "db: {user: ana, password: hunter2, password_file: /etc/pw, tokens: [abcde, abc]}\nwifi-passphrase: 12345678\n";
        let pillar = crate::yaml::parse(FileId::of("x"), text).unwrap();
        assert_eq!(secrets(&pillar), ["12345678", "abcde", "hunter2"]);
    }
    #[test]
    fn private_keys_are_known_by_their_looks() {
        let text = "tls:\n  x: |\n    -----BEGIN RSA PRIVATE KEY-----\n    MIIEowIBAAKCAQEAt5\n    short\n    -----END RSA PRIVATE KEY-----\n";
        let pillar = crate::yaml::parse(FileId::of("x"), text).unwrap();
        let found = secrets(&pillar);
        assert_eq!(found.len(), 2);
        assert!(found.contains(&"MIIEowIBAAKCAQEAt5".to_owned()), "{found:?}");
    }
}
