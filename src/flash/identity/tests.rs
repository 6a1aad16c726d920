//! All methods: the inventory beside the files that it makes, in `expected/` (`UPDATE_EXPECTED=1` writes them anew, to be read
//! before they are believed); and what other programs make of these files.

use super::files::table::{files, shown, written};
use super::*;
use crate::error::FileId;
use crate::inventory::Inventory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// The public half of the key that seed 1 makes.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c ana@laptop";

const EVERYTHING: &str = r#"
minions:
  pi3.lab.example:
    address: 192.168.1.13
    user: pi
    sudo: true
    card:
      hostname: node3
      user: ana
      groups: [sudo, docker]
      authorized_keys: [KEY]
      password: $6$saltsalt$Zq8uTHXkbEXBsu1rUlM5KQ0rNx0gW8mQJX8mQ5FkJ9o8m2tQ0n1jv0w2yqJ8g0U3Yd3x2n9k1yG4b6v7h5c3e1
      sudo: false
      timezone: Europe/Berlin
      locale: de_DE.UTF-8
      keyboard: de
      wifi: {ssid: "it's \"home\" \\o/", psk: correct horse, country: DE, hidden: true}
      network: {address: 192.168.1.13/24, gateway: 192.168.1.1, dns: [192.168.1.1, 9.9.9.9]}
      boot:
        config: {gpu_mem: 16, dtoverlay: [disable-bt], arm_boost: true}
        cmdline: cgroup_enable=memory cgroup_memory=1
"#;

pub(super) fn minion(yaml: &str) -> Minion {
    let yaml = yaml.replace("KEY", KEY);
    let inventory = Inventory::parse(&[(FileId::of("minions.yaml"), yaml.into_bytes())]).unwrap();
    inventory.minions().next().unwrap().clone()
}

fn made(minion: &Minion, home: &Path) -> Result<Identity> {
    let mut identity = Identity::new(
        minion,
        Given {
            home,
            project: home,
            password: None,
            host_key: HostKey::of_seed(&[7; 32], "pi3")?,
        },
    )?;
    identity.instance = "picloud-pi3-0123456789abcdef".into();
    identity.throwaway = Secret::new("throwaway0123456789");
    Ok(identity)
}

fn identity(yaml: &str) -> Identity {
    made(&minion(yaml), Path::new("/nowhere")).unwrap()
}

pub(in crate::flash) fn plain() -> Identity {
    identity("minions: {pi3: {user: pi, sudo: true, card: {authorized_keys: KEY}}}")
}

pub(super) fn fixed() -> Identity {
    identity(
        "minions: {pi3: {user: pi, sudo: true, card: {authorized_keys: KEY, network: {address: 192.168.1.13/24, gateway: 192.168.1.1, dns: [9.9.9.9, '2620:fe::fe']}}}}",
    )
}

pub(super) fn wifi(ssid: &str, psk: Option<&str>) -> Identity {
    let mut minion =
        minion("minions: {pi3: {user: pi, card: {authorized_keys: KEY, wifi: {ssid: x, country: DE, hidden: true}}}}");
    let wifi = minion.card.wifi.as_mut().unwrap();
    wifi.ssid = ssid.to_owned();
    wifi.psk = psk.map(|psk| Psk::Given(Secret::new(psk)));
    made(&minion, Path::new("/nowhere")).unwrap()
}

/// Everything that a card can say, with a certificate.
pub(super) fn everything() -> Identity {
    let mut identity = identity(EVERYTHING);
    identity.host_key.certificate = Some("ssh-ed25519-cert-v01@openssh.com AAAACERTIFICATE pi3".into());
    identity
}

fn pi_boot() -> BTreeMap<String, Vec<u8>> {
    files([
        (
            "/cmdline.txt",
            "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait quiet\n",
        ),
        (
            "/config.txt",
            "dtparam=audio=on\n\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n\n[all]\n",
        ),
        ("/issue.txt", "Raspberry Pi reference 2024-11-19\n"),
    ])
}

