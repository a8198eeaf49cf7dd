// SPDX-License-Identifier: GPL-2.0

//! Memory from `kmalloc`.

use core::{
    marker::PhantomData,
    mem::{align_of, size_of},
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use crate::bindings;

/// How an allocation may be done.
#[derive(Clone, Copy)]
pub struct Flags(());

/// The flags, under their names.
pub mod flags {
    use super::Flags;

    /// May sleep.
    pub const GFP_KERNEL: Flags = Flags(());
}

/// There was no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// A value in memory of its own.
///
/// # Invariants
///
/// Points to an initialised `T` in memory from `kmalloc`.
pub struct KBox<T> {
    pointer: NonNull<T>,
    value: PhantomData<T>,
}

// SAFETY: The box owns its value.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    /// Moves `value` to memory of its own; may sleep.
    ///
    /// # Errors
    ///
    /// No memory: `value` is dropped.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        const {
            // kmalloc aligns to the size if that is a power of two, and to a word otherwise.
            assert!(size_of::<T>() != 0 && align_of::<T>() <= align_of::<usize>());
        }
        // SAFETY: Any size is allowed.
        let memory = unsafe { bindings::rust_helper_kmalloc(size_of::<T>()) };
        let pointer = NonNull::new(memory.cast::<T>()).ok_or(AllocError)?;
        // SAFETY: The memory is ours, large enough and aligned.
        unsafe { pointer.write(value) };
        // INVARIANT: As just done.
        Ok(Self {
            pointer,
            value: PhantomData,
        })
    }

    /// Gives up the box for its pointer.
    pub fn into_raw(this: Self) -> *mut T {
        core::mem::ManuallyDrop::new(this).pointer.as_ptr()
    }

    /// Makes a box of the pointer again.
    ///
    /// # Safety
    ///
    /// `pointer` came from [`Self::into_raw`], and nobody else uses it.
    pub unsafe fn from_raw(pointer: *mut T) -> Self {
        // INVARIANT: By the contract.
        Self {
            // SAFETY: By the contract it is not null.
            pointer: unsafe { NonNull::new_unchecked(pointer) },
            value: PhantomData,
        }
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the invariant.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the invariant, and the box is borrowed exclusively.
        unsafe { self.pointer.as_mut() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant; nobody can use the value any more.
        unsafe {
            self.pointer.drop_in_place();
            bindings::kfree(self.pointer.as_ptr().cast());
        }
    }
}
