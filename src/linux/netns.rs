// SPDX-License-Identifier: GPL-2.0

//! State that each network namespace has its own of, and the files that show it.

use core::{
    cell::UnsafeCell,
    ffi::CStr,
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering},
};

use kernel::{
    error::{code, from_err_ptr, to_result},
    prelude::*,
    sync::Arc,
};

use super::{bindings, field::Field, preempt, printk, seq_file::SeqFile, sock::Net};

/// What a network namespace keeps for us, and the two files that it has under /proc/net: one that is
/// shown at once, and a list, which is shown in steps.
pub(crate) trait State: Sized + Send + Sync {
    /// What all namespaces share.
    type Shared: Send + Sync;

    /// The path of the first file.
    const FILE: &'static CStr;
    /// The path of the list, which only root may read.
    const LIST: &'static CStr;
    /// Why one of them may exist already, and what helps.
    const TAKEN: &'static str;

    /// Makes the state of one more namespace; may sleep.
    ///
    /// # Errors
    ///
    /// What keeps it from being made; the namespace is not made either.
    fn new() -> Result<Self>;

    /// A namespace ends: nothing of it may be kept; may sleep.
    fn ended(shared: &Self::Shared, net: Net<'_>);

    /// Writes what the first file shows; may sleep.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn show(&self, out: &mut SeqFile) -> fmt::Result;

    /// In how many steps the list is shown.
    fn steps(shared: &Self::Shared) -> usize;

    /// Whether a step has something to show.
    fn has(shared: &Self::Shared, step: usize) -> bool;

    /// Writes one step of the list, or before the first one its heading; may sleep.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn list(
        shared: &Self::Shared,
        net: Net<'_>,
        step: Option<usize>,
        out: &mut SeqFile,
    ) -> fmt::Result;
}

/// Where each namespace keeps our state: an index that the kernel assigns. The callbacks for new
/// and ended namespaces get no other argument, so that it has to be global.
static ID: AtomicU32 = AtomicU32::new(0);

/// The state of the namespace that most sockets are in.
static INIT_STATE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// What the namespaces share; global for the same reason.
static SHARED: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Namespaces have state `T` from `new` to drop.
///
/// # Invariants
///
/// Between `new` and drop, `ID` leads to a valid `T` in each namespace that has a socket, `INIT_STATE`
/// is that of `init_net`, and `SHARED` leads to the `T::Shared` in here.
pub(crate) struct PerNet<T: State> {
    operations: KBox<UnsafeCell<bindings::pernet_operations>>,
    _shared: Arc<T::Shared>,
    state: PhantomData<T>,
}

// SAFETY: The operations are the kernel's, which does its own locking.
unsafe impl<T: State> Send for PerNet<T> {}
// SAFETY: As above; the states are `Sync`.
unsafe impl<T: State> Sync for PerNet<T> {}

impl<T: State> PerNet<T> {
    /// Makes the state and the files in all namespaces, and in those to come; may sleep. There is
    /// one at a time. A failure is logged with its remedy.
    ///
    /// # Errors
    ///
    /// `EBUSY`: a file exists. `ENOMEM`.
    pub(crate) fn new(shared: Arc<T::Shared>) -> Result<Self> {
        Self::register(shared).map_err(|error| {
            let remedy = if error == code::EBUSY {
                T::TAKEN
            } else {
                "see the lines above"
            };
            let name = T::FILE.to_str().unwrap_or_default();
            printk::failed(format_args!("making {name}"), error, remedy)
        })
    }

