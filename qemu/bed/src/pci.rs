// SPDX-License-Identifier: GPL-2.0

//! PCI devices in a host.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::host::{quoted, Host};
use crate::qemu::COUNT_BOUNCED;
use crate::wait::{until, Seen};

impl Host {
    /// The driver that is bound to a device, if there is one.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn driver(&self, address: &str) -> Result<Option<String>> {
        let event = self.try_read(&format!("/sys/bus/pci/devices/{address}/uevent"))?;
        let event = event.unwrap_or_default();
        let mut lines = event.lines();
        Ok(lines.find_map(|line| line.strip_prefix("DRIVER=").map(Into::into)))
    }

    /// Whether there is a device at an address.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn has_device(&self, address: &str) -> Result<bool> {
        let class = self.try_read(&format!("/sys/bus/pci/devices/{address}/class"))?;
        Ok(class.is_ok())
    }

    /// Waits until a driver is bound to a device.
    ///
    /// # Errors
    ///
    /// There is none when the time is up; the error ends with the kernel's last lines.
    pub fn wait_bound(&self, address: &str, limit: Duration) -> Result<()> {
        let what = format!("a driver to bind to {address} on the {}", self.name());
        until(&what, limit, || {
            Ok(match self.driver(address)? {
                Some(_) => Seen::Yes(()),
                None if self.has_device(address)? => Seen::NotYet("it has no driver".into()),
                None => Seen::NotYet("there is no such device".into()),
            })
        })
        .with_context(|| {
            let lines = self.sh_ok("dmesg | tail -n 8").unwrap_or_default();
            format!("the kernel's last lines:\n{lines}\n")
        })
    }

    /// Waits for the first namespace of an NVMe controller and returns its device file.
    ///
    /// # Errors
    ///
    /// There is none when the time is up.
    pub fn wait_nvme(&self, address: &str, limit: Duration) -> Result<String> {
        let what = format!("a disk of the NVMe {address} on the {}", self.name());
        let pattern = format!("/sys/bus/pci/devices/{address}/nvme/nvme*/");
        // The host looks several times itself: a look is a small part of a command.
        let command = format!(
            "for i in {{1..40}}; do \
             for disk in {pattern}nvme*n*; do [ -b /dev/${{disk##*/}} ] && echo ${{disk##*/}} && exit; done; \
             read -t 0.05 <>/run/never; done; ls -d {pattern}* 2>&1; false"
        );
        until(&what, limit, || {
            let output = self.sh(&command)?;
            Ok(if output.ok() {
                Seen::Yes(format!("/dev/{}", output.text()))
            } else {
                Seen::NotYet(output.text().into_owned())
            })
        })
        .with_context(|| {
            let lines = self
                .sh_ok("dmesg | grep -iE 'nvme|devlend' | tail -n 8")
                .unwrap_or_default();
            format!("the kernel's last lines about it:\n{lines}\n")
        })
    }

    /// Waits for the network interface of a function, and returns its name.
    ///
    /// # Errors
    ///
    /// There is none when the time is up.
    pub fn wait_interface(&self, address: &str, limit: Duration) -> Result<String> {
        let what = format!("an interface of {address} on the {}", self.name());
        // virtio's stands a level below.
        let command = format!(
            "find -L /sys/bus/pci/devices/{address} -maxdepth 3 -path '*/net/*' -prune -printf '%f\\n' 2>/dev/null; true"
        );
        until(&what, limit, || {
            Ok(match self.sh_ok(&command)?.lines().next() {
                Some(name) => Seen::Yes(name.to_string()),
                None => Seen::NotYet("there is none".into()),
            })
        })
    }

    /// How often each interrupt vector (by its Linux number) of a device was taken, over all processors.
    ///
    /// # Errors
    ///
    /// The host cannot be asked.
    pub fn interrupts(&self, address: &str) -> Result<BTreeMap<u32, u64>> {
        let path = quoted(&format!("/sys/bus/pci/devices/{address}/msi_irqs"))?;
        let vectors = self.sh(&format!("ls {path}"))?;
        let table = self.read("/proc/interrupts")?;
        Ok(parse_interrupts(&table, &vectors.text()))
    }

    /// Bytes in the kernel's bounce buffers: in use now, and most in use since the last
    /// [reset](Self::reset_bounced). `None` when the kernel has no such buffers at all.
    ///
    /// # Errors
    ///
    /// The host cannot be asked, or its kernel does not keep the second count: from Linux 7.3 on it does only if its command line asks
    /// for that (kernel/dma/swiotlb.c), and would say 0 otherwise.
    pub fn bounced(&self) -> Result<Option<(u64, u64)>> {
        let words = self.read("/proc/cmdline")?;
        ensure!(
            words.contains(COUNT_BOUNCED),
            "the {} does not count what is bounced: no {COUNT_BOUNCED} in '{words}'",
            self.name()
        );
        // One slot of a bounce buffer (IO_TLB_SHIFT).
        const SLOT: u64 = 2048;
        let sum = |file: &str| -> Result<Option<u64>> {
            let text = self.sh_ok(&format!(
                "find /sys/kernel/debug/swiotlb -name {file} -exec cat {{}} + 2>/dev/null; true"
            ))?;
            let numbers: Vec<u64> = text
                .lines()
                .map(|line| {
                    line.parse()
                        .with_context(|| format!("{file} holds '{line}'"))
                })
                .collect::<Result<_>>()?;
            Ok((!numbers.is_empty()).then(|| numbers.iter().sum::<u64>() * SLOT))
        };
        Ok(sum("io_tlb_used")?.zip(sum("io_tlb_used_hiwater")?))
    }

    /// Starts the count of [`bounced`](Self::bounced) anew.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn reset_bounced(&self) -> Result<()> {
        self.sh_ok("for file in $(find /sys/kernel/debug/swiotlb -name io_tlb_used_hiwater 2>/dev/null); do echo 0 >$file; done")
            .map(drop)
    }
}

/// Picks the lines of the given vectors (one a line) out of `/proc/interrupts`, summed over the processors.
fn parse_interrupts(table: &str, vectors: &str) -> BTreeMap<u32, u64> {
    let wanted: Vec<u32> = vectors
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(number, rest)| Some((number.trim().parse().ok()?, rest)))
        .filter(|(number, _)| wanted.contains(number))
        .map(|(number, rest)| {
            let counts = rest
                .split_whitespace()
                .map_while(|word| word.parse::<u64>().ok());
            (number, counts.sum())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_counts_are_summed_over_processors() {
        let table = "           CPU0       CPU1\n\
                      \x20 1:          9          0   IO-APIC   1-edge      i8042\n\
                      \x2024:        100         23   PCI-MSIX-0000:00:03.0   0-edge      nvme0q0\n\
                      \x2025:          7          0   PCI-MSIX-0000:00:03.0   1-edge      nvme0q1\n\
                      NMI:          0          0   Non-maskable interrupts\n";
        assert_eq!(
            parse_interrupts(table, "24\n25\n26\n"),
            [(24, 123), (25, 7)].into()
        );
        assert!(parse_interrupts(table, "").is_empty());
    }
}
