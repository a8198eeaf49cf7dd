// SPDX-License-Identifier: GPL-2.0

//! Lists as administrators write them, and as they should not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, prelude::*};

use crate::{
    option::Kinds,
    policy::{self, contains, Bad, Range, MAX_ITEMS},
    policy_model::{self as model, Prefix},
};

/// Reads ports into just the room that the module makes for them.
fn ports(text: &str) -> Result<Vec<Range<u16>>, Bad<'_>> {
    let mut ranges = vec![Range::default(); policy::count(text)?];
    let length = policy::ports(text, &mut ranges)?;
    ranges.truncate(length);
    Ok(ranges)
}

type Families = (Vec<Range<u32>>, Vec<Range<u128>>);

/// Reads prefixes into just the room that the module makes for them.
fn prefixes(text: &str) -> Result<Families, Bad<'_>> {
    let count = policy::count(text)?;
    let mut v4 = vec![Range::default(); count];
    let mut v6 = vec![Range::default(); count];
    let (length4, length6) = policy::prefixes(text, &mut v4, &mut v6)?;
    v4.truncate(length4);
    v6.truncate(length6);
    Ok((v4, v6))
}

/// The canonical text, or what is said of a wrong one.
fn canonical_kinds(text: &str) -> Result<String, String> {
    let kinds = policy::kinds(text).map_err(|bad| bad.to_string())?;
    Ok(kinds.to_string())
}

fn canonical_ports(text: &str) -> Result<String, String> {
    let ranges = ports(text).map_err(|bad| bad.to_string())?;
    let mut out = String::new();
    policy::write_ports(&ranges, &mut out).unwrap();
    Ok(out)
}

fn canonical_prefixes(text: &str) -> Result<String, String> {
    let (v4, v6) = prefixes(text).map_err(|bad| bad.to_string())?;
    let mut out = String::new();
    policy::write_prefixes(&v4, &v6, &mut out).unwrap();
    Ok(out)
}

type Canonical = fn(&str) -> Result<String, String>;
const ALL: [Canonical; 3] = [canonical_kinds, canonical_ports, canonical_prefixes];

/// Each text becomes the other, and that stays what it is.
fn become_canonical(canonical: Canonical, texts: &[(&str, &str)]) {
    for (text, expected) in texts {
        assert_eq!(canonical(text).as_deref(), Ok(*expected), "{text:?}");
        assert_eq!(canonical(expected).as_deref(), Ok(*expected), "{text:?}");
        // As `echo` writes it.
        assert_eq!(
            canonical(&format!("{text}\n")).as_deref(),
            Ok(*expected),
            "{text:?}"
        );
    }
}

/// Each item is wrong, for this reason, alone and among right ones.
fn are_wrong(canonical: Canonical, right: &str, reason: &str, items: &[&str]) {
    canonical(right).unwrap();
    for item in items {
        let expected = Err(format!("\"{item}\" {reason}"));
        assert_eq!(canonical(item), expected);
        for text in [
            format!("{item},{right}"),
            format!("{right},{item}"),
            format!("{right},{item},{right},wrong"),
        ] {
            assert_eq!(canonical(&text), expected, "{text:?}");
        }
    }
}

#[test]
fn kinds() {
    become_canonical(
        canonical_kinds,
        &[
            ("254", "254"),
            ("28,200,254", "254,200,28"),
            ("254,254", "254"),
            ("250,254", "254,250"),
            ("202,201,252", "252,202,201"),
            (
                "28,200,201,202,249,250,252,253,254",
                "254,253,252,250,249,202,201,200,28",
            ),
        ],
    );
    assert_eq!(policy::kinds("254"), Ok(Kinds::DEFAULT));
}

#[test]
fn wrong_kinds() {
    are_wrong(
        canonical_kinds,
        "254,28",
        "is none of 254, 253, 252, 250, 249, 202, 201, 200, 28",
        &[
            "8",
            "255",
            "0",
            "251",
            "510",
            "0254",
            "+254",
            "-2",
            " 254",
            "254 ",
            "0xfe",
            "4294967550",
            "x",
            "254-253",
        ],
    );
    // No more than the name says that it accompanies the others.
    for (text, item) in [
        ("250", "250"),
        ("201,202\n", "202"),
        ("250,201", "201"),
        ("202,202", "202"),
    ] {
        assert_eq!(
            canonical_kinds(text),
            Err(format!(
                "\"{item}\" only accompanies a kind that gives a client"
            ))
        );
    }
    for text in ["", "\n"] {
        assert_eq!(canonical_kinds(text), Err("an item is empty".to_string()));
    }
}

