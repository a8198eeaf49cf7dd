// SPDX-License-Identifier: GPL-2.0

//! Which kinds of options, which senders and which ports count: the texts of the parameters, what
//! they mean, and their canonical form.
//!
//! Pure: the same file runs in the kernel and, under `cargo test`, on the host.

use core::{
    fmt, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::option::Kinds;

/// The most items that a list may have.
pub(crate) const MAX_ITEMS: usize = 1024;

/// Why a list was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad<'a> {
    /// This item is wrong, for this reason.
    Item(&'a str, &'static str),
    /// It has more than [`MAX_ITEMS`].
    TooLong,
}

impl fmt::Display for Bad<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item("", _) => out.write_str("an item is empty"),
            Self::Item(item, reason) => write!(out, "\"{item}\" {reason}"),
            Self::TooLong => write!(out, "more than {MAX_ITEMS} items"),
        }
    }
}

/// The items of a list, which commas separate. Empty text is the empty list; the line end of a text
/// that came from `echo` does not count.
fn items(text: &str) -> impl Iterator<Item = &str> + Clone {
    let text = text.strip_suffix('\n').unwrap_or(text);
    // `split` finds one empty item in no text.
    text.split(',').skip(usize::from(text.is_empty()))
}

/// Reads the kinds of a list such as `254,200,28`.
///
/// # Errors
///
/// The first item that is no kind that load balancers use, or the last one if none gives a client.
pub(crate) fn kinds(text: &str) -> Result<Kinds, Bad<'_>> {
    let mut kinds = Kinds::default();
    let mut last = "";
    for item in items(text) {
        let kind = decimal(item)
            .and_then(|number| u8::try_from(number).ok())
            .and_then(Kinds::of)
            .ok_or(Bad::Item(
                item,
                "is none of 254, 253, 252, 250, 249, 202, 201, 200, 28",
            ))?;
        kinds = kinds.or(kind);
        last = item;
    }
    if kinds.give_client() {
        Ok(kinds)
    } else if last.is_empty() {
        Err(Bad::Item("", ""))
    } else {
        Err(Bad::Item(
            last,
            "only accompanies a kind that gives a client",
        ))
    }
}

/// An unsigned decimal number without sign or leading zeros.
fn decimal(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

/// A range of numbers, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range<T> {
    /// The lowest.
    pub(crate) first: T,
    /// The highest.
    pub(crate) last: T,
}

/// Whether one of the ranges, which are in ascending order and do not touch, has `value` in it.
/// Takes O(log n).
#[inline]
pub(crate) fn contains<T: Copy + Ord>(ranges: &[Range<T>], value: T) -> bool {
    let above = ranges.partition_point(|range| range.first <= value);
    let below = above.checked_sub(1).and_then(|index| ranges.get(index));
    below.is_some_and(|range| value <= range.last)
}

/// Disjoint ranges in ascending order, filled in any order.
struct Ranges<'a, T> {
    storage: &'a mut [Range<T>],
    length: usize,
}

impl<'a, T: Copy + Ord> Ranges<'a, T> {
    /// An empty list with room for as many ranges as `storage`.
    fn new(storage: &'a mut [Range<T>]) -> Self {
        Self { storage, length: 0 }
    }

    /// Puts a range in its place if there is room. It becomes one with ranges that it overlaps, and
    /// with those that `touch` says to be one with it, of the last of one and the first of the next.
    fn add(&mut self, mut range: Range<T>, touch: impl Fn(T, T) -> bool) {
        let apart =
            |low: Range<T>, high: Range<T>| low.last < high.first && !touch(low.last, high.first);
        // Those that it becomes one with go, and the others close the gap.
        let mut kept = 0;
        for index in 0..self.length {
            let Some(&old) = self.storage.get(index) else {
                break;
            };
            if apart(old, range) || apart(range, old) {
                if let Some(place) = self.storage.get_mut(kept) {
                    *place = old;
                    kept += 1;
                }
            } else {
                range.first = range.first.min(old.first);
                range.last = range.last.max(old.last);
            }
        }

        // Whatever is above it moves up by one.
        let Some(list) = self.storage.get_mut(..=kept) else {
            return;
        };
        self.length = list.len();
        if let Some((end, list)) = list.split_last_mut() {
            for old in list {
                if range.first < old.first {
                    mem::swap(old, &mut range);
                }
            }
            *end = range;
        }
    }
}

