// SPDX-License-Identifier: GPL-2.0

//! Any architecture: what the kernel's headers inline into C, as calls of helpers.c.

use crate::linux::bindings;

/// Adds one to element `INDEX` of an array of the current CPU's (`this_cpu_inc`); any context.
///
/// # Safety
///
/// `array` is an address of the per-CPU allocator's, and the array has such an element.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_inc<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_this_cpu_add(array.wrapping_add(INDEX), 1) };
}

/// Takes one from element `INDEX` of an array of the current CPU's (`this_cpu_dec`); any context.
///
/// # Safety
///
/// As [`this_cpu_inc`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_dec<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_this_cpu_add(array.wrapping_add(INDEX), usize::MAX) };
}

/// Reads a word of the current CPU's (`this_cpu_read`); any context.
///
/// # Safety
///
/// `word` is an address of the per-CPU allocator's.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_read(word: *const usize) -> usize {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_this_cpu_read(word) }
}

/// Writes a word of the current CPU's (`this_cpu_write`); any context.
///
/// # Safety
///
/// As [`this_cpu_read`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_write(word: *mut usize, value: usize) {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_this_cpu_write(word, value) };
}

/// Whether softirqs cannot run on the current CPU (`in_interrupt`); any context.
#[inline(always)]
pub(in crate::linux) fn in_interrupt() -> bool {
    // SAFETY: Reads a counter.
    unsafe { bindings::rust_helper_in_interrupt() }
}

/// What undoes [`preempt_disable`].
pub(in crate::linux) type Preemption = ();

/// Keeps the thread on its CPU, and the CPU from another thread (`preempt_disable`); any context.
/// Nests.
#[inline(always)]
pub(in crate::linux) fn preempt_disable() -> Preemption {
    // SAFETY: Callable in any context.
    unsafe { bindings::rust_helper_preempt_disable() };
}

/// Undoes [`preempt_disable`] (`preempt_enable`).
///
/// # Safety
///
/// Comes once for each call of that.
#[inline(always)]
pub(in crate::linux) unsafe fn preempt_enable((): Preemption) {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_preempt_enable() };
}
