// SPDX-License-Identifier: GPL-2.0

//! A value that readers under RCU see whole, before or after it is replaced.

use core::{
    marker::PhantomData,
    sync::atomic::{AtomicPtr, Ordering},
};

use kernel::prelude::*;

use super::{bindings, preempt};

/// A place for a value, or for none.
///
/// # Invariants
///
/// The pointer is null or came from a `KBox`. What it pointed to before it was replaced stays valid
/// for a grace period.
pub(crate) struct RcuCell<T> {
    pointer: AtomicPtr<T>,
    value: PhantomData<KBox<T>>,
}

// SAFETY: The cell owns the value; readers share it.
unsafe impl<T: Send + Sync> Sync for RcuCell<T> {}

impl<T> RcuCell<T> {
    /// A place without a value.
    pub(crate) const fn empty() -> Self {
        // INVARIANT: Null.
        Self {
            pointer: AtomicPtr::new(core::ptr::null_mut()),
            value: PhantomData,
        }
    }

    /// Whether there is no value now.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pointer.load(Ordering::Relaxed).is_null()
    }

    /// The value; any context. It stays as it is while the guard lives.
    #[inline]
    pub(crate) fn get<'a>(&'a self, _reading: &'a preempt::Disabled) -> Option<&'a T> {
        // SAFETY: By the invariant; the guard holds off the end of a grace period.
        unsafe { self.pointer.load(Ordering::Acquire).as_ref() }
    }

    /// Puts another value in its place, and frees the old one when nobody reads it any more; may
    /// sleep.
    pub(crate) fn replace(&self, value: Option<KBox<T>>) {
        let new = value.map_or(core::ptr::null_mut(), KBox::into_raw);
        // INVARIANT: Null or from a `KBox`; the old value is freed after a grace period only.
        let old = self.pointer.swap(new, Ordering::AcqRel);
        if old.is_null() {
            return;
        }
        // SAFETY: Process context without locks, for this may sleep. After it no reader has the old
        // value, which came from a `KBox`.
        drop(unsafe {
            bindings::synchronize_rcu();
            KBox::from_raw(old)
        });
    }
}
