// SPDX-License-Identifier: GPL-2.0

//! The way out: `getsockopt()`, for what an address cannot express.

use core::{
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use kernel::{error::code, prelude::*};

use crate::{
    linux::{
        preempt,
        sock::Sock,
        sockopt::{self, OnGetSockOpt, SockOpts, UserBuffer},
        uapi,
    },
    option::Service,
    record::Record,
    stats::{Counter, World},
};

/// Answers `getsockopt()`, until it is dropped.
pub(crate) struct SockOpt {
    _options: SockOpts<Answerer>,
}

/// Begins to answer; may sleep. A failure is logged.
///
/// # Errors
///
/// `EBUSY`: another module has the options. `ENOMEM`.
pub(crate) fn start(module: &'static ThisModule, world: World) -> Result<SockOpt> {
    Ok(SockOpt {
        _options: SockOpts::new(module, Answerer(world))?,
    })
}

struct Answerer(World);

/// What is known of a connection.
struct Known {
    record: Record,
    service: Option<Service>,
}

/// A structure that goes to a process. What nobody puts into it is zero.
struct Structure {
    bytes: [u8; uapi::TOA_INFO_SIZE_VER1 as usize],
    size: usize,
}

impl Structure {
    /// An empty `T`.
    fn new<T>() -> Self {
        const { assert!(size_of::<T>() <= uapi::TOA_INFO_SIZE_VER1 as usize) };
        Self {
            bytes: [0; uapi::TOA_INFO_SIZE_VER1 as usize],
            size: size_of::<T>(),
        }
    }

    /// Sets the field that begins at an offset in bytes.
    fn put(mut self, offset: usize, value: &[u8]) -> Self {
        let place = self.bytes.get_mut(offset..);
        if let Some(place) = place.and_then(|place| place.get_mut(..value.len())) {
            place.copy_from_slice(value);
        }
        self
    }

    /// Writes it at an offset of the user's memory.
    fn write(&self, user: &UserBuffer, offset: usize) -> Result {
        user.write(offset, self.bytes.get(..self.size).unwrap_or_default())
    }
}

/// `struct toa_nat64_peer`.
fn nat64_peer(known: &Known) -> Structure {
    use uapi::toa_nat64_peer as C;
    let client = known.record.client();
    Structure::new::<C>()
        .put(offset_of!(C, saddr), &client.address.octets())
        .put(offset_of!(C, port), &client.port.0.to_ne_bytes())
}

/// `struct toa_info`.
fn info(known: &Known) -> Structure {
    use uapi::toa_info as C;
    let (client, peer) = (known.record.client(), known.record.peer());
    let info = Structure::new::<C>()
        .put(
            offset_of!(C, version),
            &(uapi::TOA_INFO_VERSION as u16).to_ne_bytes(),
        )
        .put(offset_of!(C, size), &(size_of::<C>() as u16).to_ne_bytes())
        .put(offset_of!(C, kind), &[known.record.kind])
        .put(offset_of!(C, from), &[known.record.from() as u8])
        .put(offset_of!(C, client), &client.address.octets())
        .put(offset_of!(C, client_port), &client.port.0.to_ne_bytes())
        .put(offset_of!(C, balancer), &peer.address.octets())
        .put(offset_of!(C, balancer_port), &peer.port.0.to_ne_bytes());
    match known.service {
        None => info,
        Some(Service { address, port, vpc }) => info
            .put(offset_of!(C, flags), &[uapi::TOA_INFO_SERVICE as u8])
            .put(offset_of!(C, vip), &address.octets())
            .put(offset_of!(C, vport), &port.to_be_bytes())
            .put(offset_of!(C, vpc), &vpc.to_ne_bytes()),
    }
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn client_name(known: &Known) -> Structure {
    let client = known.record.client();
    let port = client.port.0.to_ne_bytes();
    match Ipv6Addr::from(client.address).to_ipv4_mapped() {
        Some(address) => {
            use uapi::sockaddr_in as C;
            Structure::new::<C>()
                .put(
                    offset_of!(C, sin_family),
                    &(uapi::TOA_AF_INET as u16).to_ne_bytes(),
                )
                .put(offset_of!(C, sin_port), &port)
                .put(offset_of!(C, sin_addr), &address.octets())
        }
        None => {
            use uapi::sockaddr_in6 as C;
            Structure::new::<C>()
                .put(
                    offset_of!(C, sin6_family),
                    &(uapi::TOA_AF_INET6 as u16).to_ne_bytes(),
                )
                .put(offset_of!(C, sin6_port), &port)
                .put(offset_of!(C, sin6_addr), &client.address.octets())
        }
    }
}

/// `struct vtoa_get_vs`, which has no room for an IPv6 address.
fn service_v4(service: Service) -> Result<Structure> {
    use uapi::vtoa_get_vs as C;
    let address = v4(service).ok_or(code::ESRCH)?;
    Ok(Structure::new::<C>()
        .put(offset_of!(C, vid), &service.vpc.to_ne_bytes())
        .put(offset_of!(C, vaddr), &address.octets())
        .put(offset_of!(C, vport), &service.port.to_be_bytes()))
}

/// `struct v6vtoa_get_vs`.
fn service_any(service: Service) -> Structure {
    use uapi::v6vtoa_get_vs as C;
    let structure = Structure::new::<C>()
        .put(offset_of!(C, vid), &service.vpc.to_ne_bytes())
        .put(offset_of!(C, vport), &service.port.to_be_bytes());
    let (family, structure) = match v4(service) {
        Some(v4) => (
            uapi::TOA_AF_INET,
            structure.put(offset_of!(C, vaddr), &v4.octets()),
        ),
        None => (
            uapi::TOA_AF_INET6,
            structure.put(offset_of!(C, vaddr), &service.address.octets()),
        ),
    };
    structure.put(offset_of!(C, af), &(family as u16).to_ne_bytes())
}

/// The IPv4 address of a service; that of one whose address is not known is zero.
fn v4(service: Service) -> Option<Ipv4Addr> {
    if service.address.is_unspecified() {
        return Some(Ipv4Addr::UNSPECIFIED);
    }
    service.address.to_ipv4_mapped()
}

impl Answerer {
    fn known(&self, sk: Sock<'_>) -> Option<Known> {
        let reading = preempt::Disabled::new();
        let record = *self.0.records().lookup(sk)?.find(&reading)?;
        if record.peer() != sk.peer() || !sk.is_connected(|| false) {
            return None;
        }
        let service = if record.has_service() {
            self.0.records().service(sk, &reading)
        } else {
            None
        };
        Some(Known { record, service })
    }

    fn answer(&self, sk: Sock<'_>, option: u32, length: usize, user: &UserBuffer) -> Result<usize> {
        let at_least = |size: usize| if length < size { Err(EINVAL) } else { Ok(()) };
        let known = || self.known(sk).ok_or(code::ESRCH);
        let service = || known()?.service.ok_or(code::ESRCH);

        let (structure, offset) = match option {
            uapi::TOA_SO_GET_LOOKUP => {
                at_least(size_of::<uapi::toa_nat64_peer>())?;
                if !sk.is_connected(|| false) {
                    return Err(sockopt::not_connected());
                }
                let known = self.known(sk).ok_or(EINVAL)?;
                if !known.record.is_ipv6() || known.record.peer().address.is_ipv6() {
                    return Err(code::EFAULT);
                }
                (nat64_peer(&known), 0)
            }
            uapi::TOA_SO_GET_INFO => {
                at_least(uapi::TOA_INFO_SIZE_VER1 as usize)?;
                (info(&known()?), 0)
            }
            uapi::TOA_SO_GET_CLIENT => {
                let name = client_name(&known()?);
                at_least(name.size)?;
                (name, 0)
            }
            uapi::VTOA_SO_GET_VS => {
                at_least(size_of::<uapi::vtoa_get_vs>())?;
                (service_v4(service()?)?, 0)
            }
            uapi::VTOA_SO_GET_VS4RDS => {
                if length != size_of::<uapi::vtoa_get_vs4rds>() {
                    return Err(EINVAL);
                }
                (
                    service_v4(service()?)?,
                    offset_of!(uapi::vtoa_get_vs4rds, entry),
                )
            }
            uapi::V6VTOA_SO_GET_VS => {
                at_least(size_of::<uapi::v6vtoa_get_vs>())?;
                (service_any(service()?), 0)
            }
            _ => return Err(sockopt::no_such_option()),
        };
        structure.write(user, offset)?;
        Ok(offset + structure.size)
    }
}

impl OnGetSockOpt for Answerer {
    const OPTIONS: [Range<c_int>; 2] = [
        // First those that another module has most likely: then nothing is there yet that had to go.
        uapi::TOA_SO_GET_LOOKUP as c_int..uapi::TOA_SO_GET_INFO as c_int + 1,
        uapi::VTOA_SO_GET_VS as c_int..uapi::TOA_SO_GET_CLIENT as c_int + 1,
    ];
    const TAKEN: &'static str =
        "another TOA module, or one with options of the same numbers, is loaded, see lsmod: rmmod it";

    fn get(&self, sk: Sock<'_>, option: c_int, length: usize, user: &UserBuffer) -> Result<usize> {
        let answer = self.answer(sk, option as u32, length, user);
        self.0.stats(sk.net()).count_any(match answer {
            Ok(_) => Counter::SockoptOk,
            Err(_) => Counter::SockoptEmpty,
        });
        answer
    }
}