#[test]
fn ports_become_ranges() {
    become_canonical(
        canonical_ports,
        &[
            ("", ""),
            ("80", "80"),
            ("1-65535", "1-65535"),
            ("1,65535", "1,65535"),
            ("443-443", "443"),
            ("443,80", "80,443"),
            ("80,80,80", "80"),
            // What touches is one.
            ("80,81", "80-81"),
            ("81,80", "80-81"),
            ("80,82,81", "80-82"),
            ("65535,65534,1,2", "1-2,65534-65535"),
            ("8000-8999,9000-9999", "8000-9999"),
            ("8000-8998,9000-9999", "8000-8998,9000-9999"),
            // What overlaps is one, and what lies within disappears.
            ("8000-8999,8500-9500", "8000-9500"),
            ("8500-9500,8000-8999", "8000-9500"),
            ("8000-8999,8100-8200,8300", "8000-8999"),
            ("8100-8200,8300,8000-8999,7", "7,8000-8999"),
            ("1,3,5,7,9,2-8", "1-9"),
            ("10,20,30,40,15-35", "10,15-35,40"),
            ("10,20,30,40,10-40", "10-40"),
            ("10,20,30,40,9-41", "9-41"),
            ("10,20,30,40,11-39", "10-40"),
        ],
    );
}

#[test]
fn wrong_ports() {
    are_wrong(
        canonical_ports,
        "80,443",
        "is no port (1 to 65535) and no range of ports",
        &[
            "0",
            "65536",
            "0-5",
            "5-65536",
            "080",
            "+80",
            "-80",
            "80-",
            "-",
            "80--90",
            "80-90-100",
            " 80",
            "80 ",
            "80\t",
            "http",
            "80:90",
            "99999999999",
            "1-99999999999",
            "８０",
        ],
    );
    are_wrong(
        canonical_ports,
        "80,443",
        "is a range that ends before it begins",
        &["90-80", "65535-1", "2-1"],
    );
}

#[test]
fn prefixes_become_canonical() {
    become_canonical(
        canonical_prefixes,
        &[
            ("", ""),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::/0,0.0.0.0/0", "0.0.0.0/0,::/0"),
            ("255.255.255.255", "255.255.255.255/32"),
            ("128.0.0.0/1", "128.0.0.0/1"),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
            ),
            // Mapped IPv4 is IPv4 where that is all that the prefix has.
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104,10.0.0.0/8", "10.0.0.0/8"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::/80", "::/80"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
            // In ascending order, IPv4 first.
            (
                "fd00::/8,10.0.0.0/8,2001:db8::/32,9.0.0.0/8",
                "9.0.0.0/8,10.0.0.0/8,2001:db8::/32,fd00::/8",
            ),
            // What lies within another disappears.
            ("10.1.0.0/16,10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8"),
            (
                "10.1.0.0/16,10.1.2.3,9.0.0.0/8,10.0.0.0/8,11.0.0.0/8",
                "9.0.0.0/8,10.0.0.0/8,11.0.0.0/8",
            ),
            (
                "10.0.0.1,192.0.2.0/24,fd00::/8,0.0.0.0/0,fd00::1",
                "0.0.0.0/0,fd00::/8",
            ),
            ("fd00::1,fe80::/10,::/0", "::/0"),
            // What touches stays two: together it need not be a prefix.
            ("10.0.0.0/9,10.128.0.0/9", "10.0.0.0/9,10.128.0.0/9"),
            ("10.0.0.1,10.0.0.2", "10.0.0.1/32,10.0.0.2/32"),
        ],
    );
}

#[test]
fn wrong_prefixes() {
    const RIGHT: &str = "10.0.0.0/8,fd00::/8";
    are_wrong(
        canonical_prefixes,
        RIGHT,
        "is no IP address or prefix",
        &[
            "10.0.0.256",
            "10.0.0",
            "10.0.0.0.0",
            "010.0.0.0/8",
            "10.0.0.00",
            "+10.0.0.0",
            " 10.0.0.0",
            "10.0.0.0 ",
            "/8",
            "8",
            "fd00::1::",
            "fd00:::1",
            "12345::",
            "fe80::1%eth0",
            "[::1]",
            "localhost",
            "10.0.0.0:80",
            "10.0.0.0-10.0.0.9",
        ],
    );
    are_wrong(
        canonical_prefixes,
        RIGHT,
        "has no valid prefix length",
        &[
            "10.0.0.0/33",
            "fd00::/129",
            "0.0.0.0/00",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-8",
            "10.0.0.0/",
            "fd00::/",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            "10.0.0.0/8 ",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/4294967304",
            "fd00::/99999999999",
        ],
    );
    are_wrong(
        canonical_prefixes,
        RIGHT,
        "has bits set behind its prefix",
        &[
            "10.0.0.1/8",
            "0.0.0.1/0",
            "10.0.0.1/31",
            "128.0.0.0/0",
            "::1/0",
            "fd00::1/127",
            "8000::/0",
            "::ffff:10.0.0.1/104",
            "::ffff:10.0.0.0/95",
            "::ffff:0.0.0.0/90",
        ],
    );
}

