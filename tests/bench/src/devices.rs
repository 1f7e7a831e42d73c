// SPDX-License-Identifier: GPL-2.0

//! What one more borrowed device costs the borrower, without what its driver costs.

use anyhow::{Context, Result};
use devlend_bed::Host;

use crate::case::{Case, Measure, Part};
use crate::control::{took, until};
use crate::hosts::{places, Hosts, LIMIT, MANY};

/// After how many devices is looked.
const STEPS: [usize; 3] = [1, 4, MANY];

const TIME: Measure = Measure::less("time to borrow one more", "milliseconds");
const MESSAGES: Measure = Measure::less("messages to borrow one more", "requests");
const MEMORY: Measure = Measure::less("kernel memory", "KiB a device");

/// Borrows one after the other, as often as asked.
pub fn measure(hosts: &Hosts<'_>, rounds: u32) -> Result<Vec<Case>> {
    let borrower = hosts.borrower();
    let places: Vec<String> = places().collect();
    for place in &places {
        hosts.lending().lend(&format!("{place} unsafe"))?;
    }
    borrower.sh_ok("echo 0 >/sys/bus/pci/drivers_autoprobe")?;
    let [mut time, mut messages, mut memory] = [const { [const { Vec::new() }; STEPS.len()] }; 3];
    // What the first devices make the kernel keep is not another one's cost.
    borrow_all(hosts, &places)?;
    return_all(hosts, &places)?;
    for _ in 0..rounds {
        // What is freed late is waited for.
        kernel_memory(borrower)?;
        let before = kernel_memory(borrower)?;
        for (index, place) in places.iter().enumerate() {
            let sent = hosts.at_borrower.number("requests_sent")?;
            let took = borrow(hosts, place)?;
            if let Some(step) = STEPS.iter().position(|step| *step == index + 1) {
                time[step].push(took);
                let sent = hosts.at_borrower.number("requests_sent")? - sent;
                messages[step].push(sent as f64);
                let more = kernel_memory(borrower)? - before;
                memory[step].push(more / (index + 1) as f64);
            }
        }
        return_all(hosts, &places)?;
    }
    borrower.sh_ok("echo 1 >/sys/bus/pci/drivers_autoprobe")?;
    for place in &places {
        hosts.lending().reclaim(place)?;
    }
    let cases = |measure: Measure, figures: &[Vec<f64>]| -> Vec<Case> {
        let first = figures.first().cloned().unwrap_or_default();
        let steps = STEPS.iter().zip(figures);
        steps
            .map(|(step, figures)| {
                let run = match step {
                    1 => "1 device".to_string(),
                    more => format!("{more} devices"),
                };
                Case::new(Part::Devices, run, measure, figures).against(
                    "the first",
                    figures,
                    &first,
                )
            })
            .collect()
    };
    let mut all = cases(TIME, &time);
    all.extend(cases(MESSAGES, &messages));
    all.extend(cases(MEMORY, &memory));
    Ok(all)
}

/// Milliseconds until a device is there.
fn borrow(hosts: &Hosts<'_>, place: &str) -> Result<f64> {
    hosts
        .at_borrower
        .offer(place)
        .wait_state("available", LIMIT)?;
    let state = hosts.at_borrower.path(&format!("offers/{place}/state"));
    let there = until(&format!("[ \"$(<{state})\" = borrowed ]"));
    took(
        hosts.borrower(),
        &format!(
            "echo {place} >{}; {there}",
            hosts.at_borrower.path("borrow")
        ),
    )
}

fn borrow_all(hosts: &Hosts<'_>, places: &[String]) -> Result<()> {
    places
        .iter()
        .try_for_each(|place| borrow(hosts, place).map(drop))
}

fn return_all(hosts: &Hosts<'_>, places: &[String]) -> Result<()> {
    places
        .iter()
        .try_for_each(|place| hosts.at_borrower.offer(place).give_back())
}

/// KiB of what a device is made of: objects in the slab caches for them, memory that is mapped, and memory for each processor. What
/// programs make the kernel keep is left out.
fn kernel_memory(host: &Host) -> Result<f64> {
    let text = host.sh_ok(
        "echo 3 >/proc/sys/vm/drop_caches; sleep 0.3; for cache in /sys/kernel/slab/*/shrink; do echo 1 >$cache; done; \
         awk '/^(kmalloc|kernfs)/ { bytes += $2 * $4 } END { print bytes / 1024 }' /proc/slabinfo; \
         awk '/^(VmallocUsed|Percpu):/ { kib += $2 } END { print kib }' /proc/meminfo",
    )?;
    let numbers = text.lines().map(str::parse::<f64>);
    let sum = numbers.sum::<std::result::Result<f64, _>>();
    sum.with_context(|| format!("'{text}' are no numbers"))
}
