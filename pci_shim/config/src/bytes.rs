// SPDX-License-Identifier: GPL-2.0

//! Little-endian numbers in byte slices, without panics.

/// The `N` bytes at `at`.
fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The number at `at`; `None` beyond the end.
pub(crate) fn get8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The number at `at`; `None` beyond the end.
pub(crate) fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    get(bytes, at).map(u16::from_le_bytes)
}

/// The number at `at`; `None` beyond the end.
pub(crate) fn get32(bytes: &[u8], at: usize) -> Option<u32> {
    get(bytes, at).map(u32::from_le_bytes)
}

/// Stores bytes at `at`; beyond the end nothing happens.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..value.len()))
    {
        place.copy_from_slice(value);
    }
}
