// SPDX-License-Identifier: GPL-2.0

//! Objects of one size, allocated ahead of need, reused only after an RCU grace period.
//!
//! Hooks cannot allocate: on PREEMPT_RT the allocator sleeps. They take objects from a short list
//! of their CPU, which is refilled from a common depot, which a kernel thread keeps filled. What is
//! given back goes the same way: to a list of the CPU, to the depot, and when readers under RCU
//! can no longer hold it, back to where it can be taken from.

use core::{
    mem::{offset_of, MaybeUninit},
    ptr::NonNull,
};

use kernel::{ffi::CStr, prelude::*};

use super::{
    arch, bindings,
    percpu::{self, PerCpu},
    preempt::{self, Exclusive},
    spinlock::RawSpinLock,
    work::{Run, Work},
};

/// Objects that move between a CPU and the depot at once: the depot's lock is taken once in so
/// many operations.
const BATCH: usize = 32;

/// An object of the pool.
#[repr(C)]
pub(super) struct Slot<T> {
    /// The user's value, valid from `take` until it is reused.
    pub(super) value: MaybeUninit<T>,
    /// The next object in a list of the pool. Readers under RCU never look at it.
    link: *mut Slot<T>,
}

/// A list of objects that nobody uses.
struct List<T> {
    head: *mut Slot<T>,
    tail: *mut Slot<T>,
    length: usize,
}

// SAFETY: A list owns its objects, which hold no `T` that is in use.
unsafe impl<T: Send> Send for List<T> {}

impl<T> List<T> {
    const fn new() -> Self {
        Self {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
            length: 0,
        }
    }

    /// The list that begins with `head`, which hands its objects over.
    fn of(head: *mut Slot<T>) -> Self {
        let mut list = Self {
            head,
            tail: head,
            length: 0,
        };
        let mut next = head;
        while !next.is_null() {
            list.tail = next;
            list.length += 1;
            // SAFETY: `link` leads from object to object, and is null at the end.
            next = unsafe { (*next).link };
        }
        list
    }

