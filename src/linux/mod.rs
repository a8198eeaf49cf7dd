// SPDX-License-Identifier: GPL-2.0

//! How Linux does it: one file a facility, safe types outward.
//!
//! The only `unsafe` code of the module is here, and so is all that differs between kernels. What
//! the module means, and that it is about TCP options at all, nothing in here knows.

pub(crate) mod alloc;
#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod arch;
mod bindings;
mod field;
pub(crate) mod flows;
mod ftrace;
pub(crate) mod inet;
pub(crate) mod netns;
pub(crate) mod param;
mod percpu;
mod pool;
pub(crate) mod preempt;
pub(crate) mod printk;
pub(crate) mod rcu_cell;
pub(crate) mod seq_file;
pub(crate) mod sock;
pub(crate) mod sockopt;
mod spinlock;
pub(crate) mod table;
pub(crate) mod trace;
mod tracepoint;
mod work;

pub(crate) use percpu::{online_cpus, possible_cpus, Counters};

/// What applications know: include/uapi/linux/toa.h, and the addresses of sockets.
pub(crate) mod uapi {
    pub(crate) use super::bindings::{
        sockaddr_in, sockaddr_in6, toa_info, toa_nat64_peer, v6vtoa_get_vs, vtoa_get_vs,
        vtoa_get_vs4rds, TOA_AF_INET, TOA_AF_INET6, TOA_INFO_SERVICE, TOA_INFO_SIZE_VER1,
        TOA_INFO_VERSION, TOA_SO_GET_CLIENT, TOA_SO_GET_INFO, TOA_SO_GET_LOOKUP, V6VTOA_SO_GET_VS,
        VTOA_SO_GET_VS, VTOA_SO_GET_VS4RDS,
    };
}
