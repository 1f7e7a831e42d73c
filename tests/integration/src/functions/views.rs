// SPDX-License-Identifier: GPL-2.0

//! What a device holds, what its borrower is said to see, and what it sees.

use anyhow::{ensure, Context, Result};
use devlend_bed::{Host, Options};

use super::{reclaim_all, two_functions, CARD, DISK, LIMIT};
use crate::pair::{finally, Pair};

/// A device of many capabilities, SR-IOV among them, beside those of the other test.
pub fn many_capabilities() -> Result<Options> {
    let mut options = two_functions()?;
    options.host_mut("lender")?.args.extend(
        [
            "-netdev",
            "user,id=net1",
            "-device",
            "igb,netdev=net1,bus=rp0",
        ]
        .map(String::from),
    );
    Ok(options)
}

const POWER: u8 = 0x01;
const MSI: u8 = 0x05;
const EXPRESS: u8 = 0x10;
const MSIX: u8 = 0x11;

/// A configuration space as it was read.
struct Space(Vec<u8>);

impl Space {
    fn read(host: &Host, file: &str) -> Result<Self> {
        let text = host.sh_ok(&format!("od -An -v -tx1 {file}"))?;
        let bytes = text
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<std::result::Result<Vec<u8>, _>>()
            .context(text.clone())?;
        ensure!(
            [256, 4096].contains(&bytes.len()),
            "{file} has {} bytes",
            bytes.len()
        );
        Ok(Self(bytes))
    }

    /// Its capabilities: id and offset, in the order of the list.
    fn capabilities(&self) -> Vec<(u8, usize)> {
        let mut list = Vec::new();
        let mut at = usize::from(self.0[0x34]);
        while at != 0 && list.len() < 48 {
            list.push((self.0[at], at));
            at = usize::from(self.0[at + 1]);
        }
        list
    }

    /// The ids of its extended capabilities.
    fn extended(&self) -> Vec<u16> {
        let mut list = Vec::new();
        let mut at = 0x100;
        while let Some([low, high, _, next, ..]) = self.0.get(at..at + 4) {
            let id = u16::from_le_bytes([*low, *high]);
            if id != 0 && id != 0xffff {
                list.push(id);
            }
            at = usize::from(u16::from_le_bytes([self.0[at + 2], *next]) >> 4);
            if at == 0 || list.len() == 64 {
                break;
            }
        }
        list
    }

    /// The bytes that only the borrower's shadow has, and the bits of them.
    fn the_borrowers_own(&self) -> Vec<(usize, u8)> {
        let mut own = vec![(0x05, 0x04), (0x0c, 0xff), (0x0d, 0xff), (0x3c, 0xff)];
        for (id, at) in self.capabilities() {
            match id {
                POWER => own.push((at + 4, 0x03)),
                EXPRESS => own.extend([
                    (at + 0x08, 0xef),
                    // Extended tags, which a device need not have: QEMU's do not keep the bit.
                    (at + 0x09, 0x01),
                    (at + 0x10, 0xcb),
                    (at + 0x11, 0x03),
                    (at + 0x28, 0x5f),
                    (at + 0x29, 0x03),
                ]),
                _ => {}
            }
        }
        own
    }
}

/// Three devices: what the lender's files say is what is so.
pub fn config_space_in_both_views(pair: &Pair<'_>) -> Result<()> {
    pair.lender.sh_ok("modprobe igb; modprobe e1000e")?;
    pair.borrower.sh_ok("modprobe igb; modprobe e1000e")?;
    let igb = pair
        .lender
        .sh_ok("cd /sys/bus/pci/devices/0000:00:04.0 && ls -d ????:??:00.0")?;
    for device in [DISK, CARD, &igb] {
        pair.lender.wait_bound(device, LIMIT)?;
        finally(compare(pair, device).context(device.to_string()), || {
            reclaim_all(pair)
        })?;
    }
    Ok(())
}

