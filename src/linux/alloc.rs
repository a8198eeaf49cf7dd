// SPDX-License-Identifier: GPL-2.0

//! Arrays too large for `kmalloc`, and how much memory there is.

use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use kernel::prelude::*;

use super::bindings;

/// Memory of the machine, in pages.
pub(crate) fn memory_pages() -> usize {
    // SAFETY: Reads a counter.
    unsafe { bindings::rust_helper_totalram_pages() }
}

/// An array of fixed length in virtually contiguous memory (`kvzalloc`).
pub(crate) struct Array<T> {
    first: NonNull<T>,
    length: usize,
}

// SAFETY: The array owns its elements.
unsafe impl<T: Send> Send for Array<T> {}
// SAFETY: As above; shared access gives shared access to the elements only.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T> Array<T> {
    /// Allocates `length` elements and fills them with what `element` returns; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(length: usize, mut element: impl FnMut() -> T) -> Result<Self> {
        Self::try_new(length, || Ok(element()))
    }

    /// The same with elements whose making may fail.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; those of `element`.
    pub(crate) fn try_new(length: usize, mut element: impl FnMut() -> Result<T>) -> Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(ENOMEM)?;
        // SAFETY: Any size is allowed. Alignment is that of `kmalloc` or of a page.
        let memory = unsafe { bindings::rust_helper_kvzalloc(bytes) };
        let mut array = Self {
            first: NonNull::new(memory.cast::<T>()).ok_or(ENOMEM)?,
            length: 0,
        };
        while array.length < length {
            let element = element()?;
            // SAFETY: Within the `length` elements just allocated, which nobody else has.
            unsafe { array.first.add(array.length).write(element) };
            array.length += 1;
        }
        Ok(array)
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `try_new` initialised `length` elements from `first` on.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.length) }
    }
}

impl<T> DerefMut for Array<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As in `deref`, and the array is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.length) }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        // SAFETY: The elements are initialised, dropped once here, and their memory came from
        // `kvzalloc`.
        unsafe {
            NonNull::slice_from_raw_parts(self.first, self.length).drop_in_place();
            bindings::kvfree(self.first.as_ptr().cast());
        }
    }
}
