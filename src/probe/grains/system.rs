//! The system: distribution, kernel, init, locale, who runs the session.

use super::raw::Raw;
use super::{Grains, list, optional};
use crate::yaml::{Map, Value};

pub(super) fn add(grains: &mut Grains, raw: &Raw) {
    kernel(grains, raw);
    distribution(grains, raw);
    architecture(grains, raw);
    init(grains, raw);
    locale(grains, raw);
    session(grains, raw);
    grains.set("raspberry_pi_os", raw.there("/etc/rpi-issue"));
    grains.set("zfs_support", raw.there("/sys/module/zfs"));
    grains.set("efi", raw.there("/sys/firmware/efi"));
    grains.set("efi-secure-boot", false);
    let machine_id = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    if let Some(id) = machine_id.iter().find_map(|file| raw.first(file)).filter(|id| !id.is_empty()) {
        grains.set("machine_id", id);
    }
}

fn kernel(grains: &mut Grains, raw: &Raw) {
    grains.set("kernel", raw.first("/proc/sys/kernel/ostype").unwrap_or("Linux"));
    grains.set("kernelrelease", raw.first("/proc/sys/kernel/osrelease").unwrap_or_default());
    grains.set("kernelversion", raw.first("/proc/sys/kernel/version").unwrap_or_default());
    grains.set("cpuarch", raw.first("machine").unwrap_or_default());
    let words = raw.first("/proc/cmdline").unwrap_or_default().split_whitespace();
    let parameters = words.map(|word| {
        // Salt has a value only where there is just one `=`.
        let parts: Vec<&str> = word.split('=').collect();
        let value = if let [_, value] = parts[..] {
            Some(value.trim_matches('"'))
        } else {
            None
        };
        Value::from(vec![Value::from(parts[0]), optional(value)])
    });
    grains.set("kernelparams", parameters.collect::<Vec<_>>());
}

/// `os`, `os_family` and their relatives, by Salt 3006's rules for a minion without Python's lsb_release: `/etc/lsb-release` counts
/// where it names a distribution, else `/etc/os-release`.
fn distribution(grains: &mut Grains, raw: &Raw) {
    let release = raw.assignments("/etc/os-release");
    let release = if release.is_empty() {
        raw.assignments("/usr/lib/os-release")
    } else {
        release
    };
    let get = |key: &str| release.get(key).map(|value| value.trim());
    let lsb = raw.assignments("/etc/lsb-release");
    for (key, value) in &lsb {
        if let Some(part) = key.strip_prefix("DISTRIB_")
            && matches!(part, "ID" | "RELEASE" | "CODENAME" | "DESCRIPTION")
        {
            grains.set(&format!("lsb_distrib_{}", part.to_lowercase()), value.as_str());
        }
    }
    let name = get("NAME").unwrap_or("Linux");
    let mut full = name;
    let mut os = os_name(name, get("ID").unwrap_or_default());
    if lsb.contains_key("DISTRIB_ID") {
        if lsb
            .get("DISTRIB_DESCRIPTION")
            .is_some_and(|text| text.to_lowercase().starts_with("antergos"))
        {
            full = "Antergos Linux";
        }
    } else {
        grains.set("lsb_distrib_id", name);
        if let Some(version) = get("VERSION_ID") {
            grains.set("lsb_distrib_release", version);
        }
        if let Some(codename) = get("VERSION_CODENAME").or(get("PRETTY_NAME")) {
            grains.set("lsb_distrib_codename", codename);
        }
        if let Some((vendor, version)) = get("CPE_NAME").and_then(cpe)
            && matches!(vendor.as_str(), "suse" | "opensuse")
        {
            os = "SUSE".to_owned();
            full = match name {
                "openSUSE Leap" => "Leap",
                _ if get("VERSION") == Some("Tumbleweed") => "Tumbleweed",
                _ => name,
            };
            if vendor == "opensuse" && !version.is_empty() {
                grains.set("lsb_distrib_release", version);
            }
        }
    }
    // Some put the code name into brackets, and nowhere else.
    if matches!(os.as_str(), "Rocky" | "AlmaLinux")
        && let Some((_, bracket)) = grains.text("lsb_distrib_codename").split_once('(')
    {
        let codename = bracket.split(')').next().unwrap_or_default().to_owned();
        grains.set("lsb_distrib_codename", codename);
    }
    grains.set("osfullname", full);
    grains.set("os_family", family(&os, get("ID_LIKE").unwrap_or_default()));
    let codename = grains.text("lsb_distrib_codename").trim().to_owned();
    grains.set("oscodename", codename);
    let release = grains.text("lsb_distrib_release").trim().to_owned();
    numbers(grains, &os, full, &release);
    grains.set("os", os);
    grains.set("osrelease", release);
}

