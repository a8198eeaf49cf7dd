// SPDX-License-Identifier: GPL-2.0

//! What the texts of the parameters mean, once more, as plainly as it can be and in another way than
//! the module does it. The tests and the fuzz targets compare both.

use std::net::{IpAddr, Ipv4Addr};

/// The items of a list: none if the text is empty.
fn items(text: &str) -> Vec<&str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').collect()
}

/// A number as the lists have it, which is as it is printed.
fn number(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|number: &u32| number.to_string() == text)
}

/// The ports in a list, each item with its first and its last, or none if it is wrong.
pub(crate) fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    items(text).into_iter().map(range).collect()
}

fn range(item: &str) -> Option<(u16, u16)> {
    let port = |text| {
        let port = u16::try_from(number(text)?).ok()?;
        (port >= 1).then_some(port)
    };
    let mut ends = item.splitn(2, '-');
    let first = port(ends.next()?)?;
    let last = match ends.next() {
        Some(last) => port(last)?,
        None => first,
    };
    (first <= last).then_some((first, last))
}

/// The canonical text of ports.
pub(crate) fn ports_text(ports: &[(u16, u16)]) -> String {
    let mut map = vec![false; 65536];
    for &(first, last) in ports {
        map[usize::from(first)..=usize::from(last)].fill(true);
    }
    let mut texts = Vec::new();
    let mut first = None;
    for port in 0..=map.len() {
        let on = map.get(port) == Some(&true);
        match first {
            None if on => first = Some(port),
            Some(start) if !on => {
                let last = port - 1;
                texts.push(if start == last {
                    format!("{start}")
                } else {
                    format!("{start}-{last}")
                });
                first = None;
            }
            _ => {}
        }
    }
    texts.join(",")
}

/// A prefix: its family's addresses begin with so many bits of this one. In the order of their
/// canonical text: IPv4 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) length: u32,
}

/// The bits of an address.
fn bits(address: IpAddr) -> impl Iterator<Item = bool> {
    let (octets, length) = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            ([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 4)
        }
        IpAddr::V6(address) => (address.octets(), 16),
    };
    let bits_of = |octet: u8| (0..8).map(move |bit| octet & (0x80 >> bit) != 0);
    octets.into_iter().take(length).flat_map(bits_of)
}

impl Prefix {
    /// Whether an address has it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let length = self.length as usize;
        self.address.is_ipv4() == address.is_ipv4()
            && bits(self.address)
                .take(length)
                .eq(bits(address).take(length))
    }

    /// Whether it has all the addresses of another.
    fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

/// The prefixes in a list, or none if it is wrong.
pub(crate) fn prefixes(text: &str) -> Option<Vec<Prefix>> {
    items(text).into_iter().map(prefix).collect()
}

fn prefix(item: &str) -> Option<Prefix> {
    let mut parts = item.splitn(2, '/');
    let address: IpAddr = parts.next()?.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match parts.next() {
        Some(length) => number(length).filter(|&length| length <= most)?,
        None => most,
    };
    if bits(address).skip(length as usize).any(|bit| bit) {
        return None;
    }
    if let IpAddr::V6(v6) = address {
        let octets = v6.octets();
        if length >= 96 && octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255] {
            let address = Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]).into();
            return Some(Prefix {
                address,
                length: length - 96,
            });
        }
    }
    Some(Prefix { address, length })
}

/// The canonical text of prefixes.
pub(crate) fn prefixes_text(prefixes: &[Prefix]) -> String {
    let mut outermost: Vec<_> = prefixes
        .iter()
        .filter(|inner| {
            !prefixes
                .iter()
                .any(|outer| outer != *inner && outer.covers(inner))
        })
        .collect();
    outermost.sort();
    outermost.dedup();
    let text = |prefix: &&Prefix| format!("{}/{}", prefix.address, prefix.length);
    outermost.iter().map(text).collect::<Vec<_>>().join(",")
}
