// SPDX-License-Identifier: GPL-2.0

//! Work that a peer can cause without end.

use kernel::time::{
    delay::fsleep,
    Delta, //
};

/// The longest rest.
const LONGEST: Delta = Delta::from_secs(5);

/// Sleeps for as long as was `spent`, five seconds at most. What rests so between two turns takes half of a processor's time,
/// however much there is to do: work of ours goes before all programs, and a peer must not keep them waiting.
pub fn rest(spent: Delta) {
    fsleep(spent.min(LONGEST));
}
