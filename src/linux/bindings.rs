// SPDX-License-Identifier: GPL-2.0

//! What bindgen made of include/toa.h.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

/// bindgen before 0.61 takes it for a type of its own.
type size_t = usize;

/// Declares structures that are only ever pointed to.
macro_rules! opaque {
    ($($name:ident)+) => {$(
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        }
    )+};
}

opaque!(file ftrace_regs kmem_cache module net proc_dir_entry pt_regs seq_file sock tracepoint);

extern "C" {
    pub static init_net: net;
}

include!("bindings_generated.rs");
