// SPDX-License-Identifier: GPL-2.0

//! How long it takes to lend, borrow and return a disk, and to read a register of its configuration space, by the clock of the host
//! that is told to.

use anyhow::{ensure, Context, Result};
use devlend_bed::Host;

use crate::case::{Case, Measure, Part};
use crate::hosts::{other, Borrowed, Hosts, LIMIT, NVME};

const TIME: Measure = Measure::less("time", "milliseconds");
const ACCESS: Measure = Measure::less("time of an access", "microseconds");

/// Lends, borrows and returns, again and again.
pub fn measure(hosts: &Hosts<'_>, rounds: u32) -> Result<Vec<Case>> {
    let lender = hosts.lender();
    let borrower = hosts.borrower();
    let at = |file: &str| hosts.at_borrower.path(file);
    let state = at(&format!("offers/{NVME}/state"));
    let address = at(&format!("offers/{NVME}/local_address"));
    let until = |state_is: &str| until(&format!("[ \"$(<{state})\" = {state_is} ]"));
    let disk = self::until("compgen -G /sys/bus/pci/devices/$a/nvme/nvme*/nvme*n1 >/tmp/found");

    let [mut unbind, mut bind, mut lend, mut borrow, mut give_back, mut reclaim] =
        [const { Vec::new() }; 6];
    for _ in 0..rounds {
        unbind.push(took(
            lender,
            &format!("echo {NVME} >/sys/bus/pci/drivers/nvme/unbind"),
        )?);
        bind.push(took(
            lender,
            &format!("a={NVME}; echo $a >/sys/bus/pci/drivers/nvme/bind; {disk}"),
        )?);
        lend.push(took(
            lender,
            &format!("echo '{NVME} unsafe' >/sys/kernel/devlend/lender/lend"),
        )?);
        hosts.offer().wait_state("available", LIMIT)?;
        borrow.push(took(
            borrower,
            &format!(
                "echo {NVME} >{}; {}; a=$(<{address}); {disk}",
                at("borrow"),
                until("borrowed")
            ),
        )?);
        give_back.push(took(
            borrower,
            &format!("echo {NVME} >{}; {}", at("return"), until("available")),
        )?);
        reclaim.push(took(
            lender,
            &format!("echo {NVME} >/sys/kernel/devlend/lender/reclaim; a={NVME}; {disk}"),
        )?);
    }
    let case = |run: &str, figures: &[f64]| Case::new(Part::Control, run, TIME, figures);
    let unbound = "unbind in the lender";
    let bound = "bind in the lender";
    Ok(vec![
        case("lend", &lend).against(unbound, &lend, &unbind),
        case("borrow, until there is a disk", &borrow).against(bound, &borrow, &bind),
        case("return, until it can be borrowed again", &give_back)
            .against(unbound, &give_back, &unbind),
        case("reclaim, until there is a disk", &reclaim).against(bound, &reclaim, &bind),
    ])
}

/// Waits in a host's shell, without keeping the only processor from what is waited for.
pub fn until(condition: &str) -> String {
    // `read` from what never says anything is a sleep without a process.
    format!("until {condition}; do read -t 0.002 -u 3 || :; done")
}

/// Milliseconds that a command takes in a host.
pub fn took(host: &Host, command: &str) -> Result<f64> {
    let text = host.sh_ok(&format!(
        "set -e; mkfifo /tmp/silence 2>/dev/null || :; exec 3<>/tmp/silence; s=$EPOCHREALTIME; {command}; e=$EPOCHREALTIME; echo $(( ${{e/./}} - ${{s/./}} ))"
    ))?;
    Ok(number(&text)? / 1000.0)
}

fn number(text: &str) -> Result<f64> {
    text.parse()
        .with_context(|| format!("'{text}' is no number"))
}

/// Accesses of a measurement.
const ACCESSES: u32 = 300;

/// Who answers when a register of a borrowed device is read.
#[derive(Clone, Copy)]
struct Answerer {
    name: &'static str,
    /// Where such a register is.
    offset: u32,
    /// The file that counts its answers.
    counter: &'static str,
}