    fn register(shared: Arc<T::Shared>) -> Result<Self> {
        // Making it a second time would draw a warning from the kernel, with a stack trace.
        if exists(T::FILE) || exists(T::LIST) {
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
        let pointer: *const T::Shared = &*shared;
        SHARED.store(pointer.cast_mut().cast(), Ordering::Release);
        // SAFETY: The operations stay in their place until they are unregistered in `drop`.
        to_result(unsafe { bindings::register_pernet_subsys(operations.get()) })?;
        // SAFETY: Registered, and the first namespace lives for ever.
        let state = unsafe { state::<T>(init_net()) };
        INIT_STATE.store(state.cast(), Ordering::Release);
        // INVARIANT: `init` has run for all namespaces, and runs for new ones before they are used.
        Ok(Self {
            operations,
            _shared: shared,
            state: PhantomData,
        })
    }

    /// The state of namespace `net`; any context.
    #[inline(always)]
    pub(crate) fn of<'a>(&'a self, net: Net<'a>) -> &'a T {
        let state = if net.as_ptr() == init_net() {
            INIT_STATE.load(Ordering::Relaxed).cast()
        } else {
            // SAFETY: By the invariant.
            unsafe { state::<T>(net.as_ptr()) }
        };
        // SAFETY: By the invariant; the namespace is alive, and so is its state until `drop`.
        unsafe { &*state }
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
unsafe fn state<T>(net: *const bindings::net) -> *mut T {
    const GENERIC: Field<*const *mut c_void> =
        Field::new(bindings::NET_GEN_OFFSET, bindings::NET_GEN_SIZE);
    const FIRST: usize = bindings::TOA_NET_GENERIC_FIRST as usize;
    let id = ID.load(Ordering::Relaxed) as usize;
    // Another module's state may make the kernel replace the array meanwhile; what is in it stays.
    let _reading = preempt::Disabled::new();
    // SAFETY: By the contract there is such an element (`net_generic` in C).
    unsafe { *GENERIC.read(net.cast()).byte_add(FIRST).add(id) }.cast()
}

/// The namespace that the machine starts with.
#[inline(always)]
fn init_net() -> *mut bindings::net {
    // SAFETY: Takes the address alone. Compilers of today take that for safe.
    #[allow(unused_unsafe)]
    unsafe {
        (&raw const bindings::init_net).cast_mut()
    }
}

/// # Safety
///
/// Called while the operations of a `PerNet<T>` are registered.
unsafe fn shared<'a, T: State>() -> &'a T::Shared {
    // SAFETY: By the contract and the invariant of `PerNet`.
    unsafe { &*SHARED.load(Ordering::Acquire).cast::<T::Shared>() }
}

/// The folder and the name of a path under /proc/net.
fn file_name(path: &'static CStr) -> *const c_char {
    const FOLDER: usize = c"/proc/net/".to_bytes().len();
    // SAFETY: `State`'s paths begin with the folder.
    unsafe { path.as_ptr().add(FOLDER).cast() }
}

/// # Safety
///
/// Called by the kernel for a namespace that is being made, with memory for a `T`.
unsafe extern "C" fn init<T: State>(net: *mut bindings::net) -> c_int {
    let made = T::new().and_then(|new| {
        // SAFETY: The kernel allocated so much memory for this namespace, and nobody else looks at
        // it before we return or make the files. The callbacks are of the type that the files take.
        unsafe {
            state::<T>(net).write(new);
            let folder = bindings::rust_helper_proc_net(net);
            let file = bindings::proc_create_net_single(
                file_name(T::FILE),
                0o444,
                folder,
                Some(show::<T>),
                core::ptr::null_mut(),
            );
            let list = bindings::proc_create_net_data(
                file_name(T::LIST),
                0o400,
                folder,
                &Operations::<T>::LIST,
                size_of::<ListState>() as c_uint,
                core::ptr::null_mut(),
            );
            if file.is_null() || list.is_null() {
                remove::<T>(net, !file.is_null(), !list.is_null());
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
    // SAFETY: `init` made all this, and the operations are registered until we return.
    unsafe {
        T::ended(shared::<T>(), Net::from_raw(net));
        remove::<T>(net, true, true);
    }
}

/// # Safety
///
/// `init` made the state and these of the files.
unsafe fn remove<T: State>(net: *mut bindings::net, file: bool, list: bool) {
    // SAFETY: By the contract. Removing a file waits for its readers.
    unsafe {
        let folder = bindings::rust_helper_proc_net(net);
        if file {
            bindings::remove_proc_entry(file_name(T::FILE), folder);
        }
        if list {
            bindings::remove_proc_entry(file_name(T::LIST), folder);
        }
        state::<T>(net).drop_in_place();
    }
}

/// # Safety
///
/// Called by the kernel when the first file that `init` made is read.
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

/// What the kernel keeps for an open list: its namespace.
type ListState = [u8; bindings::TOA_SEQ_NET_PRIVATE as usize];

/// The callbacks of the list. Position 0 is the heading, position n the step n - 1; what goes from
/// one callback to the next as a pointer is the position plus one, for null is the end.
struct Operations<T>(PhantomData<T>);

impl<T: State> Operations<T> {
    const LIST: bindings::seq_operations = bindings::seq_operations {
        start: Some(start::<T>),
        stop: Some(stop),
        next: Some(next::<T>),
        show: Some(show_step::<T>),
    };
}

/// The first position from `position` on that has something to show.
///
/// # Safety
///
/// As [`shared`].
unsafe fn seek<T: State>(position: *mut bindings::loff_t) -> *mut c_void {
    // SAFETY: By the contract; the kernel's own position.
    let (shared, position) = unsafe { (shared::<T>(), &mut *position) };
    let Ok(mut at) = usize::try_from(*position) else {
        return core::ptr::null_mut();
    };
    let end = T::steps(shared);
    while at != 0 && at <= end && !T::has(shared, at - 1) {
        at += 1;
        if at % 1024 == 0 {
            preempt::relax();
        }
    }
    *position = at as bindings::loff_t;
    if at > end {
        return core::ptr::null_mut();
    }
    (at + 1) as *mut c_void
}

/// # Safety
///
/// Called by the kernel when the list that `init` made is read.
unsafe extern "C" fn start<T: State>(
    _: *mut bindings::seq_file,
    position: *mut bindings::loff_t,
) -> *mut c_void {
    // SAFETY: By the contract; `exit` waits for us.
    unsafe { seek::<T>(position) }
}

/// # Safety
///
/// As [`start`].
unsafe extern "C" fn next<T: State>(
    _: *mut bindings::seq_file,
    _: *mut c_void,
    position: *mut bindings::loff_t,
) -> *mut c_void {
    // SAFETY: By the contract; `exit` waits for us.
    unsafe {
        *position += 1;
        seek::<T>(position)
    }
}

/// # Safety
///
/// As [`start`]; nothing is held between `start` and this.
unsafe extern "C" fn stop(_: *mut bindings::seq_file, _: *mut c_void) {}

/// # Safety
///
/// As [`start`], with what that or `next` returned.
unsafe extern "C" fn show_step<T: State>(
    file: *mut bindings::seq_file,
    position: *mut c_void,
) -> c_int {
    // SAFETY: The open file holds its namespace, and `exit` waits for us.
    let (shared, net, mut out) = unsafe {
        (
            shared::<T>(),
            Net::from_raw(bindings::rust_helper_seq_file_net(file)),
            SeqFile::from_raw(file),
        )
    };
    // Writing to a seq_file does not fail.
    let _ = T::list(shared, net, (position as usize).checked_sub(2), &mut out);
    0
}
