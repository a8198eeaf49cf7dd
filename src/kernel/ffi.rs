// SPDX-License-Identifier: GPL-2.0

//! C's primitive types as the kernel has them: `char` is unsigned, `long` is as wide as a pointer.

#![allow(non_camel_case_types)]

pub use core::ffi::{c_int, c_longlong, c_short, c_uint, c_ulonglong, c_ushort, c_void, CStr};

/// `char`: the kernel is compiled with `-funsigned-char`.
pub type c_char = u8;
/// `signed char`.
pub type c_schar = i8;
/// `unsigned char`.
pub type c_uchar = u8;
/// `long`.
pub type c_long = isize;
/// `unsigned long`.
pub type c_ulong = usize;
