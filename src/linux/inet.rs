// SPDX-License-Identifier: GPL-2.0

//! The places in Linux's TCP where a connection begins, is asked for its peer, and ends.

use core::ffi::{c_void, CStr};

use kernel::{prelude::*, sync::Arc};

use super::{
    bindings::*,
    field::Field,
    ftrace::{Entry, Hook, Registers},
    percpu::PerCpu,
    preempt::Exclusive,
    printk,
    sock::{Family, Sock, SockKey},
    tracepoint::{Probe, SockProbe},
};
use crate::address::End;

/// A segment of a handshake.
///
/// # Invariants
///
/// `header` points to a TCP header, and `length` to how many bytes it and the data behind it have, both
/// for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    header: &'a [u8; Segment::FIXED],
    length: &'a u32,
}

impl<'a> Segment<'a> {
    /// Bytes of a TCP header before its options.
    const FIXED: usize = 20;
    /// The most bytes that a TCP header can have.
    const MAX: usize = 60;

    /// How many bytes its header has.
    #[inline(always)]
    fn header_length(self) -> usize {
        /// Where the header says so in words of four bytes, in the upper half of the byte.
        const DATA_OFFSET: usize = 12;
        usize::from(self.header[DATA_OFFSET] & 0xf0) >> 2
    }

    /// What follows the fixed part of its header.
    #[inline(always)]
    pub(crate) fn options(self) -> &'a [u8] {
        // SAFETY: By the invariant.
        unsafe {
            core::slice::from_raw_parts(
                self.header.as_ptr().add(Segment::FIXED),
                self.header_length().wrapping_sub(Segment::FIXED),
            )
        }
    }

    /// Whether it has SYN set.
    #[inline(always)]
    pub(crate) fn has_syn(self) -> bool {
        const FLAGS: usize = 13;
        const SYN: u8 = 0x02;
        self.header[FLAGS] & SYN != 0
    }

    /// Its sequence number.
    pub(crate) fn sequence(self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether it carries data.
    #[inline(always)]
    pub(crate) fn has_data(self) -> bool {
        *self.length as usize > self.header_length()
    }

    /// Looks at what the kernel has.
    ///
    /// # Safety
    ///
    /// `segment` points to a `struct sk_buff` that lives for the lifetime that the caller chooses, whose
    /// data begins with the TCP header, which is linear and was checked to have its fixed part and to be
    /// no longer than the segment (`tcp_v4_rcv`, `tcp_v6_rcv`).
    #[inline(always)]
    unsafe fn from_raw(segment: *const c_void) -> Self {
        const HEAD: Field<*const u8> = Field::new(SKB_HEAD_OFFSET, SKB_HEAD_SIZE);
        const LENGTH: Field<u32> = Field::new(SKB_LEN_OFFSET, SKB_LEN_SIZE);
        const TRANSPORT_HEADER: Field<u16> =
            Field::new(SKB_TRANSPORT_HEADER_OFFSET, SKB_TRANSPORT_HEADER_SIZE);

        // SAFETY: By the contract.
        // INVARIANT: The length of a buffer is that of its data.
        unsafe {
            let header = HEAD
                .read(segment)
                .add(usize::from(TRANSPORT_HEADER.read(segment)));
            Self {
                header: &*header.cast(),
                length: &*LENGTH.place(segment),
            }
        }
    }
}

/// Passive opens. All run in softirq, and must not sleep.
pub(crate) trait OnChild: Send + Sync {
    /// A listener got a SYN and answers it. `cookie`: nothing is kept of it.
    fn syn(&self, request: Sock<'_>, segment: Segment<'_>, cookie: bool);

    /// A TCP connection was made by `segment`; `sk` is locked, and nobody can have accepted it.
    fn child(&self, sk: Sock<'_>, segment: Segment<'_>);

