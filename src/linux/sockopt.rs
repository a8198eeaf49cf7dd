// SPDX-License-Identifier: GPL-2.0

//! Options of `getsockopt()` at level `IPPROTO_IP`, through netfilter's registry.

use core::{
    ffi::c_void,
    ops::Range,
    sync::atomic::{AtomicPtr, Ordering},
};

use kernel::{
    error::{code, to_result},
    prelude::*,
};

use super::{bindings, printk, sock::Sock};

/// `ENOTCONN`, which not every kernel's crate has a name for.
pub(crate) fn not_connected() -> Error {
    Error::from_errno(-(bindings::TOA_ENOTCONN as c_int))
}

/// `ENOPROTOOPT`, which not every kernel's crate has a name for.
pub(crate) fn no_such_option() -> Error {
    Error::from_errno(-(bindings::TOA_ENOPROTOOPT as c_int))
}

/// Options that a module answers.
pub(crate) trait OnGetSockOpt: Send + Sync {
    /// Which, in two ranges.
    const OPTIONS: [Range<c_int>; 2];
    /// Why somebody may answer one of them already, and what helps.
    const TAKEN: &'static str;

    /// Answers the question for `option` by writing to `user`, which has room for `length` bytes, and
    /// returns how long the answer is; may sleep.
    ///
    /// # Errors
    ///
    /// What `getsockopt()` fails with.
    fn get(&self, sk: Sock<'_>, option: c_int, length: usize, user: &UserBuffer) -> Result<usize>;
}

/// Memory of a process.
pub(crate) struct UserBuffer(*mut c_void);

impl UserBuffer {
    /// Writes `value` at an offset in bytes; may sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT`: the process has no such memory.
    pub(crate) fn write(&self, offset: usize, value: &[u8]) -> Result {
        // SAFETY: Reads so many bytes of `value`; the kernel checks where they go.
        let left = unsafe {
            bindings::rust_helper_copy_to_user(
                self.0.wrapping_byte_add(offset),
                value.as_ptr().cast(),
                value.len(),
            )
        };
        if left == 0 {
            Ok(())
        } else {
            Err(code::EFAULT)
        }
    }
}

/// Who answers. The registry hands nothing of ours to its callbacks, so that it has to be global.
static ANSWERER: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Options that are answered, from `new` to drop.
pub(crate) struct SockOpts<T: OnGetSockOpt> {
    operations: KBox<[bindings::nf_sockopt_ops; 2]>,
    registered: usize,
    answerer: KBox<T>,
}

// SAFETY: The operations are the kernel's, which does its own locking.
unsafe impl<T: OnGetSockOpt> Send for SockOpts<T> {}
// SAFETY: As above.
unsafe impl<T: OnGetSockOpt> Sync for SockOpts<T> {}

impl<T: OnGetSockOpt> SockOpts<T> {
    /// Begins to answer; may sleep. There is one at a time, and what starts after it must not fail: a
    /// call holds the module only once `init` has succeeded. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another module answers one of the options. `ENOMEM`.
    pub(crate) fn new(module: &'static ThisModule, answerer: T) -> Result<Self> {
        Self::register(module, answerer).map_err(|error| {
            let remedy = if error == code::EBUSY {
                T::TAKEN
            } else {
                "see the lines above"
            };
            printk::failed(format_args!("adding socket options"), error, remedy)
        })
    }

    fn register(module: &'static ThisModule, answerer: T) -> Result<Self> {
        let operations = T::OPTIONS.map(|range| bindings::nf_sockopt_ops {
            pf: bindings::TOA_PF_INET as u8,
            get_optmin: range.start,
            get_optmax: range.end,
            get: Some(get::<T>),
            owner: module.as_ptr().cast(),
            ..Default::default()
        });
        let mut this = Self {
            operations: KBox::new(operations, GFP_KERNEL)?,
            registered: 0,
            answerer: KBox::new(answerer, GFP_KERNEL)?,
        };
        for operations in this.operations.iter_mut() {
            // SAFETY: The operations stay in their place until `drop` has unregistered them.
            to_result(unsafe { bindings::nf_register_sockopt(operations) })?;
            this.registered += 1;
        }
        // Only now, when nothing can fail any more.
        let answerer: *const T = &*this.answerer;
        ANSWERER.store(answerer.cast_mut().cast(), Ordering::Release);
        Ok(this)
    }
}

impl<T: OnGetSockOpt> Drop for SockOpts<T> {
    fn drop(&mut self) {
        for operations in self.operations.iter_mut().take(self.registered) {
            // SAFETY: Registered in `register`. No call is under way: each holds the module.
            unsafe { bindings::nf_unregister_sockopt(operations) };
        }
    }
}

/// # Safety
///
/// Called by netfilter for an option of `T`, between `SockOpts::new` and its drop.
unsafe extern "C" fn get<T: OnGetSockOpt>(
    sk: *mut bindings::sock,
    option: c_int,
    user: *mut c_void,
    length: *mut c_int,
) -> c_int {
    // SAFETY: The caller holds the socket, and `length` is the kernel's. `register` stored a `T`,
    // which the call keeps alive by holding the module.
    let (answerer, sk, length) = unsafe {
        (
            ANSWERER.load(Ordering::Acquire).cast::<T>().as_ref(),
            Sock::from_raw(sk.cast()),
            &mut *length,
        )
    };
    let (Some(answerer), Some(sk)) = (answerer, sk) else {
        return code::EAGAIN.to_errno();
    };
    // A negative length has room for nothing.
    let room = usize::try_from(*length).unwrap_or(0);
    match answerer.get(sk, option, room, &UserBuffer(user)) {
        Ok(written) => {
            *length = written as c_int;
            0
        }
        Err(error) => error.to_errno(),
    }
}
