// SPDX-License-Identifier: GPL-2.0

//! Work that a peer can cause without end.

use kernel::time::{
    delay::fsleep,
    Delta,
    Instant,
    Monotonic, //
};

/// The longest rest.
const LONGEST: Delta = Delta::from_secs(1);

/// Sleeps for as long as has passed since `start`, a second at most. What rests so between two turns takes half of a processor's
/// time, however much there is to do: work of ours goes before all programs, and a peer must not keep them waiting.
pub fn rest(start: Instant<Monotonic>) {
    fsleep(start.elapsed().min(LONGEST));
}
