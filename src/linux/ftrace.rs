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

use super::{arch, bindings, field::Field, printk};

const FUNC_HASH: Field<*const c_void> = Field::new(
    bindings::FTRACE_OPS_FUNC_HASH_OFFSET,
    bindings::FTRACE_OPS_FUNC_HASH_SIZE,
);
const FILTER_HASH: Field<*const c_void> = Field::new(
    bindings::FTRACE_OPS_HASH_FILTER_OFFSET,
    bindings::FTRACE_OPS_HASH_FILTER_SIZE,
);

/// The registers at the entry of a hooked function.
///
/// # Invariants
///
/// Points to the registers that ftrace saved, for the time of one callback.
pub(super) struct Registers(*mut c_void);

impl Registers {
    /// Argument `N` of the call, as an integer register holds it or the stack. Bits above its type's
    /// are whatever the caller left there.
    #[inline(always)]
    pub(super) fn argument<const N: usize>(&self) -> usize {
        // SAFETY: By the invariant.
        unsafe { arch::argument::<N>(self.0) }
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
        unsafe { arch::INSTRUCTION_POINTER.write(self.0, function as usize) };
    }
}

/// What a hook does when one of its functions is called.
///
/// # Safety
///
/// `enter` and all that it calls do not sleep, do not call a hooked function, and are fit for the
/// functions' own context and for preemption being off.
pub(super) unsafe trait Entry: Send + Sync {
    /// The functions' names. All take the same arguments, as far as the hook reads them.
    const FUNCTIONS: &'static [&'static CStr];
    /// Whether the hook may send the call elsewhere. A function has one such hook at a time.
    const REPLACES: bool;

    /// Called with each call of such a function, before its first instruction.
    ///
    /// # Safety
    ///
    /// `registers` are those of a call of one of `FUNCTIONS`.
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

impl<T> Inner<T> {
    /// Makes ftrace forget all functions.
    fn deselect_all(&self) -> Result {
        // SAFETY: The ops are in their final place and not registered, or not any more. Without a name
        // nothing is added.
        to_result(unsafe {
            bindings::ftrace_set_filter(self.ops.get(), core::ptr::null_mut(), 0, 1)
        })
    }

    /// Where ftrace has the functions that the ops are for: always the same place if there is none.
    fn selection(&self) -> *const c_void {
        // SAFETY: `prepare` has called `ftrace_set_filter`, which makes the first field lead to the
        // structure of the second. Nobody else changes either.
        unsafe { FILTER_HASH.read(FUNC_HASH.read(self.ops.get().cast())) }
    }
}

impl<T> Drop for Inner<T> {
    /// Frees what naming functions allocated.
    fn drop(&mut self) {
        let _ = self.deselect_all();
    }
}

impl<T: Entry> Hook<T> {
    /// Hooks the functions; may sleep. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the kernel has no such function to hook. `EBUSY`: another user replaces it, or
    /// ftrace is switched off. `ENOMEM`.
    pub(super) fn new(entry: T) -> Result<Self> {
        let first = T::FUNCTIONS.first().copied().unwrap_or_default();
        let first = first.to_str().unwrap_or_default();
        let inner = Self::prepare(entry).map_err(|error| Self::failed(first, error))?;
        let nothing = inner.selection();
        // Out of memory, ftrace may leave a function out and return success. No function would mean all
        // that there are; and a second round adds one that is missing among others.
        for _ in 0..2 {
            for function in T::FUNCTIONS {
                Self::select(&inner, function)
                    .and_then(|()| {
                        if inner.selection() == nothing {
                            return Err(ENOMEM);
                        }
                        Ok(())
                    })
                    .map_err(|error| Self::failed(function.to_str().unwrap_or_default(), error))?;
            }
        }
        // SAFETY: The ops are in their final place, and the callback takes what ftrace hands to
        // callbacks.
        to_result(unsafe { bindings::register_ftrace_function(inner.ops.get()) })
            .map_err(|error| Self::failed(first, error))?;
        Ok(Self(inner))
    }

    /// Makes ops that no function is selected for.
    fn prepare(entry: T) -> Result<KBox<Inner<T>>> {
        let mut inner = KBox::new(
            Inner {
                // SAFETY: A plain C structure; zero is its initial state.
                ops: UnsafeCell::new(unsafe { core::mem::zeroed() }),
                entry,
            },
            GFP_KERNEL,
        )?;
        let ops = inner.ops.get_mut();
        ops.func = Some(callback::<T>);
        ops.flags = if T::REPLACES {
            bindings::TOA_FTRACE_REPLACE
        } else {
            bindings::TOA_FTRACE_OBSERVE
        } as c_ulong;
        inner.deselect_all()?;
        Ok(inner)
    }

    /// Adds a function to those that the ops are for.
    fn select(inner: &Inner<T>, function: &CStr) -> Result {
        // ftrace takes the name as a pattern, which it may write to.
        let mut name = [0; 64];
        let bytes = function.to_bytes();
        name.get_mut(..bytes.len())
            .ok_or(code::EINVAL)?
            .copy_from_slice(bytes);
        // SAFETY: The ops are in their final place and not registered. `name` holds so many bytes.
        to_result(unsafe {
            bindings::ftrace_set_filter(inner.ops.get(), name.as_mut_ptr(), bytes.len() as c_int, 0)
        })
    }

    /// Logs a failure with its remedy.
    #[cold]
    fn failed(function: &str, error: Error) -> Error {
        let remedy = if error == code::EBUSY && T::REPLACES {
            "a livepatch, another module or, before Linux 6.0, a BPF program has this function: disable that first"
        } else if error == code::EBUSY {
            "function hooks are switched off: sysctl kernel.ftrace_enabled=1"
        } else if error == code::EINVAL {
            "this kernel has no such traceable function: use a kernel that the README lists"
        } else {
            "see the lines above"
        };
        printk::failed(format_args!("hooking {function}"), error, remedy)
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
    registers: *mut bindings::toa_ftrace_regs,
) {
    // SAFETY: By the contract; `Hook::drop` waits for us before the memory goes.
    let inner = unsafe { &*ops.cast::<Inner<T>>() };
    // SAFETY: The filter names `T::FUNCTIONS` alone.
    // INVARIANT: ftrace saved the registers for this callback.
    unsafe { inner.entry.enter(Registers(registers.cast())) };
}
