// SPDX-License-Identifier: GPL-2.0

//! A port function's configuration space and events, `struct pff_csr_regs`.

use super::super::IDENTITY;
use super::register::{constant, one, unsupported, Event::LinkState, Register, Role::*};

/// EVENT_EN_LOG, EVENT_EN_CLI, EVENT_EN_IRQ, EVENT_FATAL, and EVENT_CLEAR.
const HEADER: u64 = 0x1f;

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 21] = [
    constant("vendor_id",            0x000, 2, IDENTITY.vendor as u64),
    constant("device_id",            0x002, 2, IDENTITY.device as u64),
    constant("pci_class",            0x008, 4, (IDENTITY.class as u64) << 8),
    constant("pci_cap_ptr",          0x034, 4, 0x64),
    // A PCI Express capability: an endpoint, 16 lanes at 8 GT/s.
    constant("pci_cap_region[9]",    0x064, 4, 0x0002_0010),
    constant("pci_cap_region[12]",   0x070, 4, 16 << 4 | 3),
    one("link_status",               0x076, 2, 0, 0, 0, LinkStatus),
    one("pff_event_summary",         0xc00, 4, 0, 0, 0, PortSummary),
    unsupported("aer_in_p2p_hdr",    0xc10),
    unsupported("aer_in_vep_hdr",    0xc28),
    unsupported("dpc_hdr",           0xc40),
    unsupported("cts_hdr",           0xc58),
    unsupported("uec_hdr",           0xc70),
    unsupported("hotplug_hdr",       0xc88),
    unsupported("ier_hdr",           0xca0),
    unsupported("threshold_hdr",     0xcb8),
    unsupported("power_mgmt_hdr",    0xcd0),
    unsupported("tlp_throttling_hdr", 0xce8),
    unsupported("force_speed_hdr",   0xd00),
    unsupported("credit_timeout_hdr", 0xd18),
    one("link_state_hdr",            0xd30, 4, 0, HEADER, HEADER, EventHeader(LinkState)),
];
