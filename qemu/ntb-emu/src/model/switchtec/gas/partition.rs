// SPDX-License-Identifier: GPL-2.0

//! A partition's functions and events, `struct part_cfg_regs`.

use super::super::EVENT_VECTOR;
use super::register::{array, constant, one, unsupported, Event::MrpcDone, Register, Role::*};

/// No port.
const NONE: u64 = 0xff;
/// EVENT_EN_LOG, EVENT_EN_CLI, EVENT_EN_IRQ, EVENT_FATAL, and EVENT_CLEAR.
const HEADER: u64 = 0x1f;

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 12] = [
    constant("port_cnt",              0x008, 4, 1),
    constant("usp_pff_inst_id",       0x010, 4, NONE),
    // The port functions have the numbers of their partitions.
    one("vep_pff_inst_id",            0x014, 4, 0, 0, 0, PartitionOwner),
    array("dsp_pff_inst_id",          0x018, 4, [47, 4], NONE, 0, 0, Plain),
    constant("vep_vector_number",     0x100, 2, EVENT_VECTOR as u64),
    constant("usp_vector_number",     0x102, 2, 0),
    one("part_event_summary",         0x114, 4, 0, 0, 0, PartitionSummary),
    unsupported("part_reset_hdr",     0x124),
    one("mrpc_comp_hdr",              0x13c, 4, 0, HEADER, HEADER, EventHeader(MrpcDone)),
    unsupported("mrpc_comp_async_hdr", 0x154),
    unsupported("dyn_binding_hdr",    0x16c),
    unsupported("intercomm_notify_hdr", 0x184),
];
