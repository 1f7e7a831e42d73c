// SPDX-License-Identifier: GPL-2.0

//! Tests in running hosts: what only a kernel, a bridge and a device together can show.
//!
//! Most tests share a pair of hosts and leave it as they found it; the runner checks that they do, and that
//! neither kernel complained meanwhile. A test that fails costs the pair: the next one gets a fresh pair.

mod allowed;
mod auto;
mod bad_peer;
mod bare_ntb;
mod bed_itself;
mod borrow_errors;
mod breaking;
mod crossing_reads;
mod cycles;
mod data_path;
mod device_errors;
mod dma_modes;
mod events;
mod faults;
mod functions;
mod intx;
mod isolation;
mod keepalive;
mod keys;
mod lanes;
mod lend_errors;
mod lives;
mod many_devices;
mod plans;
mod sleep;
mod stops_first;
mod table;
mod take_back;
mod three_hosts;
mod two_devices;
mod unplug;
mod using;
mod virtual_functions;

use std::process::ExitCode;

use devlend_integration::{campaign, cases, job, pair, runner, times};
use libtest_mimic::Arguments;

use runner::{Case, Runner};

/// Tests at once, each with hosts of its own, on a processor of their own: a pair keeps one busy, and what crosses the bridge is handed
/// from process to process by threads that have to wait if another test's hosts have the processor. `--test-threads` says otherwise.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if let Err(error) = devlend_bed::end_on_signals() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    // Those that need the hosts without devlend come first among those that share them.
    let cases: Vec<Case> = [
        bed_itself::CASES,
        bare_ntb::CASES,
        bad_peer::CASES,
        lend_errors::CASES,
        borrow_errors::CASES,
        data_path::CASES,
        using::CASES,
        faults::CASES,
        lives::CASES,
        breaking::CASES,
        keepalive::CASES,
        sleep::CASES,
        keys::CASES,
        take_back::CASES,
        events::CASES,
        device_errors::CASES,
        auto::CASES,
        unplug::CASES,
        plans::CASES,
        dma_modes::CASES,
        two_devices::CASES,
        many_devices::CASES,
        isolation::CASES,
        stops_first::CASES,
        table::CASES,
        intx::CASES,
        functions::CASES,
        virtual_functions::CASES,
        three_hosts::CASES,
        bad_peer::CROWDS,
        allowed::CASES,
        crossing_reads::CASES,
        cycles::wanted().map_or(&[], |_| cycles::CASES),
    ]
    .concat();
    let family = match pair::family() {
        Ok(family) => family,
        Err(error) => {
            eprintln!("error: DEVLEND_NTB: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let runner = Runner::new();
    let trials = Runner::trials(&runner, cases, family, lanes::kernel);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if times::are_wanted() && !arguments.list {
        println!("{}", runner.times());
    }
    drop(runner);
    conclusion.exit_code()
}
