// SPDX-License-Identifier: GPL-2.0

//! The report as one page that needs nothing outside itself.

mod picture;

use devlend_bed::page;
use maud::{html, Markup};

use super::report::{bounced, Report};

/// The whole page.
pub fn render(report: &Report) -> Markup {
    let failed = report.checks.iter().filter(|check| !check.ok).count();
    let body = html! {
        h1 { "An NVMe borrowed over an NTB" }
        p {
            "Two virtual machines, joined by an emulated non-transparent bridge. The NVMe of the lender ("
            (report.lender_address) ") was used by the borrower (as " (report.borrower_address)
            ") with its unmodified " code { "nvme" } " driver, and given back. "
            @if failed == 0 {
                span.ok { "All " (report.checks.len()) " checks passed." }
            } @else {
                span.fail { (failed) " of " (report.checks.len()) " checks failed." }
            }
        }
        h2 { "The path, and what crossed it while fio ran" }
        (picture::render(report))
        h2 { "Checks" }
        (checks(report))
        h2 { "The device" }
        h3 { "in the lender, before" }
        pre { (report.lender_lspci) }
        h3 { "in the borrower (DMA mode " (report.dma_mode) ", isolation " (report.isolation) ")" }
        pre { (report.borrower_lspci) }
        h3 { "in the lender, after the return" }
        pre { (report.returned_lspci) }
        h2 { "The file of " (report.file_bytes >> 20) " MiB" }
        pre { "borrower  " (report.sha256_borrower) "\nlender    " (report.sha256_lender) }
        h2 { "The load" }
        (load(report))
        h2 { "The machines" }
        p {
            "Linux " (report.setting.kernel) ", QEMU with " (report.setting.accel) ", "
            @for memory in &report.setting.memory { (memory >> 20) " MiB, " }
            "NTB " (report.setting.ntb) " with windows " (report.setting.windows.join("; ")) ". "
            "An emulated machine shows what happens, not how fast real hardware is."
        }
    };
    page("devlend: an NVMe borrowed over an NTB", &body)
}

fn checks(report: &Report) -> Markup {
    html! {
        table {
            @for check in &report.checks {
                tr {
                    td { @if check.ok { span.ok { "ok" } } @else { span.fail { "FAIL" } } }
                    td { (check.what) }
                    td { (check.seen) }
                }
            }
        }
    }
}

fn load(report: &Report) -> Markup {
    let fio = &report.fio;
    html! {
        p {
            "fio on ext4: random reads and writes of 4 KiB over " (fio.bytes >> 20)
            " MiB, depth 8, every block read back and compared: "
            (fio.reads) " reads, " (fio.writes) " writes, error " (fio.error) ", "
            (format!("{:.1}", fio.seconds)) " s."
        }
        table {
            tr { td { "control messages" } td.number { (report.traffic.control_messages) } }
            tr { td { "bytes in bounce buffers" } td.number { (bounced(&report.traffic)) } }
            @for (vector, count) in &report.traffic.interrupts {
                tr { td { "interrupts, vector " (vector) } td.number { (count) } }
            }
            @for (name, count) in &report.traffic.emulator {
                tr { td { "ntb-emu: " (name) } td.number { (count) } }
            }
        }
    }
}
