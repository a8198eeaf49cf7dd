// SPDX-License-Identifier: GPL-2.0

//! What network namespaces count, and the files that show it: /proc/net/toa_stats the counters,
//! /proc/net/toa the live connections.

use core::{
    ffi::CStr,
    fmt::{self, Write},
};

use kernel::{prelude::*, sync::Arc};

use crate::{
    address::End,
    linux::{
        netns::{self, PerNet},
        online_cpus, possible_cpus, preempt, printk,
        seq_file::SeqFile,
        sock::{Net, Sock},
        Counters,
    },
    option::{Service, KINDS},
    record::{From, Record, Records},
    syn::Syns,
};

/// Counts an event: `count!(stats, Counter)`.
macro_rules! count {
    ($stats:expr, $counter:ident) => {
        $stats.count::<{ $crate::stats::Counter::$counter as usize }>()
    };
}
pub(crate) use count;

/// Declares the counters with the names of their rows, in the order of the rows.
macro_rules! counters {
    ($($(#[doc = $text:literal])+ $counter:ident = $row:literal,)+) => {
        /// What is counted, per CPU and network namespace.
        #[derive(Clone, Copy)]
        #[expect(dead_code)] // Those of kinds are counted by their index.
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
    // Ours. Those of kinds are in the order of `KINDS`.
    /// A SYN or the segment that made a connection had a well-formed option of this kind, whether that
    /// is read or not.
    Option254 = "option_254",
    /// The same.
    Option253 = "option_253",
    /// The same.
    Option252 = "option_252",
    /// The same.
    Option250 = "option_250",
    /// The same.
    Option249 = "option_249",
    /// The same.
    Option202 = "option_202",
    /// The same.
    Option201 = "option_201",
    /// The same.
    Option200 = "option_200",
    /// The same.
    Option28 = "option_28",
    /// A segment had an option of a kind that is read, but in no known form, or broken options.
    Malformed = "malformed",
    /// An option was ignored because `trusted` does not have its sender.
    NotTrusted = "not_trusted",
    /// An option was ignored because `ports` does not have the local port.
    PortNotSelected = "port_not_selected",
    /// The client that a SYN named was kept until the connection is made.
    SynKept = "syn_kept",
    /// It became the client of the connection.
    SynUsed = "syn_used",
    /// The segment that made the connection named a client itself, or the sender began anew.
    SynSuperseded = "syn_superseded",
    /// No connection was made within `syn_seconds`.
    SynExpired = "syn_expired",
    /// It was the oldest when there were more than `syn_max`.
    SynDropped = "syn_dropped",
    /// A SYN with a client was answered with a SYN cookie, and so not kept.
    SynCookie = "syn_cookie",
    /// There was no memory for a record: the server sees the load balancer.
    RecordLost = "record_lost",
    /// `getsockopt()` answered with what is known of a client.
    SockoptOk = "sockopt_ok",
    /// `getsockopt()` had nothing to answer with.
    SockoptEmpty = "sockopt_empty",
    /// Records that there are now: the sum is shown in the first column.
    RecordsLive = "records_live",
}

/// All that the module knows, and what it counts in each network namespace. Clones are the same world.
#[derive(Clone)]
pub(crate) struct World {
    stores: Arc<Stores>,
    stats: Arc<PerNet<NetStats>>,
}

/// What network namespaces share.
pub(crate) struct Stores {
    records: Records,
    syns: Syns,
}

/// The counters of one network namespace.
pub(crate) struct NetStats(Counters<{ ROWS.len() }>);

impl World {
    /// Makes tables, counters and files in all network namespaces; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// `EBUSY`: a file exists. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let stores = Stores {
            records: Records::new()?,
            syns: Syns::new()?,
        };
        let failed = |error: Error| {
            printk::failed(
                format_args!("allocating what namespaces share"),
                error,
                "free some memory",
            )
        };
        let stores = Arc::new(stores, GFP_KERNEL).map_err(|error| failed(error.into()))?;
        let stats = PerNet::new(stores.clone())?;
        Ok(Self {
            stats: Arc::new(stats, GFP_KERNEL).map_err(|error| failed(error.into()))?,
            stores,
        })
    }

    /// The counters of namespace `net`; any context.
    #[inline(always)]
    pub(crate) fn stats<'a>(&'a self, net: Net<'a>) -> &'a NetStats {
        self.stats.of(net)
    }

    /// The records of live connections.
    #[inline(always)]
    pub(crate) fn records(&self) -> &Records {
        &self.stores.records
    }

    /// What SYNs carried.
    #[inline(always)]
    pub(crate) fn syns(&self) -> &Syns {
        &self.stores.syns
    }
}

impl NetStats {
    /// Counts one event of a kind that is known when this is compiled; any context.
    #[inline(always)]
    pub(crate) fn count<const COUNTER: usize>(&self) {
        self.0.increment::<COUNTER>();
    }

    /// Counts one event; any context.
    pub(crate) fn count_any(&self, counter: Counter) {
        self.0.increment_at(counter as usize);
    }

    /// Counts an option of the kind with this index in [`KINDS`]; any context.
    #[inline(always)]
    pub(crate) fn count_option(&self, index: usize) {
        self.0.increment_at(Counter::Option254 as usize + index);
    }

    /// Counts a new record; any context.
    #[inline(always)]
    pub(crate) fn count_record(&self) {
        self.0.increment::<{ Counter::RecordsLive as usize }>();
    }

    /// Counts the end of a record; any context.
    #[inline(always)]
    pub(crate) fn uncount_record(&self) {
        self.0.decrement::<{ Counter::RecordsLive as usize }>();
    }
}

const _: () = assert!(Counter::Malformed as usize - Counter::Option254 as usize == KINDS.len());

impl netns::State for NetStats {
    type Shared = Stores;

    const FILE: &'static CStr = c"/proc/net/toa_stats";
    const LIST: &'static CStr = c"/proc/net/toa";
    const TAKEN: &'static str = "another TOA module is loaded, see lsmod: rmmod it";

    fn new() -> Result<Self> {
        Ok(Self(Counters::new()?))
    }

    fn ended(stores: &Stores, net: Net<'_>) {
        stores.syns.forget(net);
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
            // A CPU may have forgotten more than it made, or be offline by now. One that was read before
            // it made a record that another forgot, which was read later, leaves less than none.
            let mut live = (index == Counter::RecordsLive as usize).then(|| {
                let sum = possible_cpus().fold(0, |sum: usize, cpu| {
                    sum.wrapping_add(self.0.read(cpu, index))
                });
                usize::try_from(sum as isize).unwrap_or(0)
            });
            for cpu in online_cpus() {
                let number = match &mut live {
                    Some(live) => core::mem::take(live),
                    None => self.0.read(cpu, index),
                };
                write!(out, "{number:>10} ")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn steps(stores: &Stores) -> usize {
        stores.records.table().buckets()
    }

    fn has(stores: &Stores, step: usize) -> bool {
        stores.records.table().has(step)
    }

    fn list(stores: &Stores, net: Net<'_>, step: Option<usize>, out: &mut SeqFile) -> fmt::Result {
        let Some(step) = step else {
            return writeln!(out, "local balancer client kind from vip vpc");
        };
        let reading = preempt::Disabled::new();
        if !stores.records.may_look(&reading) {
            return Ok(());
        }
        let look = |sk: Sock<'_>| {
            let service = stores.records.service(sk, &reading);
            (sk.net() == net, sk.local(), service)
        };
        let mut written = Ok(());
        let show = |(here, local, service), record: Record| {
            if here {
                let service = record.has_service().then_some(service).flatten();
                written = written.and(write_row(out, local, &record, service));
            }
        };
        stores.records.table().each(step, &reading, look, show);
        written
    }
}

fn write_row(
    out: &mut SeqFile,
    local: End,
    record: &Record,
    service: Option<Service>,
) -> fmt::Result {
    let from = match record.from() {
        From::Syn => "syn",
        From::Ack => "ack",
        From::Data => "data",
    };
    let (client, peer, kind) = (record.client(), record.peer(), record.kind);
    write!(out, "{local} {peer} {client} {kind} {from} ")?;
    match service {
        Some(Service { address, port, vpc }) => writeln!(
            out,
            "{} {vpc}",
            End {
                address: address.into(),
                port: port.into()
            }
        ),
        None => writeln!(out, "- -"),
    }
}
