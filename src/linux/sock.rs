// SPDX-License-Identifier: GPL-2.0

//! Sockets and network namespaces, as the hooks see them.

use core::{
    ffi::c_void,
    marker::PhantomData,
    net::{Ipv4Addr, Ipv6Addr},
    ptr::NonNull,
};

use kernel::sync::rcu;

use super::{bindings::*, field::Field};

const FAMILY: Field<u16> = Field::new(SK_FAMILY_OFFSET, SK_FAMILY_SIZE);
const STATE: Field<u8> = Field::new(SK_STATE_OFFSET, SK_STATE_SIZE);
const BOUND_DEV_IF: Field<i32> = Field::new(SK_BOUND_DEV_IF_OFFSET, SK_BOUND_DEV_IF_SIZE);
const DADDR: Field<u32> = Field::new(SK_DADDR_OFFSET, SK_DADDR_SIZE);
const RCV_SADDR: Field<u32> = Field::new(SK_RCV_SADDR_OFFSET, SK_RCV_SADDR_SIZE);
const DPORT: Field<u16> = Field::new(SK_DPORT_OFFSET, SK_DPORT_SIZE);
const NUM: Field<u16> = Field::new(SK_NUM_OFFSET, SK_NUM_SIZE);
const V6_DADDR: Field<in6_addr> = Field::new(SK_V6_DADDR_OFFSET, SK_V6_DADDR_SIZE);
const V6_RCV_SADDR: Field<in6_addr> = Field::new(SK_V6_RCV_SADDR_OFFSET, SK_V6_RCV_SADDR_SIZE);
const PROTOCOL: Field<u16> = Field::new(SK_PROTOCOL_OFFSET, SK_PROTOCOL_SIZE);

/// What tells one socket from another as long as it lives: its address, never followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SockKey(pub(super) usize);

/// A socket of the kernel.
///
/// # Invariants
///
/// Points to a `struct sock` that stays valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Sock<'a> {
    pointer: NonNull<c_void>,
    live: PhantomData<&'a ()>,
}

impl<'a> Sock<'a> {
    /// # Safety
    ///
    /// `pointer` is null, or points to a `struct sock` that stays valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(pointer: *mut c_void) -> Option<Self> {
        // INVARIANT: By the contract.
        Some(Self {
            pointer: NonNull::new(pointer)?,
            live: PhantomData,
        })
    }

    #[inline(always)]
    fn read<T: Copy>(self, field: &Field<T>) -> T {
        // SAFETY: By the invariant. All fields above are of `struct sock`.
        unsafe { field.read(self.pointer.as_ptr()) }
    }

    /// What identifies the socket.
    #[inline]
    pub(crate) fn key(self) -> SockKey {
        SockKey(self.pointer.as_ptr() as usize)
    }

    /// The network namespace that it lives in.
    #[inline]
    pub(crate) fn net(self) -> Net<'a> {
        // SAFETY: By the invariant; a socket holds its namespace.
        let net = unsafe { rust_helper_sock_net(self.pointer.as_ptr().cast()) };
        Net {
            pointer: net,
            live: PhantomData,
        }
    }

    /// The other end of its connection. Changes only when the socket is disconnected.
    #[inline]
    pub(crate) fn peer(self) -> Peer {
        let address = if self.read(&FAMILY) == TOA_AF_INET6 as u16 {
            octets(self.read(&V6_DADDR))
        } else {
            Ipv4Addr::from_bits(u32::from_be(self.read(&DADDR))).to_ipv6_mapped()
        };
        Peer {
            address,
            port: u16::from_be(self.read(&DPORT)),
        }
    }

    /// Whether `getpeername()` has an answer. `accept()` gives one even if the connection has ended
    /// since, so it asks with `ended_too`.
    #[inline]
    pub(crate) fn is_connected(self, ended_too: bool) -> bool {
        let state = u32::from(self.read(&STATE));
        self.read(&DPORT) != 0
            && (ended_too || (state != TOA_TCP_CLOSE && state != TOA_TCP_SYN_SENT))
    }

    /// Calls `f` with the TCP socket under an MPTCP socket: that of the connection's own addresses,
    /// which is the one that was accepted. None for other sockets, or when it is gone.
    #[cold]
    pub(crate) fn with_subflow<R>(
        self,
        _rcu: &rcu::Guard,
        f: impl FnOnce(Sock<'_>) -> Option<R>,
    ) -> Option<R> {
        if u32::from(self.read(&PROTOCOL)) != TOA_IPPROTO_MPTCP {
            return None;
        }
        let net = self.net().pointer;
        let (port, local_port) = (self.read(&DPORT), self.read(&NUM));
        let device = self.read(&BOUND_DEV_IF);
        let mapped = octets(self.read(&V6_DADDR)).to_ipv4_mapped();

        let subflow = if self.read(&FAMILY) == TOA_AF_INET6 as u16 && mapped.is_none() {
            let (peer, local) = (self.read(&V6_DADDR), self.read(&V6_RCV_SADDR));
            // SAFETY: RCU is held; the namespace and the addresses live through the call.
            unsafe {
                rust_helper_inet6_lookup_established(net, &peer, port, &local, local_port, device)
            }
        } else {
            let (peer, local) = (self.read(&DADDR), self.read(&RCV_SADDR));
            // SAFETY: As above.
            unsafe {
                rust_helper_inet_lookup_established(net, peer, port, local, local_port, device)
            }
        };
        // SAFETY: Null, or a socket that the lookup took a reference to.
        let result = f(unsafe { Sock::from_raw(subflow.cast()) }?);
        // SAFETY: Gives that reference back.
        unsafe { sock_gen_put(subflow) };
        result
    }
}

fn octets(address: in6_addr) -> Ipv6Addr {
    // SAFETY: Both are 16 bytes in network byte order; `Field::new` checked the size.
    Ipv6Addr::from(unsafe { core::mem::transmute::<in6_addr, [u8; 16]>(address) })
}

/// One end of a connection. IPv4 addresses are in their mapped form, `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address.
    pub(crate) address: Ipv6Addr,
    /// The port, in host byte order.
    pub(crate) port: u16,
}

/// A network namespace.
///
/// # Invariants
///
/// Points to a `struct net` that stays valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Net<'a> {
    pointer: *mut net,
    live: PhantomData<&'a ()>,
}

impl Net<'_> {
    /// The kernel's own pointer.
    #[inline]
    pub(super) fn as_ptr(self) -> *mut net {
        self.pointer
    }
}
