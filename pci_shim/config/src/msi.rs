// SPDX-License-Identifier: GPL-2.0

//! Message addresses.

/// Start of the range in which x86 takes message interrupts.
pub const MSI_START: u64 = 0xfee0_0000;

/// Length of that range.
pub const MSI_LENGTH: u64 = 0x10_0000;

/// The address a lent device has to write to so that it reaches `address` in the borrower.
///
/// `msi_base` is where the device sees the borrower's 0xfee00000. Destination and remapping handle are in the
/// address, so the offset is kept. 0 stays 0: with it the kernel takes a vector out of use.
///
/// `None` for an address that is no message interrupt's, or when `msi_base` is impossibly high.
pub fn translate(address: u64, msi_base: u64) -> Option<u64> {
    if address == 0 {
        return Some(0);
    }
    let offset = address.checked_sub(MSI_START)?;
    if offset >= MSI_LENGTH {
        return None;
    }
    msi_base.checked_add(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_in_the_range_is_kept() {
        const BASE: u64 = 0xfe_a000_0000;
        let table = [
            (0xfee0_0000, Some(BASE)),
            (0xfee0_1000, Some(BASE + 0x1000)),
            (0xfee0_04f8, Some(BASE + 0x4f8)),
            (0xfeef_ffff, Some(BASE + 0xf_ffff)),
            (0, Some(0)),
            (1, None),
            (0xfedf_ffff, None),
            (0xfef0_0000, None),
            (0x1_fee0_0000, None),
            (u64::MAX, None),
        ];
        for (address, expected) in table {
            assert_eq!(translate(address, BASE), expected, "{address:#x}");
        }
    }

    #[test]
    fn a_base_that_overflows_is_refused() {
        assert_eq!(translate(0xfee0_0001, u64::MAX), None);
        assert_eq!(translate(0xfee0_0000, u64::MAX), Some(u64::MAX));
        assert_eq!(translate(0, u64::MAX), Some(0));
    }
}
