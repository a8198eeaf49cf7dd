// SPDX-License-Identifier: GPL-2.0

//! The places in Linux's TCP where a connection begins, is asked for its peer, and ends.

use core::ffi::{c_void, CStr};

use kernel::{prelude::*, sync::Arc};

use super::{
    bindings::*,
    field::Field,
    ftrace::{Entry, Hook, Registers},
    irq,
    percpu::PerCpu,
    sock::{End, Sock, SockKey},
    tracepoint::{Probe, SockProbe},
};

/// A segment of a handshake.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    /// What follows the fixed part of its TCP header.
    pub(crate) options: &'a [u8],
    /// Whether it has SYN set.
    pub(crate) syn: bool,
    /// Whether it carries data.
    pub(crate) data: bool,
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
    _child: Hook<ChildProcess<T>>,
    _mptcp: Option<(Hook<SynRecv>, Hook<TokenAccept<T>>)>,
    _syn: Option<Hook<SendSynAck<T>>>,
}

impl<T: OnChild + Clone> ChildHooks<T> {
    /// Puts the hooks in place; may sleep. A failure is logged. `syns`: whether SYNs matter.
    ///
    /// # Errors
    ///
    /// Those of the function hooks. `ENOMEM`.
    pub(crate) fn new(on_child: T, syns: bool) -> Result<Self> {
        let syn = if syns {
            Some(Hook::new(SendSynAck(on_child.clone()))?)
        } else {
            None
        };
        let mptcp = if TOA_MPTCP != 0 {
            // SAFETY: No request and no options, all zero, are valid and need no drop.
            let stash = Arc::new(Stash(unsafe { PerCpu::zeroed() }?), GFP_KERNEL)?;
            let on_child = on_child.clone();
            Some((
                Hook::new(SynRecv(stash.clone()))?,
                Hook::new(TokenAccept { on_child, stash })?,
            ))
        } else {
            None
        };
        Ok(Self {
            _child: Hook::new(ChildProcess(on_child))?,
            _mptcp: mptcp,
            _syn: syn,
        })
    }
}

/// Bytes of a TCP header before its options.
const FIXED_HEADER: usize = 20;
/// The most bytes of options that a TCP header can have.
const MAX_OPTIONS: usize = 40;

/// Looks at a segment.
///
/// # Safety
///
/// `segment` points to a `struct sk_buff` that lives for `'a`, whose data begins with the TCP header,
/// which is linear and was checked to be no longer than the segment (`tcp_v4_rcv`, `tcp_v6_rcv`).
#[inline(always)]
unsafe fn look<'a>(segment: *const c_void) -> Segment<'a> {
    const HEAD: Field<*const u8> = Field::new(SKB_HEAD_OFFSET, SKB_HEAD_SIZE);
    const LENGTH: Field<u32> = Field::new(SKB_LEN_OFFSET, SKB_LEN_SIZE);
    const TRANSPORT_HEADER: Field<u16> =
        Field::new(SKB_TRANSPORT_HEADER_OFFSET, SKB_TRANSPORT_HEADER_SIZE);
    /// Where the header says its length in words of four bytes, in the upper half of the byte.
    const DATA_OFFSET: usize = 12;
    const FLAGS: usize = 13;
    const SYN: u8 = 0x02;

    // SAFETY: By the contract.
    unsafe {
        let header = HEAD
            .read(segment)
            .add(usize::from(TRANSPORT_HEADER.read(segment)));
        let length = usize::from(header.add(DATA_OFFSET).read() >> 4) * 4;
        Segment {
            options: core::slice::from_raw_parts(
                header.add(FIXED_HEADER),
                length.saturating_sub(FIXED_HEADER),
            ),
            syn: header.add(FLAGS).read() & SYN != 0,
            data: LENGTH.read(segment) as usize > length,
        }
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
        // the request and the socket.
        let (segment, sk) = unsafe { (look(segment), Sock::from_raw(sk as *mut c_void)) };
        match sk {
            Some(sk) if child => self.0.child(sk, segment),
            Some(request) => self.0.syn(request, segment, kind == TOA_TCP_SYNACK_COOKIE),
            None => {}
        }
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
        // SAFETY: The function is called with a segment that TCP has received, and with the child
        // locked and referenced.
        let (segment, child) = unsafe {
            let segment = registers.argument::<2>() as *const c_void;
            (look(segment), Sock::from_raw(child))
        };
        if let Some(child) = child {
            self.0.child(child, segment);
        }
    }
}

