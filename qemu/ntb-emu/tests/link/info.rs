// SPDX-License-Identifier: GPL-2.0

//! What a client learns of the device.

use crate::client::{bridge, Client};
use ntb_emu::side::Side;
use ntb_emu::wire::{Command, DeviceInfo, IrqInfo, RegionInfo};
use zerocopy::{FromBytes, IntoBytes};

fn region(client: &mut Client, index: u32) -> Option<RegionInfo> {
    let asked = RegionInfo {
        argsz: 32.into(),
        flags: 0.into(),
        index: index.into(),
        cap_offset: 0.into(),
        size: 0.into(),
        offset: 0.into(),
    };
    let reply = client.ask(Command::GetRegionInfo, asked.as_bytes(), &[]);
    (!reply.header.is_refusal()).then(|| RegionInfo::read_from_bytes(&reply.body).unwrap())
}

#[test]
fn device_regions_and_interrupts() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    let asked = DeviceInfo {
        argsz: 16.into(),
        flags: 0.into(),
        regions: 0.into(),
        irqs: 0.into(),
    };
    let reply = client.ask(Command::GetInfo, asked.as_bytes(), &[]);
    let info = DeviceInfo::read_from_bytes(&reply.body).unwrap();
    assert_eq!(
        (
            info.argsz.get(),
            info.flags.get(),
            info.regions.get(),
            info.irqs.get()
        ),
        (16, 3, 9, 5)
    );

    let sizes: Vec<_> = (0..10)
        .map(|index| region(&mut client, index).map(|info| info.size.get()))
        .collect();
    let expected = [0x4000, 1 << 20, 64 << 20, 0, 512 << 20, 0, 0, 4096, 0];
    assert_eq!(sizes[..9], expected.map(Some));
    assert_eq!(sizes[9], None);
    assert_eq!(
        region(&mut client, 2).unwrap().flags.get(),
        3,
        "read and write, no mapping"
    );

    let vectors: Vec<_> = (0..5u32)
        .map(|index| {
            let asked = IrqInfo {
                argsz: 16.into(),
                flags: 0.into(),
                index: index.into(),
                count: 0.into(),
            };
            let reply = client.ask(Command::GetIrqInfo, asked.as_bytes(), &[]);
            (!reply.header.is_refusal())
                .then(|| IrqInfo::read_from_bytes(&reply.body).unwrap().count.get())
        })
        .collect();
    assert_eq!(vectors, [Some(0), Some(0), Some(24), None, None]);
}

#[test]
fn configuration_space_is_a_region() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Secondary);
    assert_eq!(client.read32(7, 0), 0x145b_1022);
    assert_eq!(client.read(7, 0, 4096).len(), 4096);
}

#[test]
fn unknown_commands_are_refused_and_the_connection_goes_on() {
    let ntb = bridge();
    let mut client = Client::connect(&ntb, Side::Primary);
    for command in [6, 11, 12, 14, 16, 17, 99] {
        let reply = client.ask(Command::from(command), &[1, 2, 3], &[]);
        assert_eq!(reply.header.error.get(), 38);
    }
    client.flush();
}
