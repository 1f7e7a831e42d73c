// SPDX-License-Identifier: GPL-2.0

//! The lender's side: from the device's configuration space to the image the borrower sees.
//!
//! The image starts out as zeros and gets what is named here; whatever the code does not know stays hidden.

use crate::{
    bar::{
        bar_register,
        check_bars,
        Bar, //
    },
    bytes::{
        get16,
        get32,
        get8,
        put, //
    },
    capability::{
        for_each,
        Capability,
        Kind,
        Strictness, //
    },
    malformed::Malformed,
    policy::INTA,
    regs::{
        BASE_ADDRESS_0,
        BIST,
        CAPABILITY_LIST,
        CAP_FLAGS,
        CAP_LIST_NEXT,
        CARDBUS_CIS,
        COMMAND,
        COMMAND_INTX_DISABLE,
        COMMAND_IO,
        EXP_DEVCAP,
        EXP_DEVCAP2,
        EXP_DEVCAP2_HIDDEN,
        EXP_DEVCAP_PHANTOM,
        EXP_DEVCTL2,
        EXP_DEVCTL2_ENDPOINT,
        EXP_PORT,
        EXT_CAP,
        EXT_CAP_DSN_SIZEOF,
        EXT_CAP_ID_DSN,
        HEADER_TYPE,
        HEADER_TYPE_MASK,
        INTERRUPT_LINE,
        INTERRUPT_PIN,
        MSIX_BIR,
        MSIX_ENTRY_SIZE,
        MSIX_FLAGS_QSIZE,
        MSIX_PBA,
        MSIX_TABLE,
        MSI_FLAGS_EXTENDED,
        PM_CAP_PME,
        PM_CTRL,
        PM_CTRL_NO_SOFT_RESET,
        PM_PMC,
        RESERVED,
        ROM_ADDRESS,
        STATUS,
        STATUS_CAP_LIST,
        STATUS_INTERRUPT,
        STD_HEADER_SIZEOF,
        VENDOR_ID, //
    },
    CONFIG_SIZE,
    EXTENDED_SIZE, //
};

/// Makes the image of a device: `raw` is what the device reads as (256 or 4096 bytes), `bars` its memory base address
/// registers (an I/O one counts as absent), `intx` whether its INTx is relayed. What a virtual function leaves out is to be
/// [completed](crate::VirtualFunction::complete). Returns the size of the image, which is that of `raw`; `out` may be longer.
///
/// - Ids, class, subsystem ids as they are. The function stands alone: no multi-function bit.
/// - Base address registers hold the lender's bus addresses. No I/O, no expansion ROM, no CardBus pointer, no BIST:
///   nothing serves them at the borrower.
/// - An interrupt pin, INTA whichever it is, only if the device has one and `intx` is relayed; INTx is then not disabled, as after a
///   reset.
/// - Capabilities: power management without PME, MSI, MSI-X if its structures lie in memory registers of the device, PCI Express,
///   vendor-specific. Of the extended ones the
///   device serial number; the others either act on the lender's fabric (ACS, LTR, L1 substates, resizable BARs), or on
///   address translation (ATS, PRI, PASID), or make functions the borrower cannot reach (SR-IOV), or need the
///   lender's root port (AER).
///
/// # Errors
///
/// [`Malformed`] when this is no endpoint's configuration space. A broken capability list is no error: it is cut where
/// it breaks.
pub fn present(
    raw: &[u8],
    bars: &[Bar; 6],
    intx: bool,
    out: &mut [u8],
) -> Result<usize, Malformed> {
    let size = raw.len();
    if size != CONFIG_SIZE && size != EXTENDED_SIZE {
        return Err(Malformed::Size(size));
    }
    let out_size = out.len();
    let Some(out) = out.get_mut(..size) else {
        return Err(Malformed::Size(out_size));
    };
    // Command and Status have bits that are always 0: all ones mean, of a virtual function too, that nobody answers.
    if get16(raw, VENDOR_ID) == Some(0xffff) || get32(raw, COMMAND) == Some(u32::MAX) {
        return Err(Malformed::Absent);
    }
    let header_type = get8(raw, HEADER_TYPE).unwrap_or(0) & HEADER_TYPE_MASK;
    if header_type != 0 {
        return Err(Malformed::HeaderType(header_type));
    }
    check_bars(bars)?;

    out.fill(0);
    header(raw, bars, intx, out);
    capabilities(raw, bars, out)?;
    extended_capabilities(raw, out);
    Ok(size)
}

/// Copies bytes to the place they have in the device.
fn copy(raw: &[u8], out: &mut [u8], at: usize, length: usize) {
    if let Some(bytes) = raw.get(at..).and_then(|rest| rest.get(..length)) {
        put(out, at, bytes);
    }
}

/// Replaces a 16-bit register of the image.
fn modify16(out: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(value) = get16(out, at) {
        put(out, at, &change(value).to_le_bytes());
    }
}

/// Replaces a 32-bit register of the image.
fn modify32(out: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(value) = get32(out, at) {
        put(out, at, &change(value).to_le_bytes());
    }
}

