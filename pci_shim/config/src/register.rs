// SPDX-License-Identifier: GPL-2.0

//! The policy as a table: which registers can be written, and what becomes of it.

use crate::regs::{
    COMMAND_INTX_DISABLE,
    COMMAND_MASTER,
    COMMAND_MEMORY,
    COMMAND_PARITY,
    COMMAND_SERR,
    EXP_DEVCTL2_ENDPOINT,
    EXP_DEVCTL_BCR_FLR,
    EXP_DEVCTL_EXT_TAG,
    EXP_DEVCTL_NOSNOOP_EN,
    EXP_DEVCTL_PAYLOAD,
    EXP_DEVCTL_READRQ,
    EXP_DEVCTL_RELAX_EN,
    EXP_DEVCTL_REPORTING,
    EXP_DEVSTA_AUXPD,
    EXP_DEVSTA_ERRORS,
    EXP_DEVSTA_TRPND,
    EXP_LNKCTL_ENDPOINT,
    MSIX_FLAGS_ENABLE,
    MSIX_FLAGS_MASKALL,
    MSI_FLAGS_ENABLE,
    MSI_FLAGS_QSIZE,
    PM_CTRL_STATE_MASK,
    STATUS_ERRORS,
    STATUS_INTERRUPT, //
};

/// What a dword of the first 256 bytes is. Registers that share a dword have one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Register {
    /// Nothing can be written.
    #[default]
    Fixed,
    /// Command and Status of a device whose INTx is not relayed.
    Command,
    /// Command and Status of a device whose INTx is.
    CommandIntx,
    /// Cache Line Size, Latency Timer, Header Type, BIST.
    CacheLine,
    /// Base Address Register 0 to 5.
    Bar(u8),
    /// Interrupt Line and Pin, Min_Gnt, Max_Lat.
    InterruptLine,
    /// MSI Message Control.
    MsiControl,
    /// MSI Message Address.
    MsiAddress,
    /// MSI Message Upper Address.
    MsiUpperAddress,
    /// MSI Message Data.
    MsiData,
    /// MSI Mask Bits.
    MsiMask,
    /// MSI Pending Bits.
    MsiPending,
    /// MSI-X Message Control.
    MsixControl,
    /// Power Management Control/Status.
    PmControl,
    /// PCI Express Device Control and Status.
    DeviceControl,
    /// PCI Express Link Control and Status.
    LinkControl,
    /// PCI Express Device Control 2 and Status 2.
    DeviceControl2,
}

/// What becomes of each bit of a dword. A bit in none of the masks is fixed: it reads as in the image and drops writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Written into the shadow and no further.
    pub(crate) shadow: u32,
    /// Written into the shadow and into the device. Reads are from the shadow.
    pub(crate) through: u32,
    /// Reads ask the device.
    pub(crate) live: u32,
    /// Writing 1 clears the bit in the device; all of them are live.
    pub(crate) clear: u32,
    /// The lender writes 0 here unless the bit is in `clear` and asked for: registers whose other bits may clear, or
    /// start, something when written back as read.
    pub(crate) zero: u32,
    /// The lender writes 1 here whatever was asked.
    pub(crate) force: u32,
}

/// A register in the low half of its dword.
const fn low(bits: u16) -> u32 {
    // CAST: widening; `u32::from` is not const.
    bits as u32
}

/// A register in the high half of its dword.
const fn high(bits: u16) -> u32 {
    low(bits) << 16
}

impl Rule {
    const FIXED: Self = Self {
        shadow: 0,
        through: 0,
        live: 0,
        clear: 0,
        zero: 0,
        force: 0,
    };
}

