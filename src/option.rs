// SPDX-License-Identifier: GPL-2.0

//! From the bytes of TCP options to the client that a load balancer names in them.
//!
//! Pure: the same file runs in the kernel and, under `cargo test`, on the host. The formats are
//! those of the load balancers in the field; all numbers in them are in network byte order.

use core::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::address::{Address, End, Port};

/// End of the option list (RFC 9293, 3.1).
const TCPOPT_EOL: u8 = 0;
/// Padding of one byte without a length (RFC 9293, 3.1).
const TCPOPT_NOP: u8 = 1;
/// User timeout (RFC 5482): kind and length. Load balancers use its kind with other lengths.
const TCPOPT_UTO: (u8, u8) = (28, 4);
/// Experimental option (RFC 4727). Linux reads it in a SYN if it begins with a magic number.
const TCPOPT_EXP: u8 = 254;
/// TCP Fast Open, before it had a kind of its own (RFC 7413, appendix A).
const TCPOPT_FASTOPEN_MAGIC: &[u8] = &[0xF9, 0x89];
/// SMC over RDMA (RFC 7609, appendix A).
const TCPOPT_SMC_MAGIC: &[u8] = &[0xE2, 0xD4, 0xC3, 0xD9];

/// Where the value of an option has an address, and of which family.
#[derive(Clone, Copy)]
enum Place {
    No,
    V4(u8),
    V6(u8),
}
use Place::{No, V4, V6};

/// One layout of an option. Places are those in its value, which begins after kind and length.
struct Format {
    kind: u8,
    /// Of the whole option, as its second byte gives it.
    length: u8,
    client: Place,
    /// The client's port, two bytes.
    port: Option<u8>,
    /// The address of the virtual service that the client connected to.
    vip: Place,
    /// Its port, two bytes.
    vport: Option<u8>,
    /// The VPC's number, and of how many bytes it is.
    vpc: Option<(u8, u8)>,
    /// The first byte, where it is the format's version.
    version: Option<u8>,
}

/// All that load balancers send. An option without a client accompanies one that has it.
#[rustfmt::skip]
const FORMATS: &[Format] = &[
    // Huawei, Tencent, DPVS, LVS FullNAT.
    Format { kind: 254, length: 8, client: V4(2), port: Some(0), vip: No, vport: None, vpc: None, version: None },
    Format { kind: 254, length: 20, client: V6(2), port: Some(0), vip: No, vport: None, vpc: None, version: None },
    // UCloud, LVS with IPv6, Alibaba.
    Format { kind: 253, length: 8, client: V4(2), port: Some(0), vip: No, vport: None, vpc: None, version: None },
    Format { kind: 253, length: 20, client: V6(2), port: Some(0), vip: No, vport: None, vpc: None, version: None },
    // Alibaba, in a VPC.
    Format { kind: 252, length: 20, client: V4(2), port: Some(0), vip: V4(10), vport: Some(14), vpc: Some((6, 4)), version: None },
    Format { kind: 250, length: 8, client: No, port: None, vip: V4(2), vport: Some(0), vpc: None, version: None },
    Format { kind: 249, length: 40, client: V6(2), port: Some(0), vip: V6(22), vport: None, vpc: Some((18, 3)), version: None },
    // Tencent, in a VPC.
    Format { kind: 202, length: 8, client: No, port: None, vip: V4(2), vport: Some(0), vpc: None, version: None },
    Format { kind: 201, length: 6, client: No, port: None, vip: No, vport: None, vpc: Some((0, 4)), version: None },
    // Old LVS FullNAT, Tencent Anti-DDoS, UCloud.
    Format { kind: 200, length: 8, client: V4(2), port: Some(0), vip: No, vport: None, vpc: None, version: None },
    // Akamai, Alibaba's CDN, F5.
    Format { kind: 28, length: 7, client: V4(1), port: None, vip: No, vport: None, vpc: None, version: Some(1) },
    Format { kind: 28, length: 19, client: V6(1), port: None, vip: No, vport: None, vpc: None, version: Some(1) },
];

