//! What names and values of a card may look like: each check says in words what was wrong. What passes here can stand in a file of
//! any format that a card may have, quoted as that format quotes.

/// RFC 1123, section 2.1: letters, digits and hyphens, none of them at an end, at most 63; in small letters, as systems keep it.
///
/// # Errors
/// What it should be.
pub fn host_name(text: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-');
    // A number alone is read as an address by some.
    match good && !text.chars().all(|c| c.is_ascii_digit()) {
        true => Ok(()),
        false => Err("a host name of small letters, digits and inner hyphens, at most 63 of them".to_owned()),
    }
}

/// What `useradd` takes on Debian and Arch without being forced.
///
/// # Errors
/// What it should be.
pub fn user_name(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    match text.len() <= 32 && text.starts_with(first) && text.chars().all(rest) {
        true => Ok(()),
        false => Err("a name of small letters, digits, `_` and `-`, beginning with a letter, at most 32 of them".to_owned()),
    }
}

/// A network interface: `eth0`, `end0`, `wlp2s0`.
///
/// # Errors
/// What it should be.
pub fn interface(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match (1..=15).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) {
        true => Ok(()),
        false => Err("the name of an interface, such as `eth0` or `wlan0`".to_owned()),
    }
}

pub(super) fn timezone(text: &str) -> Result<(), String> {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c));
    match text.len() <= 64 && text.split('/').all(part) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => Ok(()),
        false => Err("a time zone such as `Europe/Berlin` or `UTC`".to_owned()),
    }
}

pub(super) fn locale(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
    match (1..=40).contains(&text.len()) && text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => Ok(()),
        false => Err("a locale such as `de_DE.UTF-8` or `C.UTF-8`".to_owned()),
    }
}

pub(super) fn keyboard(text: &str) -> Result<(), String> {
    match (1..=16).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
        true => Ok(()),
        false => Err("the layout of a keyboard, such as `us` or `de`".to_owned()),
    }
}

pub(super) fn country(text: &str) -> Result<(), String> {
    match text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase()) {
        true => Ok(()),
        false => Err("two capital letters of ISO 3166-1, such as `DE`".to_owned()),
    }
}

/// IEEE 802.11: 1 to 32 bytes. Control characters would be possible, and are a mistake.
pub(super) fn ssid(text: &str) -> Result<(), String> {
    match (1..=32).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err("the name of a network, 1 to 32 bytes".to_owned()),
    }
}

/// IEEE 802.11i, H.4.1: a passphrase of 8 to 63 printable ASCII characters, or 256 bits as hexadecimal digits.
///
/// # Errors
/// What it should be; the key itself is not repeated.
pub fn psk(text: &str) -> Result<(), String> {
    let passphrase = (8..=63).contains(&text.len()) && text.bytes().all(|b| (32..=126).contains(&b));
    let key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match passphrase || key {
        true => Ok(()),
        false => Err("a passphrase of 8 to 63 printable ASCII characters, or 64 hexadecimal digits".to_owned()),
    }
}

/// crypt(5): `$id$...` of a method that systems still take; the characters that such a hash is made of and no other.
pub(super) fn password_hash(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./$=,+".contains(c);
    let known = ["$y$", "$gy$", "$7$", "$6$", "$5$", "$2a$", "$2b$", "$2y$"];
    match text.len() <= 384 && text.len() > 20 && text.chars().all(plain) && known.iter().any(|id| text.starts_with(id)) {
        true => Ok(()),
        false => Err("a hash such as `mkpasswd` makes (`$6$...`, `$y$...`), or `ask`".to_owned()),
    }
}

/// A key of `config.txt`.
pub(super) fn config_key(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    match (1..=40).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain) {
        true => Ok(()),
        false => Err("a key of config.txt, such as `gpu_mem`".to_owned()),
    }
}

/// A value of `config.txt`. The firmware reads lines up to 98 characters.
pub(super) fn config_value(key: &str, text: &str) -> Result<(), String> {
    match key.len() + text.len() < 98 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && text.trim() == text {
        true => Ok(()),
        false => Err("of printable ASCII characters: with its key at most 98, as the firmware reads no longer line".to_owned()),
    }
}

/// One word of the kernel's command line.
pub(super) fn cmdline_word(text: &str) -> Result<(), String> {
    match (1..=200).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() && c != '"') {
        true => Ok(()),
        false => Err("one word of the kernel's command line, such as `cgroup_enable=memory`".to_owned()),
    }
}
