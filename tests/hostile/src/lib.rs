// SPDX-License-Identifier: GPL-2.0

//! What peers, devices, virtual machines and people may send, given as arbitrary bytes, and what must hold whatever they are.
//! The fuzz targets in `tests/fuzz` feed these functions, and so do this crate's own tests.

pub mod command;
pub mod config;
mod driver;
pub mod message;
pub mod registers;
pub mod topology;
pub mod vfio_user;

/// A name, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All there are.
pub const TARGETS: [Target; 6] = [
    ("command", command::run),
    ("config", config::run),
    ("message", message::run),
    ("registers", registers::run),
    ("topology", topology::run),
    ("vfio_user", vfio_user::run),
];
