// SPDX-License-Identifier: GPL-2.0

//! That the tables are the kernel's.

use super::*;

const P: Side = Side::Primary;
const S: Side = Side::Secondary;

/// Offsets as the kernel's switchtec.h has them, by whose register it is.
#[test]
fn offsets_are_the_drivers() {
    let expected = [
        (0x0_0000, "input_data", 0, P),
        (0x0_03f8, "input_data", 127, P),
        (0x0_0400, "output_data", 0, P),
        (0x0_0800, "cmd", 0, P),
        (0x0_0804, "status", 0, P),
        (0x0_0808, "ret_value", 0, P),
        (0x0_081c, "dma_ver", 0, P),
        (0x0_1810, "part_event_bitmap", 0, P),
        (0x0_1830, "stack_error_event_hdr", 0, P),
        (0x0_1968, "gfms_event_hdr", 0, P),
        (0x0_2000, "device_id", 0, P),
        (0x0_2018, "partition_id", 0, P),
        (0x0_2108, "vendor_id", 0, P),
        (0x0_212e, "component_revision", 0, P),
        (0x0_2234, "flash_length", 0, P),
        (0x0_4014, "vep_pff_inst_id", 0, P),
        (0x0_4414, "vep_pff_inst_id", 0, S),
        (0x0_40d0, "dsp_pff_inst_id", 46, P),
        (0x0_4500, "vep_vector_number", 0, S),
        (0x0_453c, "mrpc_comp_hdr", 0, S),
        (0x1_0004, "ep_map", 0, P),
        (0x1_000c, "requester_id", 0, P),
        (0x1_0034, "target_part_low", 1, P),
        (0x1_4000, "partition_status", 0, P),
        (0x1_6004, "partition_op", 0, S),
        (0x1_4060, "bar_entry.ctl", 2, P),
        (0x1_6084, "bar_entry.win_size", 4, S),
        (0x1_6088, "bar_entry.xlate_addr", 4, S),
        (0x1_60e0, "bar_ext_entry.win_size", 4, S),
        (0x1_4404, "req_id_table", 1, P),
        (0x1_7008, "lut_entry", 1, S),
        (0x1_5ff8, "lut_entry", 511, P),
        (0x7_5000, "odb", 0, P),
        (0x7_5008, "odb_mask", 0, P),
        (0x7_9010, "idb", 0, S),
        (0x7_9018, "idb_mask", 0, S),
        (0x7_505f, "idb_vec_map", 63, P),
        (0x7_5060, "msg_map", 0, P),
        (0x7_5070, "omsg.msg", 1, P),
        (0x7_5090, "imsg.msg", 1, P),
        (0x7_5094, "imsg.status", 1, P),
        (0x7_5095, "imsg.mask", 1, P),
        (0x7_5096, "imsg.src", 1, P),
        (0x13_4000, "vendor_id", 0, P),
        (0x13_5076, "link_status", 0, S),
        (0x13_5c00, "pff_event_summary", 0, S),
        (0x13_5d30, "link_state_hdr", 0, S),
    ];
    for (offset, name, index, owner) in expected {
        for side in Side::BOTH {
            let place = find(side, offset).unwrap();
            assert_eq!(
                (place.register.name, place.index, place.lane),
                (name, index, 0),
                "{offset:#x}"
            );
            let block = BLOCKS.iter().find(|block| block.id == place.block).unwrap();
            let expected = if block.count == 1 { side } else { owner };
            assert_eq!(place.owner, expected, "{offset:#x}");
        }
    }
}

#[test]
fn blocks_are_in_order_and_do_not_overlap() {
    for (number, pair) in BLOCKS.windows(2).enumerate() {
        let [one, next] = pair else { unreachable!() };
        assert!(one.offset + one.stride * one.count <= next.offset);
        assert_eq!(one.id as usize, number);
    }
}

/// Each byte belongs to one register at most.
#[test]
fn registers_do_not_overlap() {
    for block in &BLOCKS {
        let mut taken = vec![None; usize::try_from(block.stride).unwrap()];
        for register in block.registers {
            for index in 0..register.count as u64 {
                let first = register.offset + index * register.stride;
                for byte in first..first + register.size as u64 {
                    let slot = &mut taken[usize::try_from(byte).unwrap()];
                    assert_eq!(slot.replace(register.name), None, "{}", register.name);
                }
            }
            let bits = register.own | register.peer | register.reset;
            assert!(
                register.size == 8 || bits >> (8 * register.size) == 0,
                "{}",
                register.name
            );
        }
    }
}

#[test]
fn roles_that_are_looked_up_are_unique() {
    for block in &BLOCKS {
        for register in block.registers {
            if register.role == Role::Plain {
                continue;
            }
            let same = block
                .registers
                .iter()
                .filter(|other| other.role == register.role);
            assert_eq!(same.count(), 1, "{}", register.name);
        }
    }
}

#[test]
fn what_lies_between_is_nothing() {
    for offset in [
        0x820,
        0x1000,
        0x17ff,
        0x4800,
        0xffff,
        0x1_0002,
        0x1_8000,
        0x7_4000,
        0x7_c000,
        0x13_6000,
        0x23_3000,
        0x3f_ffff,
        u64::MAX,
    ] {
        assert!(find(P, offset).is_none(), "{offset:#x}");
    }
}