/// The first 64 bytes.
fn header(raw: &[u8], bars: &[Bar; 6], intx: bool, out: &mut [u8]) {
    copy(raw, out, 0, STD_HEADER_SIZEOF);

    modify16(out, COMMAND, |command| command & !COMMAND_IO);
    // One is the device's to say, each time; the other is decided anew: the list may turn out empty.
    modify16(out, STATUS, |status| {
        status & !(STATUS_INTERRUPT | STATUS_CAP_LIST)
    });
    put(out, HEADER_TYPE, &[0]);
    put(out, BIST, &[0]);
    for index in 0..bars.len() {
        let value = bar_register(bars, index).value;
        put(out, BASE_ADDRESS_0 + index * 4, &value.to_le_bytes());
    }
    put(out, CARDBUS_CIS, &[0; 4]);
    put(out, ROM_ADDRESS, &[0; 4]);
    put(out, CAPABILITY_LIST, &[0]);
    put(out, RESERVED.start, &[0; RESERVED.end - RESERVED.start]);
    put(out, INTERRUPT_LINE, &[0]);
    let has_pin = get8(raw, INTERRUPT_PIN).is_some_and(|pin| pin != 0);
    if intx && has_pin {
        put(out, INTERRUPT_PIN, &[INTA]);
        modify16(out, COMMAND, |command| command & !COMMAND_INTX_DISABLE);
    } else {
        put(out, INTERRUPT_PIN, &[0]);
    }
}

/// Copies the capabilities that are shown and links them.
fn capabilities(raw: &[u8], bars: &[Bar; 6], out: &mut [u8]) -> Result<(), Malformed> {
    let mut link = CAPABILITY_LIST;
    for_each(raw, Strictness::Lenient, |capability| {
        if capability.kind == Kind::Msix && !has_vectors(raw, bars, capability.at.into()) {
            return;
        }
        show(raw, out, &capability);
        put(out, link, &[capability.at]);
        link = usize::from(capability.at) + CAP_LIST_NEXT;
        put(out, link, &[0]);
    })?;
    if link != CAPABILITY_LIST {
        modify16(out, STATUS, |status| status | STATUS_CAP_LIST);
    }
    Ok(())
}

/// Whether the structures of an MSI-X capability lie in registers that the borrower has. It would map and write whatever is there:
/// the kernel looks only whether there is such a register.
fn has_vectors(raw: &[u8], bars: &[Bar; 6], at: usize) -> bool {
    let vectors = get16(raw, at + CAP_FLAGS).unwrap_or(0) & MSIX_FLAGS_QSIZE;
    let vectors = u64::from(vectors) + 1;
    let table = vectors * MSIX_ENTRY_SIZE;
    // A bit for each, in quadwords.
    let pending = vectors.div_ceil(64) * 8;
    [(MSIX_TABLE, table), (MSIX_PBA, pending)]
        .into_iter()
        .all(|(register, length)| {
            let place = get32(raw, at + register).unwrap_or(u32::MAX);
            let start = u64::from(place & !MSIX_BIR);
            // CAST: three bits.
            let bar = bars.get((place & MSIX_BIR) as usize);
            bar.is_some_and(|bar| start + length <= bar.size)
        })
}

/// Copies one capability, without the parts that do not work at the borrower.
fn show(raw: &[u8], out: &mut [u8], capability: &Capability) {
    let at = usize::from(capability.at);
    copy(raw, out, at, capability.length);
    match capability.kind {
        Kind::Pm => {
            // Nobody at the borrower hears a PME. The lender keeps the device in D0, so a change of state in the shadow
            // resets nothing, and the kernel must not take it for a way to reset.
            modify16(out, at + PM_PMC, |pmc| pmc & !PM_CAP_PME);
            put(out, at + PM_CTRL, &PM_CTRL_NO_SOFT_RESET.to_le_bytes());
            put(out, at + PM_CTRL + 2, &[0; 2]);
        }
        Kind::Msi { .. } => {
            // Extended message data would need the upper half of a register that the policy keeps fixed.
            modify16(out, at + CAP_FLAGS, |flags| flags & !MSI_FLAGS_EXTENDED);
        }
        Kind::Exp { second, .. } => {
            modify32(out, at + EXP_DEVCAP, |devcap| devcap & !EXP_DEVCAP_PHANTOM);
            let end = capability.length.min(EXP_PORT.end);
            for offset in EXP_PORT.start..end {
                put(out, at + offset, &[0]);
            }
            if second {
                modify32(out, at + EXP_DEVCAP2, |devcap2| {
                    devcap2 & !EXP_DEVCAP2_HIDDEN
                });
                // What is hidden is not on either.
                modify16(out, at + EXP_DEVCTL2, |devctl2| {
                    devctl2 & EXP_DEVCTL2_ENDPOINT
                });
            }
        }
        Kind::Msix | Kind::Vendor => {}
    }
}

/// Shows the device serial number, if there is one.
fn extended_capabilities(raw: &[u8], out: &mut [u8]) {
    let Some((at, header)) = find_extended(raw, EXT_CAP_ID_DSN) else {
        return;
    };
    if at + EXT_CAP_DSN_SIZEOF > raw.len() {
        return;
    }
    copy(raw, out, at, EXT_CAP_DSN_SIZEOF);
    // Id and version; last in the list.
    put(out, at, &(header & 0x000f_ffff).to_le_bytes());
    if at != EXT_CAP {
        // The list starts at 0x100 whatever is there: an entry with id 0 stands in for what is hidden.
        // CAST: below 4096.
        put(out, EXT_CAP, &((at as u32) << 20).to_le_bytes());
    }
}

/// Offset and header of the first extended capability `id`.
fn find_extended(raw: &[u8], id: u32) -> Option<(usize, u32)> {
    // As many as fit, at two dwords each; a loop ends there too.
    const MOST: usize = (EXTENDED_SIZE - EXT_CAP) / 8;

    let mut at = EXT_CAP;
    for _ in 0..MOST {
        let header = get32(raw, at)?;
        if header == 0 || header == u32::MAX {
            return None;
        }
        if header & 0xffff == id {
            return Some((at, header));
        }
        // CAST: twelve bits. The low two are reserved.
        at = (header >> 20 & 0xffc) as usize;
        if at < EXT_CAP {
            return None;
        }
    }
    None
}
