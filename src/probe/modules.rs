//! Kernel modules: what is loaded, built in, or at hand, by one `grep` over three lists.

use super::{Fact, ModuleSeen, Probe};
use crate::shell::quote;

/// Prints the lines of `/proc/modules`, `modules.builtin` and `modules.dep` that are about `names`, each behind its file's name.
pub(super) fn script(names: &[String]) -> String {
    let names: Vec<String> = names
        .iter()
        .filter(|name| valid(name))
        .map(|name| name.replace(['-', '_'], "[-_]"))
        .collect();
    if names.is_empty() {
        return String::new();
    }
    let any = format!("({})", names.join("|"));
    let pattern = format!("^{any} |/{any}\\.ko[.a-z0-9]*(:|$)");
    format!(
        "k=/lib/modules/$(cat /proc/sys/kernel/osrelease)\ngrep -s -E {} /proc/modules \"$k/modules.builtin\" \"$k/modules.dep\"\n",
        quote(&pattern)
    )
}

/// Names that no module can have are not asked for.
fn valid(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

pub(super) fn parse(names: &[String], text: &str) -> Vec<(Probe, Fact)> {
    let mut facts: Vec<(String, ModuleSeen)> = names.iter().map(|name| (name.clone(), ModuleSeen::default())).collect();
    for line in text.lines() {
        let Some((file, entry)) = line.split_once(':') else { continue };
        // `nf_tables 262144 0 - Live`, `kernel/fs/ext4/ext4.ko`, `kernel/net/x.ko.xz: kernel/net/y.ko.xz`.
        let name = entry.split([' ', ':']).next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.split(".ko").next().unwrap_or_default().replace('-', "_");
        for (_, seen) in facts.iter_mut().filter(|(asked, _)| asked.replace('-', "_") == name) {
            seen.available = true;
            seen.loaded |= file == "/proc/modules";
            seen.builtin |= file.ends_with("modules.builtin");
        }
    }
    facts
        .into_iter()
        .map(|(name, seen)| (Probe::Module { name: name.clone() }, Fact::Module(name, seen)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_their_lists() {
        let names = ["br-netfilter", "ext4", "overlay", "no_such"].map(String::from);
        let text = "/proc/modules:br_netfilter 32768 0 - Live 0x0000000000000000\n\
                    /lib/modules/6.1.0-13-arm64/modules.builtin:kernel/fs/ext4/ext4.ko\n\
                    /lib/modules/6.1.0-13-arm64/modules.dep:kernel/fs/overlayfs/overlay.ko.xz: kernel/x.ko.xz\n\
                    /lib/modules/6.1.0-13-arm64/modules.dep:kernel/net/bridge/br_netfilter.ko.xz:";
        let seen = |loaded, builtin, available| ModuleSeen {
            loaded,
            builtin,
            available,
        };
        let expected = [
            seen(true, false, true),
            seen(false, true, true),
            seen(false, false, true),
            seen(false, false, false),
        ];
        let facts: Vec<Fact> = parse(&names, text).into_iter().map(|(_, fact)| fact).collect();
        let expected: Vec<Fact> = names
            .into_iter()
            .zip(expected)
            .map(|(name, seen)| Fact::Module(name, seen))
            .collect();
        assert_eq!(facts, expected);
    }
}
