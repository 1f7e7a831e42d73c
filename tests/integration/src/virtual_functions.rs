// SPDX-License-Identifier: GPL-2.0

//! Virtual functions (SR-IOV): the lender keeps the physical function and lends the virtual ones, each by itself.

mod card;
mod nvme;
mod physical;

use std::time::Duration;

use anyhow::{bail, ensure, Result};
use devlend_bed::devlend::Lender;
use devlend_bed::{Bed, Errno, Host, Options};

use crate::cases;
use crate::pair::{finally, logged, options, refused, Pair};
use crate::runner::Case;
use crate::three_hosts::{self, Row};

use card::{Card, Traffic, PHYSICAL_0, PHYSICAL_1, SERVE};
use physical::Physical;

pub const CASES: &[Case] = cases![
    Own(card, two_of_a_network_card),
    Hosts(row, of_a_network_card_to_two_borrowers),
    Own(nvme::options, nvme::of_an_nvme),
];

const LIMIT: Duration = Duration::from_secs(60);

/// An igb below the root port that the options have.
const CARD: [&str; 4] = [
    "-netdev",
    "user,id=net0,restrict=on",
    "-device",
    "igb,netdev=net0,bus=rp0",
];

fn card() -> Result<Options> {
    let mut options = options()?;
    options
        .host_mut("lender")?
        .args
        .extend(CARD.map(String::from));
    Ok(options)
}

/// The host in the middle has the card.
fn row() -> Result<Options> {
    let mut options = three_hosts::row()?;
    let args = &mut options.host_mut("middle")?.args;
    args.extend(["-device", "pcie-root-port,id=rp0,chassis=1,slot=1,addr=0x4"].map(String::from));
    args.extend(CARD.map(String::from));
    Ok(options)
}

/// Takes back what is lent, if the test did not come to it.
fn reclaim_all(lender: &Host) -> Result<()> {
    for address in Lender(lender).offers()? {
        if let Err(errno) = Lender(lender).try_reclaim(&format!("{address} force"))? {
            bail!("taking {address} back gave {errno}");
        }
    }
    Ok(())
}

fn two_of_a_network_card(pair: &Pair<'_>) -> Result<()> {
    let physical = Physical::find(pair.lender, "igb")?;
    finally(with_card(pair, &physical), || reclaim_all(pair.lender))
}

fn with_card(pair: &Pair<'_>, physical: &Physical<'_>) -> Result<()> {
    let lender = pair.lending();
    let functions = physical.enable()?;
    card::serve(physical)?;

    // Not the one that has the others.
    let answer = logged(
        pair.lender,
        || lender.try_lend(&format!("{} unsafe force", physical.address)),
        |line| line.contains(&physical.address) && line.contains("2 virtual functions"),
        "that virtual functions are enabled",
    )?;
    refused(answer, &[Errno::EBUSY], "a physical function")?;
    ensure!(pair.lender.driver(&physical.address)?.as_deref() == Some("igb"));

    for function in &functions {
        lender.lend(&format!("{function} unsafe"))?;
    }
    let first = Card::borrow(&pair.at_borrower, &functions[0], "10.9.0.2")?;
    let second = Card::borrow(&pair.at_borrower, &functions[1], "10.9.1.2")?;
    shown_as_a_function_of_its_own(&first)?;
    first.check(PHYSICAL_0)?;
    second.check(PHYSICAL_1)?;

    // They are not taken away.
    let answer = logged(
        pair.lender,
        || physical.try_disable(),
        |line| line.contains(&physical.address) && line.contains("assigned"),
        "that virtual functions are in use",
    )?;
    refused(answer, &[Errno::EPERM, Errno::EBUSY], "disabling them")?;
    ensure!(physical.enabled()? == "2");

    // One is reset and then lost; the other goes on.
    let traffic = Traffic::start(pair.borrower, PHYSICAL_1)?;
    pair.borrower.write(
        &format!("/sys/bus/pci/devices/{}/reset", first.address),
        "1",
    )?;
    first.check(PHYSICAL_0)?;
    if let Err(errno) = lender.try_reclaim(&format!("{} force", first.lent))? {
        bail!("taking one back gave {errno}");
    }
    pair.wait_left(&first.address, LIMIT)?;
    traffic.end()?;
    second.check(PHYSICAL_1)?;
    refused(
        physical.try_disable()?,
        &[Errno::EPERM, Errno::EBUSY],
        "disabling them while one is lent",
    )?;

    // The driver takes the other one along when it goes. (Unbound by itself it makes Linux 7.2 complain of a lock, devlend or not.)
    pair.lender.write(&physical.file("remove"), "1")?;
    pair.wait_left(&second.address, LIMIT)?;
    ensure!(lender.offers()?.is_empty(), "there are offers left");
    for function in &functions {
        ensure!(!pair.lender.has_device(function)?, "{function} is there");
    }
    pair.lender.write("/sys/bus/pci/rescan", "1")?;
    pair.lender.wait_bound(&physical.address, LIMIT)?;

    // And all again, in good order.
    let functions = physical.enable()?;
    card::serve(physical)?;
    lender.lend(&format!("{} unsafe", functions[0]))?;
    let card = Card::borrow(&pair.at_borrower, &functions[0], "10.9.0.2")?;
    card.check(PHYSICAL_0)?;
    pair.at_borrower.offer(&functions[0]).give_back()?;
    if let Err(errno) = lender.try_reclaim(&functions[0])? {
        bail!("taking it back gave {errno}");
    }
    if let Err(errno) = physical.try_disable()? {
        bail!("disabling what is not lent any more gave {errno}");
    }
    // Alone, it can be lent itself.
    pair.lender
        .sh_ok(&format!("ip link set $(ls {}) down", physical.file("net")))?;
    lender.lend(&format!("{} unsafe", physical.address))?;
    lender.reclaim(&physical.address)
}

