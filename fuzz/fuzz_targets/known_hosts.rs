//! known_hosts: no file makes the reader panic, and none makes a key known that does not stand in it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picloud::error::FileId;
use picloud::ssh::known_hosts::{HostName, KnownHosts, Verdict};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use std::sync::LazyLock;

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJF7lNcnFlK0uV79qCPgwk495lB3C2qh8Z6GDdzn8WMc";

static SHOWN: LazyLock<PublicKeyOrCertificate> = LazyLock::new(|| {
    let key = PublicKey::from_openssh(&format!("ssh-ed25519 {KEY}"));
    PublicKeyOrCertificate::PublicKey {
        key: key.expect("it is one"),
        hash_alg: None,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let mut known = KnownHosts::default();
    known.parse(FileId::of("known_hosts"), bytes);
    for (host, port) in [("pi0", 22), ("pi0.lan", 2222), ("2001:db8::1", 22)] {
        let name = HostName::new(host, port);
        let _ = (known.algorithms(&name), known.has_authority(&name));
        if matches!(known.check(&name, &SHOWN, 1_700_000_000), Verdict::Known | Verdict::Revoked { .. }) {
            assert!(bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
        }
    }
});
