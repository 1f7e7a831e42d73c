// SPDX-License-Identifier: GPL-2.0

//! All hosts and all links between them.

use std::sync::Arc;

use crate::fault::FaultError;
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

    /// The link of a name, or the only one if none is named.
    ///
    /// # Errors
    ///
    /// There is no such link, or there are several.
    pub fn link(&self, name: Option<&str>) -> Result<&Arc<Link>, FaultError> {
        let names = || {
            let names: Vec<&str> = self.links.iter().map(|link| link.name()).collect();
            names.join(", ")
        };
        match (name, self.links.as_slice()) {
            (None, [link]) => Ok(link),
            (None, _) => Err(FaultError::WhichLink(names())),
            (Some(name), links) => {
                let found = links.iter().find(|link| link.name() == name);
                found.ok_or_else(|| FaultError::UnknownLink {
                    name: name.to_owned(),
                    links: names(),
                })
            }
        }
    }

    /// Lets time pass on all links; to be called about ten times a second.
    pub fn tick(&self) {
        for link in &self.links {
            link.tick();
        }
    }
}
