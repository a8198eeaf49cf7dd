// SPDX-License-Identifier: GPL-2.0

//! Options as load balancers write them, and as nobody should.

use std::net::Ipv6Addr;

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    address::Address,
    option::{is_plain, is_usual, leading, read, Client, Kinds, Reading, Service, KINDS},
    option_model as model,
};

/// No operation, no operation, timestamps: what Linux puts into every segment.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
/// What Linux puts into a SYN: segment size, SACK permitted, timestamps, NOP, window scale.
const OF_A_SYN: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
];
const ALL: Kinds = Kinds(0x1ff);
const NONE: Kinds = Kinds(0);

/// An option that gives a client, and what it says.
struct Row {
    option: &'static [u8],
    client: &'static str,
    port: Option<u16>,
    service: Option<Said>,
}

/// Each of the formats that give a client.
#[rustfmt::skip]
const CLIENTS: &[Row] = &[
    Row { option: b"\xfe\x08\x12\x34\xc0\x00\x02\x01", client: "::ffff:192.0.2.1", port: Some(0x1234), service: None },
    Row {
        option: b"\xfe\x14\x01\xbb\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        client: "2001:db8::1", port: Some(443), service: None,
    },
    Row { option: b"\xc8\x08\x12\x34\xc0\x00\x02\x01", client: "::ffff:192.0.2.1", port: Some(0x1234), service: None },
    Row { option: b"\xfd\x08\x12\x34\xc0\x00\x02\x01", client: "::ffff:192.0.2.1", port: Some(0x1234), service: None },
    Row {
        option: b"\xfd\x14\x01\xbb\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        client: "2001:db8::1", port: Some(443), service: None,
    },
    Row { option: b"\x1c\x07\x01\xc0\x00\x02\x01", client: "::ffff:192.0.2.1", port: None, service: None },
    Row {
        option: b"\x1c\x13\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        client: "2001:db8::1", port: None, service: None,
    },
    Row {
        option: b"\xfc\x14\x12\x34\xc0\x00\x02\x01\x01\x02\x03\x04\xcb\x00\x71\x05\x1f\x90\xaa\xbb",
        client: "::ffff:192.0.2.1", port: Some(0x1234), service: Some(("::ffff:203.0.113.5", 8080, 0x0102_0304)),
    },
    Row {
        option: b"\xf9\x28\x12\x34\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02\x03\xff\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02",
        client: "2001:db8::1", port: Some(0x1234), service: Some(("2001:db8::2", 0, 0x01_0203)),
    },
];