fn debian_root() -> BTreeMap<String, Vec<u8>> {
    files([
        ("/bin/bash", ""),
        ("/usr/bin/sudo", ""),
        (
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
        ),
        (
            "/etc/shadow",
            "root:$6$known$1234:0:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
        ),
        (
            "/etc/group",
            "root:x:0:\nsudo:x:27:\nshadow:x:42:\nvideo:x:44:\ndocker:x:990:\n",
        ),
        ("/etc/gshadow", "root:*::\nsudo:*::\nshadow:*::\nvideo:*::\ndocker:!::\n"),
        (
            "/etc/hosts",
            "127.0.0.1   localhost\n127.0.1.1   orangepi\n::1         localhost ip6-localhost\n",
        ),
        ("/etc/timezone", "Etc/UTC\n"),
        (
            "/etc/locale.gen",
            "# de_DE ISO-8859-1\n# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n",
        ),
        ("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"),
        ("/etc/skel/.profile", "# ~/.profile\n"),
        ("/usr/share/zoneinfo/Europe/Berlin", ""),
    ])
}

fn armbian_root() -> BTreeMap<String, Vec<u8>> {
    let mut root = debian_root();
    root.extend(files([
        ("/etc/armbian-release", "BOARD=pine64\n"),
        ("/root/.not_logged_in_yet", ""),
        (
            "/etc/netplan/10-dhcp-all-interfaces.yaml",
            "network:\n  version: 2\n  ethernets:\n    all-eth-interfaces:\n      match: {name: 'e*'}\n      dhcp4: true\n",
        ),
        (
            "/etc/systemd/system/getty@.service.d/override.conf",
            "[Service]\nExecStart=\nExecStart=-/sbin/agetty --noissue --autologin root %I $TERM\n",
        ),
        ("/boot/armbianEnv.txt", "verbosity=1\nextraargs=cma=256M\nrootdev=UUID=x\n"),
    ]));
    root
}

fn arch_root() -> BTreeMap<String, Vec<u8>> {
    files([
        ("/usr/bin/bash", ""),
        ("/etc/arch-release", ""),
        (
            "/etc/passwd",
            "root:x:0:0::/root:/bin/bash\nalarm:x:1000:1000::/home/alarm:/bin/bash\n",
        ),
        (
            "/etc/shadow",
            "root:$6$root$1:17000::::::\nalarm:$6$alarm$1:17000:0:99999:7:::\n",
        ),
        ("/etc/group", "root:x:0:root\nwheel:x:998:alarm\nalarm:x:1000:\n"),
        ("/etc/ssh/sshd_config", "PermitRootLogin prohibit-password\n"),
    ])
}

fn all_of(edits: &Edits) -> String {
    let notes: String = edits.notes.iter().map(|note| format!("note: {note}\n")).collect();
    format!(
        "{notes}#### boot partition\n{}#### root file system\n{}",
        shown(&edits.boot),
        shown(&edits.root)
    )
}

const METHODS: [(&str, Method); 8] = [
    (
        "cloud-init-pi",
        Method::CloudInit {
            place: Place::Boot,
            dialect: Dialect::RaspberryPi,
        },
    ),
    (
        "cloud-init-ubuntu",
        Method::CloudInit {
            place: Place::Boot,
            dialect: Dialect::Standard,
        },
    ),
    (
        "cloud-init-seed",
        Method::CloudInit {
            place: Place::Root,
            dialect: Dialect::Standard,
        },
    ),
    (
        "hypriot",
        Method::CloudInit {
            place: Place::Boot,
            dialect: Dialect::Hypriot,
        },
    ),
    ("firstrun", Method::Firstrun),
    ("rpi-preseed", Method::RpiPreseed),
    ("armbian", Method::Armbian),
    ("arch", Method::Arch),
];

fn edits_of(identity: &Identity, method: Method) -> Result<Edits> {
    let (mut boot, root) = match method {
        Method::Armbian => (BTreeMap::new(), armbian_root()),
        Method::Arch => (pi_boot(), arch_root()),
        Method::CloudInit { place: Place::Root, .. } => (BTreeMap::new(), debian_root()),
        _ => (pi_boot(), BTreeMap::new()),
    };
    if let Method::Dietpi { .. } = method {
        let text = "# DietPi\nAUTO_SETUP_GLOBAL_PASSWORD=dietpi\nAUTO_SETUP_LOCALE=C.UTF-8\n#AUTO_SETUP_SSH_PUBKEY=ssh-ed25519 AAAA mySSHkey\nAUTO_SETUP_NET_USESTATIC=0\nAUTO_SETUP_NET_HOSTNAME=DietPi\n";
        boot.insert("/dietpi.txt".into(), text.into());
    }
    let mut identity = identity.clone();
    if boot.is_empty() {
        // Not a Raspberry Pi.
        identity.boot.config.clear();
        if method != Method::Armbian {
            identity.boot.cmdline.clear();
        }
    }
    identity.edits(
        method,
        Volumes {
            boot: &boot,
            root: &root,
        },
    )
}

