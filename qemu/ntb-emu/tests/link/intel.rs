// SPDX-License-Identifier: GPL-2.0

//! The other family over the wire: what QEMU and a guest with `ntb_hw_intel` would do.

use std::sync::Arc;

use crate::client::{signalled, wait_for, Client, CONFIG, RAM, WINDOW1};
use ntb_emu::link::{EndSpec, Link, LinkSpec};
use ntb_emu::model::{Family, Window};
use ntb_emu::side::Side;
use ntb_emu::waits::Waits;

const NTBCNTL: u64 = 0x00;
const STATUS: u64 = 0x40;
const INT_DISABLE: u64 = 0x48;
const DOORBELL: u64 = 0x100;
const SPCICMD: u64 = 0x4504;
const LINK_STATUS: u64 = 0x1a2;
const SIZE: u64 = 1 << 20;
const BAR: u64 = 0xfc_0000_0000;

fn bridge() -> Arc<Link> {
    let window = Window {
        size: SIZE,
        direct: false,
    };
    let end = |name: &str, host| EndSpec {
        name: name.into(),
        host,
        ram: "/nonexistent".into(),
    };
    let spec = LinkSpec {
        name: "ab".into(),
        family: Family::Intel,
        windows: vec![window; 2],
        ends: [end("a", 0), end("b", 1)],
    };
    Arc::new(Link::new(spec, Waits::new(2)).unwrap())
}

fn load(client: &mut Client) {
    let fd = client.ram.try_clone().unwrap();
    client.map(0, RAM, 0, 3, Some(fd.into()));
    client.write(CONFIG, 4, &[6, 0]);
    client.write(CONFIG, 0x18, &BAR.to_le_bytes());
    client.write(0, SPCICMD, &[6, 0]);
    client.write(0, INT_DISABLE, &0u64.to_le_bytes());
}

fn link_status(client: &mut Client) -> Vec<u8> {
    client.read(CONFIG, LINK_STATUS, 2)
}

#[test]
fn link_doorbell_and_window() {
    let ntb = bridge();
    let mut a = Client::connect(&ntb, Side::Primary);
    let mut b = Client::connect(&ntb, Side::Secondary);
    assert_eq!(a.read32(CONFIG, 0), 0x201c_8086);
    for client in [&mut a, &mut b] {
        load(client);
    }
    // As after a reset: vector 0 for the link, 1 to 32 for doorbells.
    let events = [a.vector(0), b.vector(0)];
    let bell = b.vector(32);
    assert_eq!(link_status(&mut a), [0, 0]);
    for client in [&mut a, &mut b] {
        client.write(0, NTBCNTL, &0x154u32.to_le_bytes());
    }
    assert_eq!(link_status(&mut a), [0, 0]);
    ntb.tick();
    ntb.tick();
    for event in &events {
        wait_for(event);
    }
    assert_eq!(link_status(&mut a), [0x03, 0x21]);
    assert_eq!(link_status(&mut b), [0x03, 0x21]);
    assert_eq!(signalled(&bell), 0);

    a.write(0, DOORBELL + 4 * 31, &1u32.to_le_bytes());
    wait_for(&bell);
    assert_eq!(b.read(0, STATUS, 8), (1u64 << 32 | 1 << 31).to_le_bytes());

    a.write(WINDOW1, 0, &[7; 4]);
    assert_eq!(b.ram(0, 4), [0; 4], "nothing is open");
    b.write(0, 0x18, &(BAR + SIZE).to_le_bytes());
    b.write(0, 0x4018, &((256u64 << 30) + SIZE).to_le_bytes());
    a.write(WINDOW1, 0x1000, &[7; 4]);
    a.flush();
    assert_eq!(b.ram(0x1000, 4), [7; 4]);
    assert_eq!(a.read(WINDOW1, 0x1000, 4), [7; 4]);

    // What is not cleared does not interrupt again.
    a.write(0, STATUS, &(1u64 << 32).to_le_bytes());
    b.kill();
    wait_for(&events[0]);
    assert_eq!(link_status(&mut a), [0, 0]);
    assert_eq!(a.read(WINDOW1, 0x1000, 4), [0xff; 4]);
}
