// SPDX-License-Identifier: GPL-2.0

//! The way out: from a record to the address that the server sees.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};

use crate::{
    linux::{
        inet::{Family, NameHooks, OnGetName, PeerName},
        sock::Sock,
    },
    record::{Record, Records},
    stats::{Counter, Stats},
};

/// Answers with clients' addresses, until it is dropped.
pub(crate) struct Peername {
    _hooks: NameHooks<Answerer>,
}

/// Begins to answer; may sleep. A failure is logged.
///
/// # Errors
///
/// Those of the hooks.
pub(crate) fn start(records: Arc<Records>, stats: Arc<Stats>) -> Result<Peername> {
    Ok(Peername {
        _hooks: NameHooks::new(Answerer { records, stats })?,
    })
}

#[derive(Clone)]
struct Answerer {
    records: Arc<Records>,
    stats: Arc<Stats>,
}

impl Answerer {
    /// What to answer, and how that counts.
    #[inline]
    fn answer(&self, sk: Sock<'_>, family: Family, at_accept: bool) -> (Option<PeerName>, Counter) {
        let rcu = rcu::read_lock();
        let record = self.records.find(sk, &rcu).copied();
        drop(rcu);

        match record {
            None => (None, Counter::GetnameToaEmpty),
            Some(Record { peer, .. }) if peer != sk.peer() || !sk.is_connected(at_accept) => {
                (None, Counter::GetnameToaMismatch)
            }
            Some(Record { client, .. }) if client.address.is_ipv6() && family == Family::Inet => {
                (None, Counter::GetnameToaBypass)
            }
            Some(Record { client, .. }) => (
                Some(PeerName {
                    address: client.address,
                    port: client.port,
                }),
                Counter::GetnameToaOk,
            ),
        }
    }
}

impl OnGetName for Answerer {
    #[inline]
    fn peer(&self, sk: Sock<'_>, family: Family, at_accept: bool) -> Option<PeerName> {
        let (name, counter) = self.answer(sk, family, at_accept);
        self.stats.of(sk.net()).count(counter);
        name
    }

    #[inline]
    fn own(&self, sk: Sock<'_>) {
        self.stats.of(sk.net()).count(Counter::GetnameToaEmpty);
    }
}
