// SPDX-License-Identifier: GPL-2.0

//! Counters, and /proc/net/toa_stats, which shows those of one network namespace.

use core::{
    ffi::CStr,
    fmt::{self, Write},
};

use kernel::{prelude::*, sync::Arc};

use crate::linux::{netns, online_cpus, seq_file::SeqFile, sock::Net, Counters};

/// Declares the counters with the names of their rows, in the order of the rows.
macro_rules! counters {
    ($($(#[doc = $text:literal])+ $counter:ident = $row:literal,)+) => {
        /// What is counted, per CPU and network namespace.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[doc = $text])+ $counter,)+
        }

        /// Names of the rows, in the order of [`Counter`].
        const ROWS: &[&str] = &[$($row),+];
    };
}

counters! {
    // Other TOA modules have these rows, and operators know them by name.
    /// A connection was made by a segment with the option.
    SynRecvSockToa = "syn_recv_sock_toa",
    /// A connection was made by a segment without the option.
    SynRecvSockNoToa = "syn_recv_sock_no_toa",
    /// A question for a socket's peer was answered with the client.
    GetnameToaOk = "getname_toa_ok",
    /// The connection that the client came with has ended, so that the client was not shown.
    GetnameToaMismatch = "getname_toa_mismatch",
    /// The client could not be expressed: an IPv6 address on an IPv4 socket.
    GetnameToaBypass = "getname_toa_bypass",
    /// The socket has no client, or was asked for its own name.
    GetnameToaEmpty = "getname_toa_empty",
    /// The record of a client with an IPv6 address was made.
    Ip6AddressAlloc = "ip6_address_alloc",
    /// The record of a client with an IPv6 address was freed.
    Ip6AddressFree = "ip6_address_free",
    // Ours.
    /// There was no memory for a record: the server saw the load balancer.
    RecordLost = "record_lost",
}

/// The counters of all network namespaces.
pub(crate) struct Stats(netns::PerNet<NetStats>);

/// The counters of one network namespace.
pub(crate) struct NetStats(Counters<{ ROWS.len() }>);

/// Makes counters and files in all network namespaces; may sleep. A failure is logged.
///
/// # Errors
///
/// `EBUSY`: the file exists. `ENOMEM`.
pub(crate) fn start() -> Result<Arc<Stats>> {
    Ok(Arc::new(Stats(netns::PerNet::new()?), GFP_KERNEL)?)
}

impl Stats {
    /// The counters of namespace `net`; any context.
    #[inline]
    pub(crate) fn of<'a>(&'a self, net: Net<'a>) -> &'a NetStats {
        self.0.of(net)
    }
}

impl NetStats {
    /// Counts one event; any context.
    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.0.increment(counter as usize);
    }
}

impl netns::State for NetStats {
    const FILE: &'static CStr = c"toa_stats";
    const PATH: &'static CStr = c"/proc/net/toa_stats";

    fn new() -> Result<Self> {
        Ok(Self(Counters::new()?))
    }

    // The widths are those of other TOA modules: scripts cut columns by them.
    fn show(&self, out: &mut SeqFile) -> fmt::Result {
        write!(out, "{:34}", "")?;
        for cpu in online_cpus() {
            write!(out, "CPU{}       ", cpu.number())?;
        }
        writeln!(out)?;
        for (index, row) in ROWS.iter().enumerate() {
            write!(out, "{row:<25}:")?;
            for cpu in online_cpus() {
                write!(out, "{:>10} ", self.0.read(cpu, index))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
