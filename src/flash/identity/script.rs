//! A first boot's shell script: what cloud-init would do, for systems without it. POSIX sh, run once by root.
//!
//! Every step is tried, whatever became of those before: a node that is half set up can still be reached. Texts go in as quoted
//! words and secrets through standard input, so that `ps` shows none.

use super::{Identity, sshd};
use crate::shell::quote;

/// Which parts a script has; the others are said in another way.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// Host name, time zone, locale, keyboard and network.
    pub(super) system: bool,
    /// Made by the system at once under this name, rather than renamed or added by the script.
    pub(super) made: bool,
}

const HEAD: &str = r#"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

failed() {
    echo "picloud: failed: $1" >&2
    echo "failed: $1" >>/var/log/picloud-first-boot.log
}

# put FILE MODE TEXT: a whole file, or the old one.
put() {
    mkdir -p "${1%/*}" && (umask 077 && printf '%s' "$3" >"$1.picloud") && chmod "$2" "$1.picloud" && mv -f "$1.picloud" "$1" || failed "$1"
}

# wipe FILE: nothing of it is left on the card for who looks at its blocks.
wipe() {
    [ -f "$1" ] || return 0
    head -c "$(wc -c <"$1")" /dev/zero | dd of="$1" conv=notrunc 2>/dev/null
    sync
    rm -f "$1" || failed "the removal of $1"
}

# field NAME N: of the account NAME, from /etc/passwd.
field() {
    grep "^$1:" /etc/passwd | cut -d: -f"$2"
}

"#;

/// The script: `comment` says on whose behalf, `last` are the lines with which it takes itself away.
pub(super) fn script(identity: &Identity, parts: Parts, last: &str) -> String {
    let mut out = format!(
        "#!/bin/sh\n# Makes this system the minion {} at its first boot, and takes itself away. Written by picloud with the card.\n\n{HEAD}main() {{\n",
        identity.id
    );
    let mut add = |lines: String| {
        for line in lines.lines() {
            out += line;
            out.push('\n');
        }
    };
    if parts.system {
        add(host_name(identity));
    }
    add(account(identity, parts.made));
    add(server(identity));
    if parts.system {
        add(locale(identity));
        add(network(identity));
    }
    add(last.to_owned());
    // Read as one line before anything is run: the script may be gone by then.
    out + "}\nmain; exit 0\n"
}

fn host_name(identity: &Identity) -> String {
    let name = &identity.hostname;
    format!(
        "put /etc/hostname 0644 '{name}\n'\n\
         if grep -q '^127\\.0\\.1\\.1[[:space:]]' /etc/hosts; then\n    \
         sed -i 's/^127\\.0\\.1\\.1[[:space:]].*/127.0.1.1 {name}/' /etc/hosts || failed /etc/hosts\n\
         else\n    \
         echo '127.0.1.1 {name}' >>/etc/hosts\n\
         fi\n\
         hostname {name} || failed hostname\n"
    )
}

fn account(identity: &Identity, made: bool) -> String {
    let account = &identity.account;
    let name = &account.name;
    let mut out = String::new();
    if !made && name != "root" {
        // userconf renames the first account of Raspberry Pi OS, which has all the groups; its own wizard ends with that.
        out += &format!(
            "if [ -x /usr/lib/userconf-pi/userconf ]; then\n    /usr/lib/userconf-pi/userconf {name} '!' || failed userconf\n\
             fi\n"
        );
    }
    if name != "root" {
        out += &format!(
            "grep -q '^{name}:' /etc/passwd || useradd -m -s /bin/bash {name} || useradd -m {name} || failed 'the account {name}'\n"
        );
    }
    // `*` is no password, and unlike `!` it locks nobody out who has a key.
    let password = account.password.as_ref().map_or("*", |hash| hash.reveal());
    out += &format!(
        "printf '%s\\n' {} | chpasswd -e || failed 'the password of {name}'\n",
        quote(&format!("{name}:{password}"))
    );
    let groups = account
        .groups
        .clone()
        .unwrap_or_else(|| super::USUAL_GROUPS.map(str::to_owned).to_vec());
    if !groups.is_empty() && name != "root" {
        out += &format!(
            "for group in {}; do\n    if grep -q \"^$group:\" /etc/group; then usermod -aG \"$group\" {name} || failed \"the group $group\"; fi\ndone\n",
            groups.join(" ")
        );
    }
    let keys: String = account.keys.iter().map(|key| format!("{key}\n")).collect();
    if !keys.is_empty() {
        out += &format!(
            "home=$(field {name} 6)\nowner=$(field {name} 3):$(field {name} 4)\nmkdir -p \"$home/.ssh\"\n\
             put \"$home/.ssh/authorized_keys\" 0600 {}\nchmod 0700 \"$home/.ssh\"\nchown -R \"$owner\" \"$home/.ssh\" || failed \"$home/.ssh\"\n",
            quote(&keys)
        );
    }
    out + &sudo(identity)
}

