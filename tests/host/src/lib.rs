// SPDX-License-Identifier: GPL-2.0

//! The module's pure parts, compiled for the host from the very files that the kernel gets.

#![cfg(test)]

#[path = "../../../src/option.rs"]
mod option;

mod option_tests;
