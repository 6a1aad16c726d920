//! Shell by which a minion fetches a URL for itself, with curl or wget, whichever it has, and checks the digest of a file.

use crate::error::{Error, Result};
use crate::shell::quote;

/// Shell that downloads `url` to the file named by `$tmp`; exits other than 0 when it could not. The URL stands on no command line
/// unless busybox's wget leaves no choice.
pub(super) fn download(url: &str) -> String {
    let config = url.replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "if command -v curl >/dev/null; then
curl -fsSL --connect-timeout 20 --retry 2 -o \"$tmp\" -K - <<'PICLOUD_URL'
url = \"{config}\"
PICLOUD_URL
elif wget --version >/dev/null 2>&1; then
printf '%s\\n' {word} | wget -q -T 20 -t 3 -O \"$tmp\" -i -
elif command -v wget >/dev/null; then
wget -q -T 20 -O \"$tmp\" {word}
else
echo 'neither curl nor wget is on this minion; run with --through-master' >&2; exit 1
fi || {{ printf 'could not fetch %s\\n' {shown} >&2; exit 1; }}\n",
        word = quote(url),
        shown = quote(&redacted(url)),
    )
}

/// Shell that prints the `kind` digest of the file named by `$tmp`.
fn digest(kind: &str) -> String {
    format!("if command -v {kind}sum >/dev/null; then {kind}sum <\"$tmp\"; else openssl dgst -{kind} -r <\"$tmp\"; fi")
}

/// Shell that exits 1 unless the file named by `$tmp` has this digest. `shown` is what it is called in the message.
///
/// # Errors
/// `kind` is none that minions can reckon, or `wanted` has not its length.
pub(super) fn verify(kind: &str, wanted: &str, shown: &str) -> Result<String> {
    let wanted = checked(kind, wanted)?;
    Ok(format!(
        "sum=$({})\nsum=${{sum%% *}}\n[ \"$sum\" = {wanted} ] || {{ printf 'the {kind} of %s is %s, not the {wanted} that was specified\\n' {} \"$sum\" >&2; exit 1; }}\n",
        digest(kind),
        quote(&redacted(shown)),
    ))
}

/// A script that prints the digest of the file at `path`, or nothing where there is none.
pub(super) fn digest_of(kind: &str, path: &str) -> String {
    format!("tmp={}\n[ -f \"$tmp\" ] || exit 0\n{}", quote(path), digest(kind))
}

/// `wanted` in lower case, if it can be a digest of this kind.
fn checked(kind: &str, wanted: &str) -> Result<String> {
    let length = match kind {
        "md5" => 32,
        "sha1" => 40,
        "sha224" => 56,
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => {
            let known = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
            return Err(Error::usage(format!("unknown hash type `{kind}`"))
                .did_you_mean(kind, known)
                .hint(format!("known are {}", known.join(", "))));
        }
    };
    if wanted.len() != length || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::usage(format!(
            "{wanted:?} is no {kind}: it should be {length} hexadecimal digits"
        )));
    }
    Ok(wanted.to_ascii_lowercase())
}

/// `url` without the password in it.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://<redacted>{}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("https://a:b@h/x@y"), "https://<redacted>@h/x@y");
        assert_eq!(redacted("https://h/x@y"), "https://h/x@y");
    }

    #[test]
    fn digests_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's");
        std::fs::write(&file, "hello").unwrap();
        let hello = "5d41402abc4b2a76b9719d911017c592";
        for (wanted, expected) in [(hello, 0), ("00000000000000000000000000000000", 1)] {
            let script = format!(
                "tmp={}\n{}",
                quote(&file.to_string_lossy()),
                verify("md5", wanted, "x").unwrap()
            );
            for shell in [vec!["dash"], vec!["bash"], vec!["busybox", "ash"]] {
                let Ok(out) = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(&script).output() else {
                    continue;
                };
                assert_eq!(out.status.code(), Some(expected), "{out:?}");
            }
        }
        let out = Command::new("sh")
            .arg("-c")
            .arg(digest_of("md5", &file.to_string_lossy()))
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&out.stdout).starts_with(hello));
        assert!(
            verify("sha265", hello, "x")
                .unwrap_err()
                .to_string()
                .contains("unknown hash type")
        );
        assert!(
            verify("sha256", hello, "x")
                .unwrap_err()
                .to_string()
                .contains("64 hexadecimal digits")
        );
    }

    #[test]
    fn a_file_url_is_fetched_by_curl() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("from"), "hello").unwrap();
        let to = dir.path().join("to");
        let script = format!(
            "tmp={}\n{}",
            quote(&to.to_string_lossy()),
            download(&format!("file://{}/from", dir.path().display()))
        );
        if Command::new("curl").arg("--version").output().is_ok() {
            let out = Command::new("sh").arg("-c").arg(&script).output().unwrap();
            assert!(out.status.success(), "{out:?}");
            assert_eq!(std::fs::read_to_string(to).unwrap(), "hello");
        }
    }
}
