// SPDX-License-Identifier: GPL-2.0

//! The emulated NTB.
fn main() {}
