// SPDX-License-Identifier: GPL-2.0

//! The way in: from the segment that completes a handshake to a record.

use kernel::{prelude::*, sync::Arc};

use crate::{
    linux::{
        inet::{ChildHook, OnChild},
        sock::Sock,
    },
    option,
    record::Records,
    stats::{Counter, Stats},
};

/// Reads the option of new connections, until it is dropped.
pub(crate) struct Intake {
    _hook: ChildHook<Reader>,
}

/// Begins to read; may sleep. A failure is logged.
///
/// # Errors
///
/// Those of the hook.
pub(crate) fn start(records: Arc<Records>, stats: Arc<Stats>) -> Result<Intake> {
    Ok(Intake {
        _hook: ChildHook::new(Reader { records, stats })?,
    })
}

struct Reader {
    records: Arc<Records>,
    stats: Arc<Stats>,
}

impl OnChild for Reader {
    #[inline]
    fn child(&self, child: Sock<'_>, options: &[u8]) {
        let client = option::client(options);
        self.stats.of(child.net()).count(match client {
            Some(_) => Counter::SynRecvSockToa,
            None => Counter::SynRecvSockNoToa,
        });
        if let Some(client) = client {
            // Servers get the MPTCP socket rather than the TCP socket that the option came to.
            let mptcp = if child.is_subflow() {
                option::mptcp_key(options)
            } else {
                None
            };
            mptcp
                .and_then(|key| child.with_mptcp(key, |mptcp| self.records.insert(mptcp, client)))
                .unwrap_or_else(|| self.records.insert(child, client));
        }
    }
}
