//! The keys by which apt knows repositories: where they are kept, and how they come there.
//!
//! apt wants binary keys in files that end in `.gpg`, armoured ones in `.asc` (apt-secure(8)). Minions may lack gpg, curl and wget;
//! the armour is taken off with base64, and apt has a downloader of its own.

use crate::error::{Error, Result};
use crate::shell::quote;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Where a key comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `http(s)://`, fetched by the minion.
    Url(String),
    /// A file of the state tree, or text: here already.
    Bytes(Vec<u8>),
    /// Keys of a key server, by their ids.
    Server { server: String, ids: Vec<String> },
    /// The key of a PPA of Launchpad's: owner and name.
    Ppa { owner: String, name: String },
    /// A file of the minion's.
    Path(String),
}

/// The place for a key that nobody named one for: trusted for all repositories.
pub fn trusted(uri: &str, what: &str) -> String {
    let host = uri
        .split_once("://")
        .map_or(uri, |(_, rest)| rest)
        .split(['/', ':'])
        .next()
        .unwrap_or("repository");
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
        .collect();
    let digest: String = Sha256::digest(what.as_bytes())[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/etc/apt/trusted.gpg.d/{host}-{digest}.gpg")
}

/// `bytes` in the form that a file called `path` must have.
///
/// # Errors
/// They are no key.
pub fn for_file(bytes: &[u8], path: &str) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes);
    let armoured = text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----");
    if path.ends_with(".asc") == armoured {
        return Ok(bytes.to_vec());
    }
    if !armoured {
        let body = STANDARD.encode(bytes);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        return Ok(format!(
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{}\n-----END PGP PUBLIC KEY BLOCK-----\n",
            lines.join("\n")
        )
        .into_bytes());
    }
    let (mut body, mut binary, mut inside, mut headers) = (String::new(), Vec::new(), false, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("-----BEGIN") {
            (inside, headers) = (true, true);
        } else if line.starts_with("-----END") {
            inside = false;
            let block = STANDARD
                .decode(&body)
                .map_err(|_| Error::state("the key is damaged: its armour is no base64"))?;
            binary.extend(block);
            body.clear();
        } else if inside && headers {
            headers = !line.is_empty();
        } else if inside && !line.starts_with('=') {
            body += line;
        }
    }
    Ok(binary)
}

/// `fetch URL FILE`; `binary FILE` prints a key without its armour; `armour FILE` with it; `install_key FILE PLACE` puts it in place.
const FUNCTIONS: &str = r#"
fetch() {
  if command -v curl >/dev/null; then
    printf 'url = "%s"\n' "$1" | curl -fsSL --connect-timeout 20 --retry 2 -o "$2" -K -
  elif wget --version >/dev/null 2>&1; then
    printf '%s\n' "$1" | wget -q -T 20 -t 3 -O "$2" -i -
  elif [ -x /usr/lib/apt/apt-helper ]; then
    /usr/lib/apt/apt-helper download-file "$1" "$2" >/dev/null
  elif command -v wget >/dev/null; then
    wget -q -T 20 -O "$2" "$1"
  else
    echo 'neither curl nor wget is on this minion' >&2
    return 1
  fi || { printf 'could not fetch %s\n' "$1" >&2; return 1; }
}
is_armoured() { grep -q -e '-----BEGIN PGP PUBLIC KEY BLOCK-----' "$1"; }
binary() {
  if is_armoured "$1"; then
    tr -d '\r' <"$1" | awk '
      /^-----BEGIN/ { inside = 1; headers = 1; next }
      /^-----END/ { inside = 0; close("base64 -d"); next }
      inside && headers { if ($0 ~ /^[ \t]*$/) headers = 0; next }
      inside && !/^=/ { print | "base64 -d" }'
  else
    cat "$1"
  fi
}
install_key() {
  binary "$1" >"$t/binary" || return
  case $(od -A n -t x1 -N 1 "$t/binary" | tr -d ' ') in
  9[89] | 95 | c6) ;;
  *) echo 'what was fetched is no key' >&2; return 1 ;;
  esac
  case $2 in
  *.asc)
    { printf -- '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n'; base64 "$t/binary"; printf -- '-----END PGP PUBLIC KEY BLOCK-----\n'; } >"$t/key" ;;
  *) mv "$t/binary" "$t/key" ;;
  esac &&
  mkdir -p "${2%/*}" &&
  cp "$t/key" "$2.picloud" &&
  chmod 0644 "$2.picloud" &&
  mv "$2.picloud" "$2"
}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
"#;