/// Ids and registers that a virtual function does not have itself.
fn shown_as_a_function_of_its_own(card: &Card<'_>) -> Result<()> {
    let address = &card.address;
    let text = card.host.sh_ok(&format!("lspci -D -n -k -s {address}"))?;
    ensure!(
        text.contains("0200: 8086:10ca") && text.contains("driver in use: igbvf"),
        "{text}"
    );
    let words = card.host.sh_ok(&format!(
        "setpci -s {address} 0.w 2.w COMMAND.w BASE_ADDRESS_0.l"
    ))?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let [vendor, device, command, bar] = words.as_slice() else {
        bail!("{words:?}");
    };
    let command = u16::from_str_radix(command, 16)?;
    ensure!(
        *vendor == "8086" && *device == "10ca" && command & 6 == 6 && *bar != "00000000",
        "{words:?}"
    );
    // No file of a physical or a virtual function's.
    let dir = format!("/sys/bus/pci/devices/{address}");
    ensure!(!card
        .host
        .sh(&format!("[ -e {dir}/physfn ] || [ -e {dir}/sriov_numvfs ]"))?
        .ok());
    Ok(())
}

/// One to each side, which talk to each other through the card; then one borrower dies.
fn of_a_network_card_to_two_borrowers(bed: &Bed) -> Result<()> {
    let row = Row::bring_up(bed)?;
    let physical = Physical::find(row.middle, "igb")?;
    let functions = physical.enable()?;
    card::serve(&physical)?;
    for (function, link) in functions.iter().zip([&row.to_left, &row.to_right]) {
        Lender(row.middle).lend(&format!("{function} unsafe for={}", link.name()))?;
    }
    let left = Card::borrow(&row.at_left, &functions[0], "10.9.0.2")?;
    let right = Card::borrow(&row.at_right, &functions[1], "10.9.0.3")?;
    ensure!(
        row.at_left.offer(&functions[1]).values()?.is_empty(),
        "what is for the right is shown to the left"
    );
    row.right.sh_ok(SERVE)?;
    left.check(PHYSICAL_0)?;
    right.check(PHYSICAL_0)?;
    left.check("10.9.0.3")?;

    let traffic = Traffic::start(row.right, PHYSICAL_0)?;
    row.left.kill()?;
    Lender(row.middle).wait_state(&functions[0], "offered", LIMIT)?;
    traffic.end()?;
    right.check(PHYSICAL_0)?;
    refused(
        physical.try_disable()?,
        &[Errno::EPERM, Errno::EBUSY],
        "disabling them",
    )?;
    reclaim_all(row.middle)?;
    if let Err(errno) = physical.try_disable()? {
        bail!("disabling what is not lent any more gave {errno}");
    }
    Ok(())
}
