// SPDX-License-Identifier: GPL-2.0

//! What people use a disk in another host with today: NVMe over TCP, and NBD.
//!
//! The lender serves a second NVMe of the same model with the kernel's own target, over a plain network between the hosts and over
//! `ntb_netdev` on a bridge like the one that devlend uses, and with `nbd-server` over the plain one.

use std::time::Duration;

use anyhow::{Context, Result};
use devlend_bed::{until, Host, Seen};

use crate::hosts::{Hosts, LIMIT, SERVED};

/// A disk that is reached in another way.
pub struct Peer {
    /// How.
    pub name: &'static str,
    /// Its device file in the borrower.
    pub disk: String,
}

const NETWORK: &str = "NVMe/TCP";
const BRIDGE: &str = "NVMe/TCP on ntb_netdev";
const NBD: &str = "NBD";
/// Addresses of the lender and the borrower on `ntb_netdev`.
const ON_BRIDGE: [&str; 2] = ["10.28.0.1", "10.28.0.2"];

/// Connects all of them.
pub fn connect(hosts: &Hosts<'_>) -> Result<Vec<Peer>> {
    let lender = hosts.lender();
    let borrower = hosts.borrower();
    let served = lender.wait_nvme(SERVED, LIMIT)?;
    let on_network = lender.sh_ok("getent hosts lender | cut -d' ' -f1")?;
    network_over_bridge(hosts)?;
    lender.sh_ok("modprobe nvmet-tcp && { mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config; }")?;
    borrower.sh_ok("modprobe nvme-tcp && modprobe nbd")?;
    Ok(vec![
        Peer {
            name: NETWORK,
            disk: over_tcp(lender, borrower, &served, 1, &on_network)?,
        },
        Peer {
            name: BRIDGE,
            disk: over_tcp(lender, borrower, &served, 2, ON_BRIDGE[0])?,
        },
        Peer {
            name: NBD,
            disk: over_nbd(lender, borrower, &served, &on_network)?,
        },
    ])
}

/// A network over the bridge that devices are not lent over.
fn network_over_bridge(hosts: &Hosts<'_>) -> Result<()> {
    let ends = [hosts.lender(), hosts.borrower()];
    for (host, address) in ends.iter().zip(ON_BRIDGE) {
        // It allocates a buffer as large as the window.
        host.sh_ok(&format!(
            "modprobe ntb_transport max_mw_size=0x100000 && modprobe ntb_netdev && {INTERFACE} && \
             ip addr add {address}/24 dev $i && ip link set $i up"
        ))?;
    }
    for host in ends {
        until("a network over the bridge", LIMIT, || {
            let carrier = host.sh_ok(&format!("{INTERFACE} && cat /sys/class/net/$i/carrier"))?;
            Ok(if carrier == "1" {
                Seen::Yes(())
            } else {
                Seen::NotYet(carrier)
            })
        })?;
    }
    let (lender, address) = (hosts.lender(), ON_BRIDGE[1]);
    lender
        .sh_ok(&format!("ping -c 1 -w 60 {address}"))
        .map(drop)
}

/// Finds the interface that is `ntb_netdev`'s.
const INTERFACE: &str =
    "i=$(for n in $(ls /sys/class/net); do ethtool -i $n 2>/dev/null | grep -q '^driver: ntb_netdev' && echo $n; done; true) && [ $i ]";

/// Serves a disk with the kernel's NVMe target, in a subsystem and at a port of its own, and connects to it.
fn over_tcp(
    lender: &Host,
    borrower: &Host,
    served: &str,
    number: u32,
    address: &str,
) -> Result<String> {
    let name = format!("bench{number}");
    lender.sh_ok(&format!(
        "set -e; cd /sys/kernel/config/nvmet; s=subsystems/{name}; p=ports/{number}; \
         mkdir $s; echo 1 >$s/attr_allow_any_host; mkdir $s/namespaces/1; \
         echo -n {served} >$s/namespaces/1/device_path; echo 1 >$s/namespaces/1/enable; \
         mkdir $p; echo ipv4 >$p/addr_adrfam; echo tcp >$p/addr_trtype; echo {address} >$p/addr_traddr; \
         echo 4420 >$p/addr_trsvcid; ln -s $PWD/$s $p/subsystems/{name}"
    ))?;
    let host = "12345678-1234-4321-8765-123456789abc";
    borrower.sh_ok(&format!(
        "nvme connect --transport=tcp --traddr={address} --trsvcid=4420 --nqn={name} \
         --hostnqn=nqn.2014-08.org.nvmexpress:uuid:{host} --hostid={host}"
    ))?;
    until(&format!("the disk of {name}"), LIMIT, || {
        let found = borrower.sh_ok(&format!(
            "for c in /sys/class/nvme/*; do [ \"$(cat $c/subsysnqn)\" != {name} ] || ls -d $c/nvme*n*; done; true"
        ))?;
        Ok(
            match found
                .lines()
                .next()
                .and_then(|path| path.rsplit('/').next())
            {
                Some(disk) => Seen::Yes(format!("/dev/{disk}")),
                None => Seen::NotYet("there is none".into()),
            },
        )
    })
}

/// Serves a disk with `nbd-server`, and connects to it.
fn over_nbd(lender: &Host, borrower: &Host, served: &str, address: &str) -> Result<String> {
    lender.sh_ok(&format!(
        "printf '[generic]\\nuser = root\\ngroup = root\\n[bench]\\nexportname = {served}\\n' >/tmp/nbd.conf && \
         nbd-server -C /tmp/nbd.conf -p /tmp/nbd.pid </dev/null &>/tmp/nbd.log"
    ))?;
    let disk = "/dev/nbd0";
    // It was seen to hang while it connects.
    let command = format!(
        "for try in 1 2 3; do timeout 20 nbd-client {address} {disk} -name bench </dev/null &>/tmp/nbd.log && exit 0; \
         nbd-client -d {disk} &>/dev/null; done; cat /tmp/nbd.log; exit 1"
    );
    let output = borrower.sh_within(Duration::from_secs(120), &command)?;
    let why = || format!("nbd-client does not connect: {}", output.text());
    output.ok().then(|| disk.into()).with_context(why)
}
