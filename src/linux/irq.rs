// SPDX-License-Identifier: GPL-2.0

//! Interrupts of the current CPU.

use kernel::types::NotThreadSafe;

use super::bindings;

/// Evidence that interrupts are off, and with them preemption and softirqs, on the current CPU.
///
/// # Invariants
///
/// Interrupts are off on the current CPU while a value lives; it stays on its thread.
pub(super) struct Disabled {
    flags: usize,
    _thread: NotThreadSafe,
}

impl Disabled {
    /// Turns interrupts off until the value is dropped; any context. Values nest.
    #[inline]
    pub(super) fn new() -> Self {
        // INVARIANT: The call turns interrupts off.
        // SAFETY: Callable in any context; the flags go back in `drop`.
        let flags = unsafe { bindings::rust_helper_local_irq_save() };
        Self {
            flags,
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for Disabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The flags are those of the matching `local_irq_save` on this CPU: by the
        // invariant nothing moved the thread since.
        unsafe { bindings::rust_helper_local_irq_restore(self.flags) };
    }
}
