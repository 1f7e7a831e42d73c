// SPDX-License-Identifier: GPL-2.0

//! The hardware families, and what the script can test on each.

use devlend_bed::{Options, Window};

use super::results::{Outcome, Test};

/// A hardware family of the emulated NTB.
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// The kernel's driver for it.
    pub driver: &'static str,
    /// How many memory windows it has.
    windows: usize,
    /// Whether its driver can take the link down.
    link: Outcome,
    /// Whether it has message registers.
    messages: Outcome,
    /// Whether `ntb_msi_test` works on it.
    msi: bool,
}

/// AMD's, as in EPYC processors.
pub const AMD: Family = Family {
    name: "amd",
    driver: "ntb_hw_amd",
    windows: 3,
    link: Outcome::Unsupported,
    messages: Outcome::Unsupported,
    // It takes 9 scratchpads and vectors that the driver leaves free: there are 8, and none.
    msi: false,
};

/// All of them.
pub const ALL: &[Family] = &[AMD];

impl Family {
    /// What a bed is made of to test it.
    pub fn options(&self) -> Options {
        // ntb_perf wants all windows alike, and allocates a buffer as large as one.
        let window = Window {
            size: 1 << 20,
            direct: false,
        };
        Options {
            windows: vec![window; self.windows],
            network: true,
            ..Options::default()
        }
    }

    /// What the script must say, in order, when it runs between two ends.
    pub fn expected(&self) -> Vec<Test> {
        let test = |name: &str, outcome| Test {
            name: name.into(),
            outcome,
        };
        let twice = |name: &str, outcome| [test(name, outcome), test(name, outcome)];
        let mut tests = vec![test("port", Outcome::Passed)];
        tests.extend(twice("link", self.link));
        tests.extend(twice("db", Outcome::Passed));
        tests.extend(twice("spad", Outcome::Passed));
        tests.extend(twice("msg", self.messages));
        for _direction in 0..2 {
            tests.extend(
                (0..self.windows).map(|window| test(&format!("mw{window}"), Outcome::Passed)),
            );
        }
        tests.push(test("ping pong", Outcome::Passed));
        if self.msi {
            tests.push(test("port", Outcome::Passed));
            tests.extend(twice("MSI interrupt", Outcome::Passed));
        } else {
            tests.push(test("MSI", Outcome::NotDone));
        }
        tests.push(test("local perf", Outcome::Passed));
        tests.push(test("remote perf", Outcome::Passed));
        tests
    }
}
