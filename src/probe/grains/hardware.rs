//! The machine: processor, memory, disks, firmware, and whether it is a machine at all.

use super::raw::Raw;
use super::{Grains, list};
use crate::yaml::Value;

pub(super) fn add(grains: &mut Grains, raw: &Raw) {
    processor(grains, raw);
    memory(grains, raw);
    disks(grains, raw);
    firmware(grains, raw);
    virtualization(grains, raw);
}

fn processor(grains: &mut Grains, raw: &Raw) {
    let mut count = 0;
    let mut model = None;
    let mut flags: Vec<&str> = Vec::new();
    let mut part = None;
    for line in raw.lines("/proc/cpuinfo") {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "processor" => count += 1,
            "# processors" => count = value.parse().unwrap_or(count),
            "vendor_id" | "model name" | "cpu" => model = Some(value),
            "Processor" => model = value.split('-').next(),
            "flags" | "Features" => flags = value.split_whitespace().collect(),
            "CPU part" => part = Some(value),
            _ => {}
        }
    }
    // 64-bit kernels for ARM do not name the model; Salt would say "Unknown".
    let model = model.or_else(|| cortex(part?));
    grains.set("num_cpus", count.max(i64::from(model.is_some())));
    grains.set("cpu_model", model.unwrap_or("Unknown"));
    grains.set("aes", flags.contains(&"aes"));
    grains.set("cpu_flags", list(flags));
}

/// ARM's part numbers of the processors that small boards have.
fn cortex(part: &str) -> Option<&'static str> {
    Some(match part {
        "0xb76" => "ARM1176",
        "0xc07" => "Cortex-A7",
        "0xc08" => "Cortex-A8",
        "0xc09" => "Cortex-A9",
        "0xc0f" => "Cortex-A15",
        "0xd03" => "Cortex-A53",
        "0xd04" => "Cortex-A35",
        "0xd05" => "Cortex-A55",
        "0xd07" => "Cortex-A57",
        "0xd08" => "Cortex-A72",
        "0xd09" => "Cortex-A73",
        "0xd0a" => "Cortex-A75",
        "0xd0b" => "Cortex-A76",
        "0xd0c" => "Neoverse-N1",
        "0xd40" => "Neoverse-V1",
        "0xd41" => "Cortex-A78",
        "0xd49" => "Neoverse-N2",
        _ => return None,
    })
}

/// In MiB, as Salt has them.
fn memory(grains: &mut Grains, raw: &Raw) {
    for (name, label) in [("mem_total", "MemTotal:"), ("swap_total", "SwapTotal:")] {
        let line = raw.lines("/proc/meminfo").iter().find_map(|line| line.strip_prefix(label));
        let kib: i64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        grains.set(name, kib / 1024);
    }
}

/// The kernel's rotational flag decides: an SD card is an SSD.
fn disks(grains: &mut Grains, raw: &Raw) {
    let all = raw.each("/sys/block/", "/queue/rotational");
    let with = |flag: &str| list(all.iter().filter(|(_, value)| value.trim() == flag).map(|(name, _)| *name));
    grains.set("disks", with("1"));
    grains.set("ssds", with("0"));
}

fn firmware(grains: &mut Grains, raw: &Raw) {
    let (model, serial) = (raw.first("model"), raw.first("serial-number"));
    if let Some(model) = model {
        match model.split_once(',') {
            Some((manufacturer, product)) => {
                grains.set("manufacturer", manufacturer);
                grains.set("productname", product);
            }
            None => grains.set("productname", model),
        }
    }
    if let Some(serial) = serial.or(raw.first("system-id")) {
        grains.set("serialnumber", serial);
    }
    let dmi = |file: &str| raw.first(&format!("/sys/class/dmi/id/{file}")).map(str::trim);
    for (name, file) in [
        ("biosversion", "bios_version"),
        ("biosvendor", "bios_vendor"),
        ("biosreleasedate", "bios_date"),
        ("boardname", "board_name"),
        ("productname", "product_name"),
        ("manufacturer", "sys_vendor"),
        ("serialnumber", "product_serial"),
    ] {
        if let Some(value) = dmi(file) {
            grains.set(name, value);
        }
    }
    if let Some(uuid) = dmi("product_uuid") {
        grains.set("uuid", uuid.to_lowercase());
    }
    let cpuinfo = raw.lines("/proc/cpuinfo").iter().filter_map(|line| line.split_once(':'));
    let board = cpuinfo
        .clone()
        .find(|(key, _)| key.trim() == "Serial")
        .map(|(_, value)| value.trim());
    let board_model = cpuinfo
        .clone()
        .find(|(key, _)| key.trim() == "Model")
        .map(|(_, value)| value.trim());
    grains.set("model", model.or(board_model).or(dmi("product_name")).unwrap_or_default());
    grains.set("serial", serial.or(board).or(dmi("product_serial")).unwrap_or_default());
}

