// SPDX-License-Identifier: GPL-2.0

//! What nearly every file uses.

pub use core::mem::{align_of, size_of};

pub use crate::{
    alloc::{flags::*, KBox},
    error::{code::*, Error, Result},
    ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void, CStr},
    module, ThisModule,
};
