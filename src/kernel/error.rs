// SPDX-License-Identifier: GPL-2.0

//! The kernel's error codes.

use core::{fmt, num::NonZeroI32};

use crate::{alloc::AllocError, ffi::c_int};

/// A negative errno.
///
/// # Invariants
///
/// Between `-MAX_ERRNO` and -1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

/// The largest errno (include/linux/err.h).
const MAX_ERRNO: c_int = 4095;

/// A `Result` whose error is the kernel's.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Declares the codes under their names (include/uapi/asm-generic/errno-base.h).
macro_rules! codes {
    ($($name:ident = $number:literal: $text:literal)+) => {
        /// The codes, under their names.
        pub mod code {
            $(
                #[doc = $text]
                pub const $name: super::Error = super::Error::from_constant(-$number);
            )+
        }

        fn name(number: c_int) -> Option<&'static str> {
            match number {
                $($number => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

codes! {
    ENOENT = 2: "No such file or directory."
    ESRCH = 3: "No such process."
    EAGAIN = 11: "Try again."
    ENOMEM = 12: "Out of memory."
    EFAULT = 14: "Bad address."
    EBUSY = 16: "Device or resource busy."
    EEXIST = 17: "File exists."
    ENODEV = 19: "No such device."
    EINVAL = 22: "Invalid argument."
}

impl Error {
    /// # Panics
    ///
    /// If `errno` is none: for constants, where that fails the build.
    const fn from_constant(errno: c_int) -> Self {
        match Self::try_from_errno(errno) {
            Some(error) => error,
            None => panic!("not an errno"),
        }
    }

    const fn try_from_errno(errno: c_int) -> Option<Self> {
        match NonZeroI32::new(errno) {
            // INVARIANT: Just checked.
            Some(number) if errno < 0 && errno >= -MAX_ERRNO => Some(Self(number)),
            _ => None,
        }
    }

    /// The error of a negative errno; `EINVAL` for what is none.
    pub fn from_errno(errno: c_int) -> Self {
        Self::try_from_errno(errno).unwrap_or(code::EINVAL)
    }

    /// The negative errno.
    pub fn to_errno(self) -> c_int {
        self.0.get()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(-self.0.get()) {
            Some(name) => out.write_str(name),
            None => write!(out, "errno {}", -self.0.get()),
        }
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

/// Turns the return value of a C function into a result.
///
/// # Errors
///
/// The errno, if it is negative.
pub fn to_result(value: c_int) -> Result {
    if value < 0 {
        Err(Error::from_errno(value))
    } else {
        Ok(())
    }
}

/// Turns what a C function returns that may be an error into a result (`IS_ERR` in C).
///
/// # Errors
///
/// The errno, if the pointer is one.
pub fn from_err_ptr<T>(pointer: *mut T) -> Result<*mut T> {
    match c_int::try_from(pointer as isize) {
        Ok(errno) if (-MAX_ERRNO..0).contains(&errno) => Err(Error::from_errno(errno)),
        _ => Ok(pointer),
    }
}