/// The script that fetches a key and puts it to `place`; `None` where the master sends it.
pub fn script(origin: &Origin, place: &str) -> Option<String> {
    let get = match origin {
        Origin::Bytes(_) => return None,
        Origin::Url(url) => format!("fetch {} \"$t/fetched\" || exit 1\n", quote(url)),
        Origin::Path(path) => format!("cat {} >\"$t/fetched\" || exit 1\n", quote(path)),
        Origin::Server { server, ids } => ids
            .iter()
            .map(|id| from_server(server, &format!("0x{}", id.trim_start_matches("0x"))))
            .collect(),
        Origin::Ppa { owner, name } => format!(
            "fetch {} \"$t/ppa\" || exit 1\n\
             id=$(sed -n 's/.*\"signing_key_fingerprint\": *\"\\([0-9A-Fa-f]*\\)\".*/\\1/p' \"$t/ppa\")\n\
             [ -n \"$id\" ] || {{ echo 'Launchpad tells no key of that PPA' >&2; exit 1; }}\n{}",
            quote(&format!("https://api.launchpad.net/1.0/~{owner}/+archive/ubuntu/{name}")),
            from_server("keyserver.ubuntu.com", "0x'\"$id\"'")
        ),
    };
    Some(format!(
        "{}{get}install_key \"$t/fetched\" {}",
        FUNCTIONS.trim_start(),
        quote(place)
    ))
}

/// Adds a key of a server's to `$t/fetched`: by https, and by the key servers' own port where that fails.
fn from_server(server: &str, id: &str) -> String {
    let lookup = |base: &str| format!("'{base}/pks/lookup?op=get&options=mr&search={id}'");
    let tries: Vec<String> = match server.split_once("://") {
        Some(("hkp", host)) if host.contains(':') => vec![lookup(&format!("http://{host}"))],
        Some(("hkp", host)) => vec![lookup(&format!("http://{host}:11371"))],
        Some(("hkps", host)) => vec![lookup(&format!("https://{host}"))],
        Some((scheme, host)) => vec![lookup(&format!("{scheme}://{host}"))],
        None => vec![
            lookup(&format!("https://{server}")),
            lookup(&format!("http://{server}:11371")),
        ],
    };
    let tries: Vec<String> = tries.iter().map(|url| format!("fetch {url} \"$t/one\"")).collect();
    format!("{} || exit 1\nbinary \"$t/one\" >>\"$t/fetched\"\n", tries.join(" || "))
}