/// The kind that is read unless somebody asks for more.
pub(crate) const DEFAULT_KIND: u8 = TCPOPT_EXP;

/// No kind of [`FORMATS`] is less.
const LOWEST_KIND: u8 = 28;

/// The kinds of [`FORMATS`], and whether one can give a client.
pub(crate) const KINDS: &[(u8, bool)] = &[
    (254, true),
    (253, true),
    (252, true),
    (250, false),
    (249, true),
    (202, false),
    (201, false),
    (200, true),
    (28, true),
];

// As many as a set has room for.
const _: () = assert!(KINDS.len() <= u16::BITS as usize);

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(pub(crate) u16);

impl Kinds {
    /// What is read unless somebody asks for more.
    pub(crate) const DEFAULT: Self = Self(1);

    /// The set of one kind, or none if it is not one of [`KINDS`].
    pub(crate) fn of(kind: u8) -> Option<Self> {
        let index = KINDS.iter().position(|&(known, _)| known == kind)?;
        Some(Self::at(index))
    }

    /// The set of the kind that is in this place of [`KINDS`].
    const fn at(index: usize) -> Self {
        // A plain shift would be checked for overflow, which cannot be.
        Self(1u16.wrapping_shl(index as u32))
    }

    /// The kinds in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds in either.
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds of this set that are not in the other.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether kind 254 is in it.
    #[inline(always)]
    pub(crate) fn has_default(self) -> bool {
        !self.and(Self::DEFAULT).is_empty()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether an option of these kinds can give a client.
    pub(crate) fn give_client(self) -> bool {
        self.indices()
            .any(|index| matches!(KINDS.get(index), Some((_, true))))
    }

    /// Where in [`KINDS`] those of the set are.
    pub(crate) fn indices(self) -> impl Iterator<Item = usize> {
        (0..KINDS.len()).filter(move |&index| !self.and(Self::at(index)).is_empty())
    }
}

impl fmt::Display for Kinds {
    /// As the parameter has them: `254,200,28`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for index in self.indices() {
            if let Some((kind, _)) = KINDS.get(index) {
                write!(out, "{separator}{kind}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// What the client connected to: an address of the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its address; IPv4 in its mapped form, unspecified if no option has it.
    pub(crate) address: Ipv6Addr,
    /// Its port, zero if no option has it.
    pub(crate) port: u16,
    /// The number of its VPC, zero if no option has it.
    pub(crate) vpc: u32,
}

/// The client that a segment names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address; IPv4 in its mapped form, `::ffff:a.b.c.d`.
    pub(crate) address: Ipv6Addr,
    /// Its port, where the format has one.
    pub(crate) port: Option<u16>,
    /// The kind of the option that gave it.
    pub(crate) kind: u8,
    /// What it connected to, where the option or one that accompanies it says so.
    pub(crate) service: Option<Service>,
}

/// What the options of one segment say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The client. The first option that gives one counts: the balancer puts its own first, so a
    /// later one came from the client itself.
    pub(crate) client: Option<Client>,
    /// The kinds of well-formed options, whether they were asked for or not.
    pub(crate) seen: Kinds,
    /// Whether an option of a kind that was asked for has no known layout, or the list of options
    /// breaks off.
    pub(crate) malformed: bool,
}

/// Reads the options of `kinds` in a segment, which is what follows the 20 fixed bytes of the TCP
/// header. `syn`: the segment has SYN set.
#[inline]
pub(crate) fn read(options: &[u8], syn: bool, kinds: Kinds) -> Reading {
    let mut rest = Options(options);
    let mut sum = Sum::default();
    for option in rest.by_ref() {
        // Nearly all options of nearly all segments end here.
        if option.kind >= LOWEST_KIND && !option.is_of_linux(syn) {
            sum.add(&option, kinds);
        }
    }

    Reading {
        client: sum.client.map(|client| Client {
            service: client.service.or(sum.accompanying.finish()),
            ..client
        }),
        seen: sum.seen,
        malformed: sum.malformed || !rest.at_end(),
    }
}

/// Whether `options` are what hosts put into nearly all segments, with nothing to read of any kind. Takes a
/// few instructions.
#[inline(always)]
pub(crate) fn is_usual(options: &[u8]) -> bool {
    /// No operation twice, then timestamps: any segment of a connection that has them.
    const TIMESTAMPS: u32 = u32::from_ne_bytes([TCPOPT_NOP, TCPOPT_NOP, 8, 10]);
    /// The largest segment: a SYN that asks for no more.
    const MSS: u16 = u16::from_ne_bytes([2, 4]);
    /// Then selective acknowledgements and timestamps, no operation and the scale of the window:
    /// Linux's SYN.
    const SACK_TIMESTAMPS: u32 = u32::from_ne_bytes([4, 2, 8, 10]);
    const WINDOW_SCALE: u16 = u16::from_ne_bytes([3, 3]);

    match *options {
        [] => true,
        [a, b, c, d, _, _, _, _, _, _, _, _] => u32::from_ne_bytes([a, b, c, d]) == TIMESTAMPS,
        [a, b, _, _] => u16::from_ne_bytes([a, b]) == MSS,
        [a, b, _, _, c, d, e, f, _, _, _, _, _, _, _, _, TCPOPT_NOP, g, h, _] => {
            u16::from_ne_bytes([a, b]) == MSS
                && u32::from_ne_bytes([c, d, e, f]) == SACK_TIMESTAMPS
                && u16::from_ne_bytes([g, h]) == WINDOW_SCALE
        }
        _ => false,
    }
}

/// Whether there is nothing to read in `options`, of any kind, and nothing wrong with them.
#[inline(always)]
pub(crate) fn is_plain(options: &[u8]) -> bool {
    is_usual(options) || has_only_others(options)
}

#[inline(never)]
fn has_only_others(options: &[u8]) -> bool {
    let mut rest = Options(options);
    rest.by_ref().all(|option| option.kind < LOWEST_KIND) && rest.at_end()
}

/// The client of options that begin with kind 254 and are plain behind it, which is how load balancers
/// send them, and whether it has an IPv6 address: what [`read`] says of a segment without SYN, but
/// faster. None says nothing.
#[inline(always)]
pub(crate) fn leading(options: &[u8]) -> Option<(End, bool)> {
    const SHORT: u16 = u16::from_ne_bytes([TCPOPT_EXP, 8]);
    const LONG: u16 = u16::from_ne_bytes([TCPOPT_EXP, 20]);

    let (&[kind, length, p, q], value) = options.split_first_chunk()?;
    let (address, is_ipv6, rest) = match u16::from_ne_bytes([kind, length]) {
        SHORT => {
            let (v4, rest) = value.split_first_chunk()?;
            (Address::from_v4(u32::from_ne_bytes(*v4)), false, rest)
        }
        LONG => {
            let (high, rest) = value.split_first_chunk()?;
            let (low, rest) = rest.split_first_chunk()?;
            let address = Address([u64::from_ne_bytes(*high), u64::from_ne_bytes(*low)]);
            (address, address.is_ipv6(), rest)
        }
        _ => return None,
    };
    let client = End {
        address,
        port: Port(u16::from_ne_bytes([p, q])),
    };
    is_plain(rest).then_some((client, is_ipv6))
}

/// What the options up to some place say.
#[derive(Default)]
struct Sum {
    client: Option<Client>,
    accompanying: Partial,
    seen: Kinds,
    malformed: bool,
}

impl Sum {
    /// Adds what one more says. Not inlined, so that the walk that comes before it stays small.
    #[inline(never)]
    fn add(&mut self, option: &Found<'_>, kinds: Kinds) {
        let Some(kind) = Kinds::of(option.kind) else {
            return;
        };
        let wanted = !kind.and(kinds).is_empty();
        let Some(format) = option.format() else {
            self.malformed |= wanted && (option.kind, option.length) != TCPOPT_UTO;
            return;
        };
        self.seen = self.seen.or(kind);
        if !wanted {
            return;
        }

        let service = Partial::decode(format, option.value);
        let Some(address) = address(format.client, option.value) else {
            self.accompanying = self.accompanying.or(service);
            return;
        };
        if self.client.is_none() {
            self.client = Some(Client {
                address,
                port: port(format.port, option.value),
                kind: option.kind,
                service: service.finish(),
            });
        }
    }
}

/// What options say of a service; any part may be missing.
#[derive(Clone, Copy, Default)]
struct Partial {
    address: Option<Ipv6Addr>,
    port: Option<u16>,
    vpc: Option<u32>,
}

impl Partial {
    fn decode(format: &Format, value: &[u8]) -> Self {
        Self {
            address: address(format.vip, value),
            port: port(format.vport, value),
            vpc: vpc(format.vpc, value),
        }
    }

