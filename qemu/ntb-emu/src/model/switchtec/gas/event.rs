// SPDX-License-Identifier: GPL-2.0

//! Events of the switch as a whole, `struct sw_event_regs`. None happens here.

use super::register::{constant, one, unsupported, Register, Role::PartitionBitmap};

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 17] = [
    constant("event_report_ctrl",          0x000, 8, 0),
    one("part_event_bitmap",               0x010, 8, 0, 0, 0, PartitionBitmap),
    constant("global_summary",             0x020, 4, 0),
    unsupported("stack_error_event_hdr",   0x030),
    unsupported("ppu_error_event_hdr",     0x048),
    unsupported("isp_error_event_hdr",     0x060),
    unsupported("sys_reset_event_hdr",     0x078),
    unsupported("fw_exception_hdr",        0x090),
    unsupported("fw_nmi_hdr",              0x0a8),
    unsupported("fw_non_fatal_hdr",        0x0c0),
    unsupported("fw_fatal_hdr",            0x0d8),
    unsupported("twi_mrpc_comp_hdr",       0x0f0),
    unsupported("twi_mrpc_comp_async_hdr", 0x108),
    unsupported("cli_mrpc_comp_hdr",       0x120),
    unsupported("cli_mrpc_comp_async_hdr", 0x138),
    unsupported("gpio_interrupt_hdr",      0x150),
    unsupported("gfms_event_hdr",          0x168),
];
