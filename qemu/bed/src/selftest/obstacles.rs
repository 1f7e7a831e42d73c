// SPDX-License-Identifier: GPL-2.0

//! What stands in the script's way in this kernel, whatever the hardware does.
//!
//! Each obstacle is looked for; only where it is found, the script is led around it, from outside: neither the script
//! nor any kernel module is touched. What was found is said.

use std::time::Duration;

use anyhow::Result;
use devlend_bed::{until, Family, Host, Seen};

use super::ends::{End, Ends};
use super::family;

/// Programs for the script, found before the system's.
pub const PROGRAMS: &str = "/run/ntb_test/bin";

/// How long a driver may take to see that its link has gone down.
const DOWN: Duration = Duration::from_secs(5);

/// Writes the standard output of the real `sed` with every number in decimal.
const SED: &str = r#"#!/bin/bash
/usr/bin/sed "$@" | while read -r number; do printf '%u\n' "$number"; done
"#;

/// Loads `ntb_tool` and then makes the files in `/run/ntb_test/hold` read-only.
const HOLD: &str = r#"#!/bin/bash
modprobe --ignore-install ntb_tool "$@" || exit
while read -r file; do
    mount --bind "$file" "$file" && mount -o remount,bind,ro "$file" || exit
done </run/ntb_test/hold
"#;

/// Finds the obstacles, leads the script around them, and says what they are. `ntb_tool` is loaded in all hosts before,
/// and in none afterwards.
pub fn clear(ends: &Ends<'_>, family: Family) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for host in ends.hosts() {
        host.sh_ok(&format!("mkdir -p {PROGRAMS} /run/modprobe.d"))?;
    }
    for end in ends.both() {
        notes.extend(link(end)?);
    }
    notes.extend(hexadecimal(&ends.local)?);
    notes.extend(msi(ends)?);
    notes.extend(perf(ends, family)?);
    for host in ends.hosts() {
        host.sh_ok("modprobe -r ntb_tool")?;
    }
    Ok(notes)
}

/// `ntb_hw_amd`'s primary side accepts "link down" and leaves the link up: it only masks its event interrupts. The
/// script would wait for the link to go down, for ever. A file that cannot be written is what it calls unsupported.
fn link(end: &End<'_>) -> Result<Option<String>> {
    let host = end.host;
    let (switch, state) = (end.tool("link"), end.tool("peer0/link"));
    if host.try_write(&switch, "N")?.is_err() {
        return Ok(None);
    }
    let down = until("the link to go down", DOWN, || {
        let state = host.read(&state)?;
        Ok(if state == "N" {
            Seen::Yes(())
        } else {
            Seen::NotYet(state)
        })
    });
    host.write(&switch, "Y")?;
    if down.is_ok() {
        end.wait_up()?;
        return Ok(None);
    }
    program(host, "hold", HOLD)?;
    host.sh_ok(&format!(
        "echo {switch} >>/run/ntb_test/hold && \
         echo 'install ntb_tool {PROGRAMS}/hold $CMDLINE_OPTS' >/run/modprobe.d/ntb_tool.conf"
    ))?;
    Ok(Some(format!(
        "the driver of {} on the {} accepts 'link down' and leaves the link up (5 s later {state} was Y): \
         link_test would wait for ever, so {switch} is made read-only for it",
        end.device,
        host.name()
    )))
}

/// `ntb_tool` of Linux 7.2 reads `peer_mw_trans` with `%llu`, where it was `%lli`: not the hexadecimal number that its
/// own description and the script write there.
fn hexadecimal(end: &End<'_>) -> Result<Option<String>> {
    // A window of 0 bytes changes nothing.
    let file = end.tool("peer0/peer_mw_trans0");
    if end.host.try_write(&file, "0x1000:0")?.is_ok() {
        return Ok(None);
    }
    end.host.write(&file, "4096:0")?;
    program(end.host, "sed", SED)?;
    Ok(Some(
        "ntb_tool refuses '0x1000:0' in peer_mw_trans0 and accepts '4096:0': mw_test would end there, so a 'sed' in \
         front of the real one gives the script its addresses in decimal"
            .into(),
    ))
}

/// `ntb_msi_test` rings the doorbell of its own port number and takes the number of a doorbell for a peer's index. With
/// one peer that is right for port 0 only: of port 1's doorbell, which is masked, nobody hears; the script waits for
/// ever, and if somebody heard, the module would write beyond the end of its array.
fn msi(ends: &Ends<'_>) -> Result<Option<String>> {
    for end in ends.both() {
        let port = end.host.read(&end.tool("port"))?;
        if port == "0" {
            continue;
        }
        hide(ends, "ntb_msi_test")?;
        return Ok(Some(format!(
            "{} on the {} is port {port}, but index 0 to its peer, and ntb_msi_test takes one for the other: the script \
             would wait for ever, so it is told that there is no such module",
            end.device,
            end.host.name()
        )));
    }
    Ok(None)
}

/// `ntb_perf` forgets a command that comes before its own side has seen the link come up, and then both sides wait for a
/// quarter of an hour, as does who wants to unload it. Where each side sees the link by itself that is a matter of luck:
/// not to be tried, so not to be looked for.
fn perf(ends: &Ends<'_>, family: Family) -> Result<Option<String>> {
    if family::perf_works(family) {
        return Ok(None);
    }
    hide(ends, "ntb_perf")?;
    Ok(Some(
        "ntb_perf forgets a command that comes before its own side has seen the link come up, which each side does by \
         itself on this hardware: the script would wait for ever in most runs, so it is told that there is no such module, \
         and ends there"
            .into(),
    ))
}

/// Makes loading a module fail.
fn hide(ends: &Ends<'_>, module: &str) -> Result<()> {
    for host in ends.hosts() {
        host.sh_ok(&format!(
            "echo 'install {module} /bin/false' >/run/modprobe.d/{module}.conf"
        ))?;
    }
    Ok(())
}

fn program(host: &Host, name: &str, text: &str) -> Result<()> {
    host.give(&format!("{PROGRAMS}/{name}"), text.as_bytes())
}
