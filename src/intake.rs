// SPDX-License-Identifier: GPL-2.0

//! The way in: from the segments of a handshake to a record.

use kernel::prelude::*;

use crate::{
    address::End,
    linux::{
        inet::{ChildHooks, OnChild, Segment},
        preempt, printk,
        sock::{Net, Sock},
        table::NoMemory,
        trace,
    },
    option::{self, Client, Reading},
    params::{self, Warning},
    record::{From, Record},
    stats::{count, Counter, NetStats, World},
};

/// Reads the options of new connections, until it is dropped.
pub(crate) struct Intake {
    _hooks: ChildHooks<Reader>,
}

/// Begins to read; may sleep. A failure is logged.
///
/// # Errors
///
/// Those of the hooks.
pub(crate) fn start(world: World) -> Result<Intake> {
    let syns = !world.syns().is_off();
    Ok(Intake {
        _hooks: ChildHooks::new(Reader(world), syns)?,
    })
}

#[derive(Clone)]
struct Reader(World);

/// Reads the options of `segment`.
#[inline]
fn read(segment: Segment<'_>) -> Reading {
    option::read(segment.options(), segment.has_syn(), params::kinds())
}

/// Whether an option on connection `sk` counts, as far as the parameters decide that.
#[inline(always)]
fn is_allowed(sk: Sock<'_>) -> Result<(), Counter> {
    if !params::selects(|| sk.local_port()) {
        return Err(Counter::PortNotSelected);
    }
    if !params::trusts(|| sk.peer().address) {
        return Err(Counter::NotTrusted);
    }
    Ok(())
}

/// Counts what a segment of `sk` has, and returns the client that it names if that counts.
#[inline]
fn judge(sk: Sock<'_>, segment: Segment<'_>, stats: &NetStats) -> Option<Client> {
    let reading = read(segment);
    if reading != Reading::default() {
        count(sk, &reading, stats);
    }
    let client = reading.client?;
    if let Err(counter) = is_allowed(sk) {
        refuse(sk.peer(), counter, stats);
        return None;
    }
    Some(client)
}

fn count(sk: Sock<'_>, reading: &Reading, stats: &NetStats) {
    for index in reading.seen.indices() {
        stats.count_option(index);
    }
    if reading.malformed {
        count!(stats, Malformed);
    }
    let other = reading.seen.without(params::kinds());
    // Not from where nothing would be believed anyway.
    if reading.client.is_none() && other.give_client() && is_allowed(sk).is_ok() {
        printk::warn_seldom(
            Warning::OtherKind as u32,
            format_args!(
                "options of kind {other} arrive and are not read, for kinds={}: add to it what your load balancer uses",
                params::kinds()
            ),
        );
    }
}

#[cold]
fn refuse(peer: End, counter: Counter, stats: &NetStats) {
    if matches!(counter, Counter::NotTrusted) {
        printk::warn_seldom(
            Warning::Untrusted as u32,
            format_args!(
                "options from {peer} are ignored: add it to trusted= if it is a load balancer, else it forges addresses"
            ),
        );
    }
    stats.count_any(counter);
}

/// The segment that an option came with.
#[inline(always)]
fn origin(segment: Segment<'_>) -> From {
    if segment.has_syn() {
        From::Syn
    } else if segment.has_data() {
        From::Data
    } else {
        From::Ack
    }
}

#[cold]
fn lost(stats: &NetStats) {
    count!(stats, RecordLost);
    printk::warn_seldom(
        Warning::RecordLost as u32,
        format_args!(
            "no memory for clients of new connections, which show the load balancer: free some"
        ),
    );
}

impl Reader {
    /// Reads a SYN, and keeps the client that it names.
    #[inline(never)]
    fn read_syn(&self, request: Sock<'_>, segment: Segment<'_>, cookie: bool) {
        let stats = self.0.stats(request.net());
        let client = judge(request, segment, stats);
        if client.is_some() {
            stats.count_any(if cookie {
                Counter::SynCookie
            } else {
                Counter::SynKept
            });
        }
        let kept = client.filter(|_| !cookie);
        self.0
            .syns()
            .begin(request, segment.sequence(), kept, |net, counter| {
                self.0.stats(net).count_any(counter);
            });
    }