    #[inline]
    fn push(&mut self, slot: NonNull<Slot<T>>) {
        // SAFETY: The caller hands over an object that no list holds.
        unsafe { (*slot.as_ptr()).link = self.head };
        self.head = slot.as_ptr();
        if self.length == 0 {
            self.tail = slot.as_ptr();
        }
        self.length += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<Slot<T>>> {
        let slot = NonNull::new(self.head)?;
        // SAFETY: The list owns its objects, and `link` leads to the next one or is null.
        self.head = unsafe { (*slot.as_ptr()).link };
        self.length -= 1;
        Some(slot)
    }

    /// Moves all but the first `keep`, of which there are more, to `other`, which is empty. Takes as many
    /// steps as are kept.
    fn split_off(&mut self, keep: usize, other: &mut Self) {
        if keep == 0 {
            core::mem::swap(self, other);
            return;
        }
        let mut last = self.head;
        for _ in 1..keep {
            // SAFETY: The list has more than `keep` objects, which it owns.
            last = unsafe { (*last).link };
        }
        // SAFETY: As above.
        let first = unsafe { core::mem::replace(&mut (*last).link, core::ptr::null_mut()) };
        *other = Self {
            head: first,
            tail: self.tail,
            length: self.length - keep,
        };
        self.tail = last;
        self.length = keep;
    }

    /// Moves all of `other` to the front.
    fn append(&mut self, other: &mut Self) {
        if other.length == 0 {
            return;
        }
        // SAFETY: A list that is not empty has a valid tail, which it owns.
        unsafe { (*other.tail).link = self.head };
        self.head = other.head;
        if self.length == 0 {
            self.tail = other.tail;
        }
        self.length += other.length;
        *other = Self::new();
    }
}

/// What a CPU has at hand: lists through `link`. All zero is empty.
#[repr(C)]
struct Magazine<T> {
    free: *mut Slot<T>,
    /// Given back, and perhaps still seen by readers.
    returned: *mut Slot<T>,
    /// How many were given back.
    returned_length: usize,
}

/// What is common to all CPUs.
struct Lists<T> {
    free: List<T>,
    /// Given back, and perhaps still seen by readers.
    returned: List<T>,
}

/// What all CPUs share.
struct Depot<T> {
    lists: RawSpinLock<Lists<T>>,
    cache: Cache,
    /// How many free objects to keep.
    target: usize,
}

impl<T: Send> Depot<T> {
    /// Allocates until `target` objects are free; may sleep.
    fn fill(&self) -> Result {
        loop {
            let mut missing = {
                let cpu = Exclusive::new();
                let free = self.lists.lock(&cpu).free.length;
                self.target.saturating_sub(free)
            };
            if missing == 0 {
                return Ok(());
            }
            // By batches: nobody waits long for the lock, and it is not taken for each.
            let mut batch = List::new();
            let mut result = Ok(());
            while missing > 0 && batch.length < BATCH {
                match self.cache.alloc() {
                    Ok(slot) => batch.push(slot),
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
                missing -= 1;
            }
            let cpu = Exclusive::new();
            self.lists.lock(&cpu).free.append(&mut batch);
            result?;
        }
    }

    /// Frees all of a list; may sleep.
    fn free_all(&self, list: &mut List<T>) {
        while let Some(slot) = list.pop() {
            if list.length % 1024 == 0 {
                preempt::relax();
            }
            // SAFETY: From this cache, and no list or reader has it.
            unsafe { self.cache.free(slot) };
        }
    }
}

impl<T: Send> Run for Depot<T> {
    fn run(&self) {
        let mut returned = List::new();
        {
            let cpu = Exclusive::new();
            returned.append(&mut self.lists.lock(&cpu).returned);
        }
        if returned.length > 0 {
            // SAFETY: Process context without locks. After it no reader can hold what was
            // unlinked before it was given back.
            unsafe { bindings::synchronize_rcu() };

            // A burst leaves more than will be needed again soon: the rest goes back to the kernel. All of
            // it does where that looks for uses of freed memory, for it sees none of what we reuse.
            let mut surplus = List::new();
            let room = if bindings::TOA_KASAN != 0 {
                0
            } else {
                let cpu = Exclusive::new();
                let free = self.lists.lock(&cpu).free.length;
                (4 * self.target).saturating_sub(free)
            };
            if returned.length > room {
                returned.split_off(room, &mut surplus);
            }
            {
                let cpu = Exclusive::new();
                self.lists.lock(&cpu).free.append(&mut returned);
            }
            self.free_all(&mut surplus);
        }
        // Out of memory now: objects given back still refill the depot, and who finds it empty
        // asks again.
        let _ = self.fill();
    }
}

/// A slab cache of our own.
struct Cache(NonNull<bindings::kmem_cache>);

// SAFETY: The allocator does its own locking.
unsafe impl Send for Cache {}
// SAFETY: As above.
unsafe impl Sync for Cache {}

impl Cache {
    fn new<T>(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name outlives the cache.
        let cache = unsafe {
            bindings::rust_helper_kmem_cache_create(
                name.as_ptr().cast(),
                size_of::<Slot<T>>(),
                align_of::<Slot<T>>(),
            )
        };
        Ok(Self(NonNull::new(cache).ok_or(ENOMEM)?))
    }

    /// Allocates an object; may sleep.
    fn alloc<T>(&self) -> Result<NonNull<Slot<T>>> {
        // SAFETY: The cache lives as long as `self`.
        let memory = unsafe { bindings::rust_helper_kmem_cache_alloc(self.0.as_ptr()) };
        NonNull::new(memory.cast()).ok_or(ENOMEM)
    }

    /// Allocates an object in a hook, on kernels whose allocator does not sleep.
    #[cold]
    fn alloc_atomic<T>(&self) -> Option<NonNull<Slot<T>>> {
        if bindings::TOA_PREEMPT_RT != 0 {
            return None;
        }
        // SAFETY: The cache lives as long as `self`; this kernel allocates in any context.
        let memory = unsafe { bindings::rust_helper_kmem_cache_alloc_atomic(self.0.as_ptr()) };
        NonNull::new(memory.cast())
    }