fn sudo(identity: &Identity) -> String {
    let name = &identity.account.name;
    match identity.account.sudo {
        _ if name == "root" => String::new(),
        true => format!("put /etc/sudoers.d/010-picloud 0440 '{}'\n", super::sudoers(name)),
        // The first account of Raspberry Pi OS has that by default.
        false => "rm -f /etc/sudoers.d/010_pi-nopasswd\n".to_owned(),
    }
}

fn server(identity: &Identity) -> String {
    let mut out = String::new();
    for (path, mode, text) in sshd::key_files(identity) {
        out += &format!("put {path} {mode:04o} {}\n", quote(&text));
    }
    let settings = sshd::settings(identity);
    out += &format!(
        "settings={}\n\
         if [ ! -f /etc/ssh/sshd_config ] || grep -Eqi '^[[:space:]]*include[[:space:]].*/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config; then\n    \
         put {drop_in} 0644 \"$settings\n\"\n\
         else\n    \
         put /etc/ssh/sshd_config 0644 \"$settings\n$(cat /etc/ssh/sshd_config)\n\"\n\
         fi\n",
        quote(settings.trim_end()),
        drop_in = sshd::DROP_IN
    );
    out + "if [ -e /lib/systemd/system/ssh.service ]; then\n    systemctl -q enable ssh || failed 'sshd at boot'\n    \
           systemctl -q --no-block try-restart ssh\nfi\n"
}

fn locale(identity: &Identity) -> String {
    let mut out = String::new();
    if let Some(zone) = &identity.timezone {
        out += &format!(
            "if [ -e /usr/share/zoneinfo/{zone} ]; then\n    ln -snf /usr/share/zoneinfo/{zone} /etc/localtime\n    put /etc/timezone 0644 '{zone}\n'\n\
             else\n    failed 'the time zone {zone}'\nfi\n"
        );
    }
    if let Some(locale) = &identity.locale {
        out += &format!(
            "if [ -f /etc/locale.gen ]; then\n    sed -i 's/^# *\\({pattern} \\)/\\1/' /etc/locale.gen\n    \
             locale-gen >/dev/null || failed locale-gen\nfi\nput /etc/default/locale 0644 'LANG={locale}\n'\n",
            pattern = locale.replace('.', "\\.")
        );
    }
    if let Some(layout) = &identity.keyboard {
        out += &format!("put /etc/default/keyboard 0644 {}\n", quote(&super::keyboard(layout)));
    }
    out
}

fn network(identity: &Identity) -> String {
    let mut out = String::new();
    if !identity.has_network() {
        return out;
    }
    out += "if [ -d /etc/NetworkManager/system-connections ]; then\n";
    for (name, text) in identity.keyfiles() {
        out += &format!(
            "    put /etc/NetworkManager/system-connections/{name}.nmconnection 0600 {}\n",
            quote(&text)
        );
    }
    if identity.keyfiles().is_empty() {
        out += "    :\n";
    }
    out += "else\n";
    if let Some(text) = identity.wpa_supplicant() {
        out += &format!("    put /etc/wpa_supplicant/wpa_supplicant.conf 0600 {}\n", quote(&text));
    }
    match identity.dhcpcd() {
        Some(text) => {
            out += &format!(
                "    printf '%s' {} >>/etc/dhcpcd.conf || failed /etc/dhcpcd.conf\n",
                quote(&text)
            )
        }
        None => out += "    :\n",
    }
    out += "fi\n";
    if let Some(wifi) = &identity.wifi {
        if let Some(country) = &wifi.country {
            out += &format!(
                "if command -v raspi-config >/dev/null; then raspi-config nonint do_wifi_country {country} || failed 'the country of the radio'; fi\n"
            );
        }
        // Raspberry Pi OS keeps the radio off until it knows the country.
        out += "for file in /var/lib/systemd/rfkill/*:wlan; do\n    if [ -e \"$file\" ]; then echo 0 >\"$file\"; fi\ndone\n\
                if command -v rfkill >/dev/null; then rfkill unblock wifi; fi\n";
    }
    out
}
