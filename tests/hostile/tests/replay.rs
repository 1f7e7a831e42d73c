// SPDX-License-Identifier: GPL-2.0

//! The functions that the fuzz targets in `tests/fuzz` feed, fed with random bytes and with what the fuzzer has found to
//! be interesting.

use devlend_hostile::{topology, TARGETS};
use proptest::collection::vec;
use proptest::prelude::*;

/// Each line of `seeds/TARGET.hex` is an input; together they reach what the fuzzer has reached.
#[test]
fn what_the_fuzzer_has_found_worth_keeping() {
    for (name, run) in TARGETS {
        let path = format!("{}/seeds/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let seeds = std::fs::read_to_string(path).unwrap();
        assert!(seeds.lines().count() > 20, "{name}");
        for (number, seed) in (1..).zip(seeds.lines()) {
            // For who reads of a failure.
            println!("{name}.hex line {number}");
            run(&bytes(seed));
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..2000)) {
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }

    #[test]
    fn topology_with_parts_that_make_sense(parts in vec(part(), 0..60)) {
        topology::run(parts.concat().as_bytes());
    }
}

/// What a topology file is made of.
fn part() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "[[host]]\n",
        "[[link]]\n",
        "name = \"a\"\n",
        "name = \"b\"\n",
        "ram = \"/a\"\n",
        "ram = \"/b\"\n",
        "[[host]]\nname = \"a\"\nram = \"/a\"\n",
        "[[host]]\nname = \"b\"\nram = \"/b\"\n",
        "windows = [\"1M\", \"64K\", \"4096,direct\"]\n",
        "windows = [\"1M\", \"2M\"]\n",
        "family = \"intel\"\n",
        "primary = { host = \"a\", socket = \"/1\" }\n",
        "primary = { host = \"b\", socket = \"/2\" }\n",
        "secondary = { host = \"b\", socket = \"/3\" }\n",
        "secondary = { host = \"c\", socket = \"/3\" }\n",
        "\"",
        "= ",
        "\n",
    ])
}
