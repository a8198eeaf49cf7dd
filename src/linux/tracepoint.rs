// SPDX-License-Identifier: GPL-2.0

//! Probes on tracepoints of the core kernel.

use core::{
    ffi::{c_void, CStr},
    ptr::NonNull,
};

use kernel::{
    error::{code, to_result},
    prelude::*,
};

use super::{bindings, field::Field, printk, sock::Sock};

const NAME: Field<*const c_char> = Field::new(
    bindings::TRACEPOINT_NAME_OFFSET,
    bindings::TRACEPOINT_NAME_SIZE,
);

/// What a probe does at a tracepoint whose only argument is a socket.
///
/// # Safety
///
/// `TRACEPOINT` has the prototype `(struct sock *sk)`, and `hit` and all that it calls neither
/// sleep nor reach the tracepoint.
pub(super) unsafe trait SockProbe: Send + Sync {
    /// The tracepoint's name.
    const TRACEPOINT: &'static CStr;

    /// Called each time the kernel passes the tracepoint, perhaps with preemption off.
    fn hit(&self, sk: Sock<'_>);
}

/// A probe in place, from `new` to drop.
pub(super) struct Probe<T: SockProbe> {
    tracepoint: NonNull<bindings::tracepoint>,
    context: KBox<T>,
}

// SAFETY: The tracepoint is the kernel's, which does its own locking.
unsafe impl<T: SockProbe> Send for Probe<T> {}
// SAFETY: As above.
unsafe impl<T: SockProbe> Sync for Probe<T> {}

impl<T: SockProbe> Probe<T> {
    /// Attaches to the tracepoint; may sleep. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `ENOENT`: the kernel has no such tracepoint. `ENOMEM`.
    pub(super) fn new(context: T) -> Result<Self> {
        Self::register(context).map_err(|error| {
            let remedy = if error == code::ENOENT {
                "this kernel has no such tracepoint: use one with CONFIG_TRACEPOINTS"
            } else {
                "see the lines above"
            };
            let name = T::TRACEPOINT.to_str().unwrap_or_default();
            printk::failed(format_args!("probing tracepoint {name}"), error, remedy)
        })
    }

    fn register(context: T) -> Result<Self> {
        let context = KBox::new(context, GFP_KERNEL)?;
        let tracepoint = find(T::TRACEPOINT).ok_or(code::ENOENT)?;
        let data: *const T = &*context;
        let function: unsafe extern "C" fn(*mut c_void, *mut c_void) = probe::<T>;
        // SAFETY: `probe` has the prototype of the tracepoint behind the data pointer, and the data
        // stays in its place until the probe is gone.
        to_result(unsafe {
            bindings::tracepoint_probe_register(
                tracepoint.as_ptr(),
                function as *mut c_void,
                data.cast_mut().cast(),
            )
        })?;
        Ok(Self {
            tracepoint,
            context,
        })
    }
}

impl<T: SockProbe> Drop for Probe<T> {
    fn drop(&mut self) {
        let function: unsafe extern "C" fn(*mut c_void, *mut c_void) = probe::<T>;
        let data: *const T = &*self.context;
        // SAFETY: What `register` registered. The second call returns when no probe runs.
        unsafe {
            bindings::tracepoint_probe_unregister(
                self.tracepoint.as_ptr(),
                function as *mut c_void,
                data.cast_mut().cast(),
            );
            bindings::rust_helper_tracepoint_synchronize_unregister();
        }
    }
}

/// Finds a tracepoint of the core kernel: they live as long as it runs.
fn find(name: &'static CStr) -> Option<NonNull<bindings::tracepoint>> {
    struct Search {
        name: &'static CStr,
        found: Option<NonNull<bindings::tracepoint>>,
    }

    /// # Safety
    ///
    /// Called with a tracepoint and a `Search`.
    unsafe extern "C" fn compare(tracepoint: *mut bindings::tracepoint, search: *mut c_void) {
        // SAFETY: By the contract.
        let (search, name) = unsafe {
            let name = NAME.read(tracepoint.cast());
            (&mut *search.cast::<Search>(), CStr::from_ptr(name.cast()))
        };
        if name == search.name {
            search.found = NonNull::new(tracepoint);
        }
    }

    let mut search = Search { name, found: None };
    let data: *mut Search = &mut search;
    // SAFETY: `compare` gets a valid `Search`, during the call only.
    unsafe { bindings::for_each_kernel_tracepoint(Some(compare), data.cast()) };
    search.found
}

/// # Safety
///
/// Called by the tracepoint with the data of a `Probe<T>` and a live socket.
unsafe extern "C" fn probe<T: SockProbe>(data: *mut c_void, sk: *mut c_void) {
    // SAFETY: By the contract; `Probe::drop` waits for us before the memory goes.
    let (context, sk) = unsafe { (&*data.cast::<T>(), Sock::from_raw(sk)) };
    if let Some(sk) = sk {
        context.hit(sk);
    }
}