/// An address, a port and a VPC.
type Said = (&'static str, u16, u32);

/// Each of those that accompany one.
#[rustfmt::skip]
const ACCOMPANYING: &[(&[u8], Said)] = &[
    (b"\xfa\x08\x1f\x90\xcb\x00\x71\x05", ("::ffff:203.0.113.5", 8080, 0)),
    (b"\xca\x08\x1f\x91\xcb\x00\x71\x06", ("::ffff:203.0.113.6", 8081, 0)),
    (b"\xc9\x06\x0a\x0b\x0c\x0d", ("::", 0, 0x0a0b_0c0d)),
];

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn service((text, port, vpc): Said) -> Service {
    Service {
        address: address(text),
        port,
        vpc,
    }
}

fn kind(number: u8) -> Kinds {
    Kinds::of(number).unwrap()
}

impl Row {
    fn kind(&self) -> Kinds {
        kind(self.option[0])
    }

    fn client(&self) -> Client {
        Client {
            address: address(self.client),
            port: self.port,
            kind: self.option[0],
            service: self.service.map(service),
        }
    }

    /// What is read where it is the only option of a load balancer.
    fn alone(&self) -> Reading {
        Reading {
            client: Some(self.client()),
            seen: self.kind(),
            malformed: false,
        }
    }
}

/// Reads a segment without SYN for all kinds.
fn all(header: &[u8]) -> Reading {
    read(header, false, ALL)
}

const V4: &[u8] = CLIENTS[0].option;
const V6: &[u8] = CLIENTS[1].option;

#[test]
fn the_kinds() {
    let gives_client = |kind| CLIENTS.iter().any(|row| row.option[0] == kind);
    let known: Vec<_> = model::ALL.map(|kind| (kind, gives_client(kind))).to_vec();
    assert_eq!(KINDS, known);
    assert_eq!(Kinds::DEFAULT, kind(254));
    for number in 0..=255 {
        assert_eq!(
            Kinds::of(number).is_some(),
            model::ALL.contains(&number),
            "{number}"
        );
    }
    assert_eq!(model::set(&model::ALL), ALL);
}

#[test]
fn sets_of_kinds() {
    let (a, b, c) = (kind(254), kind(250), kind(28));
    assert_eq!(a.or(b).and(b.or(c)), b);
    assert_eq!(a.or(b).without(b.or(c)), a);
    assert!(NONE.is_empty() && !a.is_empty() && a.and(b).is_empty());
    assert_eq!(c.or(a).or(b).to_string(), "254,250,28");
    assert_eq!(ALL.to_string(), "254,253,252,250,249,202,201,200,28");
    assert_eq!(NONE.to_string(), "");
    assert_eq!(
        ALL.indices().collect::<Vec<_>>(),
        (0..9).collect::<Vec<_>>()
    );
    assert_eq!(c.or(a).indices().collect::<Vec<_>>(), [0, 8]);
    for (number, gives_client) in KINDS {
        assert_eq!(kind(*number).give_client(), *gives_client, "{number}");
    }
    assert!(!kind(250).or(kind(201)).or(kind(202)).give_client());
    assert!(!NONE.give_client());
    assert!(ALL.give_client());
}

#[test]
fn each_format_with_a_client() {
    for row in CLIENTS {
        for syn in [false, true] {
            assert_eq!(read(row.option, syn, ALL), row.alone(), "{:?}", row.option);
            assert_eq!(
                read(row.option, syn, row.kind()),
                row.alone(),
                "{:?}",
                row.option
            );
        }
    }
}

#[test]
fn a_kind_that_is_not_asked_for_is_only_seen() {
    for row in CLIENTS {
        let seen = Reading {
            seen: row.kind(),
            ..Reading::default()
        };
        assert_eq!(
            read(row.option, false, ALL.without(row.kind())),
            seen,
            "{:?}",
            row.option
        );
        assert_eq!(read(row.option, false, NONE), seen, "{:?}", row.option);
    }
    for (option, _) in ACCOMPANYING {
        let header = [V4, option].concat();
        let reading = read(&header, false, ALL.without(kind(option[0])));
        assert_eq!(reading.client, Some(CLIENTS[0].client()), "{option:?}");
        assert_eq!(reading.seen, kind(254).or(kind(option[0])), "{option:?}");
    }
}

#[test]
fn nothing_in_nothing() {
    for header in [
        &[][..],
        &TIMESTAMPS,
        &OF_A_SYN,
        &[1],
        &[0],
        &[1; 40],
        &[0; 40],
    ] {
        for syn in [false, true] {
            assert_eq!(read(header, syn, ALL), Reading::default(), "{header:?}");
        }
    }
}

#[test]
fn accompanying_options_before_and_after_the_client() {
    for row in CLIENTS.iter().filter(|row| row.service.is_none()) {
        for (option, said) in ACCOMPANYING {
            for header in [[row.option, option].concat(), [option, row.option].concat()] {
                let reading = all(&header);
                let service = Some(service(*said));
                let client = Client {
                    service,
                    ..row.client()
                };
                assert_eq!(reading.client, Some(client), "{header:?}");
                assert_eq!(reading.seen, row.kind().or(kind(option[0])), "{header:?}");
            }
        }
    }
}

#[test]
fn accompanying_options_alone_name_nobody() {
    for (option, _) in ACCOMPANYING {
        let seen = Reading {
            seen: kind(option[0]),
            ..Reading::default()
        };
        assert_eq!(all(option), seen, "{option:?}");
    }
}

#[test]
fn accompanying_options_together() {
    let [alibaba, tencent, vpc] = [0, 1, 2].map(|index| ACCOMPANYING[index].0);
    let said = |header: &[&[u8]]| all(&header.concat()).client.unwrap().service;
    let whole = ("::ffff:203.0.113.6", 8081, 0x0a0b_0c0d);
    assert_eq!(said(&[V4, vpc, tencent]), Some(service(whole)));
    assert_eq!(said(&[tencent, V4, vpc]), Some(service(whole)));
    // What a balancer adds comes before what the client had sent.
    let first = ("::ffff:203.0.113.5", 8080, 0);
    assert_eq!(said(&[V4, alibaba, tencent]), Some(service(first)));
    assert_eq!(said(&[alibaba, V4, tencent]), Some(service(first)));
}

#[test]
fn the_service_of_the_clients_own_option_counts() {
    for row in CLIENTS.iter().filter(|row| row.service.is_some()) {
        for (option, _) in ACCOMPANYING {
            // Longer than headers are, where the option is that of 40 bytes.
            for header in [[row.option, option].concat(), [option, row.option].concat()] {
                assert_eq!(all(&header).client, Some(row.client()), "{header:?}");
            }
        }
    }
}

#[test]
fn the_first_that_gives_a_client_counts() {
    for first in CLIENTS {
        for second in CLIENTS {
            let header = [first.option, second.option].concat();
            let expected = Reading {
                seen: first.kind().or(second.kind()),
                ..first.alone()
            };
            assert_eq!(all(&header), expected, "{header:?}");
        }
    }
    let forged = [254, 8, 0, 1, 10, 0, 0, 1];
    assert_eq!(
        all(&[V4, &forged].concat()).client,
        Some(CLIENTS[0].client())
    );
}

#[test]
fn the_first_that_is_asked_for_counts() {
    let [first, second] = [&CLIENTS[2], &CLIENTS[0]];
    let reading = read(
        &[first.option, second.option].concat(),
        false,
        second.kind(),
    );
    assert_eq!(reading.client, Some(second.client()));
    assert_eq!(reading.seen, first.kind().or(second.kind()));
}

#[test]
fn before_and_after_other_options() {
    for row in CLIENTS.iter().filter(|row| row.option.len() <= 20) {
        for others in [
            &TIMESTAMPS[..],
            &OF_A_SYN,
            &[4, 2],
            &[1, 1, 5, 10, 1, 1, 1, 1, 2, 2, 2, 2],
        ] {
            for header in [[row.option, others].concat(), [others, row.option].concat()] {
                assert!(header.len() <= 40);
                assert_eq!(all(&header), row.alone(), "{header:?}");
            }
        }
    }
}

#[test]
fn unaligned_and_padded() {
    for row in CLIENTS {
        for before in 0..=40 - row.option.len() {
            let mut header = [&[1; 40][..before], row.option].concat();
            assert_eq!(all(&header), row.alone(), "{before}");
            header.resize(40, 1);
            assert_eq!(all(&header), row.alone(), "{before}");
        }
    }
}

#[test]
fn the_whole_option_space() {
    let v4 = V4.repeat(5);
    let v6 = V6.repeat(2);
    assert_eq!((v4.len(), v6.len()), (40, 40));
    assert_eq!(all(&v4), CLIENTS[0].alone());
    assert_eq!(all(&v6), CLIENTS[1].alone());
}

#[test]
fn the_end_mark_ends() {
    for row in CLIENTS {
        assert_eq!(all(&[&[0], row.option].concat()), Reading::default());
        assert_eq!(all(&[row.option, &[0], V6].concat()), row.alone());
        // What is behind it need not be options.
        assert_eq!(all(&[row.option, &[0, 254, 1, 254]].concat()), row.alone());
    }
}

#[test]
fn other_lengths_are_malformed_where_their_kind_is_asked_for() {
    for kind in model::ALL {
        for length in 2..=38 {
            let mut option = vec![kind, length];
            option.resize(usize::from(length), 0xaa);
            let known = CLIENTS
                .iter()
                .map(|row| row.option)
                .chain(ACCOMPANYING.iter().map(|row| row.0));
            if known
                .clone()
                .any(|known| known[..2] == option[..2] && kind != 28)
            {
                continue;
            }
            let asked = Kinds::of(kind).unwrap();
            // That is the user timeout of the standard.
            let malformed = (kind, length) != (28, 4);
            let expected = Reading {
                malformed,
                ..Reading::default()
            };
            assert_eq!(read(&option, false, asked), expected, "{option:?}");
            assert_eq!(read(&option, false, ALL), expected, "{option:?}");
            assert_eq!(
                read(&option, false, ALL.without(asked)),
                Reading::default(),
                "{option:?}"
            );

            option.extend(V4);
            let client = read(&option, false, ALL).client;
            assert_eq!(client, Some(CLIENTS[0].client()), "{option:?}");
        }
    }
}

#[test]
fn kind_28_has_a_version() {
    for row in CLIENTS.iter().filter(|row| row.option[0] == 28) {
        for version in (0..=255).filter(|&version| version != 1) {
            let mut option = row.option.to_vec();
            option[2] = version;
            let expected = Reading {
                malformed: true,
                ..Reading::default()
            };
            assert_eq!(read(&option, false, row.kind()), expected, "{version}");
        }
    }
}

#[test]
fn magic_numbers_of_linux_are_not_ours_in_a_syn() {
    for magic in [&[0xf9, 0x89][..], &[0xe2, 0xd4, 0xc3, 0xd9]] {
        for length in magic.len() + 2..=40 {
            let mut option = [254, length as u8].to_vec();
            option.extend(magic);
            option.resize(length, 7);
            assert_eq!(read(&option, true, ALL), Reading::default(), "{option:?}");

            // Without SYN they are a port.
            let reading = read(&option, false, ALL);
            assert_eq!(reading, model::read(&option, false, &model::ALL));
            let known = length == 8 || length == 20;
            let port = known.then(|| u16::from_be_bytes([magic[0], magic[1]]));
            assert_eq!(
                reading.client.map(|client| client.port),
                port.map(Some),
                "{option:?}"
            );
            assert_eq!(reading.malformed, !known, "{option:?}");

            // A client may follow.
            option.truncate(40 - V4.len());
            if option.len() == length {
                option.extend(V4);
                assert_eq!(read(&option, true, ALL), CLIENTS[0].alone(), "{option:?}");
            }

            // Linux reads no other kind so.
            option[0] = 253;
            assert_eq!(read(&option, true, ALL), read(&option, false, ALL));
        }
    }
    // Half of a magic number is none.
    for port in [[0xf9, 0x88], [0xf8, 0x89], [0xe2, 0xd4]] {
        let option = [254, 8, port[0], port[1], 192, 0, 2, 1];
        let client = read(&option, true, ALL).client.unwrap();
        assert_eq!(client.port, Some(u16::from_be_bytes(port)));
    }
    // Such an option may be shorter than the longer of them.
    assert!(read(&[254, 3, 0xf9], true, ALL).malformed);
    assert!(read(&[254, 5, 0xe2, 0xd4, 0xc3], true, ALL).malformed);
}

#[test]
fn lengths_that_cannot_be_end_the_list() {
    let broken = Reading {
        malformed: true,
        ..Reading::default()
    };
    for length in [0, 1] {
        for kind in [254, 28, 8, 2, 255] {
            let header = [&[kind, length], V4].concat();
            assert_eq!(all(&header), broken, "{header:?}");
            assert_eq!(read(&header, false, NONE), broken, "{header:?}");
            let header = [V4, &[kind, length]].concat();
            let expected = Reading {
                malformed: true,
                ..CLIENTS[0].alone()
            };
            assert_eq!(all(&header), expected, "{header:?}");
        }
    }
}

#[test]
fn an_option_past_the_header_is_not_read() {
    for row in CLIENTS {
        for end in 1..row.option.len() {
            let broken = Reading {
                malformed: true,
                ..Reading::default()
            };
            assert_eq!(all(&row.option[..end]), broken, "{:?}", &row.option[..end]);
        }
    }
    assert!(all(&[&[8, 10][..], &V4[..7]].concat()).malformed);
}

/// Every header of up to three words whose bytes matter to the parser agrees with the model.
#[test]
fn short_headers_exhaustively() {
    // Kinds and lengths with a meaning, one past each edge, and one of no meaning.
    const BYTES: [u8; 10] = [0, 1, 2, 3, 4, 7, 8, 27, 28, 254];
    for length in 0..=6 {
        let mut header = vec![0; length];
        for mut number in 0..BYTES.len().pow(length as u32) {
            for byte in &mut header {
                *byte = BYTES[number % BYTES.len()];
                number /= BYTES.len();
            }
            let syn = number % 2 == 0;
            assert_eq!(
                read(&header, syn, ALL),
                model::read(&header, syn, &model::ALL),
                "{header:?}"
            );
        }
    }
}

/// Every kind with every length and every set of kinds agrees with the model.
#[test]
fn kinds_and_lengths_exhaustively() {
    for kind in 0..=255 {
        for length in 0..=41 {
            let mut header = [kind, length, 1].to_vec();
            header.resize(40, 0x28);
            for kinds in [
                NONE,
                Kinds::DEFAULT,
                ALL,
                Kinds::of(kind).unwrap_or_default(),
            ] {
                let expected = model::read(&header, true, &model::members(kinds));
                assert_eq!(read(&header, true, kinds), expected, "{header:?} {kinds}");
            }
        }
    }
}

/// An option of a load balancer, right but for its values.
fn balancers_option() -> impl Strategy<Value = Vec<u8>> {
    let clients = CLIENTS.iter().map(|row| row.option);
    let formats: Vec<_> = clients
        .chain(ACCOMPANYING.iter().map(|row| row.0))
        .collect();
    (select(formats), any::<[u8; 40]>()).prop_map(|(format, bytes)| {
        let kept = if format[0] == 28 { 3 } else { 2 };
        [&format[..kept], &bytes[kept..format.len()]].concat()
    })
}

/// An option that load balancers have no use for.
fn other_option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(vec![1]),
        1 => Just(vec![4, 2]),
        1 => Just(TIMESTAMPS.to_vec()),
        1 => Just(vec![28, 4, 0x80, 1]),
        1 => (2..28_u8, vec(any::<u8>(), 0..12)).prop_map(|(kind, value)| {
            [&[kind, value.len() as u8 + 2][..], &value].concat()
        }),
    ]
}