    /// What is missing here comes from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            port: self.port.or(other.port),
            vpc: self.vpc.or(other.vpc),
        }
    }

    fn finish(self) -> Option<Service> {
        if self.address.is_none() && self.port.is_none() && self.vpc.is_none() {
            return None;
        }
        Some(Service {
            address: self.address.unwrap_or(Ipv6Addr::UNSPECIFIED),
            port: self.port.unwrap_or(0),
            vpc: self.vpc.unwrap_or(0),
        })
    }
}

/// Reads an address.
fn address(place: Place, value: &[u8]) -> Option<Ipv6Addr> {
    match place {
        No => None,
        V4(at) => bytes::<4>(at, value).map(|octets| Ipv4Addr::from(octets).to_ipv6_mapped()),
        V6(at) => bytes::<16>(at, value).map(Ipv6Addr::from),
    }
}

/// Reads a port.
fn port(place: Option<u8>, value: &[u8]) -> Option<u16> {
    bytes(place?, value).map(u16::from_be_bytes)
}

/// Reads the number of a VPC.
fn vpc(place: Option<(u8, u8)>, value: &[u8]) -> Option<u32> {
    let (at, length) = place?;
    let bytes = value.get(usize::from(at)..)?.get(..usize::from(length))?;
    let number = bytes
        .iter()
        .fold(0, |number, &byte| (number << 8) | u32::from(byte));
    Some(number)
}

