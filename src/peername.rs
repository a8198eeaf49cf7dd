// SPDX-License-Identifier: GPL-2.0

//! The way out: from a record to the address that the server sees.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};

use crate::{
    linux::{
        inet::{Family, NameHooks, OnGetName},
        sock::{End, Sock},
    },
    record::Record,
    stats::{Counter, World},
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
pub(crate) fn start(world: Arc<World>) -> Result<Peername> {
    Ok(Peername {
        _hooks: NameHooks::new(Answerer(world))?,
    })
}

#[derive(Clone)]
struct Answerer(Arc<World>);

impl Answerer {
    /// What to answer, and how that counts.
    #[inline]
    fn answer(&self, sk: Sock<'_>, family: Family, at_accept: bool) -> (Option<End>, Counter) {
        let rcu = rcu::read_lock();
        let record = self.0.records().find(sk, &rcu).copied();
        drop(rcu);

        match record {
            None => (None, Counter::GetnameToaEmpty),
            Some(record) if !record.is_of(sk) || !sk.is_connected(at_accept) => {
                (None, Counter::GetnameToaMismatch)
            }
            Some(record) if record.is_ipv6() && family == Family::Inet => {
                (None, Counter::GetnameToaBypass)
            }
            Some(Record { client, .. }) => (Some(client), Counter::GetnameToaOk),
        }
    }
}

impl OnGetName for Answerer {
    #[inline]
    fn peer(&self, sk: Sock<'_>, family: Family, at_accept: bool) -> Option<End> {
        let (name, counter) = self.answer(sk, family, at_accept);
        self.0.stats(sk.net()).count(counter);
        name
    }

    #[inline]
    fn own(&self, sk: Sock<'_>) {
        self.0.stats(sk.net()).count(Counter::GetnameToaEmpty);
    }
}
