// SPDX-License-Identifier: GPL-2.0

//! What we know of one connection, and the table of them.

use kernel::{
    prelude::*,
    sync::{rcu, Arc},
};

use crate::{
    linux::{
        inet::{EndHooks, OnEnd},
        printk,
        sock::{Peer, Sock},
        table::{NoMemory, Table},
    },
    option::Client,
    stats::{Counter, Stats},
};

/// What a load balancer told us of one connection.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    /// The client, as the option named it.
    pub(crate) client: Client,
    /// The other end as the socket saw it, which is the balancer. A socket whose other end is
    /// another has been used for another connection since.
    pub(crate) peer: Peer,
}

/// The records of all live connections that carried the option.
pub(crate) struct Records {
    table: Table<Record>,
    stats: Arc<Stats>,
}

/// Makes the empty table; may sleep. A failure is logged.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn start(stats: Arc<Stats>) -> Result<Arc<Records>> {
    let table = Table::new(c"toa_record").map_err(|error| {
        printk::failed(
            format_args!("allocating the connection table"),
            error,
            "free some memory",
        )
    })?;
    Ok(Arc::new(Records { table, stats }, GFP_KERNEL)?)
}

impl Records {
    /// Keeps `client` for the new connection of `sk` with `peer`; softirq. Without memory for it the server sees the
    /// balancer, and the loss is counted.
    pub(crate) fn insert(&self, sk: Sock<'_>, peer: Peer, client: Client) {
        let inserted = self.table.insert(sk.key(), Record { client, peer });
        let stats = self.stats.of(sk.net());
        match inserted {
            Ok(()) if client.address.is_ipv6() => stats.count(Counter::Ip6AddressAlloc),
            Ok(()) => {}
            Err(NoMemory) => stats.count(Counter::RecordLost),
        }
    }

    /// The record of connection `sk`; any context.
    #[inline]
    pub(crate) fn find<'a>(&'a self, sk: Sock<'_>, rcu: &'a rcu::Guard) -> Option<&'a Record> {
        self.table.find(sk.key(), rcu)
    }
}

/// Forgets connections when they end, until it is dropped.
pub(crate) struct EndOfLife {
    _hooks: EndHooks<Forget>,
}

impl EndOfLife {
    /// Begins to forget; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// Those of the hooks.
    pub(crate) fn start(records: Arc<Records>) -> Result<Self> {
        Ok(Self {
            _hooks: EndHooks::new(Forget(records))?,
        })
    }
}

#[derive(Clone)]
struct Forget(Arc<Records>);

impl OnEnd for Forget {
    #[inline]
    fn end(&self, sk: Sock<'_>) {
        let Some(record) = self.0.table.remove(sk.key()) else {
            return;
        };
        if record.client.address.is_ipv6() {
            self.0.stats.of(sk.net()).count(Counter::Ip6AddressFree);
        }
    }
}
