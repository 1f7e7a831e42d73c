// SPDX-License-Identifier: GPL-2.0

//! Virtual functions of a network card, used by their borrowers.

use anyhow::{ensure, Result};
use devlend_bed::devlend::Link;
use devlend_bed::{until, Host, Seen};

use super::physical::Physical;
use super::LIMIT;
use crate::job::Job;

/// The physical function in the networks of the virtual ones.
pub const PHYSICAL_0: &str = "10.9.0.1";
pub const PHYSICAL_1: &str = "10.9.1.1";

/// Answers each connection with the sum of what was sent.
pub const SERVE: &str =
    "(socat TCP-LISTEN:5000,fork,reuseaddr EXEC:sha256sum >/tmp/socat.log 2>&1 &)";

/// The physical function's network interface, up, with an address in the networks of both virtual functions, and somebody
/// who says what arrives.
pub fn serve(physical: &Physical<'_>) -> Result<()> {
    let net = physical.file("net");
    let command = format!(
        "net=$(ls {net}) && ip link set $net up && ip addr flush dev $net && \
         ip addr add {PHYSICAL_0}/24 dev $net && ip addr add {PHYSICAL_1}/24 dev $net && {SERVE}"
    );
    physical.host.sh_ok(&command).map(drop)
}

/// A borrowed network function.
pub struct Card<'a> {
    pub host: &'a Host,
    /// Its address in the lender.
    pub lent: String,
    /// Its address here.
    pub address: String,
    /// Its interface here.
    net: String,
}

impl<'a> Card<'a> {
    /// Borrows what is lent, and gives its interface an address.
    pub fn borrow(link: &'a Link<'a>, lent: &str, ip: &str) -> Result<Self> {
        let host = link.host();
        host.sh_ok("modprobe igbvf")?;
        let address = link.offer(lent).borrow()?;
        let net = host.sh_ok(&format!("ls /sys/bus/pci/devices/{address}/net"))?;
        let card = Self {
            host,
            lent: lent.into(),
            address,
            net,
        };
        host.sh_ok(&format!(
            "ip link set {net} up && ip addr add {ip}/24 dev {net}",
            net = card.net
        ))?;
        Ok(card)
    }

    fn received(&self) -> Result<u64> {
        let file = format!("/sys/class/net/{}/statistics/rx_bytes", self.net);
        Ok(self.host.read(&file)?.parse()?)
    }

    /// Waits until a host answers.
    fn reach(&self, ip: &str) -> Result<()> {
        until(&format!("{} to reach {ip}", self.address), LIMIT, || {
            let output = self
                .host
                .sh(&format!("ping -c 1 -W 1 -I {} {ip}", self.net))?;
            Ok(if output.ok() {
                Seen::Yes(())
            } else {
                Seen::NotYet(output.text().into_owned())
            })
        })
    }

    /// Sends [more than the card's rings hold](send); what arrives must be what was sent, and the answer must have come this way.
    pub fn check(&self, ip: &str) -> Result<()> {
        self.reach(ip)?;
        let before = self.received()?;
        let sums = self.host.sh_ok(&send(ip))?;
        let mut sums = sums.lines();
        let (sent, arrived) = (sums.next(), sums.next());
        ensure!(
            sent.is_some() && sent == arrived,
            "{ip} got other data from {}: {sent:?}, {arrived:?}",
            self.address
        );
        ensure!(self.received()? > before, "nothing came back this way");
        Ok(())
    }
}

/// A command that sends data and prints their sum, then what the other end says it is.
///
/// More than the rings of the card and of its functions hold: 256 buffers (`IGB_DEFAULT_TXD`, `IGBVF_DEFAULT_TXD`) of 1,500 bytes.
pub fn send(ip: &str) -> String {
    format!(
        "head -c 600000 /dev/urandom >/tmp/{ip} && sha256sum </tmp/{ip} && \
         timeout 60 socat -t 30 - TCP:{ip}:5000 </tmp/{ip}"
    )
}

/// Traffic without an end that is under way until it [is enough](Traffic::end).
pub struct Traffic<'a> {
    host: &'a Host,
    job: Job<'a>,
}

impl<'a> Traffic<'a> {
    /// Starts to [send] again and again.
    pub fn start(host: &'a Host, ip: &str) -> Result<Self> {
        let send = send(ip);
        // Once more after the end is wanted: whatever happened before must have disturbed nothing that stays.
        let command =
            format!("{{ rm -f enough; until [ -e enough ]; do {send} || exit; done; {send}; }}");
        let job = Job::start(host, "traffic", &command)?;
        Ok(Self { host, job })
    }

    /// Ends it: all that was sent must have arrived.
    pub fn end(self) -> Result<()> {
        self.host.sh_ok("touch /tmp/enough")?;
        let (status, output) = self.job.end(3 * LIMIT)?;
        let lines: Vec<&str> = output.lines().collect();
        ensure!(
            status == 0
                && lines.len() >= 4
                && lines.chunks(2).all(|pair| pair.first() == pair.get(1)),
            "it was disturbed: {output}"
        );
        Ok(())
    }
}