fn virtualization(grains: &mut Grains, raw: &Raw) {
    let (kind, subtype) = virt(raw);
    let kind = match (kind, subtype) {
        (None, Some(_)) => "virtual",
        (None, None) => "physical",
        (Some(kind), _) => kind,
    };
    grains.set("virtual", kind);
    if let Some(subtype) = subtype {
        grains.set("virtual_subtype", Value::from(subtype));
    }
}

/// What kind of virtual machine or container it is, in Salt's words; later answers overrule earlier ones.
fn virt(raw: &Raw) -> (Option<&'static str>, Option<&'static str>) {
    let dmi = |file: &str| raw.first(&format!("/sys/class/dmi/id/{file}")).unwrap_or_default();
    let (vendor, product) = (dmi("sys_vendor"), dmi("product_name"));
    let said = raw.first("virt").unwrap_or_default().trim();
    let mut kind = match said {
        "kvm" | "qemu" | "oracle" | "xen" | "bochs" | "uml" | "systemd-nspawn" => {
            KINDS.iter().copied().find(|kind| *kind == said)
        }
        "vmware" => Some("VMware"),
        "microsoft" => Some("VirtualPC"),
        "amazon" => Some("Nitro"),
        _ => None,
    };
    let mut subtype = (said == "amazon").then_some("Amazon EC2");
    if kind.is_none() {
        kind = match (vendor, product) {
            ("QEMU" | "Bochs" | "oVirt" | "Red Hat", _) => Some("kvm"),
            (vendor, _) if vendor.starts_with("VMware") => Some("VMware"),
            (vendor, product) if vendor.starts_with("Microsoft") && product.starts_with("Virtual Machine") => Some("VirtualPC"),
            (vendor, _) if vendor.starts_with("Parallels") => Some("Parallels"),
            ("Amazon EC2", _) => Some("Nitro"),
            ("Xen", _) => Some("xen"),
            _ => None,
        };
    }
    if raw.there("chroot") {
        subtype = Some("chroot");
    }
    if raw.there("/proc/vz/version") {
        kind = Some("openvzhn");
    } else if raw.there("/proc/vz/veinfo") {
        kind = Some("openvzve");
    }
    if raw.there("/proc/xen/xsd_kva") {
        (kind, subtype) = (Some("xen"), Some("Xen Dom0"));
    } else if product == "HVM domU" {
        (kind, subtype) = (Some("xen"), Some("Xen HVM DomU"));
    } else if raw.there("/sys/bus/xen/drivers/xenconsole") {
        (kind, subtype) = (Some("xen"), Some("Xen PV DomU"));
    }
    for (word, named) in [("VirtualBox", "VirtualBox"), ("Google", "gce"), ("BHYVE", "bhyve")] {
        if product.contains(word) {
            kind = Some(named);
        }
    }
    // Containers last: they may run in a virtual machine.
    let groups = raw.lines("/proc/1/cgroup").join("\n");
    let container = raw.first("/run/systemd/container").unwrap_or_default().trim();
    if said.starts_with("lxc") || container.starts_with("lxc") || groups.contains(":/lxc/") {
        (Some("container"), Some("LXC"))
    } else if groups.contains(":/kubepods/") {
        (kind, Some("kubernetes"))
    } else if container == "podman" || raw.there("/run/.containerenv") || groups.contains(":/libpod_parent/") {
        (Some("container"), Some("libpod"))
    } else if [said, container].contains(&"docker") || raw.there("/.dockerenv") || groups.contains(":/docker") {
        (Some("container"), Some("Docker"))
    } else {
        (kind, subtype)
    }
}

/// Salt takes these from `systemd-detect-virt` as they are.
const KINDS: [&str; 7] = ["kvm", "qemu", "oracle", "xen", "bochs", "uml", "systemd-nspawn"];

#[cfg(test)]
mod tests {
    use super::super::testing::{grains, shown};