/// Reads the bytes in a place.
fn bytes<const N: usize>(at: u8, value: &[u8]) -> Option<[u8; N]> {
    value.get(usize::from(at)..)?.first_chunk().copied()
}

/// An option of a segment.
struct Found<'a> {
    kind: u8,
    /// Of the whole option.
    length: u8,
    /// What follows kind and length.
    value: &'a [u8],
}

impl Found<'_> {
    /// Whether Linux itself reads the option as something else.
    #[inline]
    fn is_of_linux(&self, syn: bool) -> bool {
        syn && self.kind == TCPOPT_EXP
            && (self.value.starts_with(TCPOPT_FASTOPEN_MAGIC)
                || self.value.starts_with(TCPOPT_SMC_MAGIC))
    }

    /// Its layout.
    fn format(&self) -> Option<&'static Format> {
        FORMATS.iter().find(|format| {
            (format.kind, format.length) == (self.kind, self.length)
                && (format.version.is_none() || format.version == self.value.first().copied())
        })
    }
}

/// The options of a header, without padding.
///
/// Ends, as the kernel's own parser does, at the end mark and at the first option whose length
/// cannot be: less than the two bytes that every option has, or past the end of the header.
struct Options<'a>(&'a [u8]);

impl Options<'_> {
    /// Whether the list ended where it may.
    fn at_end(&self) -> bool {
        matches!(self.0, [] | [TCPOPT_EOL, ..])
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Found<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.0 {
                [] | [TCPOPT_EOL, ..] => return None,
                [TCPOPT_NOP, ref rest @ ..] => self.0 = rest,
                [_] => return None,
                [kind, length, ref rest @ ..] => {
                    let behind = usize::from(length).checked_sub(2)?;
                    let value = rest.get(..behind)?;
                    self.0 = rest.get(behind..)?;
                    return Some(Found {
                        kind,
                        length,
                        value,
                    });
                }
            }
        }
    }
}
