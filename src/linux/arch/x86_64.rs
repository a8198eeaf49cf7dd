// SPDX-License-Identifier: GPL-2.0

//! x86-64: the registers of a hooked function, and what the kernel's headers inline into C, as single
//! instructions. The segment register GS leads to the memory of the current CPU, so that no instruction
//! is torn by moving to another.

use core::{arch::asm, ffi::c_void};

use crate::linux::{bindings, field::Field};

const ARGUMENTS: [Field<usize>; 6] = [
    Field::new(bindings::REGS_ARG0_OFFSET, bindings::REGS_ARG0_SIZE),
    Field::new(bindings::REGS_ARG1_OFFSET, bindings::REGS_ARG1_SIZE),
    Field::new(bindings::REGS_ARG2_OFFSET, bindings::REGS_ARG2_SIZE),
    Field::new(bindings::REGS_ARG3_OFFSET, bindings::REGS_ARG3_SIZE),
    Field::new(bindings::REGS_ARG4_OFFSET, bindings::REGS_ARG4_SIZE),
    Field::new(bindings::REGS_ARG5_OFFSET, bindings::REGS_ARG5_SIZE),
];
const STACK_POINTER: Field<usize> = Field::new(bindings::REGS_SP_OFFSET, bindings::REGS_SP_SIZE);

/// The register that says where a call goes on.
pub(in crate::linux) const INSTRUCTION_POINTER: Field<usize> =
    Field::new(bindings::REGS_IP_OFFSET, bindings::REGS_IP_SIZE);

/// Argument `N` of a call, which was in a register or on the stack.
///
/// # Safety
///
/// `registers` are those that ftrace saved at the entry of a function with so many arguments.
#[inline(always)]
pub(in crate::linux) unsafe fn argument<const N: usize>(registers: *const c_void) -> usize {
    match ARGUMENTS.get(N) {
        // SAFETY: By the contract.
        Some(register) => unsafe { *register.place(registers) },
        // SAFETY: By the contract. At the entry of a function the stack has its return address,
        // then the arguments for which there was no register.
        None => unsafe {
            let stack = STACK_POINTER.read(registers) as *const usize;
            stack.add(1 + N - ARGUMENTS.len()).read()
        },
    }
}

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