/// The vendor does not change.
const SHADOW: Answerer = Answerer {
    name: "shadow",
    offset: 0,
    counter: "config_reads_shadow",
};

/// The status does.
const LENDER: Answerer = Answerer {
    name: "lender",
    offset: 4,
    counter: "config_reads_peer",
};

/// Reads registers of the borrowed disk's configuration space, by turns with one of the borrower's own disk and with the kernel's
/// `ntb_pingpong`: a doorbell and a scratchpad each way, over a bridge of the same kind.
pub fn registers(hosts: &Hosts<'_>, borrowed: &Borrowed, rounds: u32) -> Result<Vec<Case>> {
    let host = hosts.borrower();
    let [mut shadow, mut lender, mut own, mut trip, mut ping_pong] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        let answered_here = answered(hosts, borrowed, SHADOW)?;
        let answered_there = answered(hosts, borrowed, LENDER)?;
        shadow.push(answered_here);
        lender.push(answered_there);
        // The system call's part is the same.
        trip.push(answered_there - answered_here);
        own.push(access(host, NVME, LENDER.offset)?);
        ping_pong.push(pinged(hosts)?);
    }
    let register = |answerer: Answerer, figures: &[f64]| {
        let run = format!("read of a register that the {} answers", answerer.name);
        let case = Case::new(Part::Control, run, ACCESS, figures);
        case.against("a local device's", figures, &own)
    };
    Ok(vec![
        register(SHADOW, &shadow),
        register(LENDER, &lender),
        Case::new(Part::Control, "round trip of a message", ACCESS, &trip).against(
            "ntb_pingpong",
            &trip,
            &ping_pong,
        ),
    ])
}

/// Microseconds of a read that somebody answers; that it is them is checked.
fn answered(hosts: &Hosts<'_>, borrowed: &Borrowed, answerer: Answerer) -> Result<f64> {
    let count = || {
        let values = hosts.offer().values()?;
        let text = values.get(answerer.counter);
        number(text.context("no such counter")?)
    };
    let before = count()?;
    let time = access(hosts.borrower(), &borrowed.address, answerer.offset)?;
    let answered = count()? - before;
    ensure!(
        answered >= f64::from(ACCESSES),
        "of {ACCESSES} reads the {} answered {answered}",
        answerer.name
    );
    Ok(time)
}

/// Microseconds of a read of four bytes of a function's configuration space.
fn access(host: &Host, address: &str, offset: u32) -> Result<f64> {
    let text = host.sh_ok(&format!(
        "perl -MTime::HiRes=time -e 'open(F, \"<\", $ARGV[0]) or die; my $s = time; \
         for (1..{ACCESSES}) {{ sysseek(F, {offset}, 0); sysread(F, my $b, 4) == 4 or die }} \
         printf \"%.3f\", (time() - $s) * 1e6 / {ACCESSES}' /sys/bus/pci/devices/{address}/config"
    ))?;
    number(&text)
}

/// Microseconds of `ntb_pingpong`'s way there and back.
fn pinged(hosts: &Hosts<'_>) -> Result<f64> {
    let ends = [hosts.lender(), hosts.borrower()];
    let address = other(hosts.bed, hosts.borrower()).context("there is no second link")?;
    for host in ends {
        host.sh_ok("modprobe ntb_pingpong delay_ms=0")?;
    }
    let count = format!("/sys/kernel/debug/ntb_pingpong/{address}/count");
    let text = hosts.borrower().sh_ok(&format!(
        "until [ $(cat {count}) -gt 0 ]; do sleep 0.1; done; a=$(cat {count}); s=$EPOCHREALTIME; sleep 1; \
         b=$(cat {count}); e=$EPOCHREALTIME; echo $(( ${{e/./}} - ${{s/./}} )) $(( b - a ))"
    ))?;
    for host in ends {
        // Others may want the link.
        host.sh_ok("rmmod ntb_pingpong")?;
    }
    let (time, trips) = text.split_once(' ').context("no counts")?;
    let trips = number(trips)?;
    ensure!(trips > 0.0, "ntb_pingpong does not get on");
    Ok(number(time)? / trips)
}
