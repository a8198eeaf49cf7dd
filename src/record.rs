// SPDX-License-Identifier: GPL-2.0

//! What we know of one connection, and the table of them.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::prelude::*;

use crate::{
    address::{Address, End, Port},
    linux::{
        alloc::memory_pages,
        inet::{EndHooks, OnEnd},
        preempt, printk,
        sock::Sock,
        table::{Lookup, NoMemory, Table},
    },
    option::{Client, Service},
    stats::{count, World},
};

/// The segment that an option came with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The first of the handshake.
    Syn = 1,
    /// The last of the handshake.
    Ack = 2,
    /// The same, with data.
    Data = 3,
}

/// What a load balancer told us of one connection.
///
/// One for each connection, so that each byte counts: with what the table adds it takes 64.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    client: Address,
    peer: Address,
    client_port: Port,
    peer_port: Port,
    /// The kind of the option.
    pub(crate) kind: u8,
    /// The segment that it came with, and the bits below.
    flags: u8,
}

impl Record {
    /// The client has an IPv6 address.
    const IPV6: u8 = 0x04;
    /// A [`Service`] is known too, which lies in a table of its own.
    const SERVICE: u8 = 0x08;

    /// What an option of `kind` in a segment tells of a connection with `peer`.
    #[inline(always)]
    pub(crate) fn new(peer: End, client: End, is_ipv6: bool, kind: u8, from: From) -> Self {
        let ipv6 = if is_ipv6 { Self::IPV6 } else { 0 };
        Self {
            client: client.address,
            peer: peer.address,
            client_port: client.port,
            peer_port: peer.port,
            kind,
            flags: from as u8 | ipv6,
        }
    }

    /// What `client` tells of a connection with `peer`.
    pub(crate) fn of(peer: End, client: &Client, from: From) -> Self {
        let end = End {
            address: client.address.into(),
            port: client.port.map_or(peer.port, Port::from),
        };
        Self::new(peer, end, end.address.is_ipv6(), client.kind, from)
    }

    /// The client, as the option named it. Without a port in the option, with that of `peer`.
    #[inline(always)]
    pub(crate) fn client(&self) -> End {
        End {
            address: self.client,
            port: self.client_port,
        }
    }

    /// The other end as the socket saw it, which is the balancer. A socket whose other end is another
    /// has been used for another connection since.
    #[inline(always)]
    pub(crate) fn peer(&self) -> End {
        End {
            address: self.peer,
            port: self.peer_port,
        }
    }

    /// Whether the client has an IPv6 address.
    #[inline(always)]
    pub(crate) fn is_ipv6(&self) -> bool {
        self.flags & Self::IPV6 != 0
    }

    /// Whether a [`Service`] is known too.
    #[inline(always)]
    pub(crate) fn has_service(&self) -> bool {
        self.flags & Self::SERVICE != 0
    }

    /// The segment that the option came with.
    pub(crate) fn from(&self) -> From {
        match self.flags & 0x03 {
            1 => From::Syn,
            2 => From::Ack,
            _ => From::Data,
        }
    }
}

/// The records of all live connections that carried the option.
pub(crate) struct Records {
    table: Table<Record>,
    services: Table<Service>,
    /// Ends of connections are not seen any more, so that records may be of sockets that are gone.
    stale: AtomicBool,
}

