// SPDX-License-Identifier: GPL-2.0

//! Sockets and network namespaces, as the hooks see them.

use core::{ffi::c_void, marker::PhantomData, ptr::NonNull};

use kernel::ffi::c_int;

use super::{bindings::*, field::Field};
use crate::address::{Address, End, Port};

const NET: Field<*mut net> = Field::new(SK_NET_OFFSET, SK_NET_SIZE);
const FAMILY: Field<u16> = Field::new(SK_FAMILY_OFFSET, SK_FAMILY_SIZE);
const STATE: Field<u8> = Field::new(SK_STATE_OFFSET, SK_STATE_SIZE);
const DADDR: Field<u32> = Field::new(SK_DADDR_OFFSET, SK_DADDR_SIZE);
const DPORT: Field<u16> = Field::new(SK_DPORT_OFFSET, SK_DPORT_SIZE);
const V6_DADDR: Field<[u64; 2]> = Field::new(SK_V6_DADDR_OFFSET, SK_V6_DADDR_SIZE);
const IS_MPTCP: Field<u8> = Field::new(TCP_IS_MPTCP_OFFSET, TCP_IS_MPTCP_SIZE);
const BOUND_DEV_IF: Field<i32> = Field::new(SK_BOUND_DEV_IF_OFFSET, SK_BOUND_DEV_IF_SIZE);
const COPIED_SEQ: Field<u32> = Field::new(TCP_COPIED_SEQ_OFFSET, TCP_COPIED_SEQ_SIZE);
const RCV_ISN: Field<u32> = Field::new(TCP_REQUEST_RCV_ISN_OFFSET, TCP_REQUEST_RCV_ISN_SIZE);
const WAIT_PENDING: Field<c_int> = Field::new(SK_WAIT_PENDING_OFFSET, SK_WAIT_PENDING_SIZE);
const RCV_SADDR: Field<u32> = Field::new(SK_RCV_SADDR_OFFSET, SK_RCV_SADDR_SIZE);
const NUM: Field<u16> = Field::new(SK_NUM_OFFSET, SK_NUM_SIZE);
const V6_RCV_SADDR: Field<[u64; 2]> = Field::new(SK_V6_RCV_SADDR_OFFSET, SK_V6_RCV_SADDR_SIZE);

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
    /// `pointer` is null, or points to a `struct sock` that stays valid for `'a`. A request
    /// (`struct request_sock`) will do: all that is read here lies in what it has in common with a
    /// socket.
    #[inline]
    pub(super) unsafe fn from_raw(pointer: *mut c_void) -> Option<Self> {
        // INVARIANT: By the contract.
        Some(Self {
            pointer: NonNull::new(pointer)?,
            live: PhantomData,
        })
    }

    /// # Safety
    ///
    /// As [`Self::from_raw`], and `pointer` is not null.
    #[inline(always)]
    pub(super) unsafe fn from_raw_unchecked(pointer: *mut c_void) -> Self {
        // INVARIANT: By the contract.
        Self {
            // SAFETY: By the contract.
            pointer: unsafe { NonNull::new_unchecked(pointer) },
            live: PhantomData,
        }
    }

    #[inline(always)]
    fn read<T: Copy>(self, field: &Field<T>) -> T {
        // SAFETY: By the invariant. Fields above that are not of what all sockets and requests have in
        // common are asked of those that have them.
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
        // INVARIANT: A socket holds its namespace.
        Net {
            pointer: self.read(&NET),
            live: PhantomData,
        }
    }

    /// The other end of its connection. Changes only when the socket is disconnected.
    #[inline]
    pub(crate) fn peer(self) -> End {
        End {
            address: self.address(&DADDR, &V6_DADDR),
            port: Port(self.read(&DPORT)),
        }
    }

    /// Its own end.
    #[inline]
    pub(crate) fn local(self) -> End {
        End {
            address: self.address(&RCV_SADDR, &V6_RCV_SADDR),
            port: Port::from(self.local_port()),
        }
    }

    /// The port of its own end, in host byte order.
    #[inline]
    pub(crate) fn local_port(self) -> u16 {
        self.read(&NUM)
    }

    #[inline(always)]
    fn address(self, v4: &Field<u32>, v6: &Field<[u64; 2]>) -> Address {
        if self.read(&FAMILY) == TOA_AF_INET6 as u16 {
            Address(self.read(v6))
        } else {
            Address::from_v4(self.read(v4))
        }
    }

    /// Whether the other end is `peer`, on a socket that is asked for its name as one of `family`.
    #[inline(always)]
    pub(crate) fn has_peer(self, family: Family, peer: End) -> bool {
        let same = match family {
            Family::Inet => self.read(&DADDR) == peer.address.last_four(),
            Family::Inet6 => Address(self.read(&V6_DADDR)) == peer.address,
        };
        same && self.read(&DPORT) == peer.port.0
    }

    /// Whether `getpeername()` has an answer. `accept()` gives one even if the connection has ended
    /// since, so it asks with `ended_too`.
    #[inline(always)]
    pub(crate) fn is_connected(self, ended_too: impl FnOnce() -> bool) -> bool {
        // Most are.
        if u32::from(self.read(&STATE)) == TOA_TCP_ESTABLISHED {
            return true;
        }
        let state = u32::from(self.read(&STATE));
        self.read(&DPORT) != 0
            && (ended_too() || (state != TOA_TCP_CLOSE && state != TOA_TCP_SYN_SENT))
    }

    /// The network device that it is bound to, zero if to none.
    #[inline(always)]
    pub(super) fn device(self) -> i32 {
        self.read(&BOUND_DEV_IF)
    }

    /// Whether its connection has ended.
    #[inline(always)]
    pub(crate) fn is_closed(self) -> bool {
        u32::from(self.read(&STATE)) == TOA_TCP_CLOSE
    }

    /// Whether `tcp_disconnect()` refuses, because somebody waits in the socket. Newer kernels do not.
    #[inline(always)]
    pub(super) fn refuses_to_disconnect(self) -> bool {
        TOA_HAS_WAIT_PENDING != 0 && self.read(&WAIT_PENDING) != 0
    }

    /// The sequence number of the SYN that a connection began with, of which nothing was read yet. To be
    /// asked of TCP sockets alone.
    pub(crate) fn syn_sequence(self) -> u32 {
        self.read(&COPIED_SEQ).wrapping_sub(1)
    }

    /// The same of the request that a connection is made from. To be asked of those alone.
    pub(crate) fn request_sequence(self) -> u32 {
        self.read(&RCV_ISN)
    }

    /// Whether the socket carries data of an MPTCP socket. To be asked of TCP sockets alone.
    #[inline(always)]
    pub(crate) fn is_subflow(self) -> bool {
        TOA_MPTCP != 0 && self.read(&IS_MPTCP) != 0
    }
}

/// Which sockets a question for a name comes from, and so which addresses can answer it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `AF_INET`: IPv4 alone.
    Inet,
    /// `AF_INET6`: IPv6, and IPv4 in its mapped form.
    Inet6,
}

/// A network namespace.
///
/// # Invariants
///
/// Points to a `struct net` that stays valid for `'a`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net<'a> {
    pointer: *mut net,
    live: PhantomData<&'a ()>,
}

impl Net<'_> {
    /// # Safety
    ///
    /// `pointer` points to a `struct net` that stays valid for the lifetime that the caller chooses.
    #[inline]
    pub(super) unsafe fn from_raw(pointer: *mut net) -> Self {
        // INVARIANT: By the contract.
        Self {
            pointer,
            live: PhantomData,
        }
    }

    /// The kernel's own pointer.
    #[inline]
    pub(super) fn as_ptr(self) -> *mut net {
        self.pointer
    }
}
