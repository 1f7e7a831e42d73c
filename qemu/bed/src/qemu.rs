// SPDX-License-Identifier: GPL-2.0

//! QEMU's command line for one host.
//!
//! Paths are those inside the tools root: `/run/bed` is the run directory, `/linux` the kernel's tree, `/src` the
//! checkout, `/cache` the cache.

use std::collections::HashSet;

use ntb_emu::model::Family;
use serde_json::json;

use crate::network;
use crate::options::{driver_parameters, HostOptions, Options};

/// Bytes that the emulated NVMe may copy through at a time when it reads or writes memory that belongs to another
/// device, such as the NTB's window. QEMU's default of 4096 bytes cuts every transfer into pages.
const BOUNCE: u64 = 16 << 20;

/// What has to follow the number of slots for a kernel to count how many are in use at most; Linux 7.2 counts without.
pub(crate) const COUNT_BOUNCED: &str = ",track_hiwater";

/// What the command line needs to know beyond the options.
pub(crate) struct Place<'a> {
    /// The word that marks the process as this bed's.
    pub mark: &'a str,
    /// The host's RAM file.
    pub ram: &'a str,
    /// File name of the guest image in the cache.
    pub image: &'a str,
    /// Where our modules are, from the top of the checkout.
    pub modules: &'a str,
    /// Where the kernel's image is, from the top of its tree.
    pub kernel: &'a str,
    /// Where its initramfs is, if it needs one for the guest image.
    pub initramfs: Option<&'a str>,
}

/// The arguments of `qemu-system-x86_64`.
pub(crate) fn args(options: &Options, host: &HostOptions, place: &Place<'_>) -> Vec<String> {
    let name = &host.name;
    let megabytes = host.memory >> 20;
    let mut line = Line::default();
    line.add("-name", format!("guest={}", place.mark));
    let split = if host.iommu {
        ",kernel-irqchip=split"
    } else {
        ""
    };
    line.add("-machine", format!("q35,memory-backend=mem0{split}"));
    line.add(
        "-object",
        format!(
            "memory-backend-file,id=mem0,size={megabytes}M,share=on,mem-path={}",
            place.ram
        ),
    );
    // Room for memory above 4 GiB, never filled: it makes the kernel keep bounce buffers as a real host does. A host
    // without them cannot bounce, and "nothing was bounced" would say nothing.
    line.add("-m", format!("{megabytes}M,slots=1,maxmem=8G"));
    line.add("-accel", options.accel.clone());
    line.add("-cpu", "max");
    line.add("-smp", host.smp.to_string());
    line.word("-nodefaults");
    line.word("-no-user-config");
    line.add("-display", "none");
    line.add(
        "-chardev",
        format!("file,id=console,path=/run/bed/{name}.console,append=on"),
    );
    line.add("-serial", "chardev:console");
    line.add(
        "-qmp",
        format!("unix:/run/bed/{name}.qmp,server=on,wait=off"),
    );
    line.add("-kernel", format!("/linux/{}", place.kernel));
    if let Some(initramfs) = place.initramfs {
        line.add("-initrd", format!("/linux/{initramfs}"));
    }
    line.add("-append", kernel_words(options, host));

    // An IOMMU covers the devices that come after it.
    if host.iommu {
        line.add(
            "-device",
            "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on",
        );
    }
    // The bed's own devices are in slots 1, 3, and from 27 (its first NTB; the others and the network below) up: a
    // device of the user's lands in between. QEMU makes the devices that are given in JSON last, so the NTB must stay
    // out of their way.
    line.add(
        "-drive",
        format!(
            "if=none,id=root,file=/cache/{},format=raw,readonly=on",
            place.image
        ),
    );
    line.add("-device", "virtio-blk-pci,drive=root,addr=0x1");
    for slot in options.slots(name) {
        let suffix = slot.suffix();
        let device = json!({
            "driver": "vfio-user-pci", "id": suffix, "addr": format!("{:#x}", slot.device()),
            "socket": { "type": "unix", "path": format!("/run/bed/{name}.{suffix}") },
            "x-no-posted-writes": !options.posted_writes,
        });
        line.add("-device", device.to_string());
    }
    if options.network {
        for (option, value) in network::args(options, host) {
            line.add(option, value);
        }
    }
    if host.nvme.is_some() {
        // A host that borrows two disks must be able to tell them apart.
        let number = options.hosts.iter().position(|other| other.name == *name);
        let number = number.unwrap_or(0);
        line.add(
            "-drive",
            format!("if=none,id=nvme0,file=/run/bed/{name}.nvme,format=raw,discard=unmap"),
        );
        line.add(
            "-device",
            format!(
                "nvme,id=nvme0c,drive=nvme0,serial=devlend{number},addr=0x3,x-max-bounce-buffer-size={BOUNCE}"
            ),
        );
    }
    line.add("-device", "virtio-serial-pci,addr=0x1c");
    line.add(
        "-chardev",
        format!("socket,id=agent,path=/run/bed/{name}.qga,server=on,wait=off"),
    );
    line.add(
        "-device",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    );
    for (slot, tag, path) in [
        (0x1d, "modules", "/linux/.modules/lib/modules"),
        (0x1e, "devlend", &format!("/src/{}", place.modules)),
    ] {
        line.add(
            "-fsdev",
            format!("local,id={tag},path={path},security_model=none,readonly=on"),
        );
        line.add(
            "-device",
            format!("virtio-9p-pci,fsdev={tag},mount_tag={tag},addr={slot:#x}"),
        );
    }
    line.0.extend(host.args.iter().cloned());
    line.0
}

