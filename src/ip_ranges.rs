//! Sets of IP addresses from the configuration.

#[cfg(not(target_family = "wasm"))]
pub(crate) mod patterns;

use crate::settings::{ConfigError, Node};
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// The largest number of IPv4 proxies: a /4, as many as 16 networks of 10.0.0.0/8.
const MAX_PROXIES_V4: u128 = 1 << 28;
/// The IPv4 addresses.
const ALL_V4: (u128, u128) = (0, (1 << 32) - 1);
/// The global IPv6 addresses, 2000::/3 (RFC 4291, section 2.4).
const GLOBAL_V6: (u128, u128) = (0x2 << 124, (0x4 << 124) - 1);
/// The largest number of global IPv6 proxies: a /7, a sixteenth as in IPv4.
const MAX_PROXIES_V6: u128 = 1 << 121;

/// A set of addresses. A lookup takes logarithmic time.
#[derive(Clone, Debug)]
pub struct Ranges {
    v4: Intervals,
    v6: Intervals,
    /// The number of listed addresses and ranges.
    listed: usize,
}

impl Ranges {
    /// The number of addresses and ranges in the list.
    pub(crate) fn listed(&self) -> usize {
        self.listed
    }

    /// Whether an address is in the set. A v4-mapped v6 address counts as its v4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.contains(v4.to_bits().into()),
            IpAddr::V6(v6) => self.v6.contains(v6.to_bits()),
        }
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let items =
            node.list("a list of addresses and ranges such as [203.0.113.0/24, \"2001:db8::/32\"], or any")?;
        if items.is_empty() {
            return Err(node.invalid("at least one address or range"));
        }
        let mut nets = Vec::with_capacity(items.len());
        for item in items {
            nets.push(parse_net(&item)?);
        }
        Ok(Self::of(&nets))
    }

    /// Parses the ranges of proxies. Their `x-forwarded-for` becomes the client address.
    pub(crate) fn parse_proxies(node: &Node<'_>) -> Result<Self, ConfigError> {
        let ranges = Self::parse(node)?;
        if ranges.v4.count_within(ALL_V4.0, ALL_V4.1) > MAX_PROXIES_V4
            || ranges.v6.count_within(GLOBAL_V6.0, GLOBAL_V6.1) > MAX_PROXIES_V6
        {
            return Err(node.conflict(
                "covers more than a sixteenth of the internet: any host there could set the client address",
                "only the addresses and ranges of your proxies",
            ));
        }
        Ok(ranges)
    }

    /// The address family that the set contains completely.
    pub(crate) fn whole_family(&self) -> Option<&'static str> {
        let v4 = self.v4.0 == [ALL_V4];
        let v6 = self.v6.0 == [(u128::MIN, u128::MAX)] || self.v6.0.contains(&GLOBAL_V6);
        match (v4, v6) {
            (true, _) => Some("IPv4"),
            (_, true) => Some("IPv6"),
            _ => None,
        }
    }

    fn of(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits().into(), net.broadcast().to_bits().into())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: Intervals::of(v4), v6: Intervals::of(v6), listed: nets.len() }
    }

    #[cfg(test)]
    pub(crate) fn from_texts(texts: &[&str]) -> Self {
        Self::of(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }
}

fn parse_net(node: &Node<'_>) -> Result<IpNet, ConfigError> {
    const EXPECTED: &str = "an address or range such as 203.0.113.7, 203.0.113.0/24 or \"2001:db8::/32\"";
    let text = node.text(EXPECTED)?;
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => parse_range(text).ok_or_else(|| node.invalid(EXPECTED))?,
    };
    if net.trunc() != net {
        return Err(node.invalid(&format!("the range's first address, {}", net.trunc())));
    }
    Ok(canonical(net))
}

/// Parses a range without leading zeros. ipnet also accepts `010.0.0.0/8`, which other parsers read as octal.
fn parse_range(text: &str) -> Option<IpNet> {
    let (address, _bits) = text.split_once('/')?;
    address.parse::<IpAddr>().ok()?;
    text.parse().ok()
}

/// Turns a range in its v4-mapped v6 form into its v4 range.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    match v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()) {
        Some(v4) => IpNet::V4(v4),
        None => net,
    }
}

/// Sorted, closed intervals with gaps between them. Those of IPv4 have 128 bits too: sorting 32 bits is other code.
#[derive(Clone, Debug)]
struct Intervals(Vec<(u128, u128)>);

impl Intervals {
    fn of(mut intervals: Vec<(u128, u128)>) -> Self {
        intervals.sort_unstable();
        let mut disjoint: Vec<(u128, u128)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match disjoint.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => {
                    previous.1 = previous.1.max(last);
                }
                _ => disjoint.push((first, last)),
            }
        }
        Self(disjoint)
    }

    /// The number of addresses from `lowest` to `highest` in the set.
    fn count_within(&self, lowest: u128, highest: u128) -> u128 {
        let count = |(first, last): &(u128, u128)| {
            (*last).min(highest).saturating_add(1).saturating_sub((*first).max(lowest))
        };
        self.0.iter().map(count).fold(0, u128::saturating_add)
    }

    fn contains(&self, value: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= value);
        let last = after.checked_sub(1).and_then(|index| self.0.get(index));
        last.is_some_and(|(_, last)| value <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_a_mapped_range_into_its_v4_range() {
        assert_eq!(canonical("::ffff:10.0.0.0/104".parse().unwrap()), "10.0.0.0/8".parse::<IpNet>().unwrap());
        assert_eq!(canonical("::/0".parse().unwrap()), "::/0".parse::<IpNet>().unwrap());
    }
}