    /// MPTCP socket `sk` was made for `request`, whose TCP socket comes to `child` later. Servers get
    /// this one, and can have it before that.
    fn mptcp(&self, sk: Sock<'_>, request: Sock<'_>, segment: Segment<'_>);
}

/// Hooks for passive opens, in place until dropped.
pub(crate) struct ChildHooks<T: OnChild> {
    // First, so that no SYN is kept that nobody takes.
    _syn: Option<Hook<SendSynAck<T>>>,
    _child: Hook<ChildProcess<T>>,
    // What reads the stash goes first: what is in there is of no use once nothing new comes in.
    _mptcp: Option<(Hook<TokenAccept<T>>, Hook<SynRecv>)>,
}

impl<T: OnChild + Clone> ChildHooks<T> {
    /// Puts the hooks in place; may sleep. A failure is logged. `syns`: whether SYNs matter.
    ///
    /// # Errors
    ///
    /// Those of the function hooks. `ENOMEM`.
    pub(crate) fn new(on_child: T, syns: bool) -> Result<Self> {
        let mptcp = if TOA_MPTCP != 0 {
            let stash = Stash::new().map_err(|error| {
                printk::failed(
                    format_args!("making room for MPTCP's handshakes"),
                    error,
                    "free some memory",
                )
            })?;
            let on_child = on_child.clone();
            let fill = Hook::new(SynRecv(stash.clone()))?;
            Some((Hook::new(TokenAccept { on_child, stash })?, fill))
        } else {
            None
        };
        let child = Hook::new(ChildProcess(on_child.clone()))?;
        // Last: whoever keeps a SYN finds those that take it in place.
        let syn = if syns {
            Some(Hook::new(SendSynAck(on_child))?)
        } else {
            None
        };
        Ok(Self {
            _syn: syn,
            _child: child,
            _mptcp: mptcp,
        })
    }
}

/// Sees SYNs as they are answered.
struct SendSynAck<T>(T);

// SAFETY: `OnChild` does not sleep; nothing here calls TCP.
unsafe impl<T: OnChild> Entry for SendSynAck<T> {
    // Called through pointers, so that no compiler inlines them.
    const FUNCTIONS: &'static [&'static CStr] = &[c"tcp_v4_send_synack", c"tcp_v6_send_synack"];
    const REPLACES: bool = false;

    #[inline(always)]
    unsafe fn enter(&self, registers: Registers) {
        // tcp_v4_send_synack(const struct sock *sk, struct dst_entry *dst, struct flowi *fl,
        //                    struct request_sock *req, struct tcp_fastopen_cookie *foc,
        //                    enum tcp_synack_type synack_type, struct sk_buff *syn_skb)
        let segment = registers.argument::<6>() as *const c_void;
        if segment.is_null() {
            // The answer is sent once more.
            return;
        }
        let kind = registers.argument::<5>() as u32;
        // With Fast Open the SYN makes the connection, and the first argument is its socket, locked
        // and not yet in the listener's queue.
        let child = kind == TOA_TCP_SYNACK_FASTOPEN;
        let sk = if child {
            registers.argument::<0>()
        } else {
            registers.argument::<3>()
        };
        // SAFETY: The function is called with a segment that TCP has received, and the caller holds
        // the request and the socket, which are not null.
        let (segment, sk) = unsafe {
            (
                Segment::from_raw(segment),
                Sock::from_raw_unchecked(sk as *mut c_void),
            )
        };
        if child {
            self.fast_open(sk, segment);
        } else {
            self.0.syn(sk, segment, kind == TOA_TCP_SYNACK_COOKIE);
        }
    }
}

impl<T: OnChild> SendSynAck<T> {
    #[cold]
    #[inline(never)]
    fn fast_open(&self, sk: Sock<'_>, segment: Segment<'_>) {
        self.0.child(sk, segment);
    }
}

struct ChildProcess<T>(T);