/// `osrelease_info`, `osmajorrelease`, `osfinger`; none of them where there is no release.
fn numbers(grains: &mut Grains, os: &str, full: &str, release: &str) {
    if release.is_empty() {
        return;
    }
    let number = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse::<i64>().ok())
            .flatten()
    };
    let info = release
        .split('.')
        .map(|part| number(part).map_or_else(|| Value::from(part), Value::from));
    grains.set("osrelease_info", info.collect::<Vec<_>>());
    let first = release.split('.').next().unwrap_or(release);
    if let Some(major) = number(first) {
        grains.set("osmajorrelease", major);
    }
    let name = if matches!(os, "Debian" | "Raspbian") { os } else { full };
    let first = number(first).map_or_else(|| first.to_owned(), |n| n.to_string());
    let version = if matches!(os, "Ubuntu" | "Pop") { release } else { &first };
    grains.set("osfinger", format!("{name}-{version}"));
}

/// Salt's short name of a distribution: without "Linux" and "GNU/Linux", and by a table of traditional names.
fn os_name(name: &str, id: &str) -> String {
    match (id, name) {
        ("pop", "Pop!_OS") => return "Pop".to_owned(),
        ("astra", "Astra Linux (Orel)") => return "AstraLinuxCE".to_owned(),
        ("astra", "Astra Linux (Smolensk)") => return "AstraLinuxSE".to_owned(),
        _ => {}
    }
    let short = without_linux(name);
    let short = short.trim();
    let key: String = short.replace(' ', "").to_lowercase().chars().take(10).collect();
    let traditional = match key.as_str() {
        "redhatente" => "RedHat",
        "gentoobase" => "Gentoo",
        "archarm" => "Arch ARM",
        "arch" => "Arch",
        "debian" => "Debian",
        "raspbian" => "Raspbian",
        "fedoraremi" | "pidora" => "Fedora",
        "amazonami" => "Amazon",
        "alt" => "ALT",
        "enterprise" | "oracleserv" => "OEL",
        "cloudserve" | "cloudlinux" => "CloudLinux",
        "almalinux" => "AlmaLinux",
        "scientific" => "ScientificLinux",
        "synology" => "Synology",
        "nilrt" => "NILinuxRT",
        "poky" => "Poky",
        "manjaro" | "manjarolin" => "Manjaro",
        "univention" => "Univention",
        "antergos" => "Antergos",
        "sles" => "SUSE",
        "slesexpand" => "RES",
        "void" => "Void",
        "linuxmint" => "Mint",
        "neon" => "KDE neon",
        "pop" => "Pop",
        "rocky" => "Rocky",
        "alibabaclo" => "Alinux",
        "mendel" => "Mendel",
        _ => short,
    };
    traditional.to_owned()
}

/// `name` without every " Linux" and " GNU/Linux" (after any character that is not of a word), in any case.
fn without_linux(name: &str) -> String {
    let mut text = name.to_owned();
    for word in ["gnu/linux", "linux"] {
        let mut from = 1;
        while let Some(at) = text
            .get(from..)
            .and_then(|rest| rest.to_ascii_lowercase().find(word))
            .map(|at| at + from)
        {
            let before = text[..at].chars().next_back();
            match before.filter(|c| !c.is_alphanumeric() && *c != '_') {
                Some(c) => text.replace_range(at - c.len_utf8()..at + word.len(), ""),
                None => from = at + word.len(),
            }
        }
    }
    text
}