/// What the segment of an MPTCP handshake carries, from where the kernel has the segment to where it
/// has the MPTCP socket: one slot a CPU, for it goes from here to there in one go.
///
/// `tcp_child_process` would be too late: an MPTCP socket can be accepted before, unlike a TCP
/// socket, whose lock `accept()` waits for.
struct Stash(PerCpu<Stashed>);

struct Stashed {
    /// The request that the handshake completes.
    request: SockKey,
    options: [u8; MAX_OPTIONS],
    length: usize,
    syn: bool,
    data: bool,
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
        let segment = unsafe { look(registers.argument::<1>() as *const c_void) };
        let irq = irq::Disabled::new();
        // SAFETY: The CPU's own, and interrupts are off.
        let stashed = unsafe { &mut *self.0 .0.this(&irq) };
        stashed.request = SockKey(request);
        stashed.length = segment.options.len();
        stashed.syn = segment.syn;
        stashed.data = segment.data;
        for (to, from) in stashed.options.iter_mut().zip(segment.options) {
            *to = *from;
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
        let (options, length, syn, data) = {
            let irq = irq::Disabled::new();
            // SAFETY: As in `SynRecv`.
            let stashed = unsafe { &*self.stash.0.this(&irq) };
            if stashed.request != request.key() {
                return;
            }
            (stashed.options, stashed.length, stashed.syn, stashed.data)
        };
        let segment = Segment {
            options: options.get(..length).unwrap_or_default(),
            syn,
            data,
        };
        self.on_child.mptcp(mptcp, request, segment);
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

/// Questions for the name of a socket: `accept()`, `getpeername()`, `SO_PEERNAME`.
pub(crate) trait OnGetName: Send + Sync {
    /// Returns the name that the other end shall have; none leaves the kernel's own answer. An IPv6
    /// address is no answer to [`Family::Inet`]. Runs in process context, perhaps with preemption
    /// off. Must not sleep.
    ///
    /// `at_accept`: the question is `accept()`'s, which takes an answer even if the connection has
    /// ended since.
    fn peer(&self, sk: Sock<'_>, family: Family, at_accept: bool) -> Option<End>;

    /// The question is for the socket's own end, which is never answered.
    fn own(&self, sk: Sock<'_>);
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
        /// `peer` of a question for the socket's own name.
        const OWN: i32 = 0;
        /// `peer` of a question that `accept()` asks.
        const AT_ACCEPT: i32 = 2;

        // inet_getname(struct socket *sock, struct sockaddr *uaddr, int peer)
        let socket = registers.argument::<0>() as *const c_void;
        let name = registers.argument::<1>() as *mut c_void;
        let peer = registers.argument::<2>() as i32;

        // SAFETY: The caller holds the socket, and with it the `struct sock`.
        let Some(sk) = (unsafe { Sock::from_raw(SK.read(socket)) }) else {
            return;
        };
        if peer == OWN {
            self.0.own(sk);
            return;
        }
        let family = if V6 { Family::Inet6 } else { Family::Inet };
        let Some(End { address, port }) = self.0.peer(sk, family, peer == AT_ACCEPT) else {
            return;
        };

        // SAFETY: The caller gives room for a `struct sockaddr_storage`; `in6_addr` is 16 bytes in
        // network byte order. The functions that the call goes on to return the length of what was written, and have the same prototype.
        unsafe {
            if V6 {
                name.cast::<sockaddr_in6>().write(sockaddr_in6 {
                    sin6_family: TOA_AF_INET6 as u16,
                    sin6_port: port.to_be(),
                    sin6_addr: core::mem::transmute::<[u8; 16], in6_addr>(address.octets()),
                    ..Default::default()
                });
            } else if let Some(address) = address.to_ipv4_mapped() {
                name.cast::<sockaddr_in>().write(sockaddr_in {
                    sin_family: TOA_AF_INET as u16,
                    sin_port: port.to_be(),
                    sin_addr: in_addr {
                        s_addr: u32::from(address).to_be(),
                    },
                    ..Default::default()
                });
            } else {
                // Such a socket cannot express it.
                return;
            }
            registers.redirect(if V6 {
                length_of_inet6 as *const ()
            } else {
                length_of_inet as *const ()
            });
        }
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
            self.0.end(sk);
        }
    }
}