// SAFETY: `OnChild` does not sleep; nothing here calls TCP.
unsafe impl<T: OnChild> Entry for ChildProcess<T> {
    // All passive opens pass here, IPv4 and IPv6, SYN cookies and data segments included. It is
    // called from other files, so that no compiler inlines it.
    const FUNCTIONS: &'static [&'static CStr] = &[c"tcp_child_process"];
    const REPLACES: bool = false;

    #[inline(always)]
    unsafe fn enter(&self, registers: Registers) {
        // tcp_child_process(struct sock *parent, struct sock *child, struct sk_buff *skb)
        let child = registers.argument::<1>() as *mut c_void;
        // SAFETY: The function is called with a segment that TCP has received, and with the child,
        // which is not null, locked and referenced.
        let (segment, child) = unsafe {
            let segment = registers.argument::<2>() as *const c_void;
            (Segment::from_raw(segment), Sock::from_raw_unchecked(child))
        };
        self.0.child(child, segment);
    }
}

/// What the segment of an MPTCP handshake carries, from where the kernel has the segment to where it
/// has the MPTCP socket: one slot a CPU, for it goes from here to there in one go.
///
/// `tcp_child_process` would be too late: an MPTCP socket can be accepted before, unlike a TCP
/// socket, whose lock `accept()` waits for.
struct Stash(PerCpu<Stashed>);

impl Stash {
    fn new() -> Result<Arc<Self>> {
        // SAFETY: No request and an empty header, all zero, are valid and need no drop.
        Ok(Arc::new(Self(unsafe { PerCpu::zeroed() }?), GFP_KERNEL)?)
    }
}

struct Stashed {
    /// The request that the handshake completes.
    request: SockKey,
    header: [u8; Segment::MAX],
    /// With the data.
    length: u32,
}

/// Sees segments that complete a handshake with an MPTCP listener.
struct SynRecv(Arc<Stash>);

// SAFETY: Does not sleep, and calls nothing of TCP.
unsafe impl Entry for SynRecv {
    // Called through a pointer, so that no compiler inlines it.
    const FUNCTIONS: &'static [&'static CStr] = &[c"subflow_syn_recv_sock"];
    const REPLACES: bool = false;

    unsafe fn enter(&self, registers: Registers) {
        // subflow_syn_recv_sock(const struct sock *sk, struct sk_buff *skb,
        //                       struct request_sock *req, ...)
        let request = registers.argument::<2>();
        // SAFETY: The function is called with a segment that TCP has received.
        let segment = unsafe { Segment::from_raw(registers.argument::<1>() as *const c_void) };
        let cpu = Exclusive::new();
        // SAFETY: The CPU's own, and nothing else of TCP runs on it.
        let stashed = unsafe { &mut *self.0 .0.this(&cpu) };
        stashed.request = SockKey(request);
        stashed.length = *segment.length;
        // SAFETY: By the invariant of `Segment`; a header has at most so many bytes.
        unsafe {
            stashed
                .header
                .as_mut_ptr()
                .copy_from_nonoverlapping(segment.header.as_ptr(), segment.header_length());
        }
    }
}

/// Sees MPTCP sockets as they are made for a request.
struct TokenAccept<T> {
    on_child: T,
    stash: Arc<Stash>,
}

// SAFETY: `OnChild` does not sleep; nothing here calls MPTCP.
unsafe impl<T: OnChild> Entry for TokenAccept<T> {
    // Exported, so that no compiler inlines it.
    const FUNCTIONS: &'static [&'static CStr] = &[c"mptcp_token_accept"];
    const REPLACES: bool = false;

    unsafe fn enter(&self, registers: Registers) {
        // mptcp_token_accept(struct mptcp_subflow_request_sock *req, struct mptcp_sock *msk)
        // SAFETY: The caller holds both. A request is enough for what is asked of it.
        let (request, mptcp) = unsafe {
            (
                Sock::from_raw(registers.argument::<0>() as *mut c_void),
                Sock::from_raw(registers.argument::<1>() as *mut c_void),
            )
        };
        let (Some(request), Some(mptcp)) = (request, mptcp) else {
            return;
        };
        let (header, length) = {
            let cpu = Exclusive::new();
            // SAFETY: As in `SynRecv`.
            let stashed = unsafe { &mut *self.stash.0.this(&cpu) };
            if stashed.request != request.key() {
                return;
            }
            // Another request may soon be in the same memory.
            stashed.request = SockKey(0);
            (stashed.header, stashed.length)
        };
        // INVARIANT: What `SynRecv` has stored is a header, with room for the longest.
        let segment = Segment {
            // SAFETY: The first part of what is longer.
            header: unsafe { &*header.as_ptr().cast() },
            length: &length,
        };
        self.on_child.mptcp(mptcp, request, segment);
    }
}

