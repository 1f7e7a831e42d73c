// SPDX-License-Identifier: GPL-2.0

//! What a partition's windows show, `struct ntb_ctrl_regs`. Entries can be written by the host that has the lock.

use super::register::{array, constant, one, Register, Role::*, A4, A8};

/// Requesters that may be entered.
pub(in super::super) const REQUESTERS: u64 = 7;
/// DIR_WIN_EN, LUT_WIN_EN, logarithm of a LUT window's size, LUT entries less one. VALID is the hardware's.
const BAR: u64 = 0x007f_ff30;
/// Requester id and REQ_ID_EN. The proxy id is the hardware's.
const REQUESTER: u64 = 0xffff_0001;

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 17] = [
    //    name               offset  size array      reset own   peer  role
    one("partition_status",    0x000, 4,             0,    0,    0,    Status),
    one("partition_op",        0x004, 4,             0,    A4,   A4,   Operation),
    constant("partition_ctrl", 0x008, 4, 0),
    constant("bar_setup",      0x00c, 4, 0),
    one("bar_error",           0x010, 4,             0,    0,    0,    BarError),
    one("lut_table_entries",   0x014, 2,             0,    0,    0,    LutEntries),
    constant("lut_table_offset", 0x016, 2, 0),
    one("lut_error",           0x018, 4,             0,    0,    0,    LutError),
    constant("req_id_table_size",   0x01c, 2, REQUESTERS),
    constant("req_id_table_offset", 0x01e, 2, 0),
    constant("req_id_error",   0x020, 4, 0),
    array("bar_entry.ctl",     0x040, 4, [6, 16],    0,    BAR,  BAR,  BarControl),
    array("bar_entry.win_size", 0x044, 4, [6, 16],   0,    A4,   A4,   WindowSize),
    array("bar_entry.xlate_addr", 0x048, 8, [6, 16], 0,    A8,   A8,   WindowTarget),
    array("bar_ext_entry.win_size", 0x0a0, 4, [6, 16], 0,  A4,   A4,   WindowSizeHigh),
    array("req_id_table",      0x400, 4, [REQUESTERS, 4], 0, REQUESTER, REQUESTER, Requester),
    array("lut_entry",        0x1000, 8, [512, 8],   0,    A8,   A8,   LutEntry),
];