fn expect(name: &str, actual: &str) {
    // No private key stands in the repository, not even one of nobody's.
    let private = HostKey::of_seed(&[7; 32], "pi3").unwrap().private;
    let mut actual = actual.to_owned();
    for (number, line) in private.reveal().lines().enumerate() {
        actual = actual.replace(line, &format!("(line {} of the private key)", number + 1));
    }
    let path = Path::new(file!())
        .parent()
        .unwrap()
        .join("expected")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{}", path.display());
}

#[test]
fn every_method_puts_these_files_on_a_card() {
    for (name, method) in METHODS {
        expect(name, &all_of(&edits_of(&plain(), method).unwrap()));
        expect(
            &format!("{name}-everything"),
            &all_of(&edits_of(&everything(), method).unwrap()),
        );
    }
    let dietpi = Method::Dietpi { place: Place::Boot };
    expect("dietpi", &all_of(&edits_of(&plain(), dietpi).unwrap()));
    let mut identity = everything();
    assert_eq!(
        edits_of(&identity, dietpi).unwrap_err().to_string(),
        "pi3.lab.example: DietPi cannot be told of the network `it's \"home\" \\o/`: its name has quotes, `$` or `\\` in it"
    );
    identity.wifi.as_mut().unwrap().ssid = "it's home".into();
    expect("dietpi-everything", &all_of(&edits_of(&identity, dietpi).unwrap()));
}

#[test]
fn nothing_secret_is_left_on_a_boot_partition() {
    let identity = everything();
    let secrets = [
        identity.host_key.private.reveal().lines().nth(2).unwrap().to_owned(),
        identity.account.password.as_ref().unwrap().reveal().to_owned(),
        identity.wifi.as_ref().unwrap().key.as_ref().unwrap().reveal().to_owned(),
    ];
    for (name, method) in METHODS {
        let edits = edits_of(&identity, method).unwrap();
        for change in edits.boot.iter().chain(&edits.root) {
            let Change::Write { path, bytes, .. } = change else { continue };
            let text = String::from_utf8_lossy(bytes);
            let has = secrets.iter().any(|secret| text.contains(secret));
            if path.ends_with(".picloud") {
                assert!(!has, "{name}: {path}");
            } else if has && edits.boot.contains(change) {
                // Each file with a secret is replaced, wiped, or (rpi-preseed) blanked by its reader.
                let kept = written(&edits.boot, &format!("{path}.picloud")).is_some();
                let wiped = text.contains(&format!("\nwipe /boot/firmware{path}\n")) || path == "/rpi-preseed.toml";
                assert!(kept || wiped, "{name}: {path}");
            }
        }
    }
}

#[test]
fn mistakes_are_told_together_with_their_places() {
    let error = |yaml: &str| made(&minion(yaml), Path::new("/nowhere")).unwrap_err().to_string();
    assert_eq!(
        error("minions: {Pi_3: {card: {password: ask}}}"),
        "Pi_3: minions.yaml:1:24: `pi_3`, of the id `Pi_3`, cannot be a host name: it must be a host name of small letters, digits and inner hyphens, at most 63 of them\n\
         Pi_3: minions.yaml:1:24: there is no account for Pi_3 to be made with\n\
         Pi_3: minions.yaml:1:24: the password of @pi_3 was not given"
    );
    assert_eq!(
        error("minions: {pi3: {user: pi}}"),
        "pi3: minions.yaml:1:11: nobody could log in to pi3: there is no public key for it and no password"
    );
    assert_eq!(
        error("minions: {pi3: {user: pi, card: {authorized_keys: KEY, wifi: {ssid: x, psk_file: gone}}}}"),
        "pi3: minions.yaml:1:170: cannot read the `psk_file` gone: No such file or directory (os error 2)"
    );
}

