// SPDX-License-Identifier: GPL-2.0

//! The module's pure parts, compiled for the host from the very files that the kernel gets.

#![cfg(test)]

#[path = "../../../src/option.rs"]
mod option;
#[path = "../../../src/policy.rs"]
mod policy;

mod option_model;
mod option_tests;
mod policy_model;
mod policy_tests;
