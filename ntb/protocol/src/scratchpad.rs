// SPDX-License-Identifier: GPL-2.0

//! The announcement each host leaves in the scratchpads, the only thing exchanged before the channel runs.

use core::fmt;

/// Scratchpads an announcement takes, 32 bits each. AMD gives each side eight.
pub const SCRATCHPADS: usize = 8;

/// First scratchpad of a live announcement: "DLND" in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"DLND");

/// First scratchpad while the announcer writes the others: an announcement is there, but not yet to be read.
pub const BUSY: u32 = u32::from_le_bytes(*b"BUSY");

/// Alignment of the control block and of the memory window's start, bytes.
pub const ALIGN: u64 = 4096;

/// Where a host's control block is and which versions the host speaks.
///
/// The announcer writes [`BUSY`] into word 0, then words 1 to 7, then word 0, and clears word 0 when it leaves.
/// Scratchpads are not written atomically, so a reader takes all words twice and believes them when both readings are
/// equal and not busy; otherwise it waits to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Lowest protocol version the announcer speaks, at least 1.
    pub version_min: u8,
    /// Highest protocol version the announcer speaks, not below `version_min`.
    pub version_max: u8,
    /// Index of the reader's window that shows the announcer's memory.
    pub memory_window: u8,
    /// Bus address of the control block in the announcer; a multiple of 4096, not 0, not below `memory_base`.
    pub control: u64,
    /// Names the announcer's present session, never 0; a new one means that its rings start anew.
    pub generation: u32,
    /// The reader's generation that the announcer has seen, 0 for none: it writes nothing for an older one any more.
    pub seen: u32,
    /// The announcer's rings are empty, and the reader may write into them; only said with the reader's `seen`.
    pub ready: bool,
    /// Bus address in the announcer at which the memory window starts; a multiple of 4096.
    pub memory_base: u64,
}

/// Why an announcement was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnouncementError {
    /// The version range is empty or starts at 0.
    Versions {
        /// Lowest version announced.
        min: u8,
        /// Highest version announced.
        max: u8,
    },
    /// The generation is 0.
    Generation,
    /// The control block's address is 0 or not page aligned.
    Control(u64),
    /// The memory window's start is not page aligned.
    MemoryBase(u64),
    /// The control block lies below the start of the memory window.
    Outside {
        /// Bus address of the control block.
        control: u64,
        /// Bus address the memory window starts at.
        memory_base: u64,
    },
    /// Bits are set that no version we speak gives a meaning to.
    Reserved(u8),
}

impl fmt::Display for AnnouncementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Versions { min, max } => write!(f, "version range {min}..{max} is empty"),
            Self::Generation => f.write_str("generation is 0"),
            Self::Control(at) => write!(f, "control block at {at:#x} is not page aligned"),
            Self::MemoryBase(at) => write!(f, "memory window start {at:#x} is not page aligned"),
            Self::Outside {
                control,
                memory_base,
            } => write!(
                f,
                "control block at {control:#x} is below the memory window at {memory_base:#x}"
            ),
            Self::Reserved(bits) => write!(f, "reserved bits {bits:#x} are set"),
        }
    }
}

/// The low 32 bits and the high 32 bits.
const fn halves(value: u64) -> (u32, u32) {
    // CAST: both halves are taken on purpose.
    (value as u32, (value >> 32) as u32)
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl Announcement {
    /// The scratchpad values, word 0 being [`MAGIC`].
    pub fn to_words(&self) -> [u32; SCRATCHPADS] {
        let (control_low, control_high) = halves(self.control);
        let (base_low, base_high) = halves(self.memory_base);
        let versions = u32::from_le_bytes([
            self.version_min,
            self.version_max,
            self.memory_window,
            u8::from(self.ready),
        ]);
        [
            MAGIC,
            versions,
            self.generation,
            control_low,
            control_high,
            base_low,
            base_high,
            self.seen,
        ]
    }

    /// Reads the scratchpad values back; `None` when there is no announcement (yet).
    ///
    /// # Errors
    ///
    /// An [`AnnouncementError`] naming the first field that cannot be right.
    pub fn from_words(
        words: &[u32; SCRATCHPADS],
    ) -> Result<Option<Announcement>, AnnouncementError> {
        let [magic, versions, generation, control_low, control_high, base_low, base_high, seen] =
            *words;
        if magic != MAGIC {
            return Ok(None);
        }
        let [version_min, version_max, memory_window, flags] = versions.to_le_bytes();
        let control = join(control_low, control_high);
        let memory_base = join(base_low, base_high);

        if version_min == 0 || version_min > version_max {
            return Err(AnnouncementError::Versions {
                min: version_min,
                max: version_max,
            });
        }
        if flags > 1 {
            return Err(AnnouncementError::Reserved(flags));
        }
        if generation == 0 {
            return Err(AnnouncementError::Generation);
        }
        if control == 0 || control % ALIGN != 0 {
            return Err(AnnouncementError::Control(control));
        }
        if memory_base % ALIGN != 0 {
            return Err(AnnouncementError::MemoryBase(memory_base));
        }
        if control < memory_base {
            return Err(AnnouncementError::Outside {
                control,
                memory_base,
            });
        }
        Ok(Some(Announcement {
            version_min,
            version_max,
            memory_window,
            control,
            generation,
            seen,
            ready: flags == 1,
            memory_base,
        }))
    }

    /// Offset of the control block in the memory window; `None` if a window of `window_size` bytes does not show all
    /// of it.
    pub fn control_offset(&self, window_size: u64) -> Option<u64> {
        let offset = self.control.checked_sub(self.memory_base)?;
        // CAST: a small constant.
        let end = offset.checked_add(crate::ring::CONTROL_SIZE as u64)?;
        (end <= window_size).then_some(offset)
    }
}

#[cfg(test)]
mod tests;
