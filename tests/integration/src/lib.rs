// SPDX-License-Identifier: GPL-2.0

//! What tests in running hosts share, the campaign of faults, and the table of devices.

pub mod campaign;
pub mod devices;
pub mod job;
mod leaks;
mod lockdep;
pub mod pair;
pub mod runner;
pub mod times;
