// SPDX-License-Identifier: GPL-2.0

mod access;
mod capabilities;
mod image;
mod model;
mod named;
mod refresh;
mod virtual_function;

use crate::{
    present,
    test_device::Space,
    Malformed,
    Policy, //
};

/// The image of a device, with its INTx relayed or not.
fn image_with(space: &Space, intx: bool) -> Result<Vec<u8>, Malformed> {
    let mut out = vec![0xaa; space.bytes.len()];
    let size = present(&space.bytes, &space.bars, intx, &mut out)?;
    assert_eq!(size, space.bytes.len());
    Ok(out)
}

/// The image of a device without INTx.
fn image(space: &Space) -> Result<Vec<u8>, Malformed> {
    image_with(space, false)
}

/// Image and policy of a device that has them.
fn offered_with(space: &Space, intx: bool) -> (Vec<u8>, Policy) {
    let image = image_with(space, intx).unwrap();
    let policy = Policy::of(&image).unwrap();
    (image, policy)
}

/// The same without INTx.
fn offered(space: &Space) -> (Vec<u8>, Policy) {
    offered_with(space, false)
}
