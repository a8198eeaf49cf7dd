// SPDX-License-Identifier: GPL-2.0

//! Any text, as each of the lists: taken or refused as the model does, and, once taken, written in a
//! form that means the same.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::{fuzz_target, Corpus};

#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/address.rs"]
mod address;
#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/option.rs"]
mod option;
#[path = "../../../src/policy.rs"]
mod policy;
#[expect(dead_code, reason = "the host's tests have further uses for it")]
#[path = "../../host/src/policy_model.rs"]
mod policy_model;

use policy::{contains, count, Range};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    kinds(text);
    ports(text);
    prefixes(text);
    Corpus::Keep
});

fn kinds(text: &str) {
    if let Ok(kinds) = policy::kinds(text) {
        assert!(kinds.give_client());
        assert_eq!(policy::kinds(&kinds.to_string()), Ok(kinds));
    }
}

/// Ranges that other texts of the same meaning have as well.
fn assert_canonical<T: Copy + Ord>(ranges: &[Range<T>]) {
    assert!(ranges.iter().all(|range| range.first <= range.last));
    assert!(ranges.windows(2).all(|pair| pair[0].last < pair[1].first));
}

fn read_ports(text: &str) -> Option<Vec<Range<u16>>> {
    let mut ranges = vec![Range::default(); count(text).ok()?];
    let length = policy::ports(text, &mut ranges).ok()?;
    ranges.truncate(length);
    Some(ranges)
}

fn ports(text: &str) {
    let ranges = read_ports(text);
    let expected = policy_model::ports(text).filter(|list| list.len() <= policy::MAX_ITEMS);
    assert_eq!(ranges.is_some(), expected.is_some(), "{text:?}");
    let (Some(ranges), Some(expected)) = (ranges, expected) else {
        return;
    };
    assert_canonical(&ranges);
    assert!(ranges
        .windows(2)
        .all(|pair| pair[0].last + 1 < pair[1].first));

    // Membership changes at the ends of items only.
    let listed = expected.iter().flat_map(|&(first, last)| [first, last]);
    let found = ranges.iter().flat_map(|range| [range.first, range.last]);
    for port in listed.chain(found) {
        for port in [port.wrapping_sub(1), port, port.wrapping_add(1)] {
            let is_listed = expected
                .iter()
                .any(|&(first, last)| (first..=last).contains(&port));
            assert_eq!(contains(&ranges, port), is_listed, "{port} in {text:?}");
        }
    }

    let mut out = String::new();
    policy::write_ports(&ranges, &mut out).unwrap();
    assert_eq!(read_ports(&out), Some(ranges), "{text:?}");
}

type Families = (Vec<Range<u32>>, Vec<Range<u128>>);

fn read_prefixes(text: &str) -> Option<Families> {
    let count = count(text).ok()?;
    let mut v4 = vec![Range::default(); count];
    let mut v6 = vec![Range::default(); count];
    let (length4, length6) = policy::prefixes(text, &mut v4, &mut v6).ok()?;
    v4.truncate(length4);
    v6.truncate(length6);
    Some((v4, v6))
}

fn prefixes(text: &str) {
    let families = read_prefixes(text);
    let expected = policy_model::prefixes(text).filter(|list| list.len() <= policy::MAX_ITEMS);
    assert_eq!(families.is_some(), expected.is_some(), "{text:?}");
    let (Some((v4, v6)), Some(expected)) = (families, expected) else {
        return;
    };
    assert_canonical(&v4);
    assert_canonical(&v6);

    for range in &v4 {
        for address in [
            range.first.wrapping_sub(1),
            range.first,
            range.last,
            range.last.wrapping_add(1),
        ] {
            let is_listed = expected
                .iter()
                .any(|prefix| prefix.contains(IpAddr::V4(Ipv4Addr::from(address))));
            assert_eq!(contains(&v4, address), is_listed, "{address} in {text:?}");
        }
    }
    for range in &v6 {
        for address in [
            range.first.wrapping_sub(1),
            range.first,
            range.last,
            range.last.wrapping_add(1),
        ] {
            let is_listed = expected
                .iter()
                .any(|prefix| prefix.contains(IpAddr::V6(Ipv6Addr::from(address))));
            assert_eq!(contains(&v6, address), is_listed, "{address} in {text:?}");
        }
    }

    let mut out = String::new();
    policy::write_prefixes(&v4, &v6, &mut out).unwrap();
    assert_eq!(out, policy_model::prefixes_text(&expected), "{text:?}");
    assert_eq!(read_prefixes(&out), Some((v4, v6)), "{text:?}");
}
