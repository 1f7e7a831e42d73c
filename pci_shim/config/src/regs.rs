// SPDX-License-Identifier: GPL-2.0

//! Offsets and bits of configuration space, named as in `linux/pci_regs.h` without `PCI_`.

pub(crate) const VENDOR_ID: usize = 0x00;
pub(crate) const COMMAND: usize = 0x04;
pub(crate) const COMMAND_IO: u16 = 1 << 0;
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
pub(crate) const COMMAND_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_PARITY: u16 = 1 << 6;
pub(crate) const COMMAND_SERR: u16 = 1 << 8;
pub(crate) const COMMAND_INTX_DISABLE: u16 = 1 << 10;
pub(crate) const STATUS: usize = 0x06;
pub(crate) const STATUS_INTERRUPT: u16 = 1 << 3;
pub(crate) const STATUS_CAP_LIST: u16 = 1 << 4;
/// Parity and abort bits, all cleared by writing 1.
pub(crate) const STATUS_ERRORS: u16 = 0xf900;
pub(crate) const CLASS_REVISION: usize = 0x08;
pub(crate) const CACHE_LINE_SIZE: usize = 0x0c;
pub(crate) const HEADER_TYPE: usize = 0x0e;
pub(crate) const HEADER_TYPE_MASK: u8 = 0x7f;
pub(crate) const BIST: usize = 0x0f;
pub(crate) const BASE_ADDRESS_0: usize = 0x10;
pub(crate) const BASE_ADDRESS_MEM_TYPE_64: u32 = 0x4;
pub(crate) const BASE_ADDRESS_MEM_PREFETCH: u32 = 0x8;
pub(crate) const BASE_ADDRESS_FLAGS: u32 = 0xf;
pub(crate) const CARDBUS_CIS: usize = 0x28;
pub(crate) const ROM_ADDRESS: usize = 0x30;
pub(crate) const CAPABILITY_LIST: usize = 0x34;
/// 0x35 to 0x3b are reserved.
pub(crate) const RESERVED: core::ops::Range<usize> = 0x35..0x3c;
pub(crate) const INTERRUPT_LINE: usize = 0x3c;
pub(crate) const INTERRUPT_PIN: usize = 0x3d;
pub(crate) const STD_HEADER_SIZEOF: usize = 0x40;

pub(crate) const CAP_LIST_NEXT: usize = 1;
/// 16 bits whose meaning is the capability's own; in MSI, MSI-X and PCI Express what it can do and does.
pub(crate) const CAP_FLAGS: usize = 2;
pub(crate) const CAP_ID_PM: u8 = 0x01;
pub(crate) const CAP_ID_MSI: u8 = 0x05;
pub(crate) const CAP_ID_VNDR: u8 = 0x09;
pub(crate) const CAP_ID_EXP: u8 = 0x10;
pub(crate) const CAP_ID_MSIX: u8 = 0x11;

pub(crate) const PM_PMC: usize = 2;
/// `PM_CAP_PME_MASK`.
pub(crate) const PM_CAP_PME: u16 = 0xf800;
pub(crate) const PM_CTRL: usize = 4;
pub(crate) const PM_CTRL_STATE_MASK: u16 = 0x3;
pub(crate) const PM_CTRL_NO_SOFT_RESET: u16 = 1 << 3;
pub(crate) const PM_SIZEOF: usize = 8;

pub(crate) const MSI_FLAGS_ENABLE: u16 = 1 << 0;
pub(crate) const MSI_FLAGS_QSIZE: u16 = 0x70;
pub(crate) const MSI_FLAGS_64BIT: u16 = 1 << 7;
pub(crate) const MSI_FLAGS_MASKBIT: u16 = 1 << 8;
/// Extended message data: capable, enable.
pub(crate) const MSI_FLAGS_EXTENDED: u16 = 3 << 9;

pub(crate) const MSIX_FLAGS_QSIZE: u16 = 0x07ff;
pub(crate) const MSIX_FLAGS_MASKALL: u16 = 1 << 14;
pub(crate) const MSIX_FLAGS_ENABLE: u16 = 1 << 15;
pub(crate) const MSIX_TABLE: usize = 4;
pub(crate) const MSIX_PBA: usize = 8;
/// Which base address register, in [`MSIX_TABLE`] and [`MSIX_PBA`]; the rest is the offset in it.
pub(crate) const MSIX_BIR: u32 = 7;
pub(crate) const MSIX_ENTRY_SIZE: u64 = 16;
pub(crate) const CAP_MSIX_SIZEOF: usize = 12;

pub(crate) const EXP_FLAGS_VERS: u16 = 0x000f;
pub(crate) const EXP_DEVCAP: usize = 0x04;
pub(crate) const EXP_DEVCAP_PHANTOM: u32 = 0x18;
pub(crate) const EXP_DEVCAP_FLR: u32 = 1 << 28;
pub(crate) const EXP_DEVCTL: usize = 0x08;
/// Correctable, non-fatal, fatal and unsupported-request reporting.
pub(crate) const EXP_DEVCTL_REPORTING: u16 = 0x000f;
pub(crate) const EXP_DEVCTL_RELAX_EN: u16 = 1 << 4;
pub(crate) const EXP_DEVCTL_PAYLOAD: u16 = 0x00e0;
pub(crate) const EXP_DEVCTL_EXT_TAG: u16 = 1 << 8;
pub(crate) const EXP_DEVCTL_NOSNOOP_EN: u16 = 1 << 11;
pub(crate) const EXP_DEVCTL_READRQ: u16 = 0x7000;
pub(crate) const EXP_DEVCTL_BCR_FLR: u16 = 1 << 15;
/// Error bits, cleared by writing 1.
pub(crate) const EXP_DEVSTA_ERRORS: u16 = 0x000f;
pub(crate) const EXP_DEVSTA_AUXPD: u16 = 1 << 4;
pub(crate) const EXP_DEVSTA_TRPND: u16 = 1 << 5;
pub(crate) const EXP_LNKCTL: usize = 0x10;
/// What an endpoint may implement: ASPM, RCB, common clock, extended synch, clock power management, autonomous width.
pub(crate) const EXP_LNKCTL_ENDPOINT: u16 = 0x03cb;
/// Slot and root registers: ports only.
pub(crate) const EXP_PORT: core::ops::Range<usize> = 0x14..0x24;
pub(crate) const EXP_DEVCAP2: usize = 0x24;
/// ARI forwarding, LTR, TPH completer and OBFF, none of which works across the bridge.
pub(crate) const EXP_DEVCAP2_HIDDEN: u32 = 1 << 5 | 1 << 11 | 3 << 12 | 3 << 18;
pub(crate) const EXP_DEVCTL2: usize = 0x28;
/// Completion time-out, AtomicOp requester, ID-based ordering.
pub(crate) const EXP_DEVCTL2_ENDPOINT: u16 = 0x035f;
pub(crate) const EXP_TYPE_ENDPOINT: u8 = 0x0;
pub(crate) const EXP_TYPE_LEG_END: u8 = 0x1;
pub(crate) const EXP_TYPE_RC_END: u8 = 0x9;

pub(crate) const EXT_CAP: usize = 0x100;
pub(crate) const EXT_CAP_ID_DSN: u32 = 0x03;
pub(crate) const EXT_CAP_DSN_SIZEOF: usize = 12;
