// SPDX-License-Identifier: GPL-2.0

//! Types of general use.

use core::marker::PhantomData;

/// Keeps a type that contains it on the thread that made it.
pub type NotThreadSafe = PhantomData<*mut ()>;

/// The value of [`NotThreadSafe`].
#[expect(non_upper_case_globals)]
pub const NotThreadSafe: NotThreadSafe = PhantomData;
