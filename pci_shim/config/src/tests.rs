// SPDX-License-Identifier: GPL-2.0

mod access;
mod capabilities;
mod image;
mod model;

use crate::{
    present,
    test_device::Space,
    Malformed,
    Policy, //
};

/// The image of a device.
fn image(space: &Space) -> Result<Vec<u8>, Malformed> {
    let mut out = vec![0xaa; space.bytes.len()];
    let size = present(&space.bytes, &space.bars, &mut out)?;
    assert_eq!(size, space.bytes.len());
    Ok(out)
}

/// Image and policy of a device that has them.
fn offered(space: &Space) -> (Vec<u8>, Policy) {
    let image = image(space).unwrap();
    let policy = Policy::of(&image).unwrap();
    (image, policy)
}
