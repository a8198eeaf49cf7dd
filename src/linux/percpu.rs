// SPDX-License-Identifier: GPL-2.0

//! Memory that each CPU has its own of.

use core::{cell::UnsafeCell, ffi::c_void, marker::PhantomData, ptr::NonNull};

use kernel::prelude::*;

use super::{arch, bindings, preempt::Exclusive};

/// The CPUs that are online, in ascending order; numbers may have gaps.
pub(crate) fn online_cpus() -> impl Iterator<Item = Cpu> {
    // SAFETY: Takes any CPU number, or -1 for the first.
    cpus(|last| unsafe { bindings::rust_helper_cpumask_next_online(last) })
}

/// The CPUs that can ever be online.
pub(crate) fn possible_cpus() -> impl Iterator<Item = Cpu> {
    // SAFETY: As above.
    cpus(|last| unsafe { bindings::rust_helper_cpumask_next_possible(last) })
}

fn cpus(next: impl Fn(c_int) -> u32) -> impl Iterator<Item = Cpu> {
    let mut last = -1;
    core::iter::from_fn(move || {
        let cpu = next(last);
        // SAFETY: Reads a number that is fixed at boot.
        if cpu >= unsafe { bindings::rust_helper_nr_cpu_ids() } {
            return None;
        }
        last = cpu as c_int;
        // INVARIANT: A mask of possible CPUs gave it.
        Some(Cpu(cpu))
    })
}

/// The number of a CPU that can exist on this machine.
///
/// # Invariants
///
/// The CPU is in `cpu_possible_mask`.
#[derive(Clone, Copy)]
pub(crate) struct Cpu(u32);

impl Cpu {
    /// Its number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// A `T` for each CPU.
pub(super) struct PerCpu<T> {
    base: NonNull<c_void>,
    value: PhantomData<UnsafeCell<T>>,
}

// SAFETY: Owns its values; moving the handle moves nothing.
unsafe impl<T: Send> Send for PerCpu<T> {}
// SAFETY: Handing out references is `unsafe`, the callers of `this` and `of` argue for it.
unsafe impl<T: Send> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Allocates zeroed memory for each possible CPU; may sleep.
    ///
    /// # Safety
    ///
    /// Zero bytes are a valid `T`, and `T` needs no drop.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) unsafe fn zeroed() -> Result<Self> {
        // SAFETY: The size of any `T` we use is far below the limit of the allocator.
        let base = unsafe { bindings::rust_helper_alloc_percpu(size_of::<T>(), align_of::<T>()) };
        Ok(Self {
            base: NonNull::new(base).ok_or(ENOMEM)?,
            value: PhantomData,
        })
    }

    /// Where the value is, as an address of the per-CPU allocator's.
    #[inline(always)]
    pub(super) fn base(&self) -> *mut c_void {
        self.base.as_ptr()
    }

    /// The value of the current CPU.
    #[inline]
    pub(super) fn this(&self, _cpu: &Exclusive) -> *mut T {
        // SAFETY: `base` came from the per-CPU allocator, and the thread stays on its CPU.
        unsafe { bindings::rust_helper_this_cpu_ptr(self.base.as_ptr()) }.cast()
    }

    /// The value of `cpu`.
    pub(super) fn of(&self, cpu: Cpu) -> *mut T {
        // SAFETY: `base` came from the per-CPU allocator, and `cpu` is possible.
        unsafe { bindings::rust_helper_per_cpu_ptr(self.base.as_ptr(), cpu.0) }.cast()
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: `base` came from the per-CPU allocator and is freed once.
        unsafe { bindings::free_percpu(self.base.as_ptr()) };
    }
}

/// `N` event counters, counted on each CPU without a lock or an atomic operation.
pub(crate) struct Counters<const N: usize>(PerCpu<[usize; N]>);

impl<const N: usize> Counters<N> {
    /// Allocates counters at zero; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Zero is a valid array of integers.
        Ok(Self(unsafe { PerCpu::zeroed() }?))
    }

    /// Counts one event of kind `INDEX` on the current CPU; any context, preemptible or not.
    #[inline(always)]
    pub(crate) fn increment<const INDEX: usize>(&self) {
        const { assert!(INDEX < N) };
        // SAFETY: The address is the per-CPU allocator's; the array has so many elements.
        unsafe { arch::this_cpu_inc::<INDEX>(self.0.base.cast().as_ptr()) };
    }

    /// Takes one event of kind `INDEX` back. On this CPU the counter may wrap; the sum over all does not.
    #[inline(always)]
    pub(crate) fn decrement<const INDEX: usize>(&self) {
        const { assert!(INDEX < N) };
        // SAFETY: As in `increment`.
        unsafe { arch::this_cpu_dec::<INDEX>(self.0.base.cast().as_ptr()) };
    }

    /// Counts one event of a kind that is not known when this is compiled. One that does not exist is not
    /// counted.
    pub(crate) fn increment_at(&self, index: usize) {
        if index < N {
            // SAFETY: The address is the per-CPU allocator's, plus an offset within the array.
            unsafe { arch::this_cpu_inc::<0>(self.0.base.cast::<usize>().add(index).as_ptr()) };
        }
    }

    /// Reads counter `index` of `cpu`; zero if it does not exist.
    pub(crate) fn read(&self, cpu: Cpu, index: usize) -> usize {
        if index >= N {
            return 0;
        }
        // SAFETY: Within the array of a possible CPU. The CPU may count at the same time, so the
        // word is read once.
        unsafe { self.0.of(cpu).cast::<usize>().add(index).read_volatile() }
    }
}
