// SPDX-License-Identifier: GPL-2.0

//! All hosts and all links between them.

use std::sync::Arc;

use crate::link::{EndSpec, Link, LinkSpec};
use crate::model::WindowError;
use crate::topology::Topology;
use crate::waits::Waits;

/// Hosts and links.
#[derive(Debug)]
pub struct Fabric {
    links: Vec<Arc<Link>>,
}

impl Fabric {
    /// Everything that a topology names, with nobody connected.
    ///
    /// # Errors
    ///
    /// A link's family cannot have its windows; with the link's name.
    pub fn new(topology: &Topology) -> Result<Self, (String, WindowError)> {
        let waits = Waits::new(topology.hosts().len());
        let links = topology.links().iter().map(|link| {
            let ends = link.ends.clone().map(|end| EndSpec {
                name: end.name,
                host: end.host,
                // The topology has been checked: the host is there.
                ram: topology.hosts()[end.host].ram.clone(),
            });
            let spec = LinkSpec {
                name: link.name.clone(),
                family: link.family,
                windows: link.windows.clone(),
                ends,
            };
            match Link::new(spec, waits.clone()) {
                Ok(link) => Ok(Arc::new(link)),
                Err(error) => Err((link.name.clone(), error)),
            }
        });
        Ok(Self {
            links: links.collect::<Result<_, _>>()?,
        })
    }

    /// The links, in the order of the topology.
    pub fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// Gives up hosts whose event descriptors make others wait; to be called often, by a thread that signals none.
    pub fn relieve(&self) {
        for link in &self.links {
            link.relieve();
        }
    }

    /// Lets time pass on all links; to be called about ten times a second.
    pub fn tick(&self) {
        for link in &self.links {
            link.tick();
        }
    }
}
