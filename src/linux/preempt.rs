// SPDX-License-Identifier: GPL-2.0

//! Keeping the current CPU: from other threads, and from softirqs.

use kernel::types::NotThreadSafe;

use super::{arch, bindings};

/// Evidence that preemption is off on the current CPU, which holds off the end of RCU's grace periods
/// as `rcu_read_lock()` does, and takes a quarter of the instructions.
///
/// # Invariants
///
/// Preemption is off while a value lives; it stays on its thread.
pub(crate) struct Disabled(arch::Preemption, NotThreadSafe);

impl Disabled {
    /// Turns preemption off until the value is dropped; any context. Values nest.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // INVARIANT: The call turns it off.
        Self(arch::preempt_disable(), NotThreadSafe)
    }
}

impl Drop for Disabled {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `new` turned it off.
        unsafe { arch::preempt_enable(self.0) };
    }
}

/// Lets others run, on kernels that do not preempt the kernel itself; process context without locks.
pub(super) fn relax() {
    // SAFETY: May be called where the caller may sleep.
    unsafe { bindings::rust_helper_cond_resched() };
}

/// Evidence that nothing of TCP can run on the current CPU but what holds the value: preemption and
/// softirqs are off. Hard interrupts never do TCP.
///
/// # Invariants
///
/// Both are off while a value lives; it stays on its thread.
pub(super) struct Exclusive {
    /// The interrupt flag to go back to, if that had to be touched.
    flags: Option<usize>,
    _thread: NotThreadSafe,
}

impl Exclusive {
    /// Has the CPU until the value is dropped; any context. Values nest.
    #[inline(always)]
    pub(super) fn new() -> Self {
        // With PREEMPT_RT softirqs are threads, and being in one keeps nobody away.
        let flags = if bindings::TOA_PREEMPT_RT == 0 && arch::in_interrupt() {
            None
        } else {
            Some(irq_save())
        };
        // INVARIANT: Softirqs do not nest, and cannot be preempted; without interrupts there is
        // neither softirq nor preemption.
        Self {
            flags,
            _thread: NotThreadSafe,
        }
    }
}

#[cold]
fn irq_save() -> usize {
    // SAFETY: Callable in any context; the flags go back in `Exclusive::drop`.
    unsafe { bindings::rust_helper_local_irq_save() }
}

impl Drop for Exclusive {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            // SAFETY: The flags are those of the matching `local_irq_save` on this CPU: by the
            // invariant nothing moved the thread since.
            unsafe { bindings::rust_helper_local_irq_restore(flags) };
        }
    }
}