#[test]
fn an_item_may_not_be_empty() {
    let right = ["254", "80", "10.0.0.0/8"];
    for (canonical, item) in ALL.iter().zip(right) {
        for text in [
            format!(",{item}"),
            format!("{item},"),
            format!("{item},\n"),
            format!("{item},,{item}"),
            ",".to_string(),
            ",,".to_string(),
        ] {
            assert_eq!(
                canonical(&text),
                Err("an item is empty".to_string()),
                "{text:?}"
            );
        }
    }
}

#[test]
fn one_line_end_does_not_count() {
    for (canonical, item) in ALL.iter().zip(["254", "80", "10.0.0.1"]) {
        canonical(&format!("{item}\n")).unwrap();
        for text in [
            format!("{item}\n\n"),
            format!("\n{item}"),
            format!("{item}\r\n"),
            format!("{item}\0"),
        ] {
            let bad = canonical(&text).unwrap_err();
            let item = text.strip_suffix('\n').unwrap_or(&text);
            assert!(bad.starts_with(&format!("\"{item}\" ")), "{bad:?}");
        }
    }
}

#[test]
fn lists_are_limited() {
    let list = |count: usize| vec!["80"; count].join(",");
    assert_eq!(policy::count(""), Ok(0));
    assert_eq!(policy::count("\n"), Ok(0));
    assert_eq!(policy::count("80\n"), Ok(1));
    assert_eq!(policy::count(",\n"), Ok(2));
    assert_eq!(policy::count(&list(MAX_ITEMS)), Ok(1024));
    assert_eq!(policy::count(&list(MAX_ITEMS + 1)), Err(Bad::TooLong));
    assert_eq!(policy::count(&list(20_000)), Err(Bad::TooLong));
    assert_eq!(Bad::TooLong.to_string(), "more than 1024 items");
}

#[test]
fn as_many_ranges_as_there_may_be() {
    // From the outside in: each is put between others.
    let text: Vec<_> = (0..512_u16)
        .flat_map(|n| [n * 2 + 1, 65535 - n * 2])
        .map(|port| port.to_string())
        .collect();
    let ranges = ports(&text.join(","))
        .map_err(|bad| bad.to_string())
        .unwrap();
    assert_eq!(ranges.len(), 1024);
    assert!(ranges.windows(2).all(|pair| pair[0].last < pair[1].first));
}

#[test]
fn a_range_without_room_is_left_out() {
    let mut storage = [Range::default(); 2];
    assert_eq!(policy::ports("80,443,8080,79,9000", &mut storage), Ok(2));
    assert_eq!(
        storage,
        [
            Range {
                first: 79,
                last: 80
            },
            Range {
                first: 443,
                last: 443
            }
        ]
    );
    assert_eq!(policy::ports("80", &mut []), Ok(0));
}

#[test]
fn contains_has_both_ends() {
    let ranges = [(3, 5), (7, 7), (9, 65535)].map(|(first, last)| Range { first, last });
    for value in 0..=u16::MAX {
        let expected = matches!(value, 3..=5 | 7 | 9..);
        assert_eq!(contains(&ranges, value), expected, "{value}");
    }
    assert!(!contains(&[], 0_u16));
    assert!(contains(
        &[Range {
            first: 0,
            last: u128::MAX
        }],
        u128::MAX
    ));
    assert!(contains(
        &[Range {
            first: 0,
            last: u32::MAX
        }],
        0
    ));
}

#[test]
fn all_of_one_family_is_none_of_the_other() {
    let (v4, v6) = prefixes("::/0").unwrap();
    assert!(v4.is_empty());
    assert!(contains(&v6, 0) && contains(&v6, u128::MAX));
    let (v4, v6) = prefixes("0.0.0.0/0").unwrap();
    assert!(v6.is_empty());
    assert!(contains(&v4, 0) && contains(&v4, u32::MAX));
}

fn ascends<T: Copy + Ord>(ranges: &[Range<T>]) -> bool {
    ranges.iter().all(|range| range.first <= range.last)
        && ranges.windows(2).all(|pair| pair[0].last < pair[1].first)
}