/// Refuses what would end a quoted word or mean another server.
pub fn check_server(server: &str, ids: &[String]) -> Result<()> {
    let plain =
        |text: &str, more: &[u8]| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    if !plain(server, b".:-/_") {
        return Err(Error::usage(format!("`{server}` is not a key server")));
    }
    match ids
        .iter()
        .find(|id| !id.trim_start_matches("0x").bytes().all(|b| b.is_ascii_hexdigit()) || id.len() < 8)
    {
        Some(id) => Err(Error::usage(format!(
            "`{id}` is not the id of a key: 8 to 40 hexadecimal digits"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::pkg::shells;
    use std::process::Command;

    /// No real key, but a packet that says it is one, long enough for several lines.
    fn key() -> Vec<u8> {
        let mut key = vec![0x99, 0x01, 0x0d];
        key.extend((0..200u8).map(|n| n.wrapping_mul(37)));
        key
    }

    #[test]
    fn armour_comes_off_and_on() {
        let armoured = for_file(&key(), "x.asc").unwrap();
        assert!(armoured.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"));
        let with_more = String::from_utf8(armoured.clone())
            .unwrap()
            .replace("BLOCK-----\n\n", "BLOCK-----\nVersion: x\n\n")
            .replace("-----END", "=abcd\n-----END");
        assert_eq!(for_file(with_more.as_bytes(), "x.gpg").unwrap(), key());
        let twice = [armoured.clone(), armoured.clone()].concat();
        assert_eq!(for_file(&twice, "x.gpg").unwrap(), [key(), key()].concat());
        assert_eq!(for_file(&key(), "x.gpg").unwrap(), key());
        assert!(
            for_file(
                b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n???\n-----END PGP PUBLIC KEY BLOCK-----",
                "x.gpg"
            )
            .is_err()
        );
    }

    #[test]
    fn minions_take_it_off_without_gpg() {
        let dir = tempfile::tempdir().unwrap();
        let (source, place) = (dir.path().join("key"), dir.path().join("new/place.gpg"));
        let armoured = String::from_utf8(for_file(&key(), "x.asc").unwrap()).unwrap();
        let twice = armoured
            .replace("BLOCK-----\n\n", "BLOCK-----\nComment: x\n\n")
            .replace("-----END", "=abcd\n-----END")
            .repeat(2)
            .replace('\n', "\r\n");
        for shell in shells() {
            for (content, expected) in [
                (twice.as_bytes(), Some([key(), key()].concat())),
                (&key(), Some(key())),
                (b"<html>", None),
            ] {
                std::fs::write(&source, content).unwrap();
                let _ = std::fs::remove_file(&place);
                let script = script(&Origin::Path(source.to_string_lossy().into_owned()), &place.to_string_lossy()).unwrap();
                let out = Command::new(shell[0])
                    .args(&shell[1..])
                    .args(["-c", &script])
                    .output()
                    .unwrap();
                assert_eq!(out.status.success(), expected.is_some(), "{shell:?} {out:?}");
                assert_eq!(std::fs::read(&place).ok(), expected, "{shell:?} {out:?}");
            }
        }
    }

    #[test]
    fn all_scripts_are_shell() {
        let origins = [
            Origin::Url("https://x/it's".into()),
            Origin::Server {
                server: "keyserver.ubuntu.com".into(),
                ids: vec!["0xABCDEF01".into(), "12345678".into()],
            },
            Origin::Ppa {
                owner: "o".into(),
                name: "n".into(),
            },
        ];
        for origin in origins {
            let script = script(&origin, "/etc/apt/keyrings/x.asc").unwrap();
            for shell in shells() {
                let out = Command::new(shell[0])
                    .args(&shell[1..])
                    .args(["-n", "-c", &script])
                    .output()
                    .unwrap();
                assert!(
                    out.status.success(),
                    "{shell:?} {}\n{script}",
                    String::from_utf8_lossy(&out.stderr)
                );
            }
        }
        let hkp = from_server("hkp://keys.example:80", "0xAB");
        assert!(
            hkp.starts_with("fetch 'http://keys.example:80/pks/lookup?op=get&options=mr&search=0xAB' \"$t/one\" || exit 1\n"),
            "{hkp}"
        );
    }

    #[test]
    fn key_servers_and_ids_are_plain() {
        assert!(check_server("hkp://a.b:80", &["0xABCDEF01".into()]).is_ok());
        assert!(check_server("a b", &[]).is_err());
        assert!(check_server("a", &["xyz".into()]).is_err());
        assert_eq!(
            trusted("https://apt.example.com:8/x", "k"),
            "/etc/apt/trusted.gpg.d/apt.example.com-8254c329.gpg"
        );
    }
}
