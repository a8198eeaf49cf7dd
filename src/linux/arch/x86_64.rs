// SPDX-License-Identifier: GPL-2.0

//! x86-64: what the kernel's headers inline into C, as single instructions. The segment register GS
//! leads to the memory of the current CPU, so that no instruction is torn by moving to another.

use core::arch::asm;

use crate::linux::bindings;

extern "C" {
    /// Where a CPU has its count of reasons not to be preempted (helpers.c).
    static toa_preempt_count: usize;
}

/// Adds one to element `INDEX` of an array of the current CPU's (`this_cpu_inc`); any context.
///
/// # Safety
///
/// `array` is an address of the per-CPU allocator's, and the array has such an element.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_inc<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract; one instruction.
    unsafe {
        asm!("inc qword ptr gs:[{} + 8 * {}]", in(reg) array, const INDEX, options(nostack));
    }
}

/// Takes one from element `INDEX` of an array of the current CPU's (`this_cpu_dec`); any context.
///
/// # Safety
///
/// As [`this_cpu_inc`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_dec<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract; one instruction.
    unsafe {
        asm!("dec qword ptr gs:[{} + 8 * {}]", in(reg) array, const INDEX, options(nostack));
    }
}

/// Reads a word of the current CPU's (`this_cpu_read`); any context.
///
/// # Safety
///
/// `word` is an address of the per-CPU allocator's.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_read(word: *const usize) -> usize {
    let value;
    // SAFETY: By the contract; one instruction.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) value, in(reg) word, options(nostack, preserves_flags));
    }
    value
}

/// Writes a word of the current CPU's (`this_cpu_write`); any context.
///
/// # Safety
///
/// As [`this_cpu_read`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_write(word: *mut usize, value: usize) {
    // SAFETY: By the contract; one instruction.
    unsafe {
        asm!("mov gs:[{}], {}", in(reg) word, in(reg) value, options(nostack, preserves_flags));
    }
}

/// Whether softirqs cannot run on the current CPU (`in_interrupt`); any context.
#[inline(always)]
pub(in crate::linux) fn in_interrupt() -> bool {
    let count: u32;
    // SAFETY: The kernel's own variable; one instruction.
    unsafe {
        asm!("mov {:e}, gs:[{}]", out(reg) count, in(reg) toa_preempt_count,
            options(nostack, preserves_flags));
    }
    count & bindings::TOA_INTERRUPT_MASK != 0
}

/// What undoes [`preempt_disable`]: where the CPU's count is.
pub(in crate::linux) type Preemption = usize;

/// Keeps the thread on its CPU, and the CPU from another thread (`preempt_disable`); any context.
/// Nests.
#[inline(always)]
pub(in crate::linux) fn preempt_disable() -> Preemption {
    if bindings::TOA_PREEMPTION == 0 {
        return 0;
    }
    // SAFETY: The kernel's own variable; one instruction. What comes after it stays after it, for the
    // compiler may not move memory accesses past an `asm!` without `nomem`.
    unsafe {
        let count = toa_preempt_count;
        asm!("inc dword ptr gs:[{}]", in(reg) count, options(nostack));
        count
    }
}

/// Undoes [`preempt_disable`] (`preempt_enable`).
///
/// # Safety
///
/// Comes once for each call of that, with what it returned.
#[inline(always)]
pub(in crate::linux) unsafe fn preempt_enable(count: Preemption) {
    if bindings::TOA_PREEMPTION == 0 {
        return;
    }
    // A bit that means "nobody else wants to run" is part of what is counted down, so that zero asks for
    // another thread. The function for that keeps all registers, and the kernel's code has no red zone
    // below the stack that a call could overwrite.
    // SAFETY: By the contract; the kernel's own variable, one instruction. When the function is called
    // preemption is on and may happen.
    unsafe {
        if bindings::TOA_PREEMPT_WIDE != 0 {
            asm!("dec qword ptr gs:[{}]", "jnz 2f", "call preempt_schedule_notrace_thunk", "2:",
                in(reg) count, options(nostack));
        } else {
            asm!("dec dword ptr gs:[{}]", "jnz 2f", "call preempt_schedule_notrace_thunk", "2:",
                in(reg) count, options(nostack));
        }
    }
}