    /// # Safety
    ///
    /// `slot` came from this cache, and nobody uses it.
    unsafe fn free<T>(&self, slot: NonNull<Slot<T>>) {
        // SAFETY: By the contract.
        unsafe { bindings::kmem_cache_free(self.0.as_ptr(), slot.as_ptr().cast()) };
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: The pool has freed all objects.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

/// A pool of objects that hold a `T`.
pub(super) struct Pool<T: Send> {
    cpus: PerCpu<Magazine<T>>,
    depot: Work<Depot<T>>,
}

impl<T: Send> Pool<T> {
    /// Creates a pool with a slab cache called `name`, filled; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(name: &'static CStr) -> Result<Self> {
        let cpus = percpu::possible_cpus().count();
        let pool = Self {
            // SAFETY: All zero is a pair of empty lists, which need no drop.
            cpus: unsafe { PerCpu::zeroed() }?,
            depot: Work::new(Depot {
                lists: RawSpinLock::new(Lists {
                    free: List::new(),
                    returned: List::new(),
                }),
                cache: Cache::new::<T>(name)?,
                // What a burst can take before the kernel thread has its turn, which is not to be
                // woken often.
                target: (cpus * 8 * BATCH).max(2048),
            })?,
        };
        pool.depot.fill()?;
        Ok(pool)
    }

    /// The word of the current CPU's magazine at an offset.
    #[inline(always)]
    fn word(&self, offset: usize) -> *mut usize {
        self.cpus.base().wrapping_byte_add(offset).cast()
    }

    /// Takes an object, whose value is not initialised; any context.
    #[inline(always)]
    pub(super) fn take(&self, cpu: &Exclusive) -> Option<NonNull<Slot<T>>> {
        let free = self.word(offset_of!(Magazine<T>, free));
        // SAFETY: The CPU's own magazine, which nobody else uses while `cpu` lives. The list owns its
        // objects, and `link` leads to the next one or is null.
        unsafe {
            let slot = arch::this_cpu_read(free) as *mut Slot<T>;
            let Some(taken) = NonNull::new(slot) else {
                return self.refill(cpu);
            };
            arch::this_cpu_write(free, (*slot).link as usize);
            Some(taken)
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, cpu: &Exclusive) -> Option<NonNull<Slot<T>>> {
        let mut batch = List::new();
        let low = {
            let mut lists = self.depot.lists.lock(cpu);
            while batch.length < BATCH {
                let Some(slot) = lists.free.pop() else { break };
                batch.push(slot);
            }
            lists.free.length < self.depot.target / 2
        };
        if low {
            self.depot.queue();
        }
        let taken = batch.pop().or_else(|| self.depot.cache.alloc_atomic());
        // SAFETY: As in `take`; the list was empty.
        unsafe { (*self.cpus.this(cpu)).free = batch.head };
        taken
    }

    /// Gives an object back; any context. Readers under RCU may still look at its value.
    ///
    /// # Safety
    ///
    /// `slot` came from `take`, and no new reader can find it.
    #[inline(always)]
    pub(super) unsafe fn give(&self, slot: NonNull<Slot<T>>, cpu: &Exclusive) {
        let returned = self.word(offset_of!(Magazine<T>, returned));
        let length = self.word(offset_of!(Magazine<T>, returned_length));
        // SAFETY: As in `take`; the caller hands over the object.
        let length = unsafe {
            (*slot.as_ptr()).link = arch::this_cpu_read(returned) as *mut Slot<T>;
            arch::this_cpu_write(returned, slot.as_ptr() as usize);
            let now = arch::this_cpu_read(length).wrapping_add(1);
            arch::this_cpu_write(length, now);
            now
        };
        if length >= BATCH {
            self.flush(cpu);
        }
    }

    #[cold]
    #[inline(never)]
    fn flush(&self, cpu: &Exclusive) {
        // SAFETY: As in `take`.
        let magazine = unsafe { &mut *self.cpus.this(cpu) };
        let mut batch = List::of(core::mem::replace(
            &mut magazine.returned,
            core::ptr::null_mut(),
        ));
        magazine.returned_length = 0;
        let many = {
            let mut lists = self.depot.lists.lock(cpu);
            lists.returned.append(&mut batch);
            lists.returned.length >= self.depot.target / 2
        };
        if many {
            self.depot.queue();
        }
    }

    /// Frees an object at once; may sleep.
    ///
    /// # Safety
    ///
    /// `slot` came from `take`, and nobody uses it.
    pub(super) unsafe fn free(&mut self, slot: NonNull<Slot<T>>) {
        // SAFETY: By the contract.
        unsafe { self.depot.cache.free(slot) };
    }
}

impl<T: Send> Drop for Pool<T> {
    fn drop(&mut self) {
        self.depot.cancel();
        for cpu in percpu::possible_cpus() {
            // SAFETY: Nobody else has the pool any more.
            let magazine = unsafe { &mut *self.cpus.of(cpu) };
            self.depot.free_all(&mut List::of(magazine.free));
            self.depot.free_all(&mut List::of(magazine.returned));
        }
        let mut left = List::new();
        {
            let cpu = Exclusive::new();
            let mut lists = self.depot.lists.lock(&cpu);
            left.append(&mut lists.free);
            left.append(&mut lists.returned);
        }
        self.depot.free_all(&mut left);
    }
}