fn family<'a>(os: &'a str, id_like: &str) -> &'a str {
    match os {
        "Debian" | "Ubuntu" | "Mint" | "Trisquel" | "GCEL" | "Linaro" | "elementary OS" | "elementary" | "Univention"
        | "Raspbian" | "Devuan" | "antiX" | "Kali" | "Parrot OS" | "neon" | "Cumulus" | "Deepin" | "KDE neon" | "IDMS"
        | "TurnKey" | "Pop" | "AstraLinuxCE" | "AstraLinuxSE" | "Mendel" | "OSMC" => "Debian",
        "RedHat" | "Fedora" | "CentOS" | "CentOS Stream" | "Scientific" | "ScientificLinux" | "Amazon" | "CloudLinux"
        | "AlmaLinux" | "OVS" | "OEL" | "XCP" | "XCP-ng" | "XenServer" | "RES" | "Sangoma" | "VMware Photon OS" | "ALT"
        | "Rocky" | "Alinux" => "RedHat",
        "SLES" | "SLED" | "openSUSE" | "SUSE" | "openSUSE Leap" | "openSUSE Tumbleweed" | "SLES_SAP" => "Suse",
        "Arch" | "Arch ARM" | "Manjaro" | "Antergos" | "EndeavourOS" => "Arch",
        "Gentoo" | "Funtoo" => "Gentoo",
        "Alpine" => "Alpine",
        "Void" => "Void",
        "NILinuxRT" => "NILinuxRT",
        // Salt would say the name itself, which helps no formula: what the distribution calls its ancestors is better.
        _ => id_like
            .split_whitespace()
            .find_map(|ancestor| match ancestor {
                "debian" | "ubuntu" | "raspbian" => Some("Debian"),
                "fedora" | "rhel" | "centos" => Some("RedHat"),
                "arch" | "archarm" => Some("Arch"),
                "suse" | "opensuse" => Some("Suse"),
                "alpine" => Some("Alpine"),
                "gentoo" => Some("Gentoo"),
                _ => None,
            })
            .unwrap_or(os),
    }
}

/// Vendor and version of a CPE name (`cpe:/o:opensuse:leap:15.5`, `cpe:2.3:o:amazon:amazon_linux:2`).
fn cpe(name: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = name.split(':').collect();
    let fields = match parts[..] {
        ["cpe", part, ref rest @ ..] if part.starts_with('/') => rest,
        ["cpe", "2.3", _, ref rest @ ..] => rest,
        _ => return None,
    };
    Some((
        fields.first()?.to_lowercase(),
        fields.get(2).unwrap_or(&"").trim_matches('*').to_owned(),
    ))
}

/// `osarch`: what the packages are built for; and what Docker calls the platform.
fn architecture(grains: &mut Grains, raw: &Raw) {
    let machine = grains.text("cpuarch").to_owned();
    let dpkg = raw.first("dpkg").filter(|arch| !arch.is_empty());
    let packages = match grains.text("os_family") {
        "Debian" => dpkg.unwrap_or(&machine),
        _ => &machine,
    };
    let packages = packages.to_owned();
    let userland = dpkg.or(raw.first("/etc/apk/arch").map(str::trim)).unwrap_or(&machine);
    // A Pi Zero calls its architecture 7 in cpuinfo, but its processor ARMv6; Raspbian calls its packages armhf on both.
    let six = machine.starts_with("armv6") || raw.lines("/proc/cpuinfo").iter().any(|line| line.contains("ARMv6"));
    let docker = match userland {
        "amd64" | "x86_64" => "amd64",
        "arm64" | "aarch64" | "aarch64_be" => "arm64",
        "armhf" | "armv7" | "armv7l" | "armv8l" if !six => "arm/v7",
        "armhf" | "armv6l" | "armv7" | "armv7l" => "arm/v6",
        "armel" | "armv5tel" | "armv5tejl" | "armv5l" => "arm/v5",
        "i386" | "i486" | "i586" | "i686" | "x86" => "386",
        "riscv64" => "riscv64",
        "ppc64el" | "ppc64le" => "ppc64le",
        "s390x" => "s390x",
        other => other,
    };
    // Alpine's armhf is built for ARMv6, whatever runs it.
    let docker = if raw.first("/etc/apk/arch").map(str::trim) == Some("armhf") {
        "arm/v6"
    } else {
        docker
    };
    grains.set("docker_arch", docker);
    grains.set("osarch", packages);
}

