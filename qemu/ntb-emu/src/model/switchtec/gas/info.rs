// SPDX-License-Identifier: GPL-2.0

//! NT partitions, `struct ntb_info_regs`.

use super::register::{array, constant, one, Register, Role::*};

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 7] = [
    constant("partition_count",  0x00, 1, 2),
    one("partition_id",          0x01, 1, 0, 0, 0, PartitionNumber),
    constant("ep_map",           0x04, 8, 0b11),
    // Who reads: the root complex.
    constant("requester_id",     0x0c, 2, 0),
    array("xlink_enabled",       0x20, 4, [48, 16], 0, 0, 0, Plain),
    array("target_part_low",     0x24, 4, [48, 16], 0, 0, 0, TargetPartitions),
    array("target_part_high",    0x28, 4, [48, 16], 0, 0, 0, Plain),
];
