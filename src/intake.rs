// SPDX-License-Identifier: GPL-2.0

//! The way in: from the segment that completes a handshake to a record.

use kernel::{prelude::*, sync::Arc};

use crate::{
    linux::inet::{Child, ChildHooks, OnChild},
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

struct Reader {
    records: Arc<Records>,
    stats: Arc<Stats>,
}

impl OnChild for Reader {
    #[inline]
    fn child(&self, child: Child<'_>, options: &[u8]) {
        let client = option::client(options);
        self.stats.of(child.sk.net()).count(match client {
            Some(_) => Counter::SynRecvSockToa,
            None => Counter::SynRecvSockNoToa,
        });
        if let Some(client) = client {
            self.records.insert(&child, client);
        }
    }
}