    /// Reads the segment that made connection `sk`, and what was kept of its SYN.
    #[inline(never)]
    fn read_child(&self, sk: Sock<'_>, segment: Segment<'_>) {
        if sk.is_closed() {
            // MPTCP has refused it, and destroyed it already: nothing would remove a record.
            return;
        }
        let stats = self.0.stats(sk.net());
        let own = judge(sk, segment, stats);
        let count_lost = |net: Net<'_>, counter| self.0.stats(net).count_any(counter);
        let kept = if segment.has_syn() {
            // Fast Open: the SYN itself, so that what is kept is of an earlier one.
            self.0.syns().begin(sk, 0, None, count_lost);
            None
        } else {
            self.0.syns().take(sk, count_lost)
        };
        if kept.is_some() {
            stats.count_any(match own {
                Some(_) => Counter::SynSuperseded,
                None => Counter::SynUsed,
            });
        }
        let (client, from) = match (own, kept) {
            (Some(own), _) => (own, origin(segment)),
            (None, Some(kept)) => (kept, From::Syn),
            (None, None) => return count!(stats, SynRecvSockNoToa),
        };
        count!(stats, SynRecvSockToa);
        // The record of an MPTCP connection is that of the socket that servers get.
        if !sk.is_subflow() {
            self.keep(sk, sk.peer(), &client, from, stats);
        }
    }

    /// Reads the segment that made connection `sk`, when nothing of its SYN is kept.
    #[inline(never)]
    fn read_segment(&self, sk: Sock<'_>, segment: Segment<'_>) {
        if sk.is_closed() {
            // As in `read_child`.
            return;
        }
        let options = segment.options();
        let from = origin(segment);
        if from != From::Syn && params::kinds().has_default() {
            // Where load balancers put it.
            if let Some((client, is_ipv6)) = option::leading(options) {
                if is_allowed(sk).is_ok() {
                    return self.keep_leading(sk, client, is_ipv6, from);
                }
            }
        }
        if option::is_plain(options) {
            return count!(self.0.stats(sk.net()), SynRecvSockNoToa);
        }
        self.read_child(sk, segment);
    }

    #[inline(always)]
    fn keep_leading(&self, sk: Sock<'_>, client: End, is_ipv6: bool, from: From) {
        let stats = self.0.stats(sk.net());
        count!(stats, Option254);
        count!(stats, SynRecvSockToa);
        if !sk.is_subflow() {
            let record = Record::new(sk.peer(), client, is_ipv6, option::DEFAULT_KIND, from);
            let kept = self.0.records().insert(sk, record);
            self.count_kept(sk, kept, is_ipv6, stats);
        }
    }

    #[inline(always)]
    fn count_kept(
        &self,
        sk: Sock<'_>,
        kept: Result<(), NoMemory>,
        is_ipv6: bool,
        stats: &NetStats,
    ) {
        match kept {
            Ok(()) => {
                if trace::wants_clients() {
                    self.report(sk);
                }
                stats.count_record();
                if is_ipv6 {
                    count!(stats, Ip6AddressAlloc);
                }
            }
            Err(NoMemory) => lost(stats),
        }
    }

    /// Tells who traces of the record of connection `sk`.
    #[cold]
    #[inline(never)]
    fn report(&self, sk: Sock<'_>) {
        let reading = preempt::Disabled::new();
        let record = self
            .0
            .records()
            .lookup(sk)
            .and_then(|lookup| lookup.find(&reading));
        if let Some(record) = record {
            let from = record.from() as u8;
            trace::client(record.client(), record.peer(), record.kind, from);
        }
    }

    /// Keeps the client of connection `sk` with `peer`.
    fn keep(&self, sk: Sock<'_>, peer: End, client: &Client, from: From, stats: &NetStats) {
        let record = Record::of(peer, client, from);
        let kept = self.0.records().insert_with(sk, record, client.service);
        self.count_kept(sk, kept, record.is_ipv6(), stats);
    }
}

impl OnChild for Reader {
    #[inline(always)]
    fn syn(&self, request: Sock<'_>, segment: Segment<'_>, cookie: bool) {
        // Nearly all SYNs end here.
        if option::is_usual(segment.options()) && self.0.syns().is_empty() {
            return;
        }
        self.read_syn(request, segment, cookie);
    }

    #[inline(always)]
    fn child(&self, sk: Sock<'_>, segment: Segment<'_>) {
        if self.0.syns().is_empty() {
            // Nearly all that carry nothing end here.
            if option::is_usual(segment.options()) {
                return count!(self.0.stats(sk.net()), SynRecvSockNoToa);
            }
            return self.read_segment(sk, segment);
        }
        self.read_child(sk, segment);
    }

    fn mptcp(&self, sk: Sock<'_>, request: Sock<'_>, segment: Segment<'_>) {
        // `child` counts, and takes what was kept.
        let own = read(segment).client.filter(|_| is_allowed(request).is_ok());
        let (client, from) = match own {
            Some(own) => (own, origin(segment)),
            None if segment.has_syn() => return,
            None => match self.0.syns().get(request) {
                Some(kept) => (kept, From::Syn),
                None => return,
            },
        };
        let stats = self.0.stats(request.net());
        self.keep(sk, request.peer(), &client, from, stats);
    }
}