impl Records {
    /// Makes the empty tables; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let failed = |table: &'static str| {
            move |error| {
                printk::failed(
                    format_args!("allocating the table of {table}"),
                    error,
                    "free some memory",
                )
            }
        };
        // One bucket for 32 KiB of memory: 0.02 % of it. A server that holds more tagged
        // connections than buckets has spent over 10 % of its memory on their sockets.
        let buckets = (memory_pages() / 8)
            .next_power_of_two()
            .clamp(1 << 10, 1 << 20);
        Ok(Self {
            table: Table::new(c"toa_record", buckets).map_err(failed("connections"))?,
            // Few load balancers name the service.
            services: Table::new(c"toa_service", buckets / 8).map_err(failed("services"))?,
            stale: AtomicBool::new(false),
        })
    }

    /// Keeps what was told of the new connection of `sk`; softirq.
    ///
    /// # Errors
    ///
    /// No memory: nothing is kept, and the server sees the balancer.
    #[inline(always)]
    pub(crate) fn insert(&self, sk: Sock<'_>, record: Record) -> Result<(), NoMemory> {
        self.table.insert(sk.key(), record)
    }

    /// The same with the service that the client connected to.
    ///
    /// # Errors
    ///
    /// As [`Self::insert`].
    pub(crate) fn insert_with(
        &self,
        sk: Sock<'_>,
        mut record: Record,
        service: Option<Service>,
    ) -> Result<(), NoMemory> {
        if let Some(service) = service {
            // First, so that whoever finds the record finds the service too.
            record.flags |= self.insert_service(sk, service);
        }
        let inserted = self.table.insert(sk.key(), record);
        if inserted.is_err() && record.has_service() {
            self.remove_service(sk);
        }
        inserted
    }

    /// Keeps the service of connection `sk`; returns the flag that says so.
    #[cold]
    fn insert_service(&self, sk: Sock<'_>, service: Service) -> u8 {
        match self.services.insert(sk.key(), service) {
            Ok(()) => Record::SERVICE,
            Err(NoMemory) => 0,
        }
    }

    /// Where the record of connection `sk` is, if it may have one; any context.
    #[inline(always)]
    pub(crate) fn lookup(&self, sk: Sock<'_>) -> Option<Lookup<'_, Record>> {
        self.table.lookup(sk.key())
    }

    /// The service of connection `sk`, where its record says that there is one; any context.
    pub(crate) fn service(&self, sk: Sock<'_>, reading: &preempt::Disabled) -> Option<Service> {
        self.services.find(sk.key(), reading).copied()
    }

    /// Removes the record of connection `sk`, if it has one, and says whether the client had an IPv6
    /// address; any context.
    #[inline(always)]
    fn remove(&self, sk: Sock<'_>) -> Option<bool> {
        let (has_service, is_ipv6) = self
            .table
            .remove(sk.key(), |record| (record.has_service(), record.is_ipv6()))?;
        if has_service {
            self.remove_service(sk);
        }
        Some(is_ipv6)
    }

    #[cold]
    fn remove_service(&self, sk: Sock<'_>) {
        self.services.remove(sk.key(), |_| ());
    }

    /// The table of records.
    pub(crate) fn table(&self) -> &Table<Record> {
        &self.table
    }

    /// Whether sockets of the table may be looked at, as long as `reading` lives.
    pub(crate) fn may_look(&self, _reading: &preempt::Disabled) -> bool {
        !self.stale.load(Ordering::Acquire)
    }
}

/// Forgets connections when they end, until it is dropped.
pub(crate) struct EndOfLife {
    _hooks: EndHooks<Forget>,
    world: World,
}

impl Drop for EndOfLife {
    /// Comes before the hooks go. Who looks already is done before the memory of a socket is another's:
    /// that takes a grace period.
    fn drop(&mut self) {
        self.world.records().stale.store(true, Ordering::Release);
    }
}

impl EndOfLife {
    /// Begins to forget; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// Those of the hooks.
    pub(crate) fn start(world: World) -> Result<Self> {
        Ok(Self {
            _hooks: EndHooks::new(Forget(world.clone()))?,
            world,
        })
    }
}

#[derive(Clone)]
struct Forget(World);

impl OnEnd for Forget {
    #[inline(always)]
    fn end(&self, sk: Sock<'_>) {
        if self.0.records().lookup(sk).is_some() {
            self.forget(sk);
        }
    }
}

impl Forget {
    #[inline(never)]
    fn forget(&self, sk: Sock<'_>) {
        let Some(was_ipv6) = self.0.records().remove(sk) else {
            return;
        };
        let stats = self.0.stats(sk.net());
        stats.uncount_record();
        if was_ipv6 {
            count!(stats, Ip6AddressFree);
        }
    }
}
