// SPDX-License-Identifier: GPL-2.0

//! The address of a PCI function, on the wire and as people write it.

use core::{
    fmt,
    str::FromStr, //
};

/// Domain, bus, device and function: `0000:00:04.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Domain, also called segment.
    pub domain: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// Why text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// It is neither `DDDD:BB:DD.F` nor `BB:DD.F` in hexadecimal digits.
    Form,
    /// There are no more than 32 devices on a bus.
    Device(u8),
    /// There are no more than 8 functions in a device.
    Function(u8),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Form => f.write_str("not of the form DDDD:BB:DD.F"),
            Self::Device(device) => write!(f, "device {device:#x} is above 0x1f"),
            Self::Function(function) => write!(f, "function {function:#x} is above 7"),
        }
    }
}

impl Address {
    /// Device and function in the one byte the kernel calls `devfn`; bits that are too high are dropped.
    pub const fn devfn(&self) -> u8 {
        (self.device & 0x1f) << 3 | self.function & 0x7
    }

    /// The function `devfn` of a bus.
    pub const fn from_devfn(domain: u16, bus: u8, devfn: u8) -> Self {
        Self {
            domain,
            bus,
            device: devfn >> 3,
            function: devfn & 0x7,
        }
    }

    /// Reads `DDDD:BB:DD.F` or, in domain 0, `BB:DD.F`: exactly so many hexadecimal digits, nothing around them.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        let (domain, rest) = match *text {
            [a, b, c, d, b':', ref rest @ ..] => (hex(&[a, b, c, d])?, rest),
            ref rest => (0, rest),
        };
        let [b0, b1, b':', d0, d1, b'.', f0] = *rest else {
            return Err(AddressError::Form);
        };
        let bus = byte(&[b0, b1])?;
        let device = byte(&[d0, d1])?;
        let function = byte(&[f0])?;
        if device > 0x1f {
            return Err(AddressError::Device(device));
        }
        if function > 7 {
            return Err(AddressError::Function(function));
        }
        Ok(Self {
            domain,
            bus,
            device,
            function,
        })
    }
}

/// The value of up to four hexadecimal digits.
fn hex(digits: &[u8]) -> Result<u16, AddressError> {
    digits.iter().try_fold(0u16, |value, &digit| {
        let digit = char::from(digit)
            .to_digit(16)
            .and_then(|digit| u16::try_from(digit).ok())
            .ok_or(AddressError::Form)?;
        value
            .checked_mul(16)
            .and_then(|value| value.checked_add(digit))
            .ok_or(AddressError::Form)
    })
}

/// The value of up to two hexadecimal digits.
fn byte(digits: &[u8]) -> Result<u8, AddressError> {
    u8::try_from(hex(digits)?).map_err(|_| AddressError::Form)
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{:x}",
            self.domain, self.bus, self.device, self.function
        )
    }
}

impl From<Address> for u32 {
    fn from(address: Address) -> u32 {
        u32::from(address.domain) << 16 | u32::from(address.bus) << 8 | u32::from(address.devfn())
    }
}

impl From<u32> for Address {
    /// Every number is an address.
    fn from(value: u32) -> Self {
        let [devfn, bus, domain_low, domain_high] = value.to_le_bytes();
        Self::from_devfn(u16::from_le_bytes([domain_low, domain_high]), bus, devfn)
    }
}

#[cfg(test)]
mod tests;
