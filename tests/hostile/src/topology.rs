// SPDX-License-Identifier: GPL-2.0

//! Topology files that nobody would write.

use std::collections::HashSet;

use ntb_emu::fabric::Fabric;
use ntb_emu::topology::{parse_window, Topology};

/// Any text as a file, and as a window.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(window) = parse_window(text) {
        assert!(window.size.is_power_of_two() && (4096..=1 << 40).contains(&window.size));
    }
    let topology = match Topology::parse(text) {
        Ok(topology) => topology,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let (hosts, links) = (topology.hosts(), topology.links());
    assert!(!links.is_empty());
    let mut sockets = HashSet::new();
    for link in links {
        let [primary, secondary] = &link.ends;
        assert_ne!(primary.name, secondary.name);
        for end in &link.ends {
            assert!(end.name.starts_with(&hosts[end.host].name));
            assert!(sockets.insert(&end.socket), "{}", end.socket.display());
        }
    }
    match Fabric::new(&topology) {
        Ok(fabric) => assert_eq!(fabric.links().len(), links.len()),
        Err((name, error)) => {
            assert!(links.iter().any(|link| link.name == name));
            assert!(!error.to_string().is_empty());
        }
    }
}
