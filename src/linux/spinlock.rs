// SPDX-License-Identifier: GPL-2.0

//! Spinlocks that spin on every kernel: `spinlock_t` sleeps on PREEMPT_RT, and hooks must not.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
};

use super::{bindings, preempt::Exclusive};

/// A `raw_spinlock_t` and the data it protects, taken where nothing else of TCP can run.
pub(super) struct RawSpinLock<T> {
    lock: UnsafeCell<bindings::raw_spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: The lock gives one thread at a time access to the data.
unsafe impl<T: Send> Sync for RawSpinLock<T> {}

impl<T> RawSpinLock<T> {
    /// Creates an unlocked lock around `data`.
    pub(super) fn new(data: T) -> Self {
        let mut lock = MaybeUninit::zeroed();
        // SAFETY: The call initialises the lock, which holds no pointer to itself and may move.
        let lock = unsafe {
            bindings::rust_helper_raw_spin_lock_init(lock.as_mut_ptr());
            lock.assume_init()
        };
        Self {
            lock: UnsafeCell::new(lock),
            data: UnsafeCell::new(data),
        }
    }

    /// Takes the lock; any context but one that holds it already.
    #[inline]
    pub(super) fn lock<'a>(&'a self, _cpu: &'a Exclusive) -> Guard<'a, T> {
        // SAFETY: Initialised in `new`; nothing that could want the lock can come between on this CPU
        // while it is held.
        unsafe { bindings::rust_helper_raw_spin_lock(self.lock.get()) };
        Guard(self)
    }
}

/// Evidence that a [`RawSpinLock`] is held.
pub(super) struct Guard<'a, T>(&'a RawSpinLock<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held, so the data is this guard's alone.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: This guard holds the lock.
        unsafe { bindings::rust_helper_raw_spin_unlock(self.0.lock.get()) };
    }
}
