// SPDX-License-Identifier: GPL-2.0

//! What the switch is, `struct sys_info_regs` with the third generation's layout.

use super::super::IDENTITY;
use super::register::{constant, one, Register, Role::PartitionNumber};

const fn text(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 17] = [
    constant("device_id",             0x000, 4, IDENTITY.device as u64),
    constant("device_version",        0x004, 4, 1),
    constant("firmware_version",      0x008, 4, 0x0109_0000),
    constant("vendor_table_revision", 0x010, 4, 1),
    constant("table_format_version",  0x014, 4, 1),
    one("partition_id",               0x018, 4, 0, 0, 0, PartitionNumber),
    constant("cfg_file_fmt_version",  0x01c, 4, 1),
    // Configuration 0 and image 0.
    constant("cfg_running",           0x020, 2, 4),
    constant("img_running",           0x022, 2, 3),
    constant("vendor_id",             0x108, 8, text(b"MICROSEM")),
    constant("product_id",            0x110, 8, text(b"PFX 96XG")),
    constant("product_id+8",          0x118, 8, text(b"3       ")),
    constant("product_revision",      0x120, 4, text(b"EMU1\0\0\0\0")),
    constant("component_vendor",      0x124, 4, text(b"MSCC\0\0\0\0")),
    constant("component_vendor+4",    0x128, 4, text(b"    \0\0\0\0")),
    constant("component_id",          0x12c, 2, IDENTITY.device as u64),
    constant("component_revision",    0x12e, 1, 1),
];
