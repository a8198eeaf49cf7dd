// SPDX-License-Identifier: GPL-2.0

//! The module's pure parts, compiled for the host from the very files that the kernel gets.

#![cfg(test)]

#[path = "../../../src/address.rs"]
mod address;
#[expect(dead_code, reason = "the module has further uses for it")]
#[path = "../../../src/option.rs"]
mod option;
#[path = "../../../src/policy.rs"]
mod policy;

mod address_tests;
mod option_model;
mod option_tests;
mod policy_model;
mod policy_tests;
