// SPDX-License-Identifier: GPL-2.0

//! arm64: the registers of a hooked function, and what the kernel's headers inline into C. A register
//! leads to the current thread, which has its preemption count and the number of its CPU.

use core::{
    arch::asm,
    ffi::c_void,
    sync::atomic::{compiler_fence, AtomicUsize, Ordering},
};

use crate::linux::{bindings, field::Field};

extern "C" {
    /// The first element of the kernel's array of what to add to an address of the per-CPU allocator's.
    static __per_cpu_offset: usize;
}

const ARGUMENTS: Field<[usize; 8]> =
    Field::new(bindings::REGS_ARGS_OFFSET, bindings::REGS_ARGS_SIZE);

/// The register that says where a call goes on.
pub(in crate::linux) const INSTRUCTION_POINTER: Field<usize> =
    Field::new(bindings::REGS_PC_OFFSET, bindings::REGS_PC_SIZE);

/// The thread's count of reasons not to be preempted, in the low half, and in the high half zero if
/// another wants to run.
const PREEMPT_COUNT: Field<u64> = Field::new(
    bindings::THREAD_PREEMPT_COUNT_OFFSET,
    bindings::THREAD_PREEMPT_COUNT_SIZE,
);

/// The number of the CPU that a thread runs on.
const CPU: Field<u32> = Field::new(bindings::THREAD_CPU_OFFSET, bindings::THREAD_CPU_SIZE);

/// Argument `N` of a call, of those that are in registers.
///
/// # Safety
///
/// `registers` are those that ftrace saved at the entry of a function with so many arguments.
#[inline(always)]
pub(in crate::linux) unsafe fn argument<const N: usize>(registers: *const c_void) -> usize {
    const { assert!(N < 8) };
    // SAFETY: By the contract; the array has such an element.
    unsafe { ARGUMENTS.place(registers).cast::<usize>().add(N).read() }
}

/// The current thread (`current_thread_info`).
#[inline(always)]
fn current() -> *mut c_void {
    let thread;
    // SAFETY: The kernel keeps the address of the thread in this register, and a thread sees no other's.
    unsafe {
        asm!("mrs {}, sp_el0", out(reg) thread, options(pure, nomem, nostack, preserves_flags));
    }
    thread
}

/// Where the current CPU has its own of what is at an address of the per-CPU allocator's. A thread that
/// may be moved to another CPU gets an address that is right for a CPU on which it was.
#[inline(always)]
fn this_cpu<T>(address: *mut T) -> *mut T {
    let offsets = (&raw const __per_cpu_offset).cast::<usize>();
    // SAFETY: The current thread lives, and the number is of a CPU that exists. The array has an element
    // for each, which does not change any more.
    unsafe { address.wrapping_byte_add(*offsets.add(CPU.read(current()) as usize)) }
}

/// Adds one to element `INDEX` of an array of the current CPU's (`this_cpu_inc`); any context. In a
/// thread that is moved meanwhile it may be another CPU's, with nothing lost.
///
/// # Safety
///
/// `array` is an address of the per-CPU allocator's, and the array has such an element.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_inc<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract.
    let element = unsafe { AtomicUsize::from_ptr(this_cpu(array.wrapping_add(INDEX))) };
    element.fetch_add(1, Ordering::Relaxed);
}

/// Takes one from element `INDEX` of an array of the current CPU's (`this_cpu_dec`); as
/// [`this_cpu_inc`].
///
/// # Safety
///
/// As [`this_cpu_inc`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_dec<const INDEX: usize>(array: *mut usize) {
    // SAFETY: By the contract.
    let element = unsafe { AtomicUsize::from_ptr(this_cpu(array.wrapping_add(INDEX))) };
    element.fetch_sub(1, Ordering::Relaxed);
}

/// Reads a word of the current CPU's (`this_cpu_read`), on which the thread stays.
///
/// # Safety
///
/// `word` is an address of the per-CPU allocator's.
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_read(word: *const usize) -> usize {
    // SAFETY: By the contract.
    unsafe { this_cpu(word.cast_mut()).read_volatile() }
}

/// Writes a word of the current CPU's (`this_cpu_write`), on which the thread stays.
///
/// # Safety
///
/// As [`this_cpu_read`].
#[inline(always)]
pub(in crate::linux) unsafe fn this_cpu_write(word: *mut usize, value: usize) {
    // SAFETY: By the contract.
    unsafe { this_cpu(word).write_volatile(value) };
}

/// Whether softirqs cannot run on the current CPU (`in_interrupt`); any context.
#[inline(always)]
pub(in crate::linux) fn in_interrupt() -> bool {
    // SAFETY: The current thread lives.
    let count = unsafe { PREEMPT_COUNT.read(current()) };
    count as u32 & bindings::TOA_INTERRUPT_MASK != 0
}

/// What undoes [`preempt_disable`]: the thread.
pub(in crate::linux) type Preemption = *mut c_void;

/// Adds to a thread's count, as the kernel does: what interrupts add they have taken back when they
/// end, so that nothing is lost between reading and writing. The high half is not written.
///
/// # Safety
///
/// `thread` is the current thread.
#[inline(always)]
unsafe fn add(thread: Preemption, number: u32) {
    let count = PREEMPT_COUNT.place(thread).cast::<u32>().cast_mut();
    // SAFETY: The current thread lives, and its count is little-endian (include/toa.h).
    unsafe { count.write_volatile(count.read_volatile().wrapping_add(number)) };
}

/// Keeps the thread on its CPU, and the CPU from another thread (`preempt_disable`); any context.
/// Nests.
#[inline(always)]
pub(in crate::linux) fn preempt_disable() -> Preemption {
    let thread = current();
    if bindings::TOA_PREEMPTION != 0 {
        // SAFETY: It is the current thread.
        unsafe { add(thread, 1) };
        compiler_fence(Ordering::SeqCst);
    }
    thread
}

/// Undoes [`preempt_disable`] (`preempt_enable`).
///
/// # Safety
///
/// Comes once for each call of that, with what it returned.
#[inline(always)]
pub(in crate::linux) unsafe fn preempt_enable(thread: Preemption) {
    if bindings::TOA_PREEMPTION == 0 {
        return;
    }
    compiler_fence(Ordering::SeqCst);
    // SAFETY: By the contract it is the current thread.
    unsafe { add(thread, 1_u32.wrapping_neg()) };
    // Read after the count was written: an interrupt before that cannot have preempted the thread, and
    // one after it has if need be.
    // SAFETY: The current thread lives. When the function is called preemption is on and may happen.
    unsafe {
        if PREEMPT_COUNT.read(thread) == 0 {
            bindings::rust_helper_preempt_schedule_notrace();
        }
    }
}
