// SPDX-License-Identifier: GPL-2.0

//! Kinds of devices, lent and used by their own drivers: `make test-devices`.
//!
//! A [`Row`] is one device in one [`Setting`]. Rows with the same setting share a pair of hosts, and come one after the other. What
//! a row shows of driver, interrupts, DMA and IOMMUs is read from the running system ([`seen`]); whether the device works its
//! [`Device::works`] says, which moves data and compares it. A device that devlend, or the borrower's kernel, must refuse is a row,
//! too: it passes if it is refused as it should be, and shows the words that a user gets.

pub mod disk;
pub mod ethernet;
pub mod registers;
pub mod report;
pub mod row;
pub mod rows;
mod seen;
pub mod setting;
pub mod virtio;

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use devlend_bed::{is_ending, Options};

use crate::pair::Pair;
use crate::runner::{self, Hosts};
use report::{Line, Report};
use row::{Device, Row, Slot};
use setting::Setting;

/// How long anything may take that a person would wait for.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Runs rows, those of each setting together, and says on standard output how it goes.
#[must_use]
pub fn run(rows: &[Row]) -> Report {
    let mut report = Report::default();
    let mut rest: Vec<&Row> = rows.iter().collect();
    while let Some(setting) = rest.first().map(|row| row.setting) {
        let (now, later): (Vec<&Row>, Vec<&Row>) = rest
            .into_iter()
            .partition(|row| row.setting.name == setting.name);
        rest = later;
        println!("{}:", setting.name);
        let mut hosts: Option<Field> = None;
        for (index, row) in now.iter().enumerate() {
            let begin = Instant::now();
            let line = one(&mut hosts, setting, &now, index);
            if is_ending() {
                return report;
            }
            let line = line.unwrap_or_else(|error| {
                // Whatever state it left.
                hosts = None;
                Line::failed(row, &error)
            });
            let took = begin.elapsed().as_secs_f64();
            println!("  {:<34} {took:>6.1} s  {}", row.name(), line.result);
            report.lines.push(line);
        }
    }
    report
}

/// Hosts with devices that are to be lent.
pub struct Field {
    /// The hosts.
    pub hosts: Hosts,
    /// Where the devices are in the lender, in their order.
    pub slots: Vec<Slot>,
}

impl Field {
    /// Starts hosts; the lender gets the devices, with empty disks.
    ///
    /// # Errors
    ///
    /// There are too many devices, or the hosts do not start.
    pub fn start(mut options: Options, devices: &[&Device]) -> Result<Self> {
        const NAME: &str = "devices";
        let run_dir = runner::run_dir(NAME)?;
        let lender = options.host_mut("lender")?;
        let mut slots = Vec::new();
        for (device, number) in devices.iter().zip(row::free_slots()) {
            let slot = Slot::new(number, &run_dir);
            slot.make_image()?;
            lender.args.extend(slot.arguments(device));
            slots.push(slot);
        }
        ensure!(
            slots.len() == devices.len(),
            "the lender has room for {} devices, not for {}",
            slots.len(),
            devices.len()
        );
        Ok(Self {
            hosts: Hosts::start(options, NAME)?,
            slots,
        })
    }

    /// Runs a test with the link up, and judges it with the kernels.
    ///
    /// # Errors
    ///
    /// The test's, or a kernel has complained.
    pub fn judge<T>(
        &mut self,
        case: &str,
        test: impl FnOnce(&Pair<'_>, &[Slot]) -> Result<T>,
    ) -> Result<T> {
        let result = Pair::of_lending(&self.hosts.bed).and_then(|pair| test(&pair, &self.slots));
        self.hosts.judge(case, result)
    }
}

/// One row, on the hosts of the one before or on fresh ones.
fn one(field: &mut Option<Field>, setting: &Setting, rows: &[&Row], index: usize) -> Result<Line> {
    let field = match field {
        Some(field) => field,
        None => {
            let devices: Vec<&Device> = rows.iter().map(|row| row.device).collect();
            field.insert(Field::start((setting.options)()?, &devices)?)
        }
    };
    let row = rows[index];
    field.judge(&format!("devices::{}", row.name()), |pair, slots| {
        row.run(pair, &slots[index])
    })
}
