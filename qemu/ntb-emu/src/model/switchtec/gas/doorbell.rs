// SPDX-License-Identifier: GPL-2.0

//! A partition's doorbells and messages, `struct ntb_dbmsg_regs`. All partitions share 64 doorbells: what one rings
//! becomes pending in the other.

use super::register::{array, one, Register, Role::*, A1, A4, A8};

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 12] = [
    //    name         offset  size array    reset own peer role
    one("odb",          0x1000, 8,           0,    A8,  0,  DoorbellRing),
    one("odb_mask",     0x1008, 8,           0,    A8,  0,  DoorbellAllowed),
    one("idb",          0x1010, 8,           0,    A8,  0,  DoorbellPending),
    one("idb_mask",     0x1018, 8,           0,    A8,  0,  DoorbellEnabled),
    array("idb_vec_map", 0x1020, 1, [64, 1], 0,    A1,  0,  DoorbellVector),
    one("msg_map",      0x1060, 4,           0,    A4,  0,  MessageMap),
    array("omsg.msg",    0x1068, 4, [4, 8],  0,    A4,  0,  MessageOut),
    array("omsg.status", 0x106c, 4, [4, 8],  0,    0,   0,  MessageOutStatus),
    array("imsg.msg",    0x1088, 4, [4, 8],  0,    0,   0,  MessageIn),
    array("imsg.status", 0x108c, 1, [4, 8],  0,    1,   0,  MessageInStatus),
    array("imsg.mask",   0x108d, 1, [4, 8],  0,    1,   0,  MessageInEnabled),
    array("imsg.src",    0x108e, 1, [4, 8],  0,    0,   0,  MessageInSource),
];
