// SPDX-License-Identifier: GPL-2.0

//! The way in: from the segment that completes a handshake to a record.

use kernel::{prelude::*, sync::Arc};

use crate::{
    linux::{
        inet::{ChildHooks, OnChild},
        sock::{Peer, Sock},
    },
    option,
    record::Records,
    stats::{Counter, Stats},
};

/// Reads the option of new connections, until it is dropped.
pub(crate) struct Intake {
    _hooks: ChildHooks<Reader>,
}

/// Begins to read; may sleep. A failure is logged.
///
/// # Errors
///
/// Those of the hook.
pub(crate) fn start(records: Arc<Records>, stats: Arc<Stats>) -> Result<Intake> {
    Ok(Intake {
        _hooks: ChildHooks::new(Reader { records, stats })?,
    })
}

#[derive(Clone)]
struct Reader {
    records: Arc<Records>,
    stats: Arc<Stats>,
}

impl OnChild for Reader {
    #[inline]
    fn child(&self, sk: Sock<'_>, options: &[u8]) {
        let client = option::client(options);
        self.stats.of(sk.net()).count(match client {
            Some(_) => Counter::SynRecvSockToa,
            None => Counter::SynRecvSockNoToa,
        });
        if let Some(client) = client {
            // The record of an MPTCP connection is that of the socket that servers get.
            if !sk.is_subflow() {
                self.records.insert(sk, sk.peer(), client);
            }
        }
    }

    fn mptcp(&self, sk: Sock<'_>, peer: Peer, options: &[u8]) {
        if let Some(client) = option::client(options) {
            self.records.insert(sk, peer, client);
        }
    }
}
