// SPDX-License-Identifier: GPL-2.0

//! Devices without a driver, whose registers a program uses.

use anyhow::{ensure, Context, Result};
use devlend_bed::{until, Access, AccessKind, Host, Seen};

use super::row::{Device, Driver, Place, Used};
use super::LIMIT;
use crate::pair::Pair;

/// QEMU's device for lessons: registers and a DMA engine.
pub static EDU: Device = Device {
    name: "edu",
    qemu: "-device edu,{pci},dma_mask=0xffffffffffffffff",
    place: Place::Slot,
    driver: Driver::None,
    works: edu,
};

/// QEMU's device for tests of accesses.
pub static TESTDEV: Device = Device {
    name: "pci-testdev",
    qemu: "-device pci-testdev,{pci}",
    place: Place::Slot,
    driver: Driver::None,
    works: testdev,
};

/// Memory that both hosts leave alone ([`SPARE`](crate::pair::SPARE)).
pub const SPARE_ADDRESS: u64 = 0x1000_0000;
/// Bytes that edu copies at once.
pub const COPIED: u64 = 4096;
/// Where edu's own memory is, for edu.
const OWN_MEMORY: u64 = 0x4_0000;

/// edu's registers.
mod edu_registers {
    pub const IDENTIFICATION: u64 = 0x00;
    pub const LIVENESS: u64 = 0x04;
    pub const FACTORIAL: u64 = 0x08;
    pub const STATUS: u64 = 0x20;
    pub const SOURCE: u64 = 0x80;
    pub const DESTINATION: u64 = 0x88;
    pub const COUNT: u64 = 0x90;
    pub const COMMAND: u64 = 0x98;
}
use edu_registers::*;

/// The registers of a device's first BAR.
pub struct Registers<'a> {
    host: &'a Host,
    address: String,
}

impl<'a> Registers<'a> {
    /// Lets the device decode memory accesses and master the bus.
    ///
    /// # Errors
    ///
    /// There is no such device.
    pub fn of(host: &'a Host, address: &str) -> Result<Self> {
        host.enable(address)?;
        Ok(Self {
            host,
            address: address.into(),
        })
    }

    fn access(&self, offset: u64, kind: AccessKind) -> Access {
        Access {
            name: format!("{offset:x}"),
            device: self.address.clone(),
            bar: 0,
            offset,
            kind,
        }
    }

    /// Reads a register.
    ///
    /// # Errors
    ///
    /// The program does not run.
    pub fn read(&self, offset: u64) -> Result<u32> {
        let seen = self
            .host
            .mmio(1, &[self.access(offset, AccessKind::Read4)])?;
        Ok(seen.into_values().next().context("nothing was read")?.last)
    }

    /// Writes a register of 4 bytes.
    ///
    /// # Errors
    ///
    /// The program does not run.
    pub fn write(&self, offset: u64, value: u32) -> Result<()> {
        self.host
            .mmio(1, &[self.access(offset, AccessKind::Write4(value))])
            .map(drop)
    }

    /// Has edu copy between its own memory and a bus address; returns when it says that it is done.
    ///
    /// # Errors
    ///
    /// It does not get done.
    pub fn edu_copy(&self, bus: u64, direction: Direction) -> Result<()> {
        let (source, destination, command) = match direction {
            Direction::FromBus => (bus, OWN_MEMORY, 1),
            Direction::ToBus => (OWN_MEMORY, bus, 3),
        };
        let accesses = [
            (SOURCE, source),
            (DESTINATION, destination),
            (COUNT, COPIED),
            (COMMAND, command),
        ]
        .map(|(offset, value)| self.access(offset, AccessKind::Write8(value)));
        self.host.mmio(1, &accesses)?;
        until("edu to be done", LIMIT, || {
            Ok(match self.read(COMMAND)? & 1 {
                0 => Seen::Yes(()),
                _ => Seen::NotYet("it copies".into()),
            })
        })
    }
}

/// Which way edu copies.
#[derive(Clone, Copy)]
pub enum Direction {
    /// Into its own memory.
    FromBus,
    /// Out of its own memory.
    ToBus,
}

