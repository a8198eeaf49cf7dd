// SPDX-License-Identifier: GPL-2.0

//! How Linux does it: one file a facility, safe types outward.
//!
//! The only `unsafe` code of the module is here, and so is all that differs between kernels. What
//! the module means, and that it is about TCP options at all, nothing in here knows.

mod alloc;
mod bindings;
mod field;
pub(crate) mod ftrace;
pub(crate) mod inet;
mod irq;
pub(crate) mod netns;
mod percpu;
mod pool;
pub(crate) mod printk;
pub(crate) mod seq_file;
pub(crate) mod sock;
mod spinlock;
pub(crate) mod table;
pub(crate) mod tracepoint;
mod work;

pub(crate) use percpu::{online_cpus, Counters};
