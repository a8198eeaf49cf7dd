// SPDX-License-Identifier: GPL-2.0

//! Sharing.

use core::{
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{fence, AtomicUsize, Ordering},
};

use crate::alloc::{AllocError, Flags, KBox};

struct Shared<T> {
    owners: AtomicUsize,
    value: T,
}

/// A value that several owners share; the last one drops it.
///
/// # Invariants
///
/// Points to a `Shared<T>` from a `KBox`, in which this owner is counted.
pub struct Arc<T>(NonNull<Shared<T>>);

// SAFETY: Whoever is the last owner drops the value, and all owners may use it.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    /// Makes a value with one owner; may sleep.
    ///
    /// # Errors
    ///
    /// No memory: `value` is dropped.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        let shared = KBox::new(
            Shared {
                owners: AtomicUsize::new(1),
                value,
            },
            flags,
        )?;
        // SAFETY: The pointer of a box is not null.
        // INVARIANT: The one owner is counted.
        Ok(Self(unsafe {
            NonNull::new_unchecked(KBox::into_raw(shared))
        }))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        // SAFETY: By the invariant. No owner forgets itself, so the count cannot overflow.
        unsafe { self.0.as_ref() }
            .owners
            .fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the invariant.
        unsafe { &self.0.as_ref().value }
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        if unsafe { self.0.as_ref() }
            .owners
            .fetch_sub(1, Ordering::Release)
            == 1
        {
            // What other owners did with the value comes before its drop.
            fence(Ordering::Acquire);
            // SAFETY: By the invariant, and no owner is left.
            drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
        }
    }
}
