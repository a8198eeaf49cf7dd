// SPDX-License-Identifier: GPL-2.0

//! The part of Rust-for-Linux's `kernel` crate that this module uses, for kernels built without
//! CONFIG_RUST. Names, paths and signatures are those of Linux 7.3, so that the module's sources do
//! not know which of the two they are compiled against.

#![no_std]

pub mod alloc;
pub mod error;
pub mod ffi;
mod module;
pub mod prelude;
pub mod sync;
pub mod types;

pub use module::{Module, ThisModule};

/// What the kernel exports, or helpers.c makes of its macros and inlines.
mod bindings {
    use crate::ffi::c_void;

    extern "C" {
        pub(crate) fn kfree(object: *const c_void);
        pub(crate) fn rust_helper_kmalloc(size: usize) -> *mut c_void;
    }
}

/// A panic is a bug, and code that goes on after one would be another: the kernel reports the
/// undefined instruction as an oops, with registers and call trace.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: The instruction raises an exception and does not return.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("ud2", options(noreturn, nostack))
    }
    // SAFETY: As above; the number is the kernel's for a bug.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("brk 0x800", options(noreturn, nostack))
    }
}
