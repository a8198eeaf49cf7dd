// SPDX-License-Identifier: GPL-2.0

//! The way out: from a record to the address that the server sees.

use kernel::prelude::*;

use crate::{
    linux::{
        inet::{NameHooks, OnGetName, Question},
        preempt,
        sock::{Family, Sock},
    },
    stats::{count, World},
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
pub(crate) fn start(world: World) -> Result<Peername> {
    Ok(Peername {
        _hooks: NameHooks::new(Answerer(world))?,
    })
}

#[derive(Clone)]
struct Answerer(World);

impl OnGetName for Answerer {
    #[inline(always)]
    fn name(&self, sk: Sock<'_>, family: Family, question: Question<'_>) {
        let stats = self.0.stats(sk.net());
        // Nearly all that have no record end here.
        let Some(lookup) = self.0.records().lookup(sk) else {
            return count!(stats, GetnameToaEmpty);
        };
        if question.is_own() {
            return count!(stats, GetnameToaEmpty);
        }

        let reading = preempt::Disabled::new();
        let Some(record) = lookup.find(&reading) else {
            return count!(stats, GetnameToaEmpty);
        };
        if !sk.has_peer(family, record.peer()) || !sk.is_connected(|| question.is_at_accept()) {
            return count!(stats, GetnameToaMismatch);
        }
        if record.is_ipv6() && family == Family::Inet {
            return count!(stats, GetnameToaBypass);
        }
        question.answer(record.client());
        count!(stats, GetnameToaOk);
    }
}
