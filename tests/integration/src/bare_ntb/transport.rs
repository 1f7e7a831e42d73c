// SPDX-License-Identifier: GPL-2.0

//! The kernel's `ntb_transport` and the network over it, `ntb_netdev`.

use std::time::Duration;

use anyhow::{ensure, Result};
use devlend_bed::{until, Bed, Seen};

use super::unload;
use crate::pair::finally;

/// Addresses of the lender and the borrower.
const ADDRESSES: [&str; 2] = ["10.28.0.1", "10.28.0.2"];
/// What is sent over TCP, in bytes.
const SENT: usize = 512 << 10;
/// Takes one connection and prints what comes.
const LISTEN: &str = "perl -MIO::Socket::INET -e '\
    my $server = IO::Socket::INET->new(LocalPort => 5000, Listen => 1, ReuseAddr => 1) or die; \
    open(my $ready, \">\", \"/tmp/ready\") or die; \
    my $client = $server->accept; \
    while (sysread($client, my $bytes, 65536)) { print $bytes }'";

/// `ping` reaches the other host, and what is sent over TCP arrives as it was, both ways.
pub fn network(bed: &Bed) -> Result<()> {
    finally(talk(bed), || {
        unload(bed, "ntb_netdev")?;
        unload(bed, "ntb_transport")
    })
}

fn talk(bed: &Bed) -> Result<()> {
    let (lender, borrower) = (bed.host("lender")?, bed.host("borrower")?);
    for (host, address) in [lender, borrower].into_iter().zip(ADDRESSES) {
        host.load_ntb_drivers()?;
        // It allocates a buffer as large as the window.
        host.sh_ok(&format!(
            "modprobe ntb_transport max_mw_size=0x100000 && modprobe ntb_netdev && \
             ip addr add {address}/24 dev eth0 && ip link set eth0 up"
        ))?;
    }
    for host in [lender, borrower] {
        let what = format!("the {}'s network to be up", host.name());
        until(&what, Duration::from_secs(60), || {
            let carrier = host.read("/sys/class/net/eth0/carrier")?;
            Ok(if carrier == "1" {
                Seen::Yes(())
            } else {
                Seen::NotYet(carrier)
            })
        })?;
    }
    lender.sh_ok(&format!("ping -c 3 -i 0.2 -w 60 {}", ADDRESSES[1]))?;

    for (from, to, address) in [
        (lender, borrower, ADDRESSES[1]),
        (borrower, lender, ADDRESSES[0]),
    ] {
        to.sh_ok(&format!(
            "rm -f /tmp/ready /tmp/sum; ({LISTEN} | sha256sum >/tmp/sum.part; mv /tmp/sum.part /tmp/sum) \
             </dev/null &>/tmp/listen.log &"
        ))?;
        until("the listener", Duration::from_secs(60), || {
            let output = to.sh("cat /tmp/ready /tmp/listen.log")?;
            Ok(if output.ok() {
                Seen::Yes(())
            } else {
                Seen::NotYet(output.text().into_owned())
            })
        })?;
        let sent = from.sh_ok(&format!(
            "head -c {SENT} /dev/urandom >/tmp/data; cat /tmp/data >/dev/tcp/{address}/5000; sha256sum </tmp/data"
        ))?;
        let arrived = until("the end of the data", Duration::from_secs(60), || {
            let output = to.sh("cat /tmp/sum")?;
            Ok(if output.ok() {
                Seen::Yes(output.text().into_owned())
            } else {
                Seen::NotYet("no sum".into())
            })
        })?;
        ensure!(arrived == sent, "sent {sent}, arrived {arrived}");
    }
    Ok(())
}
