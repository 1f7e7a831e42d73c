// SPDX-License-Identifier: GPL-2.0

//! What kind of interrupts a device uses.

use crate::{
    policy::Policy,
    register::Register,
    regs::{
        MSIX_FLAGS_ENABLE,
        MSI_FLAGS_ENABLE, //
    },
};

/// What a device interrupts with. No device uses two at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// Nothing.
    None,
    /// INTx, which the lender relays.
    Intx,
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
}

impl Interrupts {
    /// What people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Intx => "intx (slow)",
            Self::Msi => "msi",
            Self::Msix => "msi-x",
        }
    }
}

impl Policy {
    /// Borrower: what the device uses, as its shadow says.
    pub fn interrupts(&self, image: &[u8]) -> Interrupts {
        // Both registers are in the high half of their dwords. CAST: widening.
        if self.is_set(
            image,
            Register::MsixControl,
            u32::from(MSIX_FLAGS_ENABLE) << 16,
        ) {
            Interrupts::Msix
        } else if self.is_set(
            image,
            Register::MsiControl,
            u32::from(MSI_FLAGS_ENABLE) << 16,
        ) {
            Interrupts::Msi
        } else if self.has_intx() {
            Interrupts::Intx
        } else {
            Interrupts::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        present,
        test_device::{
            igb,
            nvme,
            Space, //
        },
        Write, //
    };

    /// What a device uses at first, and after each of the writes.
    fn uses(space: &Space, intx: bool, writes: &[(u16, u32)]) -> Vec<Interrupts> {
        let mut image = vec![0; space.bytes.len()];
        present(&space.bytes, &space.bars, intx, &mut image).unwrap();
        let policy = Policy::of(&image).unwrap();
        let mut uses = vec![policy.interrupts(&image)];
        for &(offset, value) in writes {
            let write = policy.write(&mut image, &space.bars, offset, 2, value);
            assert!(matches!(write, Write::Peer { .. }));
            uses.push(policy.interrupts(&image));
        }
        uses
    }

    #[test]
    fn by_what_is_enabled() {
        use Interrupts::*;

        let msix = [(0x42, 0x8000), (0x42, 0)];
        assert_eq!(uses(&nvme(), true, &msix), [Intx, Msix, Intx]);
        assert_eq!(uses(&nvme(), false, &msix), [None, Msix, None]);
        // It was left on, and MSI-X too.
        let off = [(0x72, 0), (0x52, 0)];
        assert_eq!(uses(&igb(), true, &off), [Msix, Msi, Intx]);
        let mut bare = Space::new(1, 2, 3);
        assert_eq!(uses(&bare, true, &[]), [None]);
        bare.put8(0x3d, 3);
        assert_eq!(uses(&bare, true, &[]), [Intx]);
    }
}