#[test]
fn an_instance_is_new_each_time() {
    let minion = minion("minions: {pi3: {user: pi, card: {authorized_keys: KEY}}}");
    let new = || {
        let host_key = HostKey::make("pi3").unwrap();
        Identity::new(
            &minion,
            Given {
                home: Path::new("/"),
                project: Path::new("/"),
                password: None,
                host_key,
            },
        )
        .unwrap()
    };
    let (a, b) = (new(), new());
    assert!(a.instance != b.instance && a.throwaway != b.throwaway);
    assert!(a.instance.starts_with("picloud-pi3-") && a.instance.len() == 28);
    assert!(!format!("{a:?}").contains(a.throwaway.reveal()));
}

/// Whether `program` is there; else says that a test is skipped, which it may not be in CI.
fn has(program: &str, package: &str) -> bool {
    let there =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !there {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is missing (apt-get install {package})"
        );
        println!("skipped: there is no {program} (apt-get install {package})");
    }
    there
}

fn output(command: &mut Command, input: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_password_is_hashed_as_systems_do() {
    let hash = hash_password(&Secret::new("s3cret pass")).unwrap();
    // `$6$rounds=5000$SALT$...`, crypt(5).
    let salt = hash
        .reveal()
        .strip_prefix("$6$")
        .and_then(|rest| rest.rsplit_once('$'))
        .unwrap()
        .0;
    assert!(
        (8..=16).contains(&salt.rsplit('$').next().unwrap().len()),
        "{}",
        hash.reveal()
    );
    if has("openssl", "openssl") {
        let (_, theirs) = output(
            Command::new("openssl").args(["passwd", "-6", "-salt", salt, "-stdin"]),
            "s3cret pass\n",
        );
        assert_eq!(theirs.trim(), hash.reveal());
    }
}

#[test]
fn python_reads_the_yaml_as_it_was_meant() {
    if !has("python3", "python3") {
        return;
    }
    let program = "import sys, json, yaml\njson.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let (there, said) = output(Command::new("python3").args(["-c", "import yaml"]), "");
    if !there {
        assert!(std::env::var_os("CI").is_none(), "python3-yaml is missing");
        println!("skipped: {said}");
        return;
    }
    for (name, method) in METHODS
        .into_iter()
        .filter(|(_, method)| matches!(method, Method::CloudInit { .. } | Method::Armbian))
    {
        let edits = edits_of(&everything(), method).unwrap();
        for change in edits.boot.iter().chain(&edits.root) {
            let Change::Write { path, bytes, .. } = change else { continue };
            if !["-data", "network-config", ".yaml", ".picloud"]
                .iter()
                .any(|end| path.ends_with(end))
            {
                continue;
            }
            let text = String::from_utf8(bytes.clone()).unwrap();
            let (good, theirs) = output(Command::new("python3").args(["-c", program]), &text);
            assert!(good, "{name} {path}: {theirs}");
            let ours = serde_json::Value::from(&crate::yaml::parse(FileId::of("x"), &text).unwrap());
            assert_eq!(theirs.parse::<serde_json::Value>().unwrap(), ours, "{name} {path}");
            if let Some(network) = ours["wifis"]["wlan0"]["access-points"].as_object() {
                assert!(network.contains_key("it's \"home\" \\o/"), "{network:?}");
            }
        }
    }
}

/// cloud-init's own checks, where `CLOUD_INIT` names the folder of its Python package (`dpkg -x` of Debian's package).
#[test]
fn cloud_init_finds_nothing_wrong() {
    let Some(tree) = std::env::var_os("CLOUD_INIT") else {
        println!("skipped: CLOUD_INIT does not name the folder that has cloud-init's Python package `cloudinit`");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, method) in METHODS.into_iter().filter(|(_, method)| {
        matches!(
            method,
            Method::CloudInit {
                dialect: Dialect::RaspberryPi | Dialect::Standard,
                ..
            }
        )
    }) {
        for identity in [plain(), fixed(), everything()] {
            let edits = edits_of(&identity, method).unwrap();
            for file in ["user-data", "user-data.picloud"] {
                let find = |changes: &[Change]| {
                    written(changes, &format!("/{file}")).or_else(|| written(changes, &format!("{}/{file}", cloud_init::SEED)))
                };
                let text = find(&edits.boot).or_else(|| find(&edits.root)).unwrap();
                let path = folder.path().join(file);
                std::fs::write(&path, &text).unwrap();
                let mut command = Command::new("python3");
                command
                    .env("PYTHONPATH", &tree)
                    .args(["-m", "cloudinit.config.schema", "-c"])
                    .arg(&path);
                let (good, said) = output(&mut command, "");
                assert!(good && !said.contains("nvalid"), "{name}: {said}\n{text}");
            }
        }
    }
}

/// Every shell script that a method writes.
fn scripts() -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut identity = everything();
    identity.wifi.as_mut().unwrap().ssid = "it's home".into();
    let methods = [Method::Firstrun, Method::RpiPreseed, Method::Dietpi { place: Place::Boot }];
    for (name, identity) in [("plain", plain()), ("everything", identity)] {
        for method in methods {
            for change in edits_of(&identity, method).unwrap().boot {
                if let Change::Write { path, bytes, .. } = change
                    && path.ends_with(".sh")
                {
                    out.push((format!("{method} {name} {path}"), String::from_utf8(bytes).unwrap()));
                }
            }
        }
    }
    out
}