fn compare(pair: &Pair<'_>, device: &str) -> Result<()> {
    let own = format!("/sys/bus/pci/devices/{device}/config");
    let offer = format!("/sys/kernel/devlend/lender/offers/{device}");
    let (raw, emulated) = (
        format!("{offer}/config_raw"),
        format!("{offer}/config_emulated"),
    );
    pair.lending().lend(&format!("{device} unsafe"))?;

    // For programs: sizes, and who may read.
    let stat = pair.lender.sh_ok(&format!(
        "stat -c '%a %U %s' {raw} {emulated}; stat -c %s {own}"
    ))?;
    let stat: Vec<&str> = stat.lines().collect();
    let expected = format!("400 root {}", stat.last().context("no size")?);
    ensure!(stat[..2] == [expected.as_str(); 2], "{stat:?}");
    // As the device is, read in whatever pieces.
    pair.lender.sh_ok(&format!(
        "cmp {raw} {own} && dd if={raw} bs=7 status=none | cmp - {own} && \
         dd if={emulated} bs=3 status=none | cmp - {emulated}"
    ))?;

    let held = Space::read(pair.lender, &raw)?;
    let would = Space::read(pair.lender, &emulated)?;
    let shown = [POWER, MSI, EXPRESS, MSIX, 0x09];
    let expected: Vec<(u8, usize)> = held
        .capabilities()
        .into_iter()
        .filter(|(id, _)| shown.contains(id))
        .collect();
    ensure!(
        expected.len() >= 3 && would.capabilities() == expected,
        "{:?} of {:?}",
        would.capabilities(),
        held.capabilities()
    );
    ensure!(
        would.extended().iter().all(|&id| id == 3)
            && would.extended().len() <= held.extended().len(),
        "{:?} of {:?}",
        would.extended(),
        held.extended()
    );

    // And with a driver at work on it.
    let address = pair.at_borrower.offer(device).borrow()?;
    pair.borrower.wait_bound(&address, LIMIT)?;
    let seen = Space::read(
        pair.borrower,
        &format!("/sys/bus/pci/devices/{address}/config"),
    )?;
    let said = Space::read(pair.lender, &emulated)?;
    ensure!(
        seen.0.len() == said.0.len(),
        "{} bytes, {} are said",
        seen.0.len(),
        said.0.len()
    );
    let own = seen.the_borrowers_own();
    let differ: Vec<String> = (0..seen.0.len())
        .filter(|&at| {
            let bits = own
                .iter()
                .find(|(place, _)| *place == at)
                .map_or(0, |(_, bits)| *bits);
            (seen.0[at] ^ said.0[at]) & !bits != 0
        })
        .map(|at| format!("{at:#x}: {:#x}, said {:#x}", seen.0[at], said.0[at]))
        .collect();
    ensure!(differ.is_empty(), "{differ:?}");
    ensure!(
        said.0 != would.0 && said.0[4] & 6 == 6,
        "the driver's work cannot be seen: Command is {:#x}",
        said.0[4]
    );

    // The same in the words of lspci: what the device has and the borrower does not see.
    let words = |host: &Host, address: &str| host.sh_ok(&format!("lspci -vvv -s {address}"));
    let (there, here) = (words(pair.lender, device)?, words(pair.borrower, &address)?);
    for name in [
        "Advanced Error Reporting",
        "Single Root I/O Virtualization",
        "Alternative Routing-ID",
    ] {
        ensure!(!here.contains(name), "{name} is shown: {here}");
    }
    if held.extended().contains(&0x10) {
        ensure!(
            there.contains("Single Root I/O Virtualization")
                && there.contains("Advanced Error Reporting"),
            "{there}"
        );
    }
    for name in ["Power Management", "MSI-X: Enable+", "Express"] {
        ensure!(here.contains(name), "{name} is not shown: {here}");
    }
    pair.at_borrower.offer(device).give_back()?;
    pair.lending().reclaim(device)
}