    #[test]
    fn machines_are_described() {
        let pi4 = [
            ("machine", "aarch64"),
            (
                "/proc/cpuinfo",
                "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\nprocessor\t: 1\n\
                 Serial\t\t: 10000000abcdef01\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4",
            ),
            ("/proc/meminfo", "MemTotal:        3884368 kB\nSwapTotal:        102396 kB"),
            ("/sys/block/mmcblk0/queue/rotational", "0"),
            ("/sys/block/sda/queue/rotational", "1"),
            ("model", "Raspberry Pi 4 Model B Rev 1.4"),
            ("serial-number", "10000000abcdef01"),
        ];
        let zero = [
            ("machine", "armv6l"),
            (
                "/proc/cpuinfo",
                "processor\t: 0\nmodel name\t: ARMv6-compatible processor rev 7 (v6l)\nFeatures\t: half thumb fastmult vfp edsp java tls\n\
                 CPU architecture: 7\nHardware\t: BCM2835\nSerial\t\t: 00000000feedbeef\nModel\t\t: Raspberry Pi Zero W Rev 1.1",
            ),
        ];
        let virtual_machine = [
            ("machine", "x86_64"),
            (
                "/proc/cpuinfo",
                "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel Xeon\nflags\t\t: fpu aes\nprocessor\t: 1",
            ),
            ("/sys/class/dmi/id/sys_vendor", "QEMU"),
            ("/sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)"),
            ("/sys/class/dmi/id/product_serial", "Not Specified"),
            ("/sys/class/dmi/id/product_uuid", "AB-CD"),
            ("virt", "kvm"),
        ];
        let names = [
            "num_cpus",
            "cpu_model",
            "aes",
            "mem_total",
            "swap_total",
            "disks",
            "ssds",
            "manufacturer",
            "productname",
            "serialnumber",
            "uuid",
            "model",
            "serial",
            "virtual",
        ];
        assert_eq!(
            shown(&grains(&pi4), &names),
            "num_cpus=2; cpu_model=\"Cortex-A72\"; aes=false; mem_total=3793; swap_total=99; disks=[\"sda\"]; ssds=[\"mmcblk0\"]; \
             productname=\"Raspberry Pi 4 Model B Rev 1.4\"; serialnumber=\"10000000abcdef01\"; model=\"Raspberry Pi 4 Model B Rev 1.4\"; \
             serial=\"10000000abcdef01\"; virtual=\"physical\""
        );
        assert_eq!(
            shown(&grains(&zero), &names),
            "num_cpus=1; cpu_model=\"ARMv6-compatible processor rev 7 (v6l)\"; aes=false; mem_total=0; swap_total=0; disks=[]; ssds=[]; \
             model=\"Raspberry Pi Zero W Rev 1.1\"; serial=\"00000000feedbeef\"; virtual=\"physical\""
        );
        assert_eq!(
            shown(&grains(&virtual_machine), &names),
            "num_cpus=2; cpu_model=\"Intel Xeon\"; aes=true; mem_total=0; swap_total=0; disks=[]; ssds=[]; manufacturer=\"QEMU\"; \
             productname=\"Standard PC (Q35 + ICH9, 2009)\"; serialnumber=\"Not Specified\"; uuid=\"ab-cd\"; \
             model=\"Standard PC (Q35 + ICH9, 2009)\"; serial=\"Not Specified\"; virtual=\"kvm\""
        );
    }

    #[test]
    fn virtual_machines_and_containers() {
        let table: [(&[(&str, &str)], &str); 11] = [
            (&[("virt", "none")], "virtual=\"physical\""),
            (&[("virt", "qemu")], "virtual=\"qemu\""),
            (&[("virt", "vmware")], "virtual=\"VMware\""),
            (
                &[("virt", "docker"), ("there", "/.dockerenv")],
                "virtual=\"container\"; virtual_subtype=\"Docker\"",
            ),
            (
                &[("/run/systemd/container", "docker")],
                "virtual=\"container\"; virtual_subtype=\"Docker\"",
            ),
            (
                &[("/proc/1/cgroup", "1:name=systemd:/lxc/pi0")],
                "virtual=\"container\"; virtual_subtype=\"LXC\"",
            ),
            (
                &[("/proc/1/cgroup", "11:cpu:/docker/0123"), ("virt", "kvm")],
                "virtual=\"container\"; virtual_subtype=\"Docker\"",
            ),
            (
                &[("there", "/run/.containerenv")],
                "virtual=\"container\"; virtual_subtype=\"libpod\"",
            ),
            (&[("there", "chroot")], "virtual=\"virtual\"; virtual_subtype=\"chroot\""),
            (&[("/sys/class/dmi/id/sys_vendor", "QEMU")], "virtual=\"kvm\""),
            (
                &[("/sys/class/dmi/id/product_name", "VirtualBox"), ("virt", "oracle")],
                "virtual=\"VirtualBox\"",
            ),
        ];
        for (files, expected) in table {
            let files: Vec<(&str, &str)> = [("machine", "x86_64")].iter().chain(files).copied().collect();
            assert_eq!(shown(&grains(&files), &["virtual", "virtual_subtype"]), expected, "{files:?}");
        }
    }
}
