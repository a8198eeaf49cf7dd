// SPDX-License-Identifier: GPL-2.0

//! State that each network namespace has its own of, and the file that shows it.

use core::{
    cell::UnsafeCell,
    ffi::CStr,
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering},
};

use kernel::{
    error::{code, from_err_ptr, to_result},
    prelude::*,
};

use super::{bindings, printk, seq_file::SeqFile, sock::Net};

/// What a network namespace keeps for us.
pub(crate) trait State: Sized + Send + Sync {
    /// The name of the file under /proc/net.
    const FILE: &'static CStr;
    /// The same with its folder.
    const PATH: &'static CStr;

    /// Makes the state of one more namespace; may sleep.
    ///
    /// # Errors
    ///
    /// What keeps it from being made; the namespace is not made either.
    fn new() -> Result<Self>;

    /// Writes what the file shows; may sleep.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn show(&self, out: &mut SeqFile) -> core::fmt::Result;
}

/// Where each namespace keeps our state: an index that the kernel assigns. The callbacks for new
/// and ended namespaces get no other argument, so that it has to be global.
static ID: AtomicU32 = AtomicU32::new(0);

/// Namespaces have state `T` from `new` to drop.
///
/// # Invariants
///
/// Between `new` and drop, `ID` leads to a valid `T` in each namespace that has a socket.
pub(crate) struct PerNet<T: State> {
    operations: KBox<UnsafeCell<bindings::pernet_operations>>,
    state: PhantomData<T>,
}

// SAFETY: The operations are the kernel's, which does its own locking.
unsafe impl<T: State> Send for PerNet<T> {}
// SAFETY: As above; the states are `Sync`.
unsafe impl<T: State> Sync for PerNet<T> {}

impl<T: State> PerNet<T> {
    /// Makes the state and the file in all namespaces, and in those to come; may sleep. There is
    /// one at a time. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `EBUSY`: the file exists. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Self::register().map_err(|error| {
            let remedy = if error == code::EBUSY {
                "the file exists: unload the module that made it"
            } else {
                "see the lines above"
            };
            let name = T::FILE.to_str().unwrap_or_default();
            printk::failed(format_args!("making /proc/net/{name}"), error, remedy)
        })
    }

    fn register() -> Result<Self> {
        // Making it a second time would draw a warning from the kernel, with a stack trace.
        if exists(T::PATH) {
            return Err(code::EBUSY);
        }
        let operations = KBox::new(
            UnsafeCell::new(bindings::pernet_operations {
                init: Some(init::<T>),
                exit: Some(exit::<T>),
                id: ID.as_ptr(),
                size: size_of::<T>(),
                ..Default::default()
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The operations stay in their place until they are unregistered in `drop`.
        to_result(unsafe { bindings::register_pernet_subsys(operations.get()) })?;
        // INVARIANT: `init` has run for all namespaces, and runs for new ones before they are used.
        Ok(Self {
            operations,
            state: PhantomData,
        })
    }

    /// The state of namespace `net`; any context.
    #[inline]
    pub(crate) fn of<'a>(&'a self, net: Net<'a>) -> &'a T {
        // SAFETY: By the invariant; the namespace is alive, and so is its state until `drop`.
        unsafe { &*state(net.as_ptr()) }
    }
}

impl<T: State> Drop for PerNet<T> {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`. Calls `exit` for each namespace, which waits for readers of
        // the file.
        unsafe { bindings::unregister_pernet_subsys(self.operations.get()) };
    }
}

/// Whether a file exists, as the current process sees it; may sleep.
fn exists(path: &CStr) -> bool {
    // SAFETY: Any path is allowed; 0 is O_RDONLY.
    from_err_ptr(unsafe { bindings::filp_open(path.as_ptr().cast(), 0, 0) })
        .map(|file| {
            // SAFETY: Just opened, and nobody else has it.
            unsafe { bindings::filp_close(file, core::ptr::null_mut()) }
        })
        .is_ok()
}

/// The memory in `net` for our state.
///
/// # Safety
///
/// The operations are registered and `net` is alive.
#[inline]
unsafe fn state<T>(net: *const bindings::net) -> *mut T {
    // SAFETY: By the contract.
    unsafe { bindings::rust_helper_net_generic(net, ID.load(Ordering::Relaxed)) }.cast()
}

/// # Safety
///
/// Called by the kernel for a namespace that is being made, with memory for a `T`.
unsafe extern "C" fn init<T: State>(net: *mut bindings::net) -> c_int {
    let made = T::new().and_then(|new| {
        // SAFETY: The kernel allocated so much memory for this namespace, and nobody else looks at
        // it before we return or make the file. `show` is of the type that the file takes.
        unsafe {
            state::<T>(net).write(new);
            let file = bindings::proc_create_net_single(
                T::FILE.as_ptr().cast(),
                0o444,
                bindings::rust_helper_proc_net(net),
                Some(show::<T>),
                core::ptr::null_mut(),
            );
            if file.is_null() {
                state::<T>(net).drop_in_place();
                // Not EEXIST: the loader takes that for "the module is loaded already".
                return Err(code::EBUSY);
            }
        }
        Ok(())
    });
    made.map_or_else(Error::to_errno, |()| 0)
}

/// # Safety
///
/// Called by the kernel for a namespace that `init` succeeded for, and that has no users any more.
unsafe extern "C" fn exit<T: State>(net: *mut bindings::net) {
    // SAFETY: `init` made both. Removing the file waits for its readers.
    unsafe {
        bindings::remove_proc_entry(T::FILE.as_ptr().cast(), bindings::rust_helper_proc_net(net));
        state::<T>(net).drop_in_place();
    }
}

/// # Safety
///
/// Called by the kernel when the file that `init` made is read.
unsafe extern "C" fn show<T: State>(file: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: The open file holds its namespace, and `exit` waits for us.
    let (state, mut out) = unsafe {
        let net = bindings::rust_helper_seq_file_single_net(file);
        (&*state::<T>(net), SeqFile::from_raw(file))
    };
    // Writing to a seq_file does not fail.
    let _ = state.show(&mut out);
    0
}
