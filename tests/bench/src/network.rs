// SPDX-License-Identifier: GPL-2.0

//! A borrowed network card against one of the borrower's own, of the same model (QEMU's e1000e), by turns: both are on one network,
//! and send to and receive from another card of the lender's there.

use anyhow::{Context, Result};
use devlend_bed::{until, Host, Seen};

use crate::case::{Case, Measure, Part};
use crate::hosts::{Hosts, CARD, FAR, LIMIT};
use crate::speed::LOCAL;

const RATE: Measure = Measure::more("network throughput", "Mbit/s");

/// The far end's address.
const SERVER: &str = "10.29.0.1";

/// Which way data goes, as iperf3 is told.
const WAYS: [(&str, &str); 2] = [("TCP, sent", ""), ("TCP, received", "--reverse")];

/// A card in the borrower.
struct Card {
    interface: String,
    address: &'static str,
}

/// Borrows the lender's card and measures both, as often as asked.
pub fn measure(hosts: &Hosts<'_>, rounds: u32) -> Result<Vec<Case>> {
    let (lender, borrower) = (hosts.lender(), hosts.borrower());
    // Not before: the first card is that of the hosts' network.
    lender.sh_ok("modprobe e1000e")?;
    let far = lender.wait_interface(FAR, LIMIT)?;
    lender.sh_ok(&format!(
        "ip link set {far} up && ip addr add {SERVER}/24 dev {far}"
    ))?;
    lender.sh_ok("iperf3 --server --daemon </dev/null &>/dev/null")?;
    // Two cards are in one network: each answers for its own address only.
    borrower.sh_ok("modprobe e1000e; cd /proc/sys/net/ipv4/conf/all && echo 1 >arp_ignore && echo 2 >arp_announce")?;
    hosts.lending().lend(&format!("{CARD} unsafe"))?;
    let borrowed = hosts.at_borrower.offer(CARD).borrow()?;
    let cards = [
        up(borrower, &borrowed, "10.29.0.2")?,
        up(borrower, CARD, "10.29.0.3")?,
    ];
    let mut seen = [const { [const { Vec::new() }; 2] }; WAYS.len()];
    for round in 0..rounds {
        for (way, seen) in WAYS.iter().zip(&mut seen) {
            // Who comes first changes from round to round.
            for turn in 0..2 {
                let which = (round as usize + turn) % 2;
                seen[which].push(megabits(borrower, &cards[which], way.1)?);
            }
        }
    }
    let all = cards.each_ref().map(|card| card.interface.as_str());
    borrower.sh_ok(&format!(
        "for i in {}; do ip link set $i down; done",
        all.join(" ")
    ))?;
    hosts.at_borrower.offer(CARD).give_back()?;
    let reclaimed = hosts.lending().try_reclaim(CARD)?;
    reclaimed.ok().context("the card cannot be taken back")?;
    lender.sh_ok("pkill iperf3")?;
    let cases = WAYS.iter().zip(&seen).map(|((name, _), [ours, theirs])| {
        Case::new(Part::Network, *name, RATE, ours).against(LOCAL, ours, theirs)
    });
    Ok(cases.collect())
}

/// Gives a function's interface an address, and waits until it reaches the server.
fn up(host: &Host, function: &str, address: &'static str) -> Result<Card> {
    let interface = host.wait_interface(function, LIMIT)?;
    host.sh_ok(&format!(
        "ip link set {interface} up && ip addr add {address}/24 dev {interface}"
    ))?;
    until(&format!("{interface} to reach {SERVER}"), LIMIT, || {
        let ping = host.sh(&format!("ping -I {interface} -c 1 -W 2 {SERVER}"))?;
        Ok(if ping.ok() {
            Seen::Yes(())
        } else {
            Seen::NotYet(ping.text().into_owned())
        })
    })?;
    Ok(Card { interface, address })
}

/// What arrives in two seconds, each second.
fn megabits(host: &Host, card: &Card, way: &str) -> Result<f64> {
    let Card { interface, address } = card;
    let report = host.sh_ok(&format!(
        "iperf3 --client {SERVER} --bind {address} --bind-dev {interface} --time 2 --json {way}"
    ))?;
    let report: serde_json::Value =
        serde_json::from_str(&report).context("iperf3's report is not understood")?;
    let rate = report
        .pointer("/end/sum_received/bits_per_second")
        .and_then(serde_json::Value::as_f64);
    rate.map(|rate| rate / 1e6)
        .with_context(|| format!("iperf3 moved nothing: {report}"))
}
