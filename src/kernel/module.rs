// SPDX-License-Identifier: GPL-2.0

//! What makes a module of a crate.

use crate::{error::Result, ffi::c_void};

/// A kernel module. Dropped when it is unloaded.
pub trait Module: Sized + Sync + Send {
    /// Called when the module is loaded; may sleep.
    ///
    /// # Errors
    ///
    /// What keeps it from loading; `insmod` reports it.
    fn init(module: &'static ThisModule) -> Result<Self>;
}

/// The module as the kernel knows it (`THIS_MODULE` in C).
#[repr(transparent)]
pub struct ThisModule(c_void);

impl ThisModule {
    /// The kernel's own pointer.
    pub fn as_ptr(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// Declares the module: its type, and what `modinfo` shows.
#[macro_export]
macro_rules! module {
    (
        type: $type:ty,
        name: $name:literal,
        authors: [$author:literal],
        description: $description:literal,
        license: $license:literal,
    ) => {
        mod __module {
            use super::*;
            use core::mem::MaybeUninit;

            $crate::modinfo!(AUTHOR, "author=", $author);
            $crate::modinfo!(DESCRIPTION, "description=", $description);
            $crate::modinfo!(LICENSE, "license=", $license);

            extern "C" {
                static __this_module: $crate::ThisModule;
            }

            /// The module while it is loaded.
            static mut MODULE: MaybeUninit<$type> = MaybeUninit::uninit();

            /// # Safety
            ///
            /// Called by the kernel, once.
            #[no_mangle]
            #[link_section = ".init.text"]
            unsafe extern "C" fn init_module() -> $crate::ffi::c_int {
                // SAFETY: The kernel places it with the module.
                match <$type as $crate::Module>::init(unsafe { &*(&raw const __this_module) }) {
                    Ok(module) => {
                        // SAFETY: The kernel calls nothing of ours before we return.
                        unsafe { (*(&raw mut MODULE)).write(module) };
                        0
                    }
                    Err(error) => error.to_errno(),
                }
            }

            /// # Safety
            ///
            /// Called by the kernel, once, if `init_module` succeeded.
            #[no_mangle]
            unsafe extern "C" fn cleanup_module() {
                // SAFETY: `init_module` wrote it.
                unsafe { (*(&raw mut MODULE)).assume_init_drop() };
            }

            // The addresses have to be taken: objtool disarms functions that nobody points to.
            #[used(compiler)]
            #[link_section = ".init.data"]
            static INIT: unsafe extern "C" fn() -> $crate::ffi::c_int = init_module;
            #[used(compiler)]
            #[link_section = ".exit.data"]
            static EXIT: unsafe extern "C" fn() = cleanup_module;
        }
    };
}

/// A line of what `modinfo` shows.
#[doc(hidden)]
#[macro_export]
macro_rules! modinfo {
    ($name:ident, $key:literal, $value:literal) => {
        // `compiler`: a second section of the name, which plain `used` makes, would hide the
        // version of the kernel from the loader.
        #[used(compiler)]
        #[link_section = ".modinfo"]
        static $name: [u8; concat!($key, $value, "\0").len()] = {
            let text = concat!($key, $value, "\0").as_bytes();
            let mut line = [0; concat!($key, $value, "\0").len()];
            let mut at = 0;
            while at < line.len() {
                line[at] = text[at];
                at += 1;
            }
            line
        };
    };
}
