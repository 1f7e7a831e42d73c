// SPDX-License-Identifier: GPL-2.0

//! The picture: borrower's driver, the NTB's windows, lender's device, and the counted figures.

use maud::{html, Markup};

use crate::demo::report::{bounced, Report};

/// Height of one way.
const ROW: usize = 76;

/// One way across the bridge.
struct Way {
    /// What is at the borrower's end.
    borrower: &'static str,
    /// What is at the lender's end.
    lender: &'static str,
    name: &'static str,
    window: String,
    figure: String,
    /// The borrower starts the access.
    from_borrower: bool,
    /// Drawn dashed: not a way of data.
    control: bool,
}

/// The picture as inline SVG.
pub fn render(report: &Report) -> Markup {
    let ways = ways(report);
    html! {
        svg viewBox="0 0 920 400" role="img" aria-label="Path from the borrower's driver over the NTB to the lender's device" font-family="system-ui, sans-serif" font-size="14" {
            defs {
                marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse" {
                    path d="M0 0 L10 5 L0 10 z" fill="#57606a" {}
                }
            }
            (side(10, &format!("Borrower, {}", report.borrower_address), ways.iter().map(|way| way.borrower)))
            rect x="330" y="20" width="260" height="360" rx="8" fill="#fff8e6" stroke="#bf8700" {}
            text x="460" y="46" text-anchor="middle" font-weight="600" { "NTB" }
            (side(710, &format!("Lender, {}", report.lender_address), ways.iter().map(|way| way.lender)))
            @for (index, way) in ways.iter().enumerate() {
                (arrow(78 + index * ROW, way))
            }
        }
    }
}

/// A host: what is at its end of each way.
fn side(x: u32, title: &str, ends: impl Iterator<Item = &'static str>) -> Markup {
    html! {
        rect x=(x) y="20" width="200" height="360" rx="8" fill="#eef4ff" stroke="#0969da" {}
        text x=(x + 100) y="46" text-anchor="middle" font-weight="600" { (title) }
        @for (index, end) in ends.enumerate() {
            text x=(x + 100) y=(107 + index * ROW) text-anchor="middle" { (end) }
        }
    }
}

fn arrow(y: usize, way: &Way) -> Markup {
    let (from, to) = if way.from_borrower {
        (216, 704)
    } else {
        (704, 216)
    };
    let dashes = if way.control { "6 5" } else { "none" };
    html! {
        line x1=(from) y1=(y + 24) x2=(to) y2=(y + 24) stroke="#57606a" stroke-width="2" stroke-dasharray=(dashes) marker-end="url(#tip)" {}
        text x="460" y=(y) text-anchor="middle" font-weight="600" { (way.name) }
        text x="460" y=(y + 17) text-anchor="middle" fill="#57606a" { (way.window) }
        text x="460" y=(y + 42) text-anchor="middle" { (way.figure) }
    }
}

fn ways(report: &Report) -> Vec<Way> {
    let traffic = &report.traffic;
    let windows = &report.windows;
    let count = |host: &str, window: usize, what: &str| {
        traffic.emulated(&format!("ntb0.{host}.windows.{window}.{what}"))
    };
    let mapped = if windows.memory_direct {
        ", mapped directly"
    } else {
        ""
    };
    vec![
        Way {
            borrower: "nvme driver, unmodified",
            lender: "NVMe: registers",
            name: "registers, doorbells",
            window: format!("window {}", windows.registers),
            figure: format!(
                "{} writes, {} reads",
                count("borrower", windows.registers, "writes"),
                count("borrower", windows.registers, "reads")
            ),
            from_borrower: true,
            control: false,
        },
        Way {
            borrower: "RAM",
            lender: "NVMe: DMA",
            name: "data: the device's DMA",
            window: format!("window {}{mapped}", windows.memory),
            figure: format!(
                "{} MiB, {} bounced bytes",
                (report.fio.reads + report.fio.writes) * 4 / 1024,
                bounced(traffic)
            ),
            from_borrower: false,
            control: false,
        },
        Way {
            borrower: "processor: vectors",
            lender: "NVMe: MSI-X",
            name: "interrupts: MSI-X",
            window: format!("window {}", windows.interrupts),
            figure: format!(
                "{} written, {} taken",
                count("lender", windows.interrupts, "writes"),
                traffic.all_interrupts()
            ),
            from_borrower: false,
            control: false,
        },
        Way {
            borrower: "devlend_borrower",
            lender: "devlend_lender",
            name: "control channel",
            window: "set-up and return only".into(),
            figure: format!("{} messages", traffic.control_messages),
            from_borrower: true,
            control: true,
        },
    ]
}