/// Fills a page of a host's spare memory with a byte.
///
/// # Errors
///
/// The host cannot be told to.
pub fn fill_spare(host: &Host, page: u64, octal: &str) -> Result<()> {
    let seek = SPARE_ADDRESS / COPIED + page;
    host.sh_ok(&format!(
        "head -c {COPIED} /dev/zero | tr '\\0' '\\{octal}' | dd of=/dev/mem bs={COPIED} seek={seek} conv=notrunc status=none"
    ))
    .map(drop)
}

/// The bytes that there are in a page of a host's spare memory, each once.
///
/// # Errors
///
/// The host cannot be asked.
pub fn spare_bytes(host: &Host, page: u64) -> Result<String> {
    let skip = SPARE_ADDRESS / COPIED + page;
    host.sh_ok(&format!(
        "dd if=/dev/mem bs={COPIED} skip={skip} count=1 status=none | od -An -v -to1 -w1 | sort -u | xargs"
    ))
}

/// Where a device of the lender's finds the borrower's memory, if no IOMMU is in its way: in the NTB's window.
fn window(pair: &Pair<'_>) -> Result<u64> {
    // The borrower knows which of the windows shows its memory, the lender's kernel where that window is.
    let index = pair.at_borrower.number("memory_window")?;
    let ntb = pair.at_lender.name();
    // Its first BAR holds its registers; the others are the windows, in their order.
    let text = pair.lender.sh_ok(&format!(
        "awk 'NR > 1 && NR <= 6 && $1 != $2' /sys/bus/pci/devices/{ntb}/resource"
    ))?;
    let line = text
        .lines()
        .nth(usize::try_from(index)?)
        .with_context(|| format!("there is no window {index} among {text}"))?;
    let start = line.split(' ').next().unwrap_or_default();
    Ok(u64::from_str_radix(start.trim_start_matches("0x"), 16)?)
}

fn edu(used: &Used<'_>) -> Result<String> {
    let host = used.host();
    let registers = Registers::of(host, used.address)?;
    let id = registers.read(IDENTIFICATION)?;
    ensure!(id & 0xffff == 0x00ed, "edu says that it is {id:#x}");
    registers.write(LIVENESS, 0x1234_5678)?;
    let inverted = registers.read(LIVENESS)?;
    ensure!(inverted == !0x1234_5678, "liveness gives {inverted:#x}");
    registers.write(FACTORIAL, 10)?;
    until("a factorial", LIMIT, || {
        Ok(match registers.read(STATUS)? & 1 {
            0 => Seen::Yes(()),
            _ => Seen::NotYet("it computes".into()),
        })
    })?;
    let factorial = registers.read(FACTORIAL)?;
    ensure!(factorial == 3_628_800, "10! is {factorial}");

    let window = window(used.pair)?;
    fill_spare(host, 0, "245")?;
    fill_spare(host, 1, "132")?;
    registers.edu_copy(window + SPARE_ADDRESS, Direction::FromBus)?;
    registers.edu_copy(window + SPARE_ADDRESS + COPIED, Direction::ToBus)?;
    let copied = spare_bytes(host, 1)?;
    ensure!(copied == "245", "edu has copied {copied}");
    Ok("registers, a page by DMA and back compared".into())
}

fn testdev(used: &Used<'_>) -> Result<String> {
    /// Selects a test; then a header is there that says where to write what.
    const TEST: u64 = 0;
    const OFFSET: u64 = 4;
    const DATA: u64 = 8;
    const COUNT: u64 = 12;

    let registers = Registers::of(used.host(), used.address)?;
    registers.write(TEST, 0)?;
    let (offset, data) = (registers.read(OFFSET)?, registers.read(DATA)?);
    let before = registers.read(COUNT)?;
    for _ in 0..3 {
        registers.write(offset.into(), data)?;
    }
    let after = registers.read(COUNT)?;
    ensure!(
        after >= before + 3,
        "three writes to {offset:#x} were counted from {before} to {after}"
    );
    Ok("three register writes, which it has counted".into())
}