/// Questions for the name of a socket: `accept()`, `getpeername()`, `SO_PEERNAME`, and for its own.
pub(crate) trait OnGetName: Send + Sync {
    /// May answer the question, which leaves the kernel's own answer aside. Runs in process context,
    /// perhaps with preemption off. Must not sleep.
    fn name(&self, sk: Sock<'_>, family: Family, question: Question<'_>);
}

/// A question for the name of a socket, and where the answer goes.
pub(crate) struct Question<'a> {
    registers: &'a mut Registers,
    family: Family,
}

impl Question<'_> {
    /// Whether it is for the socket's own end.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.peer() == 0
    }

    /// Whether it is `accept()`'s, which takes an answer even if the connection has ended since.
    #[inline(always)]
    pub(crate) fn is_at_accept(&self) -> bool {
        self.peer() == 2
    }

    /// The argument `peer`: 0 for the socket's own name, 1 or at `accept()` 2 for the other end's.
    #[inline(always)]
    fn peer(&self) -> i32 {
        self.registers.argument::<2>() as i32
    }

    /// Answers it. An IPv6 address is no answer to [`Family::Inet`]: of that the last four bytes are
    /// taken.
    #[inline(always)]
    pub(crate) fn answer(self, end: End) {
        let name = self.registers.argument::<1>() as *mut c_void;
        // SAFETY: The caller gives room for a `struct sockaddr_storage`; `in6_addr` and `in_addr` are
        // bytes in network byte order. The functions that the call goes on to return the length of
        // what was written, and have the same prototype.
        unsafe {
            match self.family {
                Family::Inet => {
                    name.cast::<sockaddr_in>().write(sockaddr_in {
                        sin_family: TOA_AF_INET as u16,
                        sin_port: end.port.0,
                        sin_addr: in_addr {
                            s_addr: end.address.last_four(),
                        },
                        ..Default::default()
                    });
                    self.registers.redirect(length_of_inet as *const ());
                }
                Family::Inet6 => {
                    name.cast::<sockaddr_in6>().write(sockaddr_in6 {
                        sin6_family: TOA_AF_INET6 as u16,
                        sin6_port: end.port.0,
                        sin6_addr: core::mem::transmute::<[u64; 2], in6_addr>(end.address.0),
                        ..Default::default()
                    });
                    self.registers.redirect(length_of_inet6 as *const ());
                }
            }
        }
    }
}

/// Hooks for questions for a name, in place until dropped.
pub(crate) struct NameHooks<T: OnGetName> {
    _inet: Hook<GetName<T, false>>,
    _inet6: Hook<GetName<T, true>>,
}

impl<T: OnGetName + Clone> NameHooks<T> {
    /// Puts the hooks in place; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// Those of the function hooks; `EBUSY` if somebody else replaces these functions.
    pub(crate) fn new(on_get_name: T) -> Result<Self> {
        Ok(Self {
            _inet: Hook::new(GetName(on_get_name.clone()))?,
            _inet6: Hook::new(GetName(on_get_name))?,
        })
    }
}

/// The hook on `inet_getname`, and if `V6` that on `inet6_getname`: TCP and MPTCP sockets of a
/// family have their names from one of them, whoever asks.
struct GetName<T, const V6: bool>(T);

