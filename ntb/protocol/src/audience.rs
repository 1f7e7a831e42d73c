// SPDX-License-Identifier: GPL-2.0

//! Which links an offer is for.

use core::fmt;

use crate::address::Address;

/// An offer names at most so many links.
pub const LINKS: usize = 8;

/// The links, by the addresses of their NTBs in the lender; all links if none is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Those that are named come first, each once.
    named: [Option<Address>; LINKS],
}

/// Why a link was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceError {
    /// It is there already.
    Twice,
    /// [`LINKS`] are there.
    Full,
}

impl Audience {
    /// All links.
    pub const ALL: Self = Self {
        named: [None; LINKS],
    };

    /// Adds a link; those that are not named are then left out.
    ///
    /// # Errors
    ///
    /// [`AudienceError`]; nothing is changed.
    pub fn add(&mut self, link: Address) -> Result<(), AudienceError> {
        if self.named().any(|other| other == link) {
            return Err(AudienceError::Twice);
        }
        let free = self.named.iter_mut().find(|place| place.is_none());
        *free.ok_or(AudienceError::Full)? = Some(link);
        Ok(())
    }

    /// The links that are named.
    pub fn named(&self) -> impl Iterator<Item = Address> + '_ {
        self.named.iter().flatten().copied()
    }

    /// Whether the offer is for a link.
    pub fn admits(&self, link: Address) -> bool {
        *self == Self::ALL || self.named().any(|other| other == link)
    }
}

/// As in `lend`: addresses with commas between them, or "all".
impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        for (index, link) in self.named().enumerate() {
            if index != 0 {
                f.write_str(",")?;
            }
            link.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn links(count: u32) -> impl Iterator<Item = Address> {
        (0..count).map(Address::from)
    }

    #[test]
    fn nobody_is_left_out_unless_somebody_is_named() {
        let mut audience = Audience::default();
        assert!(links(20).all(|link| audience.admits(link)));
        assert_eq!(audience.to_string(), "all");
        audience.add(Address::from(3)).unwrap();
        assert!(links(20).all(|link| audience.admits(link) == (link == Address::from(3))));
        audience.add(Address::from(0)).unwrap();
        assert_eq!(audience.to_string(), "0000:00:00.3,0000:00:00.0");
    }

    #[test]
    fn each_once_and_no_more_than_fit() {
        let mut audience = Audience::ALL;
        for link in links(8) {
            audience.add(link).unwrap();
            assert_eq!(audience.add(link), Err(AudienceError::Twice));
        }
        let full = audience;
        assert_eq!(audience.add(Address::from(8)), Err(AudienceError::Full));
        assert_eq!(audience, full);
    }

    proptest! {
        #[test]
        fn exactly_those_that_were_named(named in prop::collection::btree_set(0..40u32, 1..=8), asked in 0..40u32) {
            let mut audience = Audience::ALL;
            for link in &named {
                audience.add(Address::from(*link)).unwrap();
            }
            prop_assert_eq!(audience.admits(Address::from(asked)), named.contains(&asked));
        }
    }
}
