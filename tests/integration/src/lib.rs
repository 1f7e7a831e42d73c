// SPDX-License-Identifier: GPL-2.0

//! What tests in running hosts share, and the campaign of faults.

pub mod campaign;
pub mod job;
mod leaks;
pub mod pair;
pub mod runner;
