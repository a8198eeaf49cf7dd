// SPDX-License-Identifier: GPL-2.0

//! Fields of kernel structures, at offsets that the C compiler computed.

use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::{align_of, size_of},
};

/// A field of type `T` of some kernel structure.
pub(super) struct Field<T> {
    offset: usize,
    value: PhantomData<T>,
}

impl<T: Copy> Field<T> {
    /// Describes the field by its offset and size in bytes, as include/toa.h gives them.
    ///
    /// Meant for constants: a size other than that of `T` fails the build.
    pub(super) const fn new(offset: u32, size: u32) -> Self {
        assert!(size as usize == size_of::<T>() && offset as usize % align_of::<T>() == 0);
        Self {
            offset: offset as usize,
            value: PhantomData,
        }
    }

    /// Reads the field of the structure at `base`, once (`READ_ONCE` in C).
    ///
    /// # Safety
    ///
    /// `base` points to a live object of the structure that the field was described for.
    #[inline(always)]
    pub(super) unsafe fn read(&self, base: *const c_void) -> T {
        // SAFETY: The caller vouches for the object; the C compiler placed the field in it.
        unsafe { base.byte_add(self.offset).cast::<T>().read_volatile() }
    }

    /// Where the field of the structure at `base` lies.
    #[inline(always)]
    pub(super) fn place(&self, base: *const c_void) -> *const T {
        base.wrapping_byte_add(self.offset).cast()
    }

    /// Writes the field of the structure at `base`, once (`WRITE_ONCE` in C).
    ///
    /// # Safety
    ///
    /// As [`Self::read`], and nobody else accesses the field at the same time.
    #[inline(always)]
    pub(super) unsafe fn write(&self, base: *mut c_void, value: T) {
        // SAFETY: As in `read`, and the caller has exclusive access.
        unsafe { base.byte_add(self.offset).cast::<T>().write_volatile(value) }
    }
}
