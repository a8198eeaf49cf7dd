// SPDX-License-Identifier: GPL-2.0

//! Stands in for the crate of intrinsics that rustc links to every crate: the kernel has its own
//! `memcpy` and its like, and code for it uses no others.

#![allow(internal_features)]
#![feature(compiler_builtins)]
#![compiler_builtins]
#![no_std]
