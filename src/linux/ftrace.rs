// SPDX-License-Identifier: GPL-2.0

//! Hooks at the entry of kernel functions.
//!
//! ftrace is the kernel's own way to change what a function does while it runs: it needs no page
//! permission of ours, works on every architecture that has it, coexists with an operator's tracers,
//! and waits at removal for callers that are still inside a hook. A hook must not sleep: that wait
//! covers only code that does not.

use core::{cell::UnsafeCell, ffi::c_void, ffi::CStr};

use kernel::{
    error::{code, to_result},
    prelude::*,
};

use super::{bindings, field::Field, printk};

const ARGUMENTS: [Field<usize>; 3] = [
    Field::new(bindings::REGS_ARG0_OFFSET, bindings::REGS_ARG0_SIZE),
    Field::new(bindings::REGS_ARG1_OFFSET, bindings::REGS_ARG1_SIZE),
    Field::new(bindings::REGS_ARG2_OFFSET, bindings::REGS_ARG2_SIZE),
];
const INSTRUCTION_POINTER: Field<usize> =
    Field::new(bindings::REGS_IP_OFFSET, bindings::REGS_IP_SIZE);

/// The registers at the entry of a hooked function.
///
/// # Invariants
///
/// Points to the registers that ftrace saved, for the time of one callback.
pub(super) struct Registers(*mut c_void);

impl Registers {
    /// Argument `N` of the call, as an integer register holds it.
    #[inline(always)]
    pub(super) fn argument<const N: usize>(&self) -> usize {
        // SAFETY: By the invariant.
        unsafe { ARGUMENTS[N].read(self.0) }
    }

    /// Lets the call go to `function` instead.
    ///
    /// # Safety
    ///
    /// The hook has [`Entry::REPLACES`], and `function` takes and returns what the hooked function
    /// does.
    #[inline(always)]
    pub(super) unsafe fn redirect(&mut self, function: *const ()) {
        // SAFETY: By the invariant; the registers are this callback's alone.
        unsafe { INSTRUCTION_POINTER.write(self.0, function as usize) };
    }
}

/// What a hook does when the function is called.
///
/// # Safety
///
/// `enter` and all that it calls do not sleep, do not call the hooked function, and are fit for
/// the function's own context and for preemption being off.
pub(super) unsafe trait Entry: Send + Sync {
    /// The function's name.
    const FUNCTION: &'static CStr;
    /// Whether the hook may send the call elsewhere. A function has one such hook at a time.
    const REPLACES: bool;

    /// Called with each call of the function, before its first instruction.
    ///
    /// # Safety
    ///
    /// `registers` are those of a call of `FUNCTION`.
    unsafe fn enter(&self, registers: Registers);
}

/// A hook in place, from `new` to drop.
pub(super) struct Hook<T: Entry>(KBox<Inner<T>>);

#[repr(C)]
struct Inner<T> {
    // First, so that the callback finds `entry` from the address of the ops.
    ops: UnsafeCell<bindings::ftrace_ops>,
    entry: T,
}

// SAFETY: The ops are ftrace's, which does its own locking.
unsafe impl<T: Send> Send for Inner<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Inner<T> {}

impl<T: Entry> Hook<T> {
    /// Hooks the function; may sleep. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the kernel has no such function to hook. `EBUSY`: another user replaces it, or
    /// ftrace is switched off. `ENOMEM`.
    pub(super) fn new(entry: T) -> Result<Self> {
        let step = T::FUNCTION;
        Self::register(entry).map_err(|error| {
            let remedy = if error == code::EBUSY && T::REPLACES {
                "a livepatch or another module replaces this function: disable that first"
            } else if error == code::EBUSY {
                "function hooks are switched off: sysctl kernel.ftrace_enabled=1"
            } else if error == code::EINVAL {
                "this kernel has no such traceable function: use a kernel that the README lists"
            } else {
                "see the lines above"
            };
            printk::failed(
                format_args!("hooking {}", step.to_str().unwrap_or("?")),
                error,
                remedy,
            )
        })
    }

    fn register(entry: T) -> Result<Self> {
        let inner = KBox::new(
            Inner {
                // SAFETY: A plain C structure; zero is its initial state.
                ops: UnsafeCell::new(unsafe { core::mem::zeroed() }),
                entry,
            },
            GFP_KERNEL,
        )?;
        let ops = inner.ops.get();
        let mut flags = bindings::TOA_FTRACE_OPS_FL_PERMANENT;
        if T::REPLACES {
            flags |= bindings::TOA_FTRACE_OPS_FL_IPMODIFY;
        }
        // ftrace takes the name as a pattern, which it may write to.
        let mut name = [0; 64];
        let bytes = T::FUNCTION.to_bytes();
        name.get_mut(..bytes.len())
            .ok_or(code::EINVAL)?
            .copy_from_slice(bytes);

        // SAFETY: The ops are in their final place and nobody knows them yet. `name` holds so many
        // bytes. The callback takes what ftrace hands to callbacks.
        unsafe {
            (*ops).func = Some(callback::<T>);
            (*ops).flags = flags as usize;
            to_result(bindings::ftrace_set_filter(
                ops,
                name.as_mut_ptr(),
                bytes.len() as c_int,
                1,
            ))?;
            to_result(bindings::register_ftrace_function(ops))
                .inspect_err(|_| bindings::ftrace_free_filter(ops))?;
        }
        Ok(Self(inner))
    }
}

impl<T: Entry> Drop for Hook<T> {
    fn drop(&mut self) {
        let ops = self.0.ops.get();
        // SAFETY: Registered in `new`. The call returns when no callback runs any more and none
        // that was redirected is still in our code: neither sleeps, and ftrace waits for all tasks
        // to have slept or left the kernel (`synchronize_rcu_tasks`).
        unsafe {
            bindings::unregister_ftrace_function(ops);
            bindings::ftrace_free_filter(ops);
        }
    }
}

/// # Safety
///
/// Called by ftrace for `ops`, the first field of an `Inner<T>`, with the registers of a call.
unsafe extern "C" fn callback<T: Entry>(
    _ip: c_ulong,
    _parent_ip: c_ulong,
    ops: *mut bindings::ftrace_ops,
    registers: *mut bindings::ftrace_regs,
) {
    // SAFETY: By the contract; `Hook::drop` waits for us before the memory goes.
    let inner = unsafe { &*ops.cast::<Inner<T>>() };
    // SAFETY: The filter names `T::FUNCTION` alone.
    // INVARIANT: ftrace saved the registers for this callback.
    unsafe { inner.entry.enter(Registers(registers.cast())) };
}
