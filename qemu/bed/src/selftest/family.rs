// SPDX-License-Identifier: GPL-2.0

//! The hardware families, and what the script can test on each.

use devlend_bed::{Family, HostOptions, LinkOptions, Options, Window};

use super::results::{Outcome, Test};

/// Size of every memory window: ntb_perf wants them alike, and allocates a buffer as large as one.
const WINDOW: Window = Window {
    size: 1 << 20,
    direct: false,
};

/// Where the two ends of the NTB are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In two hosts.
    Pair,
    /// Both in one host.
    Loop,
}

impl Shape {
    /// What a bed of this shape is made of to test a family.
    pub fn options(self, family: Family) -> Options {
        let mut options = Options {
            network: self == Self::Pair,
            // The script rings a doorbell, and looks at once whether it is there.
            posted_writes: false,
            ..Options::pair(family)
        };
        if self == Self::Loop {
            options.hosts = vec![HostOptions::new("host")];
            options.links = vec![LinkOptions::new("loop", family, ["host", "host"])];
        }
        for window in options.links.iter_mut().flat_map(|link| &mut link.windows) {
            *window = WINDOW;
        }
        options
    }
}

/// What the script can test on a family with its driver in this kernel.
struct Limits {
    /// Memory windows each way.
    windows: usize,
    /// Taking the link down, by each side.
    link: Outcome,
    /// Message registers.
    messages: Outcome,
    /// Whether `ntb_msi_test` works on it. It needs two ports with the number 0, and interrupt vectors that the driver
    /// has left free.
    msi: bool,
    /// Whether `ntb_perf` works on it. It needs a link that comes up on both sides at once.
    perf: bool,
}

/// Whether `ntb_perf` can be run on a family.
pub fn perf_works(family: Family) -> bool {
    limits(family).perf
}

fn limits(family: Family) -> Limits {
    match family {
        Family::Amd => Limits {
            windows: 3,
            link: Outcome::Unsupported,
            messages: Outcome::Unsupported,
            msi: false,
            perf: true,
        },
        Family::Intel => Limits {
            windows: 2,
            link: Outcome::Passed,
            messages: Outcome::Unsupported,
            msi: false,
            perf: true,
        },
        Family::Switchtec => Limits {
            windows: 2,
            link: Outcome::Passed,
            messages: Outcome::Unsupported,
            msi: true,
            perf: false,
        },
    }
}

/// What the script must say, in order.
pub fn expected(family: Family) -> Vec<Test> {
    let limits = limits(family);
    let test = |name: &str, outcome| Test {
        name: name.into(),
        outcome,
    };
    let twice = |name: &str, outcome| [test(name, outcome), test(name, outcome)];
    let mut tests = vec![test("port", Outcome::Passed)];
    tests.extend(twice("link", limits.link));
    tests.extend(twice("db", Outcome::Passed));
    tests.extend(twice("spad", Outcome::Passed));
    tests.extend(twice("msg", limits.messages));
    for _direction in 0..2 {
        tests.extend(
            (0..limits.windows).map(|window| test(&format!("mw{window}"), Outcome::Passed)),
        );
    }
    tests.push(test("ping pong", Outcome::Passed));
    if limits.msi {
        tests.push(test("port", Outcome::Passed));
        tests.extend(twice("MSI interrupt", Outcome::Passed));
    } else {
        tests.push(test("MSI", Outcome::NotDone));
    }
    if limits.perf {
        tests.push(test("local perf", Outcome::Passed));
        tests.push(test("remote perf", Outcome::Passed));
    } else {
        tests.push(test("perf", Outcome::NotDone));
    }
    tests
}