// SAFETY: `OnGetName` does not sleep; nothing here asks a socket for its name.
unsafe impl<T: OnGetName, const V6: bool> Entry for GetName<T, V6> {
    const FUNCTIONS: &'static [&'static CStr] = if V6 {
        &[c"inet6_getname"]
    } else {
        &[c"inet_getname"]
    };
    const REPLACES: bool = true;

    #[inline(always)]
    unsafe fn enter(&self, mut registers: Registers) {
        const SK: Field<*mut c_void> = Field::new(SOCKET_SK_OFFSET, SOCKET_SK_SIZE);
        // inet_getname(struct socket *sock, struct sockaddr *uaddr, int peer)
        let socket = registers.argument::<0>() as *const c_void;
        // SAFETY: The caller holds the socket, and with it the `struct sock`, which the kernel's own
        // function does not check for null either.
        let sk = unsafe { Sock::from_raw_unchecked(SK.read(socket)) };
        let family = if V6 { Family::Inet6 } else { Family::Inet };
        let registers = &mut registers;
        self.0.name(sk, family, Question { registers, family });
    }
}

/// Where a call of `inet_getname` goes when the hook has answered it.
extern "C" fn length_of_inet() -> c_int {
    size_of::<sockaddr_in>() as c_int
}

/// Where a call of `inet6_getname` goes when the hook has answered it.
extern "C" fn length_of_inet6() -> c_int {
    size_of::<sockaddr_in6>() as c_int
}

/// Ends of connections.
pub(crate) trait OnEnd: Send + Sync {
    /// The connection of `sk` ends: the socket is destroyed, or disconnected to be used again. Any
    /// context, perhaps with preemption off. Must not sleep.
    fn end(&self, sk: Sock<'_>);
}

/// Hooks for ends of connections, in place until dropped.
pub(crate) struct EndHooks<T: OnEnd> {
    _destroy: Probe<Destroy<T>>,
    _other: Hook<OtherEnd<T>>,
}

impl<T: OnEnd + Clone> EndHooks<T> {
    /// Puts the hooks in place; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// Those of the tracepoint and of the function hook.
    pub(crate) fn new(on_end: T) -> Result<Self> {
        Ok(Self {
            _other: Hook::new(OtherEnd(on_end.clone()))?,
            _destroy: Probe::new(Destroy(on_end))?,
        })
    }
}

struct Destroy<T>(T);

// SAFETY: `OnEnd` does not sleep and destroys no socket. The tracepoint's only argument is the
// socket.
unsafe impl<T: OnEnd> SockProbe for Destroy<T> {
    // Passed once by each TCP socket, before its memory can be used for another.
    const TRACEPOINT: &'static CStr = c"tcp_destroy_sock";

    #[inline(always)]
    fn hit(&self, sk: Sock<'_>) {
        self.0.end(sk);
    }
}

/// The rarer ends: a socket that is disconnected, and all ends of MPTCP sockets, which pass no
/// tracepoint. The kernel calls these functions through pointers, so that none is inlined.
struct OtherEnd<T>(T);

// SAFETY: `OnEnd` does not sleep and ends no connection.
unsafe impl<T: OnEnd> Entry for OtherEnd<T> {
    const FUNCTIONS: &'static [&'static CStr] = if TOA_MPTCP != 0 {
        &[c"tcp_disconnect", c"mptcp_disconnect", c"mptcp_destroy"]
    } else {
        &[c"tcp_disconnect"]
    };
    const REPLACES: bool = false;

    #[inline(always)]
    unsafe fn enter(&self, registers: Registers) {
        // All take the socket first.
        // SAFETY: The caller holds the socket.
        if let Some(sk) = unsafe { Sock::from_raw(registers.argument::<0>() as *mut c_void) } {
            if !sk.refuses_to_disconnect() {
                self.0.end(sk);
            }
        }
    }
}