#[test]
fn shells_take_the_scripts() {
    for (shell, arguments, package) in [
        ("dash", &["-n"][..], "dash"),
        ("bash", &["--posix", "-n"], "bash"),
        ("busybox", &["sh", "-n"], "busybox"),
    ] {
        if !has(shell, package) {
            continue;
        }
        for (name, script) in scripts() {
            let (good, said) = output(Command::new(shell).args(arguments), &script);
            assert!(good, "{shell}: {name}: {said}");
        }
    }
}

/// A system of stubs in which a script is run: busybox, and programs that write down how they were called.
struct Chroot(tempfile::TempDir);

impl Chroot {
    fn new() -> Option<Chroot> {
        if !rustix::process::geteuid().is_root() || !has("busybox", "busybox-static") {
            println!("skipped: needs root and a static busybox");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "bin",
            "usr/sbin",
            "etc/ssh",
            "etc/NetworkManager/system-connections",
            "boot/firmware",
            "var/log",
            "home/pi",
            "dev",
            "usr/share/zoneinfo/Europe",
            "lib/systemd/system",
            "usr/lib/userconf-pi",
            "var/lib/systemd/rfkill",
        ] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let (_, path) = output(Command::new("sh").args(["-c", "command -v busybox"]), "");
        std::fs::copy(path.trim(), root.join("bin/busybox")).unwrap();
        let (_, said) = output(
            Command::new("chroot")
                .arg(root)
                .args(["/bin/busybox", "--install", "-s", "/bin"]),
            "",
        );
        if !root
            .join("bin/sh")
            .symlink_metadata()
            .is_ok_and(|_| root.join("bin/sed").symlink_metadata().is_ok())
        {
            assert!(std::env::var_os("CI").is_none(), "busybox is not static: {said}");
            println!("skipped: busybox is not static: {said}");
            return None;
        }
        // `mknod` may be refused here: zeros enough for what is wiped will do.
        std::fs::write(root.join("dev/zero"), vec![0; 1 << 16]).unwrap();
        std::fs::write(root.join("dev/null"), "").unwrap();
        let chroot = Chroot(folder);
        for name in [
            "useradd",
            "usermod",
            "chpasswd",
            "systemctl",
            "raspi-config",
            "rfkill",
            "locale-gen",
            "hostname",
        ] {
            let _ = std::fs::remove_file(chroot.path(&format!("bin/{name}")));
            let input = if name == "chpasswd" { "; cat >>/calls" } else { "" };
            chroot.put(
                &format!("usr/sbin/{name}"),
                &format!("#!/bin/sh\necho \"{name} $*\" >>/calls{input}\n"),
            );
        }
        chroot.put("usr/sbin/useradd", "#!/bin/sh\necho \"useradd $*\" >>/calls\nfor name; do :; done\necho \"$name:x:1001:1001::/home/$name:/bin/sh\" >>/etc/passwd\nmkdir -p \"/home/$name\"\n");
        chroot.put(
            "usr/lib/userconf-pi/userconf",
            "#!/bin/sh\necho \"userconf $*\" >>/calls\nsed -i \"s/^rpi-first:/$1:/\" /etc/passwd\n",
        );
        chroot.put(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nrpi-first:x:1000:1000::/home/pi:/bin/sh\n",
        );
        chroot.put("etc/group", "root:x:0:\nsudo:x:27:\nvideo:x:44:\n");
        chroot.put("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n");
        chroot.put("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n");
        chroot.put("etc/locale.gen", "# de_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n");
        chroot.put("usr/share/zoneinfo/Europe/Berlin", "");
        chroot.put("lib/systemd/system/ssh.service", "");
        chroot.put("var/lib/systemd/rfkill/platform-x:wlan", "1");
        Some(chroot)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name.trim_start_matches('/'))
    }

    fn put(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| format!("({e})"))
    }

    fn mode(&self, name: &str) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(self.path(name)).map_or(0, |meta| meta.permissions().mode() & 0o777)
    }

    fn run(&self, script: &str) -> String {
        // With a host name of its own: busybox's shell runs its own `hostname` before any stub, and a chroot shares the machine's.
        let mut command = Command::new("unshare");
        command.args(["--uts", "chroot"]).arg(self.0.path()).args(["/bin/sh", script]);
        let (good, said) = output(&mut command, "");
        assert!(good, "{said}");
        said
    }
}