/// The kernel's command line.
///
/// Four levels of page tables do: while a kernel identifies its processor it forgets for a moment that it has five, and KASAN takes
/// an interrupt just then for a wild access. (`CONFIG_CMDLINE` is too late for that word.)
fn kernel_words(options: &Options, host: &HostOptions) -> String {
    let mut words = format!(
        "console=ttyS0 root=/dev/vda ro init=/usr/sbin/init devlend.host={} log_buf_len=4M loglevel=7 no5lvl \
         swiotlb={}{COUNT_BOUNCED}",
        host.name, host.bounce_slots
    );
    if options.network {
        words += &format!(" devlend.network={}", network::names(options));
    }
    if host.iommu {
        words += " intel_iommu=on";
    }
    let families: HashSet<Family> = options
        .slots(&host.name)
        .iter()
        .map(|slot| slot.link.family)
        .collect();
    for parameter in families.into_iter().flat_map(driver_parameters) {
        words += " ";
        words += parameter;
    }
    if !host.append.is_empty() {
        words += " ";
        words += &host.append;
    }
    words
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        mark: "devlend-1-lender",
        ram: "/dev/shm/r",
        image: "guest.img",
        modules: "target/modules/7.2-debug",
        kernel: "vmlinux",
        initramfs: None,
    };

    fn position(args: &[String], part: &str) -> usize {
        args.iter()
            .position(|arg| arg.contains(part))
            .unwrap_or_else(|| panic!("no {part} in {args:?}"))
    }

    #[test]
    fn a_lender_has_its_devices_at_fixed_addresses() {
        let options = Options::default();
        let args = args(&options, &options.hosts[0], &PLACE);
        for part in [
            "guest=devlend-1-lender",
            "mem-path=/dev/shm/r",
            "size=512M,share=on",
            "virtio-blk-pci,drive=root,addr=0x1",
            r#""addr":"0x1b""#,
            "serial=devlend0,addr=0x3",
            "/run/bed/lender.qga",
            "devlend.host=lender",
        ] {
            position(&args, part);
        }
        assert!(!args.iter().any(|arg| arg.contains("iommu")));
    }

    #[test]
    fn a_borrower_has_no_disk_to_lend() {
        let options = Options::default();
        let args = args(&options, &options.hosts[1], &PLACE);
        assert!(!args.iter().any(|arg| arg.starts_with("nvme")));
    }

    #[test]
    fn the_iommu_comes_before_what_it_covers_and_user_arguments_last() {
        let mut options = Options::default();
        let host = options.host_mut("borrower").unwrap();
        host.iommu = true;
        host.append = "ignore_loglevel".into();
        host.args = vec!["-device".into(), "edu".into()];
        let args = args(&options, &options.hosts[1], &PLACE);
        assert!(position(&args, "intel-iommu,") < position(&args, "virtio-blk-pci"));
        assert_eq!(args.last().unwrap(), "edu");
        assert!(args
            .iter()
            .any(|arg| arg.ends_with("intel_iommu=on ignore_loglevel")));
    }

    #[test]
    fn a_driver_is_told_its_parameters_before_the_users_words() {
        let mut options = Options::pair(Family::Switchtec);
        options.host_mut("borrower").unwrap().append = "ntb_hw_switchtec.use_lut_mws=1".into();
        let args = args(&options, &options.hosts[1], &PLACE);
        assert!(args.iter().any(|arg| arg.ends_with(
            " ntb_hw_switchtec.max_mw_size=0x100000000 ntb_hw_switchtec.use_lut_mws=1"
        )));
    }

    #[test]
    fn without_a_link_there_is_no_ntb() {
        let options = Options {
            links: Vec::new(),
            ..Options::default()
        };
        let args = args(&options, &options.hosts[0], &PLACE);
        assert!(!args.iter().any(|arg| arg.contains("vfio-user")));
    }
}