/// A port or a range; most in a narrow span, so that they meet.
fn port_item() -> impl Strategy<Value = String> {
    let port = prop_oneof![4 => 1..60_u16, 1 => 1..=u16::MAX, 1 => 65500..=u16::MAX];
    let narrow =
        (1..60_u16, 0..9_u16).prop_map(|(first, more)| format!("{first}-{}", first + more));
    let wide = (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    prop_oneof![3 => port.prop_map(|port| port.to_string()), 3 => narrow, 1 => wide]
}

/// A prefix; of few different bits, so that they meet.
fn prefix_item() -> impl Strategy<Value = Prefix> {
    let bits = any::<u128>().prop_map(|bits| bits & 0x8000_0101_0000_0000_0000_ffff_8001_0301);
    let v4 = (any::<u32>(), 0..=32_u32).prop_map(|(bits, length)| {
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        let address = IpAddr::from(Ipv4Addr::from(bits & 0x8103_0101 & !host));
        Prefix { address, length }
    });
    let v6 = (bits, 0..=128_u32).prop_map(|(bits, length)| {
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let address = IpAddr::from(Ipv6Addr::from(bits & !host));
        Prefix { address, length }
    });
    prop_oneof![v4, v6]
}

fn text_of(prefixes: &[Prefix]) -> String {
    let items = prefixes
        .iter()
        .map(|prefix| format!("{}/{}", prefix.address, prefix.length));
    items.collect::<Vec<_>>().join(",")
}

/// A text that may be a list: of the right characters, or of right items spoilt in one place.
fn text() -> impl Strategy<Value = String> {
    let list = vec(
        prop_oneof![
            port_item(),
            prefix_item().prop_map(|prefix| text_of(&[prefix])),
            Just("254".to_string()),
            Just("250".to_string()),
        ],
        0..5,
    )
    .prop_map(|items| items.join(","));
    let spoilt = (list, any::<prop::sample::Index>(), "[0-9a-f:.,/\n+ -]?").prop_map(
        |(list, index, more)| {
            let at = index.index(list.len() + 1);
            format!("{}{more}{}", &list[..at], &list[at..])
        },
    );
    prop_oneof!["[0-9a-f:.,/\n-]{0,40}", any::<String>(), spoilt]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn ports_agree_with_the_model(items in vec(port_item(), 0..12)) {
        let text = items.join(",");
        let ranges = ports(&text).unwrap();
        prop_assert!(ascends(&ranges));
        let expected = model::ports(&text).unwrap();
        prop_assert_eq!(canonical_ports(&text).unwrap(), model::ports_text(&expected));
        for port in 0..=u16::MAX {
            let listed = expected.iter().any(|&(first, last)| (first..=last).contains(&port));
            prop_assert_eq!(contains(&ranges, port), listed, "{}", port);
        }
    }

    #[test]
    fn prefixes_agree_with_the_model(items in vec(prefix_item(), 0..12), more in vec(prefix_item(), 0..12)) {
        let text = text_of(&items);
        let (v4, v6) = prefixes(&text).unwrap();
        prop_assert!(ascends(&v4) && ascends(&v6));
        let expected = model::prefixes(&text).unwrap();
        prop_assert_eq!(canonical_prefixes(&text).unwrap(), model::prefixes_text(&expected));
        for address in items.iter().chain(&more).map(|prefix| prefix.address) {
            // Whoever asks knows IPv4 by its mapped form.
            let address = address.to_canonical();
            let found = match address {
                IpAddr::V4(address) => contains(&v4, u32::from(address)),
                IpAddr::V6(address) => contains(&v6, u128::from(address)),
            };
            prop_assert_eq!(found, expected.iter().any(|prefix| prefix.contains(address)), "{}", address);
        }
    }

    #[test]
    fn the_order_of_items_does_not_matter(
        (ports, shuffled_ports) in vec(port_item(), 0..12).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        (prefixes, shuffled_prefixes) in vec(prefix_item(), 0..12).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
    ) {
        let [a, b] = [ports, shuffled_ports].map(|list| canonical_ports(&list.join(",")).unwrap());
        prop_assert_eq!(a, b);
        let [a, b] = [prefixes, shuffled_prefixes].map(|list| canonical_prefixes(&text_of(&list)).unwrap());
        prop_assert_eq!(a, b);
    }

    #[test]
    fn whatever_is_written_is_taken_or_refused_as_the_model_does(text in text()) {
        prop_assert_eq!(canonical_ports(&text).ok(), model::ports(&text).map(|list| model::ports_text(&list)));
        let expected = model::prefixes(&text).map(|list| model::prefixes_text(&list));
        prop_assert_eq!(canonical_prefixes(&text).ok(), expected);
        for canonical in ALL {
            if let Ok(canonical_text) = canonical(&text) {
                prop_assert_eq!(canonical(&canonical_text), Ok(canonical_text));
            }
        }
    }

    #[test]
    fn an_error_names_an_item_of_the_list(text in text()) {
        let errors = [policy::kinds(&text).err(), ports(&text).err(), prefixes(&text).err()];
        for error in errors.into_iter().flatten() {
            match error {
                Bad::TooLong => prop_assert!(text.split(',').count() > MAX_ITEMS),
                Bad::Item(item, _) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    prop_assert!(text.split(',').any(|part| part == item), "{}", error);
                }
            }
        }
    }
}
