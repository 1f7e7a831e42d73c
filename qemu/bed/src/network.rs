// SPDX-License-Identifier: GPL-2.0

//! The hosts' own network: one segment, made of nothing but their QEMUs.
//!
//! The first host's QEMU holds a hub. Every other one sends its frames there, as datagrams on a UNIX socket: a host
//! may go and come back at any time. Frames of the first host's own cross no socket. Addresses are the guests'
//! affair: `qemu/guest/init` gives each host that of its place in the list.

use crate::options::{HostOptions, Options};

/// The PCI device number of a host's network card: below those that NTBs may have.
const SLOT: u32 = 0x13;

/// The hosts in order, as the guests want them.
pub(crate) fn names(options: &Options) -> String {
    let names: Vec<&str> = options.hosts.iter().map(|host| &*host.name).collect();
    names.join(",")
}

/// QEMU's arguments that put a host on the network.
pub(crate) fn args(options: &Options, host: &HostOptions) -> Vec<(&'static str, String)> {
    let place = options.hosts.iter().position(|other| other == host);
    let mut args = Vec::new();
    match options.hosts.split_first() {
        Some((first, others)) if first.name == host.name => {
            args.push(("-netdev", "hubport,id=net,hubid=0".into()));
            for (port, other) in others.iter().enumerate() {
                args.push((
                    "-netdev",
                    datagrams(&format!("to{port}"), &other.name, "hub", "net"),
                ));
                args.push((
                    "-netdev",
                    format!("hubport,id=port{port},hubid=0,netdev=to{port}"),
                ));
            }
        }
        _ => args.push(("-netdev", datagrams("net", &host.name, "net", "hub"))),
    }
    args.push((
        "-device",
        format!(
            "virtio-net-pci,netdev=net,addr={SLOT:#x},romfile=,mac=52:54:00:27:00:{:02x}",
            place.unwrap_or(0) + 1
        ),
    ));
    args
}

/// A connection between `HOST.hub`, where the hub listens for a host, and `HOST.net`, where that host does.
fn datagrams(id: &str, host: &str, own: &str, peer: &str) -> String {
    format!(
        "dgram,id={id},local.type=unix,local.path=/run/bed/{host}.{own},remote.type=unix,remote.path=/run/bed/{host}.{peer}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &Options, name: &str) -> String {
        let host = options.hosts.iter().find(|host| host.name == name).unwrap();
        let args = args(options, host);
        let words: Vec<String> = args
            .iter()
            .map(|(option, value)| format!("{option} {value}"))
            .collect();
        words.join("\n")
    }

    #[test]
    fn every_host_but_the_first_has_one_connection_to_the_hub() {
        let mut options = Options::default();
        options.hosts.push(HostOptions::new("third"));
        let hub = of(&options, "lender");
        for other in ["borrower", "third"] {
            assert!(hub.contains(&format!("local.path=/run/bed/{other}.hub,remote.type=unix,remote.path=/run/bed/{other}.net")), "{hub}");
            let host = of(&options, other);
            assert!(host.contains(&format!("local.path=/run/bed/{other}.net,remote.type=unix,remote.path=/run/bed/{other}.hub")), "{host}");
            assert!(!host.contains("hubport"), "{host}");
        }
        assert_eq!(hub.matches("hubport,").count(), 3);
        assert!(of(&options, "third").ends_with("mac=52:54:00:27:00:03"));
        assert_eq!(names(&options), "lender,borrower,third");
    }
}