fn init(grains: &mut Grains, raw: &Raw) {
    let comm = raw.first("/proc/1/comm").unwrap_or_default();
    let init = if raw.there("/run/systemd/system") {
        "systemd"
    } else if raw.there("/run/openrc") {
        "openrc"
    } else {
        match (comm, raw.first("init")) {
            ("init", Some(init)) => init,
            ("supervisord" | "dumb-init" | "tini" | "runit", _) => comm,
            ("my_init", _) => "runit",
            _ => "unknown",
        }
    };
    grains.set("init", init);
    // `systemd 252 (252.17-1~deb12u1)`, and a line of what it was built with.
    if let [first, rest @ ..] = raw.lines("systemd") {
        let mut systemd = Map::new();
        systemd.insert("version".into(), first.split_whitespace().nth(1).unwrap_or_default().into());
        systemd.insert("features".into(), rest.first().copied().unwrap_or_default().into());
        grains.set("systemd", systemd);
    }
    if raw.there("selinuxenabled") {
        let enforce = raw.first("/sys/fs/selinux/enforce");
        let mut selinux = Map::new();
        selinux.insert("enabled".into(), enforce.is_some().into());
        let enforced = match enforce {
            Some("1") => "Enforcing",
            Some(_) => "Permissive",
            None => "Disabled",
        };
        selinux.insert("enforced".into(), enforced.into());
        grains.set("selinux", selinux);
    }
}

/// The locale that services start with.
fn locale(grains: &mut Grains, raw: &Raw) {
    let files = ["/etc/locale.conf", "/etc/default/locale"].map(|file| raw.assignments(file));
    let lang = files.iter().find_map(|file| file.get("LANG")).map_or("C", String::as_str);
    let (language, encoding) = lang.split_once('.').unwrap_or((lang, ""));
    // As Python understands them, which turns the C locale into UTF-8.
    let (language, encoding) = match (language, encoding.to_uppercase().replace('-', "").as_str()) {
        ("C" | "POSIX" | "", _) => ("en_US", "UTF-8"),
        (language, "UTF8") => (language, "UTF-8"),
        (language, "") => (language, "ISO8859-1"),
        (language, _) => (language, encoding),
    };
    let mut info = Map::new();
    info.insert("defaultlanguage".into(), language.into());
    info.insert("defaultencoding".into(), encoding.into());
    info.insert("detectedencoding".into(), "utf-8".into());
    let zone = raw.first("zone").filter(|zone| !zone.is_empty()).unwrap_or("unknown");
    info.insert("timezone".into(), zone.into());
    grains.set("locale_info", info);
}