/// A header made of options as they come in the field, and some as they do not.
fn plausible_header() -> impl Strategy<Value = Vec<u8>> {
    let odd = (select(model::ALL.to_vec()), vec(any::<u8>(), 0..12))
        .prop_map(|(kind, value)| [&[kind, value.len() as u8 + 2][..], &value].concat());
    let magic = prop_oneof![
        Just(vec![254, 8, 0xf9, 0x89, 1, 2, 3, 4]),
        Just(vec![254, 6, 0xe2, 0xd4, 0xc3, 0xd9])
    ];
    let option = prop_oneof![
        6 => balancers_option(),
        6 => other_option(),
        1 => odd,
        1 => magic,
        1 => Just(vec![0]),
        1 => vec(any::<u8>(), 0..3),
    ];
    vec(option, 0..8).prop_map(|options| {
        let mut header = options.concat();
        header.truncate(40);
        header
    })
}

fn any_kinds() -> impl Strategy<Value = Kinds> {
    prop_oneof![Just(ALL), (0..=ALL.0).prop_map(Kinds)]
}

/// What the quick ways say of a header is what the whole reading says of it.
fn check_quick_ways(header: &[u8], kinds: Kinds) -> Result<(), TestCaseError> {
    if is_usual(header) {
        prop_assert!(is_plain(header));
    }
    let nothing = read(header, false, ALL) == Reading::default();
    prop_assert_eq!(is_plain(header), nothing && !has_unknown_kind(header));

    if let Some((end, is_ipv6)) = leading(header) {
        let client = Client {
            address: end.address.into(),
            port: Some(end.port.into()),
            kind: 254,
            service: None,
        };
        let expected = Reading {
            client: Some(client),
            seen: Kinds::DEFAULT,
            malformed: false,
        };
        prop_assert_eq!(read(header, false, kinds.or(Kinds::DEFAULT)), expected);
        prop_assert_eq!(is_ipv6, Address::from(client.address).is_ipv6());
    }
    Ok(())
}

