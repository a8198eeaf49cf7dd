// SPDX-License-Identifier: GPL-2.0

//! Addresses and ports as headers and sockets have them, in a form that costs few instructions.
//!
//! Pure: the same file runs in the kernel and, under `cargo test`, on the host.

use core::{fmt, net::Ipv6Addr};

/// An IPv6 address, or one of IPv4 in its mapped form, `::ffff:a.b.c.d`.
///
/// Two words of sixteen bytes in network byte order: compilers handle bytes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) [u64; 2]);

impl Address {
    /// No address.
    pub(crate) const NONE: Self = Self([0; 2]);

    /// The mapped form of an IPv4 address, whose four bytes are given as they stand in memory.
    #[inline(always)]
    pub(crate) const fn from_v4(bytes: u32) -> Self {
        // Compilers do not find the shift when this is written as bytes.
        let last = bytes as u64;
        Self(if cfg!(target_endian = "little") {
            [0, (last << 32) | 0xffff_0000]
        } else {
            [0, (0xffff << 32) | last]
        })
    }

    /// The last four bytes, as they stand in memory: those of an IPv4 address.
    #[inline(always)]
    pub(crate) const fn last_four(self) -> u32 {
        if cfg!(target_endian = "little") {
            (self.0[1] >> 32) as u32
        } else {
            self.0[1] as u32
        }
    }

    /// Whether it is not one of IPv4.
    #[inline(always)]
    pub(crate) const fn is_ipv6(self) -> bool {
        let [high, low] = Self::from_v4(self.last_four()).0;
        self.0[0] != high || self.0[1] != low
    }

    /// Its bytes, in network byte order.
    pub(crate) fn octets(self) -> [u8; 16] {
        Ipv6Addr::from(self).octets()
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(address: Ipv6Addr) -> Self {
        let bits = u128::from(address);
        Self([((bits >> 64) as u64).to_be(), (bits as u64).to_be()])
    }
}

impl From<Address> for Ipv6Addr {
    #[inline]
    fn from(Address([high, low]): Address) -> Self {
        Self::from((u128::from(u64::from_be(high)) << 64) | u128::from(u64::from_be(low)))
    }
}

/// A port, kept in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Port(pub(crate) u16);

impl From<u16> for Port {
    /// Takes it in host byte order.
    #[inline(always)]
    fn from(port: u16) -> Self {
        Self(port.to_be())
    }
}

impl From<Port> for u16 {
    /// Gives it in host byte order.
    #[inline(always)]
    fn from(port: Port) -> Self {
        Self::from_be(port.0)
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The address.
    pub(crate) address: Address,
    /// The port.
    pub(crate) port: Port,
}

impl End {
    /// No end.
    pub(crate) const NONE: Self = Self {
        address: Address::NONE,
        port: Port(0),
    };
}

impl fmt::Display for End {
    /// `a.b.c.d:port`, or `[address]:port` for IPv6.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        let port = u16::from(self.port);
        match address.to_ipv4_mapped() {
            Some(address) => write!(out, "{address}:{port}"),
            None => write!(out, "[{address}]:{port}"),
        }
    }
}
