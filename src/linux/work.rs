// SPDX-License-Identifier: GPL-2.0

//! Work that hooks hand over to a kernel thread, where it may sleep.

use core::{cell::UnsafeCell, ops::Deref};

use kernel::prelude::*;

use super::bindings;

/// What a [`Work`] does when its turn comes.
pub(super) trait Run: Send + Sync {
    /// Runs in process context and may sleep. Never runs twice at the same time.
    fn run(&self);
}

/// A work item and what it works on.
pub(super) struct Work<T: Run>(KBox<Inner<T>>);

#[repr(C)]
struct Inner<T> {
    // First, so that the callback finds `context` from the address of the item.
    item: UnsafeCell<bindings::work_struct>,
    context: T,
}

// SAFETY: The kernel's workqueue serialises access to the item, `T: Run` is itself `Sync`.
unsafe impl<T: Sync> Sync for Inner<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Send for Inner<T> {}

impl<T: Run> Work<T> {
    /// Creates a work item that is not queued; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(context: T) -> Result<Self> {
        let inner = KBox::new(
            Inner {
                // SAFETY: A plain C structure; zero is valid until it is initialised below.
                item: UnsafeCell::new(unsafe { core::mem::zeroed() }),
                context,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The item is in its final place, and nobody knows it yet.
        unsafe { bindings::rust_helper_init_work(inner.item.get(), Some(run::<T>)) };
        Ok(Self(inner))
    }

    /// Asks for a run soon; nothing happens if one is waiting already. Any context.
    pub(super) fn queue(&self) {
        // SAFETY: Initialised in `new`, and alive until `drop` has cancelled it. The locks that
        // queueing takes are raw, so that it works with preemption disabled on PREEMPT_RT too.
        unsafe { bindings::rust_helper_queue_unbound_work(self.0.item.get()) };
    }

    /// Waits for a run that is under way, and prevents any that was asked for; may sleep.
    pub(super) fn cancel(&mut self) {
        // SAFETY: Initialised in `new`. Nobody queues it meanwhile: that takes a `&self`.
        unsafe { bindings::cancel_work_sync(self.0.item.get()) };
    }
}

/// # Safety
///
/// `item` is the first field of an `Inner<T>`.
unsafe extern "C" fn run<T: Run>(item: *mut bindings::work_struct) {
    // SAFETY: By the contract; `Work::drop` waits for us before the memory goes.
    unsafe { &*item.cast::<Inner<T>>() }.context.run();
}

impl<T: Run> Deref for Work<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.context
    }
}

impl<T: Run> Drop for Work<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}
