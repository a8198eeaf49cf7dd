// SPDX-License-Identifier: GPL-2.0

//! What the text of the formats says, once more, as plainly as it can be and in another way than the
//! module does it. The tests and the fuzz targets compare both.

use std::net::Ipv6Addr;

use crate::option::{Client, Kinds, Reading, Service};

/// Every kind that load balancers use.
pub(crate) const ALL: [u8; 9] = [254, 253, 252, 250, 249, 202, 201, 200, 28];

/// A set of kinds.
pub(crate) fn set(kinds: &[u8]) -> Kinds {
    kinds.iter().fold(Kinds::default(), |set, &kind| {
        set.or(Kinds::of(kind).unwrap())
    })
}

/// The kinds in a set.
pub(crate) fn members(set: Kinds) -> Vec<u8> {
    let has = |&kind: &u8| !Kinds::of(kind).unwrap().and(set).is_empty();
    ALL.into_iter().filter(has).collect()
}

/// The options of a header, each with kind and length, and whether the list breaks off.
pub(crate) fn split(header: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut options = Vec::new();
    let mut at = 0;
    while at < header.len() && header[at] != 0 {
        if header[at] == 1 {
            at += 1;
            continue;
        }
        let length = match header.get(at + 1) {
            Some(&length) => usize::from(length),
            None => return (options, true),
        };
        if length < 2 || at + length > header.len() {
            return (options, true);
        }
        options.push(header[at..at + length].to_vec());
        at += length;
    }
    (options, false)
}

/// What an option says: a client's address and port, a VIP, its port, and a VPC.
#[derive(Default)]
struct Saying {
    client: Option<(Ipv6Addr, Option<u16>)>,
    vip: Option<Ipv6Addr>,
    vport: Option<u16>,
    vpc: Option<u32>,
}

impl Saying {
    fn service(&self) -> Option<Service> {
        if self.vip.is_none() && self.vport.is_none() && self.vpc.is_none() {
            return None;
        }
        Some(Service {
            address: self.vip.unwrap_or("::".parse().unwrap()),
            port: self.vport.unwrap_or_default(),
            vpc: self.vpc.unwrap_or_default(),
        })
    }
}

fn v4(octets: [u8; 4]) -> Ipv6Addr {
    let [a, b, c, d] = octets;
    Ipv6Addr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
}

fn v6(octets: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap())
}

/// The table of formats.
#[rustfmt::skip]
fn decode(option: &[u8]) -> Option<Saying> {
    let be16 = |high: u8, low: u8| u16::from(high) * 256 + u16::from(low);
    let none = Saying::default();
    Some(match *option {
        [254 | 253 | 200, 8, p, q, a, b, c, d] => Saying {
            client: Some((v4([a, b, c, d]), Some(be16(p, q)))), ..none
        },
        [254 | 253, 20, p, q, ref address @ ..] => Saying {
            client: Some((v6(address), Some(be16(p, q)))), ..none
        },
        [28, 7, 1, a, b, c, d] => Saying { client: Some((v4([a, b, c, d]), None)), ..none },
        [28, 19, 1, ref address @ ..] => Saying { client: Some((v6(address), None)), ..none },
        [252, 20, p, q, a, b, c, d, i, j, k, l, e, f, g, h, r, s, _, _] => Saying {
            client: Some((v4([a, b, c, d]), Some(be16(p, q)))),
            vip: Some(v4([e, f, g, h])),
            vport: Some(be16(r, s)),
            vpc: Some(u32::from_be_bytes([i, j, k, l])),
        },
        [250 | 202, 8, r, s, e, f, g, h] => Saying {
            vip: Some(v4([e, f, g, h])), vport: Some(be16(r, s)), ..none
        },
        [249, 40, p, q, ref rest @ ..] => Saying {
            client: Some((v6(&rest[..16]), Some(be16(p, q)))),
            vpc: Some(u32::from_be_bytes([0, rest[16], rest[17], rest[18]])),
            vip: Some(v6(&rest[20..])),
            ..none
        },
        [201, 6, i, j, k, l] => Saying { vpc: Some(u32::from_be_bytes([i, j, k, l])), ..none },
        _ => return None,
    })
}

/// What [`crate::option::read`] has to find.
pub(crate) fn read(header: &[u8], syn: bool, kinds: &[u8]) -> Reading {
    let (options, broken) = split(header);
    let ours = options.into_iter().filter(|option| {
        let of_linux = option[0] == 254
            && (option[2..].starts_with(b"\xf9\x89")
                || option[2..].starts_with(b"\xe2\xd4\xc3\xd9"));
        ALL.contains(&option[0]) && !(syn && of_linux)
    });
    let (known, unknown): (Vec<_>, Vec<_>) = ours.partition(|option| decode(option).is_some());
    let wanted: Vec<_> = known
        .iter()
        .filter(|option| kinds.contains(&option[0]))
        .collect();
    let sayings: Vec<_> = wanted
        .iter()
        .map(|option| (option[0], decode(option).unwrap()))
        .collect();

    // The first to have a part counts.
    let accompanying = || {
        sayings
            .iter()
            .map(|(_, saying)| saying)
            .filter(|saying| saying.client.is_none())
    };
    let around = Saying {
        client: None,
        vip: accompanying().find_map(|saying| saying.vip),
        vport: accompanying().find_map(|saying| saying.vport),
        vpc: accompanying().find_map(|saying| saying.vpc),
    };
    let client = sayings
        .iter()
        .find(|(_, saying)| saying.client.is_some())
        .map(|(kind, saying)| {
            let (address, port) = saying.client.unwrap();
            let service = saying.service().or(around.service());
            Client {
                address,
                port,
                kind: *kind,
                service,
            }
        });
    Reading {
        client,
        seen: set(&known.iter().map(|option| option[0]).collect::<Vec<_>>()),
        malformed: broken
            || unknown
                .iter()
                .any(|option| option[..2] != [28, 4] && kinds.contains(&option[0])),
    }
}
