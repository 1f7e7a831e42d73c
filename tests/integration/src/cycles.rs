// SPDX-License-Identifier: GPL-2.0

//! Lending, borrowing and returning again and again: what each leaves behind adds up. It takes long, so it is left out unless
//! `DEVLEND_CYCLES` says how often (`make test-cycles` does).

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::{patient, Host};

use crate::cases;
use crate::pair::{Pair, NVME};
use crate::runner::Case;

/// The test, if it is asked for.
pub const CASES: &[Case] = cases![Pair(leave_nothing_behind),];

/// How often.
pub fn wanted() -> Option<u32> {
    std::env::var("DEVLEND_CYCLES").ok()?.parse().ok()
}

/// Caches, pools and lists that are made with the first device are there before it is counted.
const WARM_UP: u32 = 20;

/// How often before it says how far it is.
const TURN: u32 = 50;

fn leave_nothing_behind(pair: &Pair<'_>) -> Result<()> {
    let wanted = wanted().context("DEVLEND_CYCLES is no number")?;
    ensure!(
        wanted >= 100,
        "growth is not to be told from chance in {wanted} cycles: 100 at least"
    );
    cycle(pair, WARM_UP)?;
    let hosts = [pair.lender, pair.borrower];
    let before = hosts.map(objects);
    let mut done = 0;
    while done < wanted {
        let turn = (wanted - done).min(TURN);
        cycle(pair, turn)?;
        done += turn;
        eprintln!("    {done} of {wanted} cycles");
    }
    for (host, before) in hosts.into_iter().zip(before) {
        let (before, after) = (before?, objects(host)?);
        let grown = grown(&before, &after, wanted);
        ensure!(
            grown.is_empty(),
            "the {} has more than before {wanted} cycles: {}",
            host.name(),
            grown.join(", ")
        );
        eprintln!("    the {}: {}", host.name(), summary(&before, &after));
    }
    Ok(())
}

/// Lends, borrows, waits for the driver, returns and takes back, so many times. A script in each host does it, which waits for the
/// other: a command for every step would take longer than the step.
fn cycle(pair: &Pair<'_>, times: u32) -> Result<()> {
    let lender = format!(
        "cd /sys/kernel/devlend/lender
        lends() {{ echo {NVME} unsafe >lend; }} 2>/dev/null
        ended() {{ local now; read -r now <leases_ended; ((now > before)); }}
        for ((i = 1; i <= {times}; i++)); do
            read -r before <leases_ended
            # The kernel may still be looking for partitions on it.
            patiently lends
            patiently ended
            patiently state offers/{NVME} offered
            echo {NVME} >reclaim || exit
            patiently [ -e /sys/bus/pci/devices/{NVME}/driver ]
        done"
    );
    let borrower = format!(
        "cd {link}
        offer=offers/{NVME}
        for ((i = 1; i <= {times}; i++)); do
            patiently state $offer available
            exec 8<$offer
            echo {NVME} >borrow || exit
            patiently state $offer borrowed
            read -r address <$offer/local_address
            patiently [ -e /sys/bus/pci/devices/$address/driver ]
            echo {NVME} >return || exit
            patiently taken $offer
        done",
        link = pair.at_borrower.path("")
    );
    let limit = Duration::from_secs(10) * times;
    thread::scope(|scope| {
        let lender = scope.spawn(|| run(pair.lender, limit, &lender));
        let borrower = run(pair.borrower, limit, &borrower);
        let lender = lender.join().unwrap_or_else(|panic| resume_unwind(panic));
        // Each waits for the other: what failed in one is what the other waited for.
        lender.and(borrower)
    })
}

fn run(host: &Host, limit: Duration, script: &str) -> Result<()> {
    let looks = patient(Duration::from_secs(60)).as_millis() / 50;
    let output = host.sh_within(limit, &format!("looks={looks}{WAIT}\n{script}"))?;
    ensure!(output.ok(), "the {}: {}", host.name(), output.error_text());
    Ok(())
}

/// For the scripts, without a new process for each look.
const WAIT: &str = r#"
    mkfifo /tmp/never; exec 9<>/tmp/never; rm /tmp/never
    # The directory that was opened is no longer there, although another one may be.
    taken() { [ ! -e "$1" ] || [ ! "$1" -ef /proc/self/fd/8 ]; }
    state() { local seen; { read -r seen <"$1/state"; } 2>/dev/null && [ "$seen" = "$2" ]; }
    patiently() {
        local look
        for ((look = 0; look < looks; look++)); do
            "$@" && return
            read -rt 0.05 <&9
        done
        echo "cycle $i: waited for $* in vain" >&2
        exit 1
    }"#;

/// How many objects each slab cache has in use, and how many areas `vmalloc` has.
fn objects(host: &Host) -> Result<BTreeMap<String, u64>> {
    // What is freed but held back (by RCU, in caches of each CPU) counts as in use until a cache is shrunk; areas of `vmalloc` and
    // `ioremap`, until the kernel has to change page attributes, as it does for a module.
    let text = host.sh_ok(
        "sleep 10; modprobe loop && rmmod loop; for shrink in /sys/kernel/slab/*/shrink; do echo 1 >$shrink; done; \
         tail -n +3 /proc/slabinfo | awk '{ print $1, $2 }'; echo vmalloc areas=$(wc -l </proc/vmallocinfo) | tr ' =' '_ '",
    )?;
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_string(), count.parse().ok()?))
    };
    text.lines()
        .map(|text| line(text).with_context(|| format!("not a cache and a number: {text}")))
        .collect()
}

/// What has grown by an object in two cycles, or faster: a leak, even if not each cycle takes the path with it.
fn grown(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    cycles: u32,
) -> Vec<String> {
    after
        .iter()
        .filter_map(|(name, now)| {
            let then = before.get(name).copied().unwrap_or(0);
            (now.saturating_sub(then) >= u64::from(cycles / 2))
                .then(|| format!("{name} {then} -> {now}"))
        })
        .collect()
}

fn summary(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let sum = |objects: &BTreeMap<String, u64>| objects.values().sum::<u64>();
    let most = after
        .iter()
        .map(|(name, now)| {
            (
                now.saturating_sub(before.get(name).copied().unwrap_or(0)),
                name,
            )
        })
        .max();
    let most = most.map_or(String::new(), |(by, name)| {
        format!("; most has {name} grown, by {by}")
    });
    format!(
        "{} slab objects before, {} after{most}",
        sum(before),
        sum(after)
    )
}