#[test]
fn the_first_boot_script_makes_a_system_the_minion() {
    let Some(chroot) = Chroot::new() else { return };
    let identity = everything();
    let edits = edits_of(&identity, Method::Firstrun).unwrap();
    for path in ["/firstrun.sh", "/cmdline.txt"] {
        chroot.put(&format!("boot/firmware{path}"), &written(&edits.boot, path).unwrap());
    }
    assert_eq!(chroot.run("/boot/firmware/firstrun.sh"), "");
    assert_eq!(
        chroot.read("var/log/picloud-first-boot.log"),
        "(No such file or directory (os error 2))"
    );
    assert_eq!(chroot.read("etc/hostname"), "node3\n");
    assert_eq!(chroot.read("etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1 node3\n");
    assert_eq!(
        chroot.read("calls").lines().collect::<Vec<_>>(),
        [
            "userconf ana !",
            "chpasswd -e",
            &format!("ana:{}", identity.account.password.as_ref().unwrap().reveal()),
            "usermod -aG sudo ana",
            "systemctl -q enable ssh",
            "systemctl -q --no-block try-restart ssh",
            "locale-gen ",
            "raspi-config nonint do_wifi_country DE",
            "rfkill unblock wifi",
        ]
    );
    assert_eq!(chroot.read("home/pi/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert_eq!(
        (chroot.mode("home/pi/.ssh"), chroot.mode("home/pi/.ssh/authorized_keys")),
        (0o700, 0o600)
    );
    assert_eq!(chroot.read(sshd::KEY), identity.host_key.private.reveal());
    assert_eq!(
        (chroot.mode(sshd::KEY), chroot.mode(&format!("{}.pub", sshd::KEY))),
        (0o600, 0o644)
    );
    assert_eq!(chroot.read(sshd::DROP_IN), sshd::settings(&identity));
    assert_eq!(chroot.read("etc/locale.gen"), "de_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n");
    assert_eq!(chroot.read("var/lib/systemd/rfkill/platform-x:wlan"), "0\n");
    assert_eq!(
        std::fs::read_link(chroot.path("etc/localtime")).unwrap(),
        Path::new("/usr/share/zoneinfo/Europe/Berlin")
    );
    let keyfile = "etc/NetworkManager/system-connections/picloud-wifi.nmconnection";
    assert_eq!(
        (chroot.read(keyfile), chroot.mode(keyfile)),
        (identity.keyfiles()[0].1.clone(), 0o600)
    );
    // It is gone, and the next boot is a usual one.
    assert!(!chroot.path("boot/firmware/firstrun.sh").exists());
    assert_eq!(
        chroot.read("boot/firmware/cmdline.txt"),
        "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait quiet cgroup_enable=memory cgroup_memory=1 cfg80211.ieee80211_regdom=DE\n"
    );
}

#[test]
fn a_server_without_drop_ins_is_told_in_its_configuration() {
    let Some(chroot) = Chroot::new() else { return };
    chroot.put("etc/ssh/sshd_config", "Port 22\n");
    let identity = plain();
    let edits = edits_of(&identity, Method::Dietpi { place: Place::Boot }).unwrap();
    chroot.put(
        "boot/Automation_Custom_PreScript.sh",
        &written(&edits.boot, "/Automation_Custom_PreScript.sh").unwrap(),
    );
    chroot.put("boot/firmware/Automation_Custom_PreScript.sh", "x");
    chroot.put("boot/firmware/dietpi.txt", &written(&edits.boot, "/dietpi.txt").unwrap());
    std::fs::remove_file(chroot.path("usr/lib/userconf-pi/userconf")).unwrap();
    assert_eq!(chroot.run("/boot/Automation_Custom_PreScript.sh"), "");
    assert_eq!(chroot.read("etc/ssh/sshd_config"), sshd::settings(&identity) + "Port 22\n");
    assert_eq!(chroot.read("home/pi/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert_eq!(
        (
            chroot.read("etc/sudoers.d/010-picloud"),
            chroot.mode("etc/sudoers.d/010-picloud")
        ),
        (sudoers("pi"), 0o440)
    );
    assert!(
        chroot
            .read("calls")
            .starts_with("useradd -m -s /bin/bash pi\nchpasswd -e\npi:*\n"),
        "{}",
        chroot.read("calls")
    );
    assert!(!chroot.read("boot/firmware/dietpi.txt").contains("throwaway"));
    for name in [
        "boot/Automation_Custom_PreScript.sh",
        "boot/firmware/Automation_Custom_PreScript.sh",
    ] {
        assert!(!chroot.path(name).exists(), "{name}");
    }
}

#[test]
fn cloud_inits_last_command_takes_the_secrets_away() {
    let Some(chroot) = Chroot::new() else { return };
    let edits = edits_of(&everything(), METHODS[0].1).unwrap();
    for path in [
        "/user-data",
        "/user-data.picloud",
        "/network-config",
        "/network-config.picloud",
    ] {
        chroot.put(&format!("boot/firmware{path}"), &written(&edits.boot, path).unwrap());
    }
    let user_data = crate::yaml::parse(FileId::of("user-data"), &chroot.read("boot/firmware/user-data")).unwrap();
    let commands = user_data.get("runcmd").unwrap().as_list().unwrap();
    let last = commands.last().unwrap().as_list().unwrap();
    assert_eq!(last[1].as_str(), Some("-c"));
    chroot.put("scrub", last[2].as_str().unwrap());
    assert_eq!(chroot.run("/scrub"), "");
    for path in ["/user-data", "/network-config"] {
        assert_eq!(
            chroot.read(&format!("boot/firmware{path}")),
            written(&edits.boot, &format!("{path}.picloud")).unwrap()
        );
    }
    let left: Vec<_> = std::fs::read_dir(chroot.path("boot/firmware"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // Again, with nothing to be done.
    assert_eq!(chroot.run("/scrub"), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_network_name_breaks_out_of_yaml_or_shell(ssid in "\\PC{1,8}") {
        prop_assume!(ssid.len() <= 32 && !ssid.is_empty());
        let identity = wifi(&ssid, Some("password"));
        for text in [cloud_init_network(&identity), crate::yaml::emit(&identity.netplan(None, true))] {
            let read = crate::yaml::parse(FileId::of("x"), &text).unwrap();
            let points = read.get("wifis").and_then(|wifis| wifis.get("wlan0")).and_then(|wlan| wlan.get("access-points")).cloned().unwrap();
            let names: Vec<String> = points.as_map().unwrap().keys().map(crate::yaml::Key::text).collect();
            prop_assert_eq!(names, vec![ssid.clone()]);
        }
        let (good, said) = output(Command::new("sh").args(["-c", &format!("printf %s {}", crate::shell::quote(&ssid))]), "");
        prop_assert!(good);
        prop_assert_eq!(said, ssid);
    }
}

fn cloud_init_network(identity: &Identity) -> String {
    let edits = edits_of(identity, METHODS[1].1).unwrap();
    written(&edits.boot, "/network-config").unwrap()
}
