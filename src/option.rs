// SPDX-License-Identifier: GPL-2.0

//! From the bytes of TCP options to the client that a load balancer names in them.
//!
//! Pure: the same file runs in the kernel and, under `cargo test`, on the host. The formats are
//! those of the load balancers in the field: kind 254, then a length, the client's port and its
//! address, both in network byte order.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// End of the option list (RFC 9293, 3.1).
const TCPOPT_EOL: u8 = 0;
/// Padding of one byte without a length (RFC 9293, 3.1).
const TCPOPT_NOP: u8 = 1;
/// Experimental option (RFC 4727) that load balancers carry the client in.
const TCPOPT_TOA: u8 = 254;

/// The client at the far side of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its TCP port, in host byte order.
    pub(crate) port: u16,
}

/// Returns the client that the options of a segment without SYN name.
///
/// `options` is what follows the 20 fixed bytes of the TCP header. The first option that names a
/// client counts: the balancer puts its own first, so a later one came from the client itself.
pub(crate) fn client(options: &[u8]) -> Option<Client> {
    Options(options).find_map(|(kind, value)| match kind {
        TCPOPT_TOA => decode(value),
        _ => None,
    })
}

/// Reads the value of an option of kind 254: port and address.
fn decode(value: &[u8]) -> Option<Client> {
    let (port, address) = value.split_first_chunk()?;
    let address = if let Ok(octets) = <[u8; 4]>::try_from(address) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else if let Ok(octets) = <[u8; 16]>::try_from(address) {
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        return None;
    };

    Some(Client {
        address,
        port: u16::from_be_bytes(*port),
    })
}

/// The options of a header, as kind and value, without padding.
///
/// Ends, as the kernel's own parser does, at the end mark and at the first option whose length
/// cannot be: less than the two bytes that every option has, or past the end of the header.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.0 {
                [] | [TCPOPT_EOL, ..] => return None,
                [TCPOPT_NOP, ref rest @ ..] => self.0 = rest,
                [_] => return None,
                [kind, length, ref rest @ ..] => {
                    let length = usize::from(length).checked_sub(2)?;
                    let value = rest.get(..length)?;
                    self.0 = rest.get(length..)?;
                    return Some((kind, value));
                }
            }
        }
    }
}
