// SPDX-License-Identifier: GPL-2.0

//! Arrays too large for `kmalloc`.

use core::{ops::Deref, ptr::NonNull, slice};

use kernel::prelude::*;

use super::bindings;

/// An array of fixed length in virtually contiguous memory (`kvzalloc`).
pub(super) struct Array<T> {
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
    pub(super) fn new(length: usize, element: impl Fn() -> T) -> Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(ENOMEM)?;
        // SAFETY: Any size is allowed. Alignment is that of `kmalloc` or of a page.
        let memory = unsafe { bindings::rust_helper_kvzalloc(bytes) };
        let first = NonNull::new(memory.cast::<T>()).ok_or(ENOMEM)?;
        for index in 0..length {
            // SAFETY: Within the `length` elements just allocated, which nobody else has.
            unsafe { first.add(index).write(element()) };
        }
        Ok(Self { first, length })
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` initialised `length` elements from `first` on.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.length) }
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