/// Whether there is a kind from 28 on that no balancer uses: the quick ways do not look closer.
fn has_unknown_kind(header: &[u8]) -> bool {
    model::split(header).0.iter().any(|option| option[0] >= 28)
}

#[test]
fn quick_ways_are_taken() {
    assert!(is_usual(&[]));
    assert!(is_usual(&TIMESTAMPS));
    assert!(is_usual(&OF_A_SYN));
    assert!(is_usual(&OF_A_SYN[..4]));
    assert!(is_plain(&[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]));
    for row in &CLIENTS[..2] {
        for behind in [
            &[][..],
            &TIMESTAMPS,
            &[0, 0, 0, 0],
            &[5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
        ] {
            let header = [row.option, behind].concat();
            let (end, is_ipv6) = leading(&header).expect("a quick way");
            assert_eq!(
                Ipv6Addr::from(end.address),
                row.client.parse::<Ipv6Addr>().unwrap()
            );
            assert_eq!(Some(u16::from(end.port)), row.port);
            assert_eq!(is_ipv6, !row.client.starts_with("::ffff:"));
        }
        let forged = [row.option, &TIMESTAMPS, &[200, 8, 0, 1, 10, 0, 0, 1]].concat();
        assert_eq!(leading(&forged), None, "there is more to count");
        assert_eq!(leading(&row.option[..row.option.len() - 1]), None, "cut");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arbitrary_bytes_agree_with_the_model(
        header in vec(any::<u8>(), 0..=64), syn: bool, kinds in any_kinds(),
    ) {
        prop_assert_eq!(read(&header, syn, kinds), model::read(&header, syn, &model::members(kinds)));
    }

    #[test]
    fn plausible_headers_agree_with_the_model(
        header in plausible_header(), syn: bool, kinds in any_kinds(),
    ) {
        prop_assert_eq!(read(&header, syn, kinds), model::read(&header, syn, &model::members(kinds)));
    }

    #[test]
    fn quick_ways_agree_with_the_whole(
        arbitrary in vec(any::<u8>(), 0..=40), plausible in plausible_header(), first in 0..3usize,
        cut in 0..=40usize, kinds in any_kinds(),
    ) {
        let first: &[u8] = if first < 2 { CLIENTS[first].option } else { &OF_A_SYN };
        let mut usual = [first, &plausible].concat();
        usual.truncate(cut);
        for header in [&arbitrary, &plausible, &usual] {
            check_quick_ways(header, kinds)?;
        }
    }

    #[test]
    fn an_option_is_found_wherever_it_is(
        before in vec(other_option(), 0..5), index in 0..CLIENTS.len(), after in vec(other_option(), 0..5),
    ) {
        let row = &CLIENTS[index];
        let header = [&before.concat(), row.option, &after.concat()].concat();
        prop_assert_eq!(all(&header), row.alone());
    }

    #[test]
    fn nothing_behind_the_end_mark_matters(
        options in vec(prop_oneof![balancers_option(), other_option()], 0..4),
        behind in vec(any::<u8>(), 0..20), syn: bool, kinds in any_kinds(),
    ) {
        let header = options.concat();
        let expected = read(&header, syn, kinds);
        prop_assert_eq!(read(&[&header, &[0][..], &behind].concat(), syn, kinds), expected);
    }

    #[test]
    fn ports_and_addresses_come_as_they_were_sent(
        port: u16, v4: [u8; 4], v6: [u8; 16], vport: u16, vip: [u8; 4], vip6: [u8; 16], vpc: u32,
    ) {
        let (port_bytes, vport_bytes) = (port.to_be_bytes(), vport.to_be_bytes());
        let [v4_address, vip_address] = [v4, vip].map(|octets| std::net::Ipv4Addr::from(octets).to_ipv6_mapped());
        let read = |option: &[&[u8]]| all(&option.concat()).client.unwrap();

        for kind in [254, 253, 200] {
            let client = read(&[&[kind, 8], &port_bytes, &v4]);
            prop_assert_eq!((client.address, client.port), (v4_address, Some(port)));
        }
        for kind in [254, 253] {
            let client = read(&[&[kind, 20], &port_bytes, &v6]);
            prop_assert_eq!((client.address, client.port), (v6.into(), Some(port)));
        }
        let client = read(&[&[28, 7, 1], &v4]);
        prop_assert_eq!((client.address, client.port), (v4_address, None));
        let client = read(&[&[28, 19, 1], &v6]);
        prop_assert_eq!((client.address, client.port), (v6.into(), None));

        let service = Some(Service { address: vip_address, port: vport, vpc });
        let client = read(&[&[252, 20], &port_bytes, &v4, &vpc.to_be_bytes(), &vip, &vport_bytes, &[0, 0]]);
        prop_assert_eq!((client.address, client.port, client.service), (v4_address, Some(port), service));
        let client = read(&[&[254, 8], &port_bytes, &v4, &[201, 6], &vpc.to_be_bytes(), &[202, 8], &vport_bytes, &vip]);
        prop_assert_eq!((client.address, client.port, client.service), (v4_address, Some(port), service));
        let client = read(&[&[249, 40], &port_bytes, &v6, &vpc.to_be_bytes()[1..], &[9], &vip6]);
        let service = Some(Service { address: vip6.into(), port: 0, vpc: vpc & 0xff_ffff });
        prop_assert_eq!((client.address, client.port, client.service), (v6.into(), Some(port), service));
    }
}
