// SPDX-License-Identifier: GPL-2.0

//! Firmware commands, `struct mrpc_regs`.

use super::register::{array, constant, one, Register, Role::*, A4, A8};

#[rustfmt::skip]
pub(super) static REGISTERS: [Register; 9] = [
    //    name          offset size array      reset own peer role
    array("input_data",  0x000, 8, [128, 8],   0,    A8,  0,  MrpcInput),
    array("output_data", 0x400, 8, [128, 8],   0,    0,   0,  MrpcOutput),
    one("cmd",           0x800, 4,             0,    A4,  0,  MrpcCommand),
    one("status",        0x804, 4,             0,    0,   0,  MrpcStatus),
    one("ret_value",     0x808, 4,             0,    0,   0,  MrpcReturn),
    constant("dma_en",     0x80c, 4, 0),
    constant("dma_addr",   0x810, 8, 0),
    constant("dma_vector", 0x818, 4, 0),
    // There is no DMA.
    constant("dma_ver",    0x81c, 4, 0),
];
