//! Blocks of addresses, as operators write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, as `10.0.0.0/8`, `fd00::/8` or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    /// Leading bits that all of its addresses share.
    prefix: u8,
}

impl Network {
    /// `a.b.c.d/prefix`, for tables.
    pub const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// `first:second:third::/prefix`, for tables.
    pub const fn v6(first: u16, second: u16, third: u16, prefix: u8) -> Self {
        Self { base: IpAddr::V6(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether the address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(base: IpAddr) -> Self {
        Self { base, prefix: if base.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write networks as 10.0.0.0/8 or fd00::/8, or addresses";
        let Some((base, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| WANTED);
        };
        let base: IpAddr = base.parse().map_err(|_| WANTED)?;
        let widest = Self::from(base).prefix;
        let prefix: u8 = prefix.parse().ok().filter(|p| *p <= widest).ok_or(WANTED)?;
        let host_bits = match base {
            IpAddr::V4(base) => u32::BITS - base.to_bits().trailing_zeros(),
            IpAddr::V6(base) => u128::BITS - base.to_bits().trailing_zeros(),
        };
        // 10.0.0.1/8 may mean the one or the other: nobody should be let in by a slip.
        if host_bits > u32::from(prefix) {
            return Err("bits of the address after the prefix must be zero, as in 10.0.0.0/8");
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_in_one_way() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0", "10.0.0.1/32"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "::1/127", "a", "", "10.0.0.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
