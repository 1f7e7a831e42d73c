// SPDX-License-Identifier: GPL-2.0

//! What the switch's flash memory holds, `struct flash_info_regs` with the third generation's layout: two images and two
//! configurations, of which the first ones run.

use super::register::{constant, Register};

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 15] = [
    constant("active_img.address",   0x04, 4, 0x0010_0000),
    constant("active_cfg.address",   0x10, 4, 0x0002_0000),
    constant("inactive_img.address", 0x1c, 4, 0x0040_0000),
    constant("inactive_cfg.address", 0x28, 4, 0x0003_0000),
    constant("flash_length",         0x34, 4, 0x0080_0000),
    constant("cfg0.address",         0x38, 4, 0x0002_0000),
    constant("cfg0.length",          0x3c, 4, 0x0001_0000),
    constant("cfg1.address",         0x40, 4, 0x0003_0000),
    constant("cfg1.length",          0x44, 4, 0x0001_0000),
    constant("img0.address",         0x48, 4, 0x0010_0000),
    constant("img0.length",          0x4c, 4, 0x0030_0000),
    constant("img1.address",         0x50, 4, 0x0040_0000),
    constant("img1.length",          0x54, 4, 0x0030_0000),
    constant("nvlog.address",        0x58, 4, 0x0070_0000),
    constant("nvlog.length",         0x5c, 4, 0x0010_0000),
];
