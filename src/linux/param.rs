// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, whose names are in param.c: at load, and in /sys/module.

use core::{
    ffi::{c_void, CStr},
    fmt,
};

use kernel::prelude::*;

use super::bindings;

pub(crate) use super::bindings::{
    TOA_PARAM_KINDS as KINDS, TOA_PARAM_PORTS as PORTS, TOA_PARAM_SYN_MAX as SYN_MAX,
    TOA_PARAM_SYN_SECONDS as SYN_SECONDS, TOA_PARAM_TRUSTED as TRUSTED,
};

/// What parameters mean. The kernel makes one call at a time; all may sleep. The first come before
/// the module's `init`, the last ones after its end.
pub(crate) trait Parameters {
    /// Takes a new value.
    ///
    /// # Errors
    ///
    /// `EINVAL`: it is wrong. `ENOMEM`. The old value stays.
    fn set(parameter: u32, text: &str) -> Result;

    /// Writes the value.
    ///
    /// # Errors
    ///
    /// Those of `out`, which ends with what such a file may show: all but one byte of a page.
    fn show(parameter: u32, out: &mut Page) -> fmt::Result;

    /// Frees what the value has taken: the module goes.
    fn free(parameter: u32);
}

/// Whether `text` may be a part of a longer one: /sys hands on a page at a time, while insmod's text may
/// be of any length.
pub(crate) fn may_be_part(text: &str) -> bool {
    // SAFETY: Reads the module's state.
    text.len() >= bindings::TOA_PAGE_SIZE as usize && unsafe { bindings::rust_helper_is_live() }
}

/// The page that takes the text of a parameter. The kernel warns of a text that fills it.
///
/// # Invariants
///
/// Points to `TOA_PAGE_SIZE` bytes of which `length` are written; there is room for two more.
pub(crate) struct Page {
    start: *mut u8,
    length: usize,
}

impl Page {
    /// Takes an item off that did not fit as a whole: what is left is a shorter list, not a wrong one.
    fn end_with_an_item(&mut self) {
        // SAFETY: By the invariant so many bytes are written.
        let text = unsafe { core::slice::from_raw_parts(self.start, self.length) };
        // INVARIANT: No more than before.
        self.length = text.iter().rposition(|&byte| byte == b',').unwrap_or(0);
    }
}

impl fmt::Write for Page {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        if end + 2 > bindings::TOA_PAGE_SIZE as usize {
            return Err(fmt::Error);
        }
        // SAFETY: By the invariant there is room for so many.
        unsafe {
            self.start
                .add(self.length)
                .copy_from_nonoverlapping(part.as_ptr(), part.len());
        }
        // INVARIANT: As just checked.
        self.length = end;
        Ok(())
    }
}

/// Implementation of `toa_param_set`.
///
/// # Safety
///
/// `text` is a string of C.
pub(crate) unsafe fn set<T: Parameters>(parameter: u32, text: *const c_void) -> c_int {
    // SAFETY: By the contract.
    let text = unsafe { CStr::from_ptr(text.cast()) };
    let done = match text.to_str() {
        Ok(text) => T::set(parameter, text),
        Err(_) => Err(EINVAL),
    };
    done.map_or_else(Error::to_errno, |()| 0)
}

/// Implementation of `toa_param_get`: returns how many bytes it wrote.
///
/// # Safety
///
/// `page` has room for `TOA_PAGE_SIZE` bytes.
pub(crate) unsafe fn get<T: Parameters>(parameter: u32, page: *mut c_void) -> c_int {
    // INVARIANT: By the contract.
    let mut page = Page {
        start: page.cast(),
        length: 0,
    };
    if T::show(parameter, &mut page).is_err() {
        page.end_with_an_item();
    }
    // SAFETY: By the invariant of `Page` there is room for one more.
    unsafe { page.start.add(page.length).write(b'\n') };
    page.length as c_int + 1
}

/// Makes `$type` the parameters of the module.
macro_rules! parameters {
    ($type:ty) => {
        /// # Safety
        ///
        /// Called by param.c with a string of C.
        #[no_mangle]
        unsafe extern "C" fn toa_param_set(
            parameter: ::kernel::ffi::c_uint,
            text: *const ::core::ffi::c_void,
        ) -> ::kernel::ffi::c_int {
            // SAFETY: By the contract.
            unsafe { $crate::linux::param::set::<$type>(parameter, text) }
        }

        /// # Safety
        ///
        /// Called by param.c with room for a page.
        #[no_mangle]
        unsafe extern "C" fn toa_param_get(
            parameter: ::kernel::ffi::c_uint,
            page: *mut ::core::ffi::c_void,
        ) -> ::kernel::ffi::c_int {
            // SAFETY: By the contract.
            unsafe { $crate::linux::param::get::<$type>(parameter, page) }
        }

        #[no_mangle]
        extern "C" fn toa_param_free(parameter: ::kernel::ffi::c_uint) {
            <$type as $crate::linux::param::Parameters>::free(parameter);
        }
    };
}
pub(crate) use parameters;
