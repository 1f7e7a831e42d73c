// SPDX-License-Identifier: GPL-2.0

//! When a lent device may raise INTx.
//!
//! The lender takes the interrupt, masks the device and tells the borrower, which unmasks it when its driver has looked. So
//! INTx disable in the device has three masters: the relay between the two hosts, the borrower's driver, who may write the bit, and
//! the lender, who wants no interrupts while it resets the device or ends the lease. The device is masked unless all agree.

use crate::{
    policy::Lane,
    regs::{
        COMMAND,
        COMMAND_INTX_DISABLE, //
    },
    CONFIG_SIZE, //
};

/// INTx disable, in the dword of Command.
// CAST: widening; `u32::from` is not const.
const DISABLE: u32 = COMMAND_INTX_DISABLE as u32;

/// Whether a lent device may raise INTx. At first it may not: the borrower has not asked for an interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntxGate {
    /// The borrower takes one more interrupt.
    unmasked: bool,
    /// The borrower has set INTx disable.
    disabled: bool,
    /// The lender is at the device.
    held: bool,
}

impl IntxGate {
    /// Whether the device may raise INTx; if not, INTx disable has to be set in it.
    pub const fn is_open(&self) -> bool {
        self.unmasked && !self.disabled && !self.held
    }

    /// The device has raised INTx: the next time is when the borrower says so.
    pub fn interrupt(&mut self) {
        self.unmasked = false;
    }

    /// The borrower takes one more interrupt.
    pub fn unmask(&mut self) {
        self.unmasked = true;
    }

    /// Nothing is let through, and nothing of it is lost, until [`release`](Self::release).
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The lender is done with the device.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// What to write to the device when `value`, which [`Policy::admit_write`](crate::Policy::admit_write) has admitted, is the
    /// borrower's: with INTx disable as it has to be.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) -> u32 {
        let lane = Lane::new(offset, size, CONFIG_SIZE)
            .filter(|lane| lane.dword == COMMAND / 4 && lane.mask & DISABLE != 0);
        let Some(lane) = lane else { return value };
        let value = lane.place(value);
        self.disabled = value & DISABLE != 0;
        let masked = if self.is_open() { 0 } else { DISABLE };
        lane.extract(value & !DISABLE | masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Something in the device wants an interrupt.
        Raise,
        Unmask,
        Hold,
        Release,
        Write(u16, u8, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Raise),
            3 => Just(Step::Unmask),
            1 => Just(Step::Hold),
            1 => Just(Step::Release),
            2 => (0u16..12, 0u8..6, prop_oneof![Just(0), Just(!0), any::<u32>()])
                .prop_map(|(offset, size, value)| Step::Write(offset, size, value)),
        ]
    }

    proptest! {
        /// The lender is never interrupted when it must not be, and the borrower gets no more interrupts than it has asked for, but
        /// all that it has asked for.
        #[test]
        fn nothing_is_let_through_unasked_and_nothing_lost(steps in prop::collection::vec(step(), 0..100)) {
            let mut gate = IntxGate::default();
            let (mut asked, mut disabled, mut held, mut raised) = (false, false, false, false);
            for step in steps {
                match step {
                    Step::Raise => raised = true,
                    Step::Unmask => {
                        gate.unmask();
                        asked = true;
                    }
                    Step::Hold => {
                        gate.hold();
                        held = true;
                    }
                    Step::Release => {
                        gate.release();
                        held = false;
                    }
                    Step::Write(offset, size, value) => {
                        let written = gate.write(offset, size, value);
                        // Where bit 10 of Command is in the access, if it is.
                        let bit = match (offset, size) {
                            (4, 2 | 4) => 1 << 10,
                            (5, 1) => 1 << 2,
                            _ => 0,
                        };
                        prop_assert_eq!((written ^ value) & mask(size) & !bit, 0);
                        if bit != 0 {
                            disabled = value & bit != 0;
                            prop_assert_eq!(written & bit == 0, asked && !disabled && !held);
                        }
                    }
                }
                prop_assert_eq!(gate.is_open(), asked && !disabled && !held);
                // What is asserted comes as soon as it may.
                if raised && gate.is_open() {
                    gate.interrupt();
                    (raised, asked) = (false, false);
                }
                prop_assert!(!raised || !asked || disabled || held);
            }
        }
    }

    fn mask(size: u8) -> u32 {
        match size {
            1 => 0xff,
            2 => 0xffff,
            _ => !0,
        }
    }

    #[test]
    fn an_interrupt_and_the_next() {
        let mut gate = IntxGate::default();
        assert!(!gate.is_open());
        gate.unmask();
        assert!(gate.is_open());
        gate.interrupt();
        assert!(!gate.is_open());
        gate.unmask();
        // A driver that masks by the bit, as uio_pci_generic does.
        assert_eq!(gate.write(4, 2, 0x0406), 0x0406);
        assert!(!gate.is_open());
        assert_eq!(gate.write(4, 2, 0x0006), 0x0006);
        assert!(gate.is_open());
        // During a reset, and afterwards.
        gate.hold();
        assert_eq!(gate.write(4, 2, 0x0006), 0x0406);
        gate.release();
        assert!(gate.is_open());
    }

    #[test]
    fn the_bit_in_every_access() {
        let table = [
            (4, 4, 0x0010_0006, 0x0010_0406),
            (4, 2, 0x0006, 0x0406),
            (5, 1, 0x01, 0x05),
            // Not in these.
            (4, 1, 0x06, 0x06),
            (6, 2, 0x0000, 0x0000),
            (8, 4, 0, 0),
            (0x44, 4, 0, 0),
            (5, 2, 0, 0),
            (4, 3, 0, 0),
        ];
        for (offset, size, value, written) in table {
            let mut gate = IntxGate::default();
            assert_eq!(
                gate.write(offset, size, value),
                written,
                "{offset:#x}+{size}"
            );
        }
    }
}
