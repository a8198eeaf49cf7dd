// SPDX-License-Identifier: GPL-2.0

//! Any header, any set of kinds, with and without SYN: what is read has to be what the model reads.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/address.rs"]
mod address;
#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/option.rs"]
mod option;
#[path = "../../host/src/option_model.rs"]
mod option_model;

use option::{is_plain, leading, read, Kinds, Reading};

// Two bytes that choose the kinds, then the header.
fuzz_target!(|data: &[u8]| {
    let [high, low, header @ ..] = data else {
        return;
    };
    let kinds = Kinds(u16::from_be_bytes([*high, *low]) & 0x1ff);
    let members = option_model::members(kinds);
    for syn in [false, true] {
        assert_eq!(
            read(header, syn, kinds),
            option_model::read(header, syn, &members),
            "{header:?} of {kinds}, SYN {syn}"
        );
        assert!(!is_plain(header) || read(header, syn, kinds) == Reading::default());
    }
    if let Some((end, _)) = leading(header) {
        let reading = read(header, false, kinds.or(Kinds::DEFAULT));
        let client = reading.client.expect("what the quick way finds");
        assert_eq!(
            (client.address, client.port),
            (end.address.into(), Some(end.port.into()))
        );
        assert_eq!((reading.seen, reading.malformed), (Kinds::DEFAULT, false));
    }
});
