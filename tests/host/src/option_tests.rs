// SPDX-License-Identifier: GPL-2.0

//! Options as load balancers write them, and as nobody should.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use crate::option::{client, Client};

/// Port 0x1234 of 192.0.2.1.
const V4: [u8; 8] = [254, 8, 0x12, 0x34, 192, 0, 2, 1];
/// Port 443 of 2001:db8::1.
const V6: [u8; 20] = [
    254, 20, 0x01, 0xbb, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
];
/// No operation, no operation, timestamps: what Linux puts into every segment.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];

fn v4(port: u16, a: u8, b: u8, c: u8, d: u8) -> Option<Client> {
    let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    Some(Client { address, port })
}

fn v6(port: u16, address: &str) -> Option<Client> {
    let address = IpAddr::V6(address.parse::<Ipv6Addr>().unwrap());
    Some(Client { address, port })
}

#[test]
fn ipv4_client_with_port_in_network_byte_order() {
    assert_eq!(client(&V4), v4(0x1234, 192, 0, 2, 1));
}

#[test]
fn ipv6_client() {
    assert_eq!(client(&V6), v6(443, "2001:db8::1"));
}

#[test]
fn nothing_in_nothing() {
    assert_eq!(client(&[]), None);
    assert_eq!(client(&TIMESTAMPS), None);
}

#[test]
fn before_and_after_other_options() {
    assert_eq!(
        client(&[&V4[..], &TIMESTAMPS].concat()),
        v4(0x1234, 192, 0, 2, 1)
    );
    assert_eq!(
        client(&[&TIMESTAMPS[..], &V4].concat()),
        v4(0x1234, 192, 0, 2, 1)
    );
    assert_eq!(
        client(&[&TIMESTAMPS[..], &V6].concat()),
        v6(443, "2001:db8::1")
    );
}

#[test]
fn unaligned() {
    for padding in 0..4 {
        let header = [&[1; 3][..padding], &V4].concat();
        assert_eq!(client(&header), v4(0x1234, 192, 0, 2, 1), "{padding}");
    }
}

#[test]
fn the_first_of_two_counts() {
    let forged = [254, 8, 0, 1, 10, 0, 0, 1];
    assert_eq!(client(&[V4, forged].concat()), v4(0x1234, 192, 0, 2, 1));
    assert_eq!(client(&[&V6[..], &V4].concat()), v6(443, "2001:db8::1"));
}

#[test]
fn other_lengths_are_skipped() {
    for length in (2..=32).filter(|length| ![8, 20].contains(length)) {
        let mut header = vec![254, length];
        header.resize(usize::from(length), 0xaa);
        assert_eq!(client(&header), None, "{length}");
        header.extend(V4);
        assert_eq!(client(&header), v4(0x1234, 192, 0, 2, 1), "{length}");
    }
}

#[test]
fn the_end_mark_ends() {
    assert_eq!(client(&[&[0][..], &V4].concat()), None);
    assert_eq!(client(&[&V4[..], &[0]].concat()), v4(0x1234, 192, 0, 2, 1));
}

#[test]
fn lengths_that_cannot_be_end_the_list() {
    for length in [0, 1] {
        assert_eq!(client(&[&[254, length][..], &V4].concat()), None);
        assert_eq!(client(&[&[8, length][..], &V4].concat()), None);
    }
}

#[test]
fn an_option_past_the_header_is_not_read() {
    for end in 0..V4.len() {
        assert_eq!(client(&V4[..end]), None, "{end}");
    }
    for end in 0..V6.len() {
        assert_eq!(client(&V6[..end]), None, "{end}");
    }
    assert_eq!(client(&[&[8, 10][..], &V4[..7]].concat()), None);
}

#[test]
fn magic_numbers_of_linux_are_ports_outside_of_a_syn() {
    // TCP Fast Open and SMC-R begin options of the same kind with these in segments with SYN.
    assert_eq!(
        client(&[254, 8, 0xf9, 0x89, 192, 0, 2, 1]),
        v4(0xf989, 192, 0, 2, 1)
    );
    assert_eq!(
        client(&[254, 8, 0xe2, 0xd4, 0xc3, 0xd9, 2, 1]),
        v4(0xe2d4, 0xc3, 0xd9, 2, 1)
    );
}

/// What the text of the formats says, written as plainly as it can be.
fn model(header: &[u8]) -> Option<Client> {
    let mut at = 0;
    while at < header.len() {
        let kind = header[at];
        if kind == 0 {
            return None;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        if at + 1 == header.len() {
            return None;
        }
        let length = usize::from(header[at + 1]);
        if length < 2 || at + length > header.len() {
            return None;
        }
        if kind == 254 && (length == 8 || length == 20) {
            let port = u16::from_be_bytes([header[at + 2], header[at + 3]]);
            let octets = &header[at + 4..at + length];
            let address = if length == 8 {
                IpAddr::from(<[u8; 4]>::try_from(octets).unwrap())
            } else {
                IpAddr::from(<[u8; 16]>::try_from(octets).unwrap())
            };
            return Some(Client { address, port });
        }
        at += length;
    }
    None
}

/// Every header of up to three words whose bytes matter to the parser agrees with the model.
#[test]
fn short_headers_exhaustively() {
    // Kinds and lengths with a meaning, one past each edge, and one of no meaning.
    const BYTES: [u8; 9] = [0, 1, 2, 3, 7, 8, 9, 20, 254];
    for length in 0..=7 {
        let mut header = vec![0; length];
        for mut number in 0..BYTES.len().pow(length as u32) {
            for byte in &mut header {
                *byte = BYTES[number % BYTES.len()];
                number /= BYTES.len();
            }
            assert_eq!(client(&header), model(&header), "{header:?}");
        }
    }
}

/// A header made of options as they come in the field.
fn plausible_header() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        2 => Just(vec![1]),
        1 => Just(vec![0]),
        1 => Just(vec![4, 2]),
        2 => Just(TIMESTAMPS.to_vec()),
        2 => any::<[u8; 6]>().prop_map(|value| [&[254, 8][..], &value].concat()),
        2 => any::<[u8; 18]>().prop_map(|value| [&[254, 20][..], &value].concat()),
        1 => (any::<u8>(), vec(any::<u8>(), 0..12)).prop_map(|(kind, value)| {
            [&[kind, value.len() as u8 + 2][..], &value].concat()
        }),
    ];
    vec(option, 0..6).prop_map(|options| {
        let mut header = options.concat();
        header.truncate(40);
        header
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_bytes_agree_with_the_model(header in vec(any::<u8>(), 0..=40)) {
        prop_assert_eq!(client(&header), model(&header));
    }

    #[test]
    fn plausible_headers_agree_with_the_model(header in plausible_header()) {
        prop_assert_eq!(client(&header), model(&header));
    }
}
