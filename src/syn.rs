// SPDX-License-Identifier: GPL-2.0

//! What SYNs carried, until their connections are made: some load balancers put the option into
//! the SYN alone.

use kernel::prelude::*;

use crate::{
    linux::{
        flows::{Flows, Loss},
        printk,
        sock::{Net, Sock},
    },
    option::Client,
    params,
    stats::Counter,
};

/// The clients that SYNs named.
pub(crate) struct Syns(Flows<Client>);

impl Syns {
    /// Makes room for as many as the parameters say; may sleep. A failure is logged.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let max = params::syn_max();
        let flows = Flows::new(max, params::syn_seconds()).map_err(|error| {
            printk::failed(
                format_args!("making room for {max} SYNs"),
                error,
                "load with a lower syn_max",
            )
        })?;
        Ok(Self(flows))
    }

    /// Whether none is ever kept.
    pub(crate) fn is_off(&self) -> bool {
        self.0.is_off()
    }

    /// Whether nothing is kept now: then there is nothing to find either.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the client of the SYN of `request`, or nothing of it; softirq. Counts for the namespaces
    /// of clients that are lost by that.
    pub(crate) fn begin(
        &self,
        request: Sock<'_>,
        sequence: u32,
        client: Option<Client>,
        count: impl Fn(Net<'_>, Counter),
    ) {
        // Without an option there may be one of an earlier SYN from there, which is not to be taken
        // for this one's.
        if client.is_none() && self.is_empty() {
            return;
        }
        let mut no_room = false;
        self.0.begin(request, sequence, client, &mut |net, loss| {
            no_room |= loss == Loss::Room;
            count(net, counter(loss));
        });
        // Not above, under a lock: consoles can be slow.
        if no_room {
            printk::warn_seldom(
                params::Warning::SynDropped as u32,
                format_args!(
                    "more connections begin than syn_max lets us keep clients of: raise syn_max, or set trusted="
                ),
            );
        }
    }

    /// The client that the SYN named of the connection that `request` becomes; softirq.
    pub(crate) fn get(&self, request: Sock<'_>) -> Option<Client> {
        if self.is_empty() {
            return None;
        }
        self.0.get(request, request.request_sequence())
    }

    /// The same for connection `sk`; it is not kept any longer. Counts as [`Self::begin`] does.
    #[inline(always)]
    pub(crate) fn take(&self, sk: Sock<'_>, count: impl Fn(Net<'_>, Counter)) -> Option<Client> {
        if self.is_empty() {
            return None;
        }
        self.0.take(sk, sk.syn_sequence(), &mut |net, loss| {
            count(net, counter(loss))
        })
    }

    /// Keeps nothing of a namespace any longer, which ends; may sleep.
    pub(crate) fn forget(&self, net: Net<'_>) {
        self.0.forget(net);
    }
}

/// What a loss counts as.
fn counter(loss: Loss) -> Counter {
    match loss {
        Loss::Room => Counter::SynDropped,
        Loss::Age => Counter::SynExpired,
        Loss::Anew => Counter::SynSuperseded,
    }
}
