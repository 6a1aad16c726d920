//! The shipped states on minions of the bed: from fresh to converged, verified from outside, found when broken, repaired.

mod bed_support;

use bed_support::{Lab, bed, changed, with_result};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

const DEBIANS: [&str; 3] = ["deb11", "deb12", "deb13"];

/// This machine's address as `host` sees it.
fn own_address(host: &str) -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((host, 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

/// A web server of one word; its port.
fn backend(address: IpAddr, word: &'static str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // haproxy's checks only connect.
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|n| n > 0) {
                let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len());
            }
        }
    });
    port
}

/// The body of `http://host:port/`.
fn get(host: &str, port: u16) -> String {
    let address = (host, port).to_socket_addrs().unwrap().next().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// Where a minion has its swap file. The names differ, as all minions of the bed have one kernel and its list of swap files.
fn swap_file(minion: &str) -> String {
    format!("/mnt/data/swap-{minion}-{}", std::process::id())
}

/// The inventory's entries of `minions`.
fn entries(lab: &Lab, minions: &[&str]) -> Vec<String> {
    let entry = |name: &&str| {
        let entry = lab.entry(name);
        format!(
            "{}, grains: {{swap: {}}}}}",
            entry.trim_end().trim_end_matches('}'),
            swap_file(name)
        )
    };
    minions.iter().map(entry).collect()
}

/// A project as `picloud init` makes it, with the five shipped states for `minions`.
fn project(lab: &Lab, minions: &[&str]) {
    std::fs::remove_file(lab.path("picloud.yaml")).unwrap();
    std::fs::remove_file(lab.path("inventory/minions.yaml")).unwrap();
    lab.run(&["init"]).exits(0);
    let config = std::fs::read_to_string(lab.path("picloud.yaml")).unwrap();
    lab.file("picloud.yaml", config + "known_hosts: known_hosts\n");
    lab.minions(&entries(lab, minions));
    lab.file(
        "states/top.sls",
        "base:\n  '*': [base, docker, docker-registry-client, haproxy, swap]\n",
    );
    let own = own_address(&lab.bed.minion(minions[0]).host);
    let (one, two) = (backend(own, "one"), backend(own, "two"));
    let key = std::fs::read_to_string(lab.bed.key("id_stranger.pub")).unwrap();
    lab.file("pillar/top.sls", "base:\n  '*': [cluster]\n");
    lab.file(
        "pillar/cluster.sls",
        format!(
            "\
base:
  timezone: Europe/Berlin
  locale: en_GB.UTF-8
  users:
    ana:
      fullname: Ana Example
      groups: [adm]
      sudo: nopasswd
      keys: ['{}']
docker_registry_client:
  insecure: ['pi0.lan:5000']
  mirrors: ['http://pi0.lan:5001']
haproxy:
  proxies:
    search:
      port: 9200
      servers: {{a: '{own}:{one}', b: '{own}:{two}'}}
swap:
  path: {{{{ grains.swap }}}}
  size: 16MiB
  storage: /mnt/data
",
            key.trim()
        ),
    );
}

/// What is not as it should be, or changed, in a few lines for a message.
fn brief(report: &Json) -> String {
    let mut out = String::new();
    for (minion, states) in report.as_object().into_iter().flatten() {
        for (tag, state) in states.as_object().into_iter().flatten() {
            let (result, changes) = (&state["result"], &state["changes"]);
            if *result != json!(true) || changes.as_object().is_some_and(|changes| !changes.is_empty()) {
                out += &format!("{minion}: {tag}: {result}: {}: {changes}\n", state["comment"]);
            }
        }
    }
    out
}

/// States that failed, with their comments, for a message.
fn failures(report: &Json) -> String {
    let mut out = String::new();
    for (minion, states) in report.as_object().into_iter().flatten() {
        for (tag, state) in states.as_object().into_iter().flatten() {
            if state["result"] == json!(false) {
                out += &format!("{minion}: {tag}: {}\n", state["comment"].as_str().unwrap_or_default());
            } else if tag == "__error__" {
                out += &format!("{minion}: {}\n", state["message"].as_str().unwrap_or_default());
            }
        }
    }
    out
}

/// `picloud apply --out json`, which must exit with 0.
#[track_caller]
fn apply(lab: &Lab, arguments: &[&str]) -> Json {
    let (code, report) = lab.json(&[&["apply"], arguments].concat());
    assert_eq!((code, failures(&report)), (0, String::new()));
    report
}

fn swap_works_here(lab: &Lab, minion: &str) -> bool {
    let probe = "f=/mnt/data/probe; dd if=/dev/zero of=$f bs=1M count=1 2>/dev/null && chmod 600 $f && mkswap $f >/dev/null \
                 && swapon $f && swapoff $f; s=$?; rm -f $f; exit $s";
    lab.try_on(minion, probe).0 == 0
}

#[test]
fn three_debians_get_the_five_shipped_states() {
    let Some(bed) = bed(&DEBIANS) else { return };
    let lab = bed.lab(&DEBIANS);
    lab.reset(&DEBIANS);
    project(&lab, &DEBIANS);
    if !swap_works_here(&lab, "deb12") {
        println!("this machine's kernel gives containers no swap: without the state `swap`");
        lab.file(
            "states/top.sls",
            "base:\n  '*': [base, docker, docker-registry-client, haproxy]\n",
        );
    }
    let swaps = std::fs::read_to_string(lab.path("states/top.sls")).unwrap().contains("swap");

    // What would change, and nothing of it does.
    let report = apply(&lab, &["--test"]);
    for minion in DEBIANS {
        let would = changed(&report, minion);
        assert!(would.len() > 8, "{minion}: {would:?}");
        let sudoers = &report[minion]["file_|-base-sudo-ana_|-/etc/sudoers.d/picloud-ana_|-managed"];
        assert_eq!(sudoers["result"], Json::Null, "{}", brief(&report));
        assert!(
            sudoers["diffs"][0]["diff"]
                .as_str()
                .unwrap()
                .contains("+ana ALL=(ALL:ALL) NOPASSWD: ALL"),
            "{sudoers:#}"
        );
        assert_eq!(
            lab.try_on(minion, "id ana || test -e /etc/haproxy || test -e /etc/docker").0,
            1
        );
    }

    // It does, and it holds: as seen by picloud, and from outside.
    apply(&lab, &[]);
    for minion in DEBIANS {
        let host = &lab.bed.minion(minion).host;
        assert_eq!(
            lab.on(minion, "readlink -f /etc/localtime; cat /etc/timezone"),
            "/usr/share/zoneinfo/Europe/Berlin\nEurope/Berlin"
        );
        assert_eq!(
            lab.on(minion, "LANG=en_GB.UTF-8 locale charmap; . /etc/default/locale; echo $LANG"),
            "UTF-8\nen_GB.UTF-8"
        );
        assert_eq!(
            lab.on(minion, "id -nG ana; getent passwd ana | cut -d: -f5-"),
            "ana adm\nAna Example:/home/ana:/bin/bash"
        );
        let key = lab.bed.key("id_stranger");
        lab.minions(&[&format!(
            "ana: {{address: {host}, user: ana, sudo: true, key: {}}}",
            key.display()
        )]);
        lab.run(&["run", "ana", "--", "id -un"]).exits(0).says(&["root"]);
        assert_eq!(lab.on(minion, "systemctl is-enabled apt-daily.timer || :"), "disabled");
        assert_eq!(
            lab.on(minion, "docker info -f '{{.LoggingDriver}} {{.RegistryConfig.Mirrors}}'"),
            "json-file [http://pi0.lan:5001/]"
        );
        let insecure = lab.on(minion, "docker info -f '{{json .RegistryConfig.IndexConfigs}}'");
        assert!(insecure.contains("pi0.lan:5000"), "{insecure}");
        let mut answers: Vec<String> = (0..4).map(|_| get(host, 9200)).collect();
        answers.sort();
        assert_eq!(answers, ["one", "one", "two", "two"], "{minion}: haproxy shares its requests");
        if swaps {
            lab.on(
                minion,
                &format!(
                    "grep -q '^{0} .*file' /proc/swaps && grep -q '^{0}[[:space:]].*nofail' /etc/fstab",
                    swap_file(minion)
                ),
            );
        }
    }
    lab.minions(&entries(&lab, &DEBIANS));

    // Again: nothing changes, nor would anything.
    for arguments in [&[][..], &["--test"]] {
        let report = apply(&lab, arguments);
        for minion in DEBIANS {
            assert_eq!(
                changed(&report, minion),
                [""; 0],
                "{minion} {arguments:?}: {}",
                brief(&report)
            );
        }
    }

    // Broken by hand: found by a dry run, repaired by a real one.
    for minion in DEBIANS {
        lab.on(minion, "systemctl stop haproxy");
        if swaps {
            lab.on(minion, &format!("swapoff {0} && rm {0}", swap_file(minion)));
        }
    }
    let found = apply(&lab, &["--test"]);
    let repaired = apply(&lab, &[]);
    for minion in DEBIANS {
        let mut broken = vec!["service_|-haproxy-service_|-haproxy_|-running".to_owned()];
        broken.extend(swaps.then(|| format!("swap_|-swap-file_|-{}_|-file", swap_file(minion))));
        assert_eq!(with_result(&found, minion, Json::Null), broken, "{minion}: {}", brief(&found));
        assert_eq!(changed(&repaired, minion), broken, "{minion}: {}", brief(&repaired));
        assert_eq!(lab.on(minion, "systemctl is-active haproxy"), "active");
        assert!(["one", "two"].contains(&&*get(&lab.bed.minion(minion).host, 9200)));
        if swaps {
            lab.on(minion, &format!("grep -q '^{} .*file' /proc/swaps", swap_file(minion)));
        }
    }
}

#[test]
fn swap_that_is_not_on_its_storage_is_refused() {
    let Some(bed) = bed(&["spare"]) else { return };
    let lab = bed.lab(&["spare"]);
    lab.file("pillar/top.sls", "base:\n  '*': [swap]\n");
    lab.file(
        "pillar/swap.sls",
        "swap: {path: /mnt/none/swapfile, size: 16MiB, storage: /mnt/none}\n",
    );
    lab.run(&["apply", "*", "swap"]).exits(2).says(&["/mnt/none", "mounted"]);
    lab.on("spare", "test ! -e /mnt/none/swapfile && ! grep -q /mnt/none /etc/fstab");
}

#[test]
fn haproxy_with_a_wrong_configuration_is_left_as_it_was() {
    let Some(bed) = bed(&["deb12"]) else { return };
    let lab = bed.lab(&["deb12"]);
    lab.reset(&["deb12"]);
    lab.file("pillar/top.sls", "base:\n  '*': [haproxy]\n");
    let pillar = |config: &str| {
        let lines: String = config.lines().map(|line| format!("    {line}\n")).collect();
        lab.file(
            "pillar/haproxy.sls",
            format!("haproxy:\n  listen: [8080]\n  config: |\n{lines}"),
        );
    };
    let good = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nlisten a\n  bind :8080\n";
    pillar(good);
    lab.run(&["apply", "*", "haproxy"]).exits(0);
    pillar(&good.replace("mode http", "mode htp"));
    lab.run(&["apply", "*", "haproxy"])
        .exits(2)
        .says(&["check_cmd", "unknown", "htp", "the file was left as it was"]);
    assert_eq!(lab.on("deb12", "cat /etc/haproxy/haproxy.cfg"), good.trim_end());
    assert_eq!(lab.on("deb12", "systemctl is-active haproxy"), "active");

    // Nor is "reloaded": the check binds nothing, the reload's command exits with 0, and what ran before goes on listening.
    pillar(&format!("{good}listen b\n  bind :22\n"));
    lab.run(&["apply", "*", "haproxy"])
        .exits(2)
        .says(&["service.running haproxy", "already in use"]);
    pillar(good);
    lab.run(&["apply", "*", "haproxy"]).exits(0);

    // "Started" is not enough: somebody must listen.
    pillar(&good.replace(":8080", ":8081"));
    lab.run(&["apply", "*", "haproxy"])
        .exits(2)
        .says(&["service.running haproxy", "8080"]);
}

#[test]
fn a_minion_of_busybox_and_openrc() {
    let Some(bed) = bed(&["ash"]) else { return };
    let lab = bed.lab(&["ash"]);
    lab.reset(&["ash"]);
    let key = std::fs::read_to_string(lab.bed.key("id_stranger.pub")).unwrap();
    lab.file("pillar/top.sls", "base:\n  '*': [base]\n");
    lab.file(
        "pillar/base.sls",
        format!(
            "base:\n  timezone: Europe/Berlin\n  time_sync: False\n  users:\n    ana:\n      shell: /bin/sh\n      groups: [adm]\n      keys: ['{}']\n",
            key.trim()
        ),
    );
    lab.sls(
        "box",
        "\
/srv/box:
  file.directory: [{user: ana}, {mode: '0750'}, {require: [user: base-user-ana]}]

/srv/box/motd:
  file.managed:
    - contents: |
        it's a $HOME of `ash`, and \\n stays
    - mode: '0640'
    - require: [file: /srv/box]

/srv/box/link:
  file.symlink: [{target: motd}]

/etc/profile.d/box.sh:
  file.append: [{text: 'export BOX=1'}]

boxers:
  group.present: [{gid: 3000}]

bob:
  user.present: [{gid: 3000}, {shell: /bin/sh}, {home: /srv/bob}, {require: [group: boxers]}]

touch:
  cmd.run:
    - name: 'echo \"$PWD $WHAT\" >/srv/box/ran'
    - cwd: /srv/box
    - env: [WHAT: \"it's here\"]
    - creates: /srv/box/ran

tree:
  pkg.installed: []

cron:
  service.running: [{enable: True}]

box-cron:
  cron.present: [{name: /bin/true box}, {identifier: box}, {minute: '*/5'}]

net.ipv4.tcp_fin_timeout:
  sysctl.present: [{value: 31}, {config: /etc/sysctl.d/60-box.conf}]
",
    );
    lab.file("states/top.sls", "base:\n  '*': [base, box]\n");
    let dry = apply(&lab, &["--test"]);
    assert!(changed(&dry, "ash").len() > 8, "{}", brief(&dry));
    assert_eq!(lab.try_on("ash", "test -e /srv/box || id ana 2>/dev/null").0, 1);
    apply(&lab, &[]);
    assert_eq!(lab.on("ash", "cat /srv/box/motd"), "it's a $HOME of `ash`, and \\n stays");
    assert_eq!(
        lab.on("ash", "stat -c '%U %a' /srv/box /srv/box/motd; readlink /srv/box/link"),
        "ana 750\nroot 640\nmotd"
    );
    assert_eq!(
        lab.on("ash", "cat /srv/box/ran; id bob"),
        "/srv/box it's here\nuid=1001(bob) gid=3000(boxers) groups=3000(boxers)".replace("1001", &lab.on("ash", "id -u bob"))
    );
    assert_eq!(
        lab.on("ash", "readlink -f /etc/localtime"),
        "/usr/share/zoneinfo/Europe/Berlin"
    );
    lab.on(
        "ash",
        "command -v tree && rc-service cron status && rc-update show | grep -q cron && crontab -l | grep -q '^\\*/5 .*true box'",
    );
    lab.minions(&[&format!(
        "ana: {{address: {}, user: ana, key: {}}}",
        lab.bed.minion("ash").host,
        lab.bed.key("id_stranger").display()
    )]);
    lab.run(&["run", "ana", "--", "id -un"]).exits(0).says(&["ana"]);
    lab.minions(&[&lab.entry("ash")]);

    let again = apply(&lab, &[]);
    assert_eq!(changed(&again, "ash"), [""; 0], "{}", brief(&again));
    assert_eq!(lab.counts(), BTreeMap::from([("ash".to_owned(), (1, 1))]));

    lab.on("ash", "rc-service cron stop && rm /srv/box/link && deluser bob");
    let broken = [
        "file_|-/srv/box/link_|-/srv/box/link_|-symlink",
        "user_|-bob_|-bob_|-present",
        "service_|-cron_|-cron_|-running",
    ];
    let found = apply(&lab, &["--test"]);
    let repaired = apply(&lab, &[]);
    let mut expected = broken.map(str::to_owned).to_vec();
    expected.sort();
    for (report, mut what) in [
        (&found, with_result(&found, "ash", Json::Null)),
        (&repaired, changed(&repaired, "ash")),
    ] {
        what.sort();
        assert_eq!(what, expected, "{}", brief(report));
    }
}
