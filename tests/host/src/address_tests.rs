// SPDX-License-Identifier: GPL-2.0

//! Addresses in words are the addresses that the standard library has in bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::address::{Address, End, Port};

fn of(text: &str) -> Address {
    Address::from(text.parse::<Ipv6Addr>().unwrap())
}

#[test]
fn bytes_lie_in_network_byte_order() {
    let address = of("102:304:506:708:90a:b0c:d0e:f10");
    let [high, low] = address.0.map(u64::to_ne_bytes);
    assert_eq!(high, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(low, [9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(
        address.octets(),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    );
    assert_eq!(address.last_four().to_ne_bytes(), [13, 14, 15, 16]);
}

#[test]
fn ipv4_is_what_is_mapped() {
    for (text, is_ipv6) in [
        ("::ffff:192.0.2.1", false),
        ("::ffff:0.0.0.0", false),
        ("::192.0.2.1", true),
        ("::fffe:192.0.2.1", true),
        ("::1:ffff:192.0.2.1", true),
        ("1::ffff:192.0.2.1", true),
        ("2001:db8::1", true),
        ("::", true),
    ] {
        assert_eq!(of(text).is_ipv6(), is_ipv6, "{text}");
    }
}

#[test]
fn ends_as_text() {
    let end = |text, port: u16| {
        End {
            address: of(text),
            port: port.into(),
        }
        .to_string()
    };
    assert_eq!(end("::ffff:192.0.2.1", 80), "192.0.2.1:80");
    assert_eq!(end("2001:db8::1", 65535), "[2001:db8::1]:65535");
    assert_eq!(End::NONE.to_string(), "[::]:0");
}

proptest! {
    #[test]
    fn nothing_is_lost(octets: [u8; 16], v4: [u8; 4], port: u16) {
        let address = Ipv6Addr::from(octets);
        prop_assert_eq!(Ipv6Addr::from(Address::from(address)), address);
        prop_assert_eq!(Address::from(address).octets(), octets);
        prop_assert_eq!(Address::from(address).is_ipv6(), address.to_ipv4_mapped().is_none());

        let mapped = Address::from(Ipv4Addr::from(v4).to_ipv6_mapped());
        prop_assert_eq!(Address::from_v4(u32::from_ne_bytes(v4)), mapped);
        prop_assert_eq!(mapped.last_four(), u32::from_ne_bytes(v4));

        prop_assert_eq!(u16::from(Port::from(port)), port);
        prop_assert_eq!(Port::from(port).0.to_ne_bytes(), port.to_be_bytes());
    }
}