/// As whom, and with what, the session runs.
fn session(grains: &mut Grains, raw: &Raw) {
    let number = |what: &str| {
        let line = raw.lines("/proc/self/status").iter().find_map(|line| line.strip_prefix(what));
        line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok())
    };
    let named = |file: &str, id: Option<i64>| {
        let name = raw.first(file).and_then(|line| line.split(':').next());
        name.map_or_else(|| id.map_or_else(String::new, |id| id.to_string()), String::from)
    };
    for (id, name, label, file) in [
        ("uid", "username", "Uid:", "/etc/passwd"),
        ("gid", "groupname", "Gid:", "/etc/group"),
    ] {
        let number = number(label);
        grains.set(name, named(file, number));
        if let Some(number) = number {
            grains.set(id, number);
        }
    }
    let path = raw.first("path").unwrap_or_default();
    grains.set("path", path);
    grains.set("systempath", list(path.split(':')));
    grains.set(
        "shell",
        raw.first("shell").filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh"),
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{grains, shown};

    #[test]
    fn architectures_have_docker_names() {
        let zero = "model name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7";
        let raspbian = "NAME=\"Raspbian GNU/Linux\"";
        let debian = "NAME=\"Debian GNU/Linux\"";
        for (machine, release, dpkg, cpuinfo, expected) in [
            ("aarch64", debian, "arm64", "", "osarch=\"arm64\"; docker_arch=\"arm64\""),
            ("aarch64", raspbian, "armhf", "", "osarch=\"armhf\"; docker_arch=\"arm/v7\""),
            ("armv7l", raspbian, "armhf", "", "osarch=\"armhf\"; docker_arch=\"arm/v7\""),
            ("armv6l", raspbian, "armhf", zero, "osarch=\"armhf\"; docker_arch=\"arm/v6\""),
            ("x86_64", debian, "amd64", "", "osarch=\"amd64\"; docker_arch=\"amd64\""),
            ("x86_64", debian, "i386", "", "osarch=\"i386\"; docker_arch=\"386\""),
            (
                "riscv64",
                debian,
                "riscv64",
                "",
                "osarch=\"riscv64\"; docker_arch=\"riscv64\"",
            ),
            (
                "armv7l",
                "NAME=\"Arch Linux ARM\"",
                "",
                "",
                "osarch=\"armv7l\"; docker_arch=\"arm/v7\"",
            ),
            (
                "aarch64",
                "NAME=\"Fedora Linux\"",
                "",
                "",
                "osarch=\"aarch64\"; docker_arch=\"arm64\"",
            ),
        ] {
            let files = [
                ("machine", machine),
                ("/etc/os-release", release),
                ("dpkg", dpkg),
                ("/proc/cpuinfo", cpuinfo),
            ];
            assert_eq!(
                shown(&grains(&files), &["osarch", "docker_arch"]),
                expected,
                "{machine} {release}"
            );
        }
        let alpine = [
            ("machine", "armv7l"),
            ("/etc/apk/arch", "armhf"),
            ("/etc/os-release", "NAME=\"Alpine Linux\""),
        ];
        assert_eq!(
            shown(&grains(&alpine), &["osarch", "docker_arch"]),
            "osarch=\"armv7l\"; docker_arch=\"arm/v6\""
        );
    }

    #[test]
    fn init_locale_and_session() {
        let files = [
            ("machine", "aarch64"),
            ("there", "/run/systemd/system\n/etc/rpi-issue\nselinuxenabled"),
            ("/sys/fs/selinux/enforce", "1"),
            ("systemd", "systemd 252 (252.17-1~deb12u1)\n+PAM +AUDIT"),
            ("/etc/default/locale", "# comment\nLANG=de_DE.UTF-8\nLC_ALL=x"),
            ("zone", "CET"),
            ("/proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100"),
            ("/etc/passwd", "pi:x:1000:100:,,,:/home/pi:/bin/bash"),
            ("path", "/usr/bin:/bin"),
            ("shell", ""),
            ("/proc/cmdline", "console=tty1 root=PARTUUID=1-02 quiet"),
            ("/etc/machine-id", "0123"),
        ];
        let names = [
            "init",
            "raspberry_pi_os",
            "selinux",
            "systemd",
            "locale_info",
            "uid",
            "username",
            "gid",
            "groupname",
            "systempath",
            "shell",
            "kernelparams",
            "machine_id",
        ];
        let expected = "init=\"systemd\"; raspberry_pi_os=true; selinux={\"enabled\": true, \"enforced\": \"Enforcing\"}; \
            systemd={\"version\": \"252\", \"features\": \"+PAM +AUDIT\"}; \
            locale_info={\"defaultlanguage\": \"de_DE\", \"defaultencoding\": \"UTF-8\", \"detectedencoding\": \"utf-8\", \"timezone\": \"CET\"}; \
            uid=1000; username=\"pi\"; gid=100; groupname=\"100\"; systempath=[\"/usr/bin\", \"/bin\"]; shell=\"/bin/sh\"; \
            kernelparams=[[\"console\", \"tty1\"], [\"root\", null], [\"quiet\", null]]; machine_id=\"0123\"";
        assert_eq!(shown(&grains(&files), &names), expected);
        for (files, init) in [
            (vec![("there", "/run/openrc"), ("/proc/1/comm", "init")], "openrc"),
            (vec![("init", "sysvinit"), ("/proc/1/comm", "init")], "sysvinit"),
            (vec![("init", "sysvinit"), ("/proc/1/comm", "sh")], "unknown"),
            (vec![("/proc/1/comm", "tini")], "tini"),
        ] {
            let files: Vec<(&str, &str)> = [("machine", "x86_64")].into_iter().chain(files).collect();
            assert_eq!(grains(&files).get("init").and_then(|init| init.as_str()), Some(init));
        }
    }
}
