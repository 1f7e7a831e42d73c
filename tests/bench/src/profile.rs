// SPDX-License-Identifier: GPL-2.0

//! Where the borrower's processor is while it uses a borrowed disk, beside where it is while it uses its own: perf's samples as two
//! flame graphs and a table.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use devlend_bed::{Bed, Environment, Family, Host};
use inferno::collapse::{perf, Collapse};
use inferno::flamegraph;

use crate::fio::{self, Job, Until};
use crate::hosts::{self, Hosts};

/// What is looked at.
const JOB: Job = Job {
    name: "4 KiB random read, depth 1",
    kind: "randread",
    block: 4096,
    depth: 1,
};
/// Seconds that the job runs, after how many perf begins to look, and how long it looks.
const RUN: u32 = 20;
const BEGIN: u32 = 5;
const LOOK: u32 = 10;
/// Samples a second; a prime number, so that they do not follow what is done at regular times.
const RATE: u32 = 997;
/// Lines of the table.
const LINES: usize = 25;

/// Stacks as `outermost;...;innermost`, and for how long each was seen, in nanoseconds.
type Stacks = BTreeMap<String, u64>;

/// Looks at both and shows it.
pub fn run(family: Family) -> Result<()> {
    eprintln!("starting the hosts");
    let bed = Bed::start(hosts::plain(family)?)?;
    let hosts = Hosts::of(&bed)?;
    let borrowed = hosts.borrow()?;
    let directory = Environment::find()?.top.join("target/bench");
    fs::create_dir_all(&directory)?;
    let mut both = Vec::new();
    for (name, disk) in [("borrowed", &borrowed.disk), ("local", &hosts.local)] {
        eprintln!("{}, {name}: {LOOK} seconds", JOB.name);
        let stacks = sample(hosts.borrower(), disk)?;
        let path = directory.join(format!("profile-{name}.svg"));
        draw(&stacks, &format!("{}, {name}", JOB.name), &path)?;
        println!("{}", path.display());
        both.push(innermost(&stacks));
    }
    hosts.end()?;
    if let [borrowed, local] = &both[..] {
        print!("{}", table(borrowed, local));
    }
    Ok(())
}

/// Runs the job under perf.
fn sample(host: &Host, disk: &str) -> Result<Stacks> {
    let job = fio::command(&[disk], &JOB, Until::Seconds(RUN));
    // A processor without counters: its clock does. What fio does before it begins is left out.
    let command = format!(
        "({job}) </dev/null &>/dev/null & sleep {BEGIN}; \
         perf record -q -e cpu-clock -F {RATE} -a -g -o /tmp/perf.data sleep {LOOK} && wait && \
         perf script -i /tmp/perf.data --no-inline 2>/tmp/perf.log"
    );
    let output = host.sh_within(Duration::from_secs(300), &command)?;
    ensure!(
        output.ok(),
        "perf ended with status {}: {}",
        output.status,
        output.error_text()
    );
    let mut folded = Vec::new();
    perf::Folder::default()
        .collapse(output.text().as_bytes(), &mut folded)
        .context("perf's output is not understood")?;
    let stacks = unfold(&String::from_utf8_lossy(&folded));
    ensure!(
        stacks.keys().any(|stack| stack.contains("nvme_")),
        "perf saw nothing of the disk's driver"
    );
    Ok(stacks)
}

fn unfold(text: &str) -> Stacks {
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(stack, count)| Some((stack.to_string(), count.parse().ok()?)))
        .collect()
}

fn draw(stacks: &Stacks, title: &str, path: &std::path::Path) -> Result<()> {
    let mut options = flamegraph::Options::default();
    options.title = title.into();
    options.count_name = "ns".into();
    let lines: Vec<String> = stacks
        .iter()
        .map(|(stack, count)| format!("{stack} {count}"))
        .collect();
    let file = fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), file)
        .with_context(|| format!("drawing {}", path.display()))
}

/// How long each function was the one that was executed.
fn innermost(stacks: &Stacks) -> BTreeMap<String, u64> {
    let mut functions = BTreeMap::new();
    for (stack, time) in stacks {
        let function = stack.rsplit(';').next().unwrap_or_default();
        *functions.entry(function.to_string()).or_default() += time;
    }
    functions
}

/// The functions that were executed most with the borrowed disk, in percent of the time.
fn table(borrowed: &BTreeMap<String, u64>, local: &BTreeMap<String, u64>) -> String {
    let share = |functions: &BTreeMap<String, u64>, name: &str| {
        let time = functions.get(name).copied().unwrap_or(0);
        time as f64 * 100.0 / functions.values().sum::<u64>().max(1) as f64
    };
    let mut names: Vec<&String> = borrowed.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(borrowed.get(*name)));
    let mut text = format!(
        "\nPercent of the borrower's time, {}:\n\n{:>9} {:>9}  function\n",
        JOB.name, "borrowed", "local"
    );
    for name in names.into_iter().take(LINES) {
        let (ours, theirs) = (share(borrowed, name), share(local, name));
        text += &format!("{ours:>9.1} {theirs:>9.1}  {name}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_function_is_counted_whoever_calls_it() {
        let stacks = unfold("fio;main;read 2\nfio;read 3\nswapper;idle 1\n");
        let functions = innermost(&stacks);
        assert_eq!(functions, [("idle".into(), 1), ("read".into(), 5)].into());
        let text = table(&functions, &BTreeMap::new());
        assert!(text.contains("     83.3       0.0  read\n"), "{text}");
    }
}
