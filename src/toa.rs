// SPDX-License-Identifier: GPL-2.0

//! The real client's address behind a load balancer.
//!
//! A load balancer that rewrites addresses puts the client's into a TCP option. This module reads
//! it from the segments of the handshake ([`intake`]), keeps it per socket ([`record`]) and answers
//! `accept()`, `getpeername()` and `SO_PEERNAME` with it ([`peername`]), and `getsockopt()` with what
//! an address cannot express ([`sockopt`]).
//!
//! Nothing of ours is ever stored in an object of the kernel: records lie in a table of our own,
//! and what we see of the kernel's work we see through function and tracepoint hooks.

use kernel::prelude::*;
use linux::printk::info;

mod address;
mod intake;
mod linux;
mod option;
mod params;
mod peername;
mod policy;
mod record;
mod sockopt;
mod stats;
mod syn;

module! {
    type: Toa,
    name: "toa",
    authors: ["The toa authors"],
    description: "Real client address from a load balancer's TCP option",
    license: "GPL",
}

/// The loaded module. Its parts stop in the order of the fields, which is the reverse of that in
/// `init`: first the way in, then the way out, and the records when nothing can reach them any more.
struct Toa {
    _sockopt: sockopt::SockOpt,
    _intake: intake::Intake,
    _peername: peername::Peername,
    _end_of_life: record::EndOfLife,
    _farewell: Farewell,
}

impl kernel::Module for Toa {
    // Each part logs its own failure. An early return drops, and so undoes, what was started.
    fn init(module: &'static ThisModule) -> Result<Self> {
        let world = stats::World::new()?;
        let end_of_life = record::EndOfLife::start(world.clone())?;
        let peername = peername::start(world.clone())?;
        let intake = intake::start(world.clone())?;
        let sockopt = sockopt::start(module, world)?;

        if params::everyone_is_trusted() {
            info!(
                "any sender of options is believed: set trusted= to the load balancers' addresses"
            );
        }
        info!("toa loaded");
        Ok(Self {
            _sockopt: sockopt,
            _intake: intake,
            _peername: peername,
            _end_of_life: end_of_life,
            _farewell: Farewell,
        })
    }
}

/// Logs that all parts have stopped.
struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        info!("toa unloaded");
    }
}
