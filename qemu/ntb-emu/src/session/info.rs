// SPDX-License-Identifier: GPL-2.0

//! What kind of device this is: regions and interrupt types.

use std::rc::Rc;

use rustix::io::Errno;
use tracing::{info, warn};
use zerocopy::IntoBytes;

use super::direct::{DirectWindow, RAM_TIMEOUT};
use super::Session;
use crate::layout::{Region, REGIONS};
use crate::wire::{DeviceInfo, Header, IrqInfo, RegionInfo, RegionInfoFlags, SparseMmap};

const INTX: u32 = 0;
const MSI: u32 = 1;
pub(super) const MSIX: u32 = 2;
/// Interrupt types that PCI devices may have; of these only MSI-X is there.
const IRQ_TYPES: u32 = 5;

const RESET: u32 = 1;
const PCI: u32 = 2;
/// Vectors are signalled by event descriptors.
const EVENTFD: u32 = 1;

pub(super) fn device() -> DeviceInfo {
    DeviceInfo {
        argsz: (size_of::<DeviceInfo>() as u32).into(),
        flags: (RESET | PCI).into(),
        regions: REGIONS.into(),
        irqs: IRQ_TYPES.into(),
    }
}

pub(super) fn irq(asked: &IrqInfo, vectors: usize) -> Result<IrqInfo, Errno> {
    let count = match asked.index.get() {
        INTX | MSI => 0,
        // CAST: at most 64.
        MSIX => vectors as u32,
        // Errors and requests to let the device go: refused, which QEMU takes without a warning.
        _ => return Err(Errno::INVAL),
    };
    Ok(IrqInfo {
        argsz: (size_of::<IrqInfo>() as u32).into(),
        flags: EVENTFD.into(),
        index: asked.index,
        count: count.into(),
    })
}

impl Session<'_> {
    pub(super) fn region_info(&self, header: &Header, asked: &RegionInfo) -> Result<(), Errno> {
        let (region, size) = self
            .link
            .layout()
            .region(asked.index.get())
            .ok_or(Errno::INVAL)?;
        let mut info = RegionInfo {
            argsz: (size_of::<RegionInfo>() as u32).into(),
            flags: (if region == Region::Empty {
                0
            } else {
                RegionInfoFlags::READ | RegionInfoFlags::WRITE
            })
            .into(),
            index: asked.index,
            cap_offset: 0.into(),
            size: size.into(),
            offset: 0.into(),
        };
        let window = match region {
            Region::Window(window)
                if self
                    .link
                    .windows()
                    .get(window)
                    .is_some_and(|window| window.direct) =>
            {
                window
            }
            _ => {
                self.reply(header, info.as_bytes());
                return Ok(());
            }
        };
        let Some(direct) = self.direct_window(window, size) else {
            self.reply(header, info.as_bytes());
            return Ok(());
        };
        let mut capability = SparseMmap {
            id: 1.into(),
            version: 1.into(),
            next: 0.into(),
            areas: 0.into(),
            reserved: 0.into(),
        }
        .as_bytes()
        .to_vec();
        capability
            .get_mut(8..12)
            .ok_or(Errno::INVAL)?
            .copy_from_slice(&(direct.areas.len() as u32).to_ne_bytes());
        for area in &direct.areas {
            capability.extend(area.as_bytes());
        }
        let needed = size_of::<RegionInfo>() + capability.len();
        info.argsz = u32::try_from(needed).map_err(|_| Errno::INVAL)?.into();
        info.flags = (info.flags.get() | RegionInfoFlags::MMAP | RegionInfoFlags::CAPS).into();
        info.cap_offset = (size_of::<RegionInfo>() as u32).into();
        if usize::try_from(asked.argsz.get()).is_ok_and(|room| room < needed) {
            // The client learns from argsz how much room it needs, and asks again.
            self.reply(header, info.as_bytes());
            return Ok(());
        }
        let mut body = info.as_bytes().to_vec();
        body.extend(capability);
        if let Some(counters) = self.link.end(self.side).counters.windows.get(window) {
            counters.direct.set(true);
        }
        self.reply_with(header, &body, &direct.file);
        let peer = self.side.peer();
        self.link.end(peer).set_mapped_by_peer(direct.id);
        self.warn_if_stale(peer);
        info!(
            host = self.name(),
            window,
            bytes = direct.bytes(),
            "peer's RAM mapped into window"
        );
        Ok(())
    }

    /// The peer's RAM as a window shows it; `None` if it cannot be had, and the window is served access by access. It is
    /// waited for once: who asks again must not keep us waiting again.
    fn direct_window(&self, window: usize, size: u64) -> Option<Rc<DirectWindow>> {
        let peer = self.link.end(self.side.peer());
        let open = || match DirectWindow::open(&peer.ram, size, RAM_TIMEOUT) {
            Ok(direct) => Some(Rc::new(direct)),
            Err(error) => {
                warn!(host = self.name(), window, ram = %peer.ram.display(), %error, "window is not direct");
                None
            }
        };
        self.direct.get(window)?.get_or_init(open).clone()
    }
}