impl Register {
    /// What becomes of each bit. Base address registers are not here: what they keep depends on their size.
    pub(crate) const fn rule(self) -> Rule {
        match self {
            Register::Fixed | Register::Bar(_) => Rule::FIXED,

            // PCI 3.0, 6.2.2 and 6.2.3 (PCIe 5.0, 7.5.1.1.3 and 7.5.1.1.4).
            // Memory decoding and bus mastering are the point of a lease; parity and SERR# only report. I/O is not lent;
            // special cycles, write-and-invalidate, VGA snooping and fast back-to-back are 0 in PCI Express.
            // INTx that has no way to the borrower would storm the lender on a shared line: the borrower keeps a bit to
            // play with, the device never gets it cleared.
            // The error bits of Status are the device's; the others say what it is and are in the image.
            Register::Command => Rule {
                shadow: low(COMMAND_INTX_DISABLE),
                through: low(COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR),
                live: high(STATUS_ERRORS),
                clear: high(STATUS_ERRORS),
                zero: high(0xffff),
                force: low(COMMAND_INTX_DISABLE),
            },
            // With a relay the bit is the borrower's, as far as the lender's `IntxGate` lets it through; and a driver that shares
            // its line looks at Status to find out who has raised it.
            Register::CommandIntx => Rule {
                shadow: 0,
                through: low(COMMAND_MEMORY
                    | COMMAND_MASTER
                    | COMMAND_PARITY
                    | COMMAND_SERR
                    | COMMAND_INTX_DISABLE),
                live: high(STATUS_ERRORS | STATUS_INTERRUPT),
                clear: high(STATUS_ERRORS),
                zero: high(0xffff),
                force: 0,
            },

            // PCI 3.0, 6.2.4 (PCIe 5.0, 7.5.1.1.7 and 7.5.1.1.8): without effect in PCI Express, but drivers write them
            // and read them back.
            Register::CacheLine => Rule {
                shadow: 0x0000_ffff,
                ..Rule::FIXED
            },

            // PCI 3.0, 6.2.4: a notepad of the operating system's. The pin is fixed.
            Register::InterruptLine => Rule {
                shadow: 0x0000_00ff,
                ..Rule::FIXED
            },

            // PCI 3.0, 6.8.1.3 (PCIe 5.0, 7.7.1.2): enable and the number of messages are for the device; what it is
            // capable of is in the image.
            Register::MsiControl => Rule {
                through: high(MSI_FLAGS_ENABLE | MSI_FLAGS_QSIZE),
                ..Rule::FIXED
            },
            // 6.8.1.4: the low two bits are 0.
            Register::MsiAddress => Rule {
                through: !0x3,
                ..Rule::FIXED
            },
            // 6.8.1.5.
            Register::MsiUpperAddress => Rule {
                through: !0,
                ..Rule::FIXED
            },
            // 6.8.1.6: sixteen bits; the upper half is reserved, extended data being hidden.
            Register::MsiData => Rule {
                through: low(0xffff),
                ..Rule::FIXED
            },
            // 6.8.1.7: masking has to work at the device, where the messages start.
            Register::MsiMask => Rule {
                through: !0,
                ..Rule::FIXED
            },
            // 6.8.1.8: set and cleared by the device.
            Register::MsiPending => Rule {
                live: !0,
                ..Rule::FIXED
            },

            // PCI 3.0, 6.8.2.3 (PCIe 5.0, 7.7.2.2): enable and function mask. Nothing in the capability changes by itself.
            Register::MsixControl => Rule {
                through: high(MSIX_FLAGS_ENABLE | MSIX_FLAGS_MASKALL),
                ..Rule::FIXED
            },

            // PCI PM 1.2, 3.2.4 (PCIe 5.0, 7.5.2.2): the lender keeps the device in D0, since leaving D3 may reset it
            // behind the shadow's back; the borrower's kernel sees the state it asked for. PME goes nowhere.
            Register::PmControl => Rule {
                shadow: low(PM_CTRL_STATE_MASK),
                ..Rule::FIXED
            },

            // PCIe 5.0, 7.5.3.4 and 7.5.3.5. Payload size has to agree with every port on the way, which only the lender
            // knows: a wrong one makes fatal errors there. Errors are reported to the lender's root port, so whether they are
            // is the lender's choice. Phantom functions and aux power stay as the lender has them.
            // Initiate FLR is not a bit but a request. Of Status the error bits can be cleared; aux power and pending
            // transactions are only read.
            Register::DeviceControl => Rule {
                shadow: low(EXP_DEVCTL_REPORTING | EXP_DEVCTL_PAYLOAD),
                through: low(EXP_DEVCTL_RELAX_EN
                    | EXP_DEVCTL_EXT_TAG
                    | EXP_DEVCTL_NOSNOOP_EN
                    | EXP_DEVCTL_READRQ),
                live: high(EXP_DEVSTA_ERRORS | EXP_DEVSTA_AUXPD | EXP_DEVSTA_TRPND),
                clear: high(EXP_DEVSTA_ERRORS),
                zero: low(EXP_DEVCTL_BCR_FLR) | high(0xffff),
                ..Rule::FIXED
            },

            // PCIe 5.0, 7.5.3.7: the link is the lender's, between its port and the device.
            Register::LinkControl => Rule {
                shadow: low(EXP_LNKCTL_ENDPOINT),
                ..Rule::FIXED
            },

            // PCIe 5.0, 7.5.3.16: completion time-outs and ordering belong to the lender's fabric too.
            Register::DeviceControl2 => Rule {
                shadow: low(EXP_DEVCTL2_ENDPOINT),
                ..Rule::FIXED
            },
        }
    }
}