/// How many items a list has, to make room for that many ranges.
///
/// # Errors
///
/// [`Bad::TooLong`].
pub(crate) fn count(text: &str) -> Result<usize, Bad<'_>> {
    let count = items(text).take(MAX_ITEMS + 1).count();
    if count > MAX_ITEMS {
        return Err(Bad::TooLong);
    }
    Ok(count)
}

/// Reads a list of ports such as `80,443,8000-8999` and returns how many ranges it is.
///
/// # Errors
///
/// The first item that is no port and no range of ports.
pub(crate) fn ports<'a>(text: &'a str, storage: &mut [Range<u16>]) -> Result<usize, Bad<'a>> {
    let mut ranges = Ranges::new(storage);
    for item in items(text) {
        let port = |text| {
            decimal(text)
                .and_then(|number| u16::try_from(number).ok())
                .filter(|&port| port != 0)
                .ok_or(Bad::Item(
                    item,
                    "is no port (1 to 65535) and no range of ports",
                ))
        };
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = Range {
            first: port(first)?,
            last: port(last)?,
        };
        if range.last < range.first {
            return Err(Bad::Item(item, "is a range that ends before it begins"));
        }
        ranges.add(range, |last, first| last.checked_add(1) == Some(first));
    }
    Ok(ranges.length)
}

/// Writes ports as [`ports`] reads them.
///
/// # Errors
///
/// Those of `out`.
pub(crate) fn write_ports(ranges: &[Range<u16>], out: &mut impl fmt::Write) -> fmt::Result {
    for (index, Range { first, last }) in ranges.iter().enumerate() {
        out.write_str(if index == 0 { "" } else { "," })?;
        write!(out, "{first}")?;
        if last != first {
            write!(out, "-{last}")?;
        }
    }
    Ok(())
}

/// Reads a list of prefixes such as `10.0.0.0/8,fd00::/8`, and returns how many there are of IPv4
/// and of IPv6. IPv4 prefixes in their mapped form are IPv4 prefixes.
///
/// # Errors
///
/// The first item that is no prefix.
pub(crate) fn prefixes<'a>(
    text: &'a str,
    v4: &mut [Range<u32>],
    v6: &mut [Range<u128>],
) -> Result<(usize, usize), Bad<'a>> {
    let mut v4 = Ranges::new(v4);
    let mut v6 = Ranges::new(v6);
    for item in items(text) {
        match prefix(item)? {
            Prefix::V4(range) => v4.add(range, |_, _| false),
            Prefix::V6(range) => v6.add(range, |_, _| false),
        }
    }
    Ok((v4.length, v6.length))
}

enum Prefix {
    V4(Range<u32>),
    V6(Range<u128>),
}

fn prefix(item: &str) -> Result<Prefix, Bad<'_>> {
    const HOST_BITS: &str = "has bits set behind its prefix";

    let (address, length) = item
        .split_once('/')
        .map_or((item, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address
        .parse()
        .map_err(|_| Bad::Item(item, "is no IP address or prefix"))?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        Some(length) => decimal(length)
            .filter(|&length| length <= bits)
            .ok_or(Bad::Item(item, "has no valid prefix length"))?,
    };

    // A prefix of no bits leaves as many as there are, by which one cannot shift.
    match address {
        IpAddr::V4(address) => v4_range(u32::from(address), length),
        IpAddr::V6(address) => match address.to_ipv4_mapped().zip(length.checked_sub(96)) {
            Some((address, length)) => v4_range(u32::from(address), length),
            None => {
                let first = u128::from(address);
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                (first & host == 0).then_some(Prefix::V6(Range {
                    first,
                    last: first | host,
                }))
            }
        },
    }
    .ok_or(Bad::Item(item, HOST_BITS))
}

fn v4_range(first: u32, length: u32) -> Option<Prefix> {
    let host = u32::MAX.checked_shr(length).unwrap_or(0);
    (first & host == 0).then_some(Prefix::V4(Range {
        first,
        last: first | host,
    }))
}

/// Writes prefixes as [`prefixes`] reads them.
///
/// # Errors
///
/// Those of `out`.
pub(crate) fn write_prefixes(
    v4: &[Range<u32>],
    v6: &[Range<u128>],
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let mut separator = "";
    for Range { first, last } in v4 {
        let length = (first ^ last).leading_zeros();
        write!(out, "{separator}{}/{length}", Ipv4Addr::from(*first))?;
        separator = ",";
    }
    for Range { first, last } in v6 {
        let length = (first ^ last).leading_zeros();
        write!(out, "{separator}{}/{length}", Ipv6Addr::from(*first))?;
        separator = ",";
    }
    Ok(())
}
