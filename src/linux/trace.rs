// SPDX-License-Identifier: GPL-2.0

//! Events that an operator can trace, declared in include/toa_trace.h.

use core::ffi::c_void;

use super::{bindings, field::Field};
use crate::address::End;

extern "C" {
    /// What the kernel has of the event (trace.c).
    static __tracepoint_toa_client: c_void;
}

/// Whether anybody wants to hear of clients; any context.
#[inline(always)]
pub(crate) fn wants_clients() -> bool {
    const ENABLED: Field<i32> = Field::new(
        bindings::TRACEPOINT_KEY_ENABLED_OFFSET,
        bindings::TRACEPOINT_KEY_ENABLED_SIZE,
    );
    // SAFETY: The event is there as long as the module.
    unsafe { ENABLED.read(&raw const __tracepoint_toa_client) != 0 }
}

/// A load balancer told of the client of a new connection; any context.
pub(crate) fn client(client: End, balancer: End, kind: u8, from: u8) {
    // SAFETY: The event copies sixteen bytes of each address.
    unsafe {
        bindings::rust_helper_trace_toa_client(
            (&raw const client.address).cast(),
            client.port.into(),
            (&raw const balancer.address).cast(),
            balancer.port.into(),
            kind,
            from,
        );
    }
}
