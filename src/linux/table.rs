// SPDX-License-Identifier: GPL-2.0

//! A hash table from sockets to values, read under RCU, written by hooks.

use core::{
    ffi::c_void,
    hint,
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{fence, AtomicPtr, AtomicUsize, Ordering},
};

use kernel::{ffi::CStr, prelude::*};

use super::{
    alloc::Array,
    pool::{Pool, Slot},
    preempt::{self, Exclusive},
    sock::{Sock, SockKey},
};

/// An entry, in the chain of its bucket.
struct Node<V> {
    /// Stays as it was when the node is unlinked, so that a reader that stands on it gets on.
    next: AtomicPtr<Slot<Node<V>>>,
    /// The socket's address; zero from when the node is unlinked.
    key: AtomicUsize,
    value: V,
}

type NodeSlot<V> = Slot<Node<V>>;

/// A node in a chain, and the node before it.
type Found<'a, V> = (Option<&'a Node<V>>, NonNull<NodeSlot<V>>);

/// The head of a chain. Its lowest bit is the lock of the chain, as in the kernel's `hlist_bl`.
struct Bucket<V>(AtomicUsize, PhantomData<AtomicPtr<NodeSlot<V>>>);

impl<V> Bucket<V> {
    const LOCKED: usize = 1;

    /// The first of the chain, for readers.
    #[inline(always)]
    fn first(&self) -> *mut NodeSlot<V> {
        (self.0.load(Ordering::Acquire) & !Self::LOCKED) as *mut _
    }

    /// Whether there is no chain.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !Self::LOCKED == 0
    }

    /// Locks the chain, and returns its first node. [`Self::unlock`] is to follow soon.
    #[inline(always)]
    fn lock(&self, _cpu: &Exclusive) -> *mut NodeSlot<V> {
        loop {
            let first = self.0.load(Ordering::Relaxed);
            let locked = first | Self::LOCKED;
            if first != locked
                && self
                    .0
                    .compare_exchange(first, locked, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return first as *mut _;
            }
            hint::spin_loop();
        }
    }

    /// Unlocks the chain, which begins with `first` from now on.
    #[inline(always)]
    fn unlock(&self, first: *mut NodeSlot<V>) {
        self.0.store(first as usize, Ordering::Release);
    }
}

/// The table. Its size is fixed when it is made: hooks cannot grow it, and chains of a few entries
/// cost next to nothing beside the work of a connection.
///
/// # Invariants
///
/// A slot in a chain holds an initialised node. A slot that was unlinked keeps its node until an
/// RCU grace period has passed.
pub(crate) struct Table<V: Copy + Send + Sync> {
    buckets: Array<Bucket<V>>,
    /// One less than how many buckets there are, which is a power of two.
    mask: usize,
    pool: Pool<Node<V>>,
}

// SAFETY: The table owns its nodes; what is shared is atomic or under a lock.
unsafe impl<V: Copy + Send + Sync> Send for Table<V> {}
// SAFETY: As above.
unsafe impl<V: Copy + Send + Sync> Sync for Table<V> {}

/// Where the entry of a socket is, if it has one.
pub(crate) struct Lookup<'a, V> {
    bucket: &'a Bucket<V>,
    key: SockKey,
}

impl<'a, V> Lookup<'a, V> {
    /// Finds the value; any context. It stays readable as long as the guard lives.
    #[inline(always)]
    pub(crate) fn find(self, _reading: &'a preempt::Disabled) -> Option<&'a V> {
        let mut next = self.bucket.first();
        loop {
            // SAFETY: By the invariant of `Table` what a chain leads to is an initialised node, and
            // stays one at least until the guard is dropped.
            let node = unsafe { next.as_ref()?.value.assume_init_ref() };
            if node.key.load(Ordering::Relaxed) == self.key.0 {
                return Some(&node.value);
            }
            next = node.next.load(Ordering::Acquire);
        }
    }
}

/// There was no memory for an entry.
pub(crate) struct NoMemory;

impl<V: Copy + Send + Sync> Table<V> {
    /// Creates an empty table whose entries come from a slab cache called `name`; may sleep.
    /// It has `buckets`, rounded up to a power of two.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: &'static CStr, buckets: usize) -> Result<Self> {
        let buckets = buckets.next_power_of_two();
        Ok(Self {
            buckets: Array::new(buckets, || Bucket(AtomicUsize::new(0), PhantomData))?,
            mask: buckets - 1,
            pool: Pool::new(name)?,
        })
    }

    #[inline(always)]
    fn bucket(&self, key: SockKey) -> &Bucket<V> {
        // Multiplicative hashing. Sockets lie some KiB apart, in up to some TiB: so take the bits
        // that those which differ are mixed into, and a factor that an instruction can hold.
        const FACTOR: u64 = 0x61C8_8647;
        let index = ((key.0 as u64).wrapping_mul(FACTOR) >> 32) as usize & self.mask;
        debug_assert!(index < self.buckets.len());
        // SAFETY: `mask` is one less than the number of buckets.
        unsafe { self.buckets.get_unchecked(index) }
    }

    /// Adds an entry; any context. If there is one of the same key, the new one is found.
    ///
    /// # Errors
    ///
    /// No memory: the table is as it was.
    #[inline(always)]
    pub(crate) fn insert(&self, key: SockKey, value: V) -> Result<(), NoMemory> {
        let cpu = Exclusive::new();
        let slot = self.pool.take(&cpu).ok_or(NoMemory)?.as_ptr();
        let bucket = self.bucket(key);
        let first = bucket.lock(&cpu);
        // SAFETY: The slot is ours alone until the bucket leads to it.
        unsafe {
            (*slot).value.write(Node {
                next: AtomicPtr::new(first),
                key: AtomicUsize::new(key.0),
                value,
            });
        }
        // INVARIANT: The node is initialised, and is for who finds it.
        bucket.unlock(slot);
        Ok(())
    }

    /// The entries among which that of `key` is, if there are any; any context. None says that there is
    /// none of `key`.
    #[inline(always)]
    pub(crate) fn lookup(&self, key: SockKey) -> Option<Lookup<'_, V>> {
        let bucket = self.bucket(key);
        (!bucket.is_empty()).then_some(Lookup { bucket, key })
    }

    /// Finds the value of `key`; any context. It stays readable as long as the guard lives.
    pub(crate) fn find<'a>(
        &'a self,
        key: SockKey,
        reading: &'a preempt::Disabled,
    ) -> Option<&'a V> {
        self.lookup(key)?.find(reading)
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Whether a bucket has entries now.
    pub(crate) fn has(&self, bucket: usize) -> bool {
        self.buckets
            .get(bucket)
            .is_some_and(|bucket| !bucket.is_empty())
    }

    /// Goes through the entries of a bucket: hands what `look` sees of a live socket, and the value, on
    /// to `show`. An entry that stays while this runs is shown once.
    pub(crate) fn each<S>(
        &self,
        bucket: usize,
        _reading: &preempt::Disabled,
        look: impl Fn(Sock<'_>) -> S,
        mut show: impl FnMut(S, V),
    ) {
        let mut next = match self.buckets.get(bucket) {
            Some(bucket) => bucket.first(),
            None => return,
        };
        // SAFETY: As in `Lookup::find`.
        while let Some(slot) = unsafe { next.as_ref() } {
            // SAFETY: As in `Lookup::find`.
            let node = unsafe { slot.value.assume_init_ref() };
            let key = node.key.load(Ordering::Relaxed);
            // SAFETY: The node was linked when, or after, the guard was made, and so was its socket
            // alive. The memory of TCP and MPTCP sockets stays that of a socket for a grace period
            // (SLAB_TYPESAFE_BY_RCU), though perhaps that of another one.
            let socket = unsafe { Sock::from_raw(key as *mut c_void) };
            let seen = socket.map(&look);
            // If the node is linked after what was read, then all of it is of its own socket.
            fence(Ordering::Acquire);
            if let (Some(seen), true) = (seen, node.key.load(Ordering::Relaxed) != 0) {
                show(seen, node.value);
            }
            next = node.next.load(Ordering::Acquire);
        }
    }

    /// Removes the entry of `key` and returns what `look` says of its value; any context.
    #[inline(always)]
    pub(crate) fn remove<R>(&self, key: SockKey, look: impl FnOnce(&V) -> R) -> Option<R> {
        // Most sockets have no entry, and most of those an empty bucket. Who removes an entry has
        // the socket that it was added for, so cannot miss it here.
        let bucket = self.lookup(key)?.bucket;
        let cpu = Exclusive::new();
        // Nor does one that has none among others wait for the lock.
        Self::find_in(bucket.first(), key, &cpu)?;
        let first = bucket.lock(&cpu);
        let Some((before, slot)) = Self::find_in(first, key, &cpu) else {
            bucket.unlock(first);
            return None;
        };
        // SAFETY: By the invariant; the lock keeps the chain as it is.
        let node = unsafe { (*slot.as_ptr()).value.assume_init_ref() };
        node.key.store(0, Ordering::Relaxed);
        // Before the socket's memory can be used for another: see `each`.
        fence(Ordering::Release);
        let next = node.next.load(Ordering::Relaxed);
        bucket.unlock(match before {
            None => next,
            Some(before) => {
                before.next.store(next, Ordering::Release);
                first
            }
        });

        let seen = look(&node.value);
        // SAFETY: The slot came from `take` in `insert`, and no chain leads to it any more.
        unsafe { self.pool.give(slot, &cpu) };
        Some(seen)
    }

    /// Finds the node of `key` in a chain, and the node before it, which is so as long as the caller holds
    /// the lock of the chain.
    #[inline(always)]
    fn find_in<'a>(
        first: *mut NodeSlot<V>,
        key: SockKey,
        _cpu: &'a Exclusive,
    ) -> Option<Found<'a, V>> {
        let mut before = None;
        let mut at = first;
        loop {
            let slot = NonNull::new(at)?;
            // SAFETY: By the invariant; nodes stay what they are while the caller has the CPU.
            let node = unsafe { (*at).value.assume_init_ref() };
            if node.key.load(Ordering::Relaxed) == key.0 {
                return Some((before, slot));
            }
            before = Some(node);
            at = node.next.load(Ordering::Acquire);
        }
    }
}

impl<V: Copy + Send + Sync> Drop for Table<V> {
    fn drop(&mut self) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            if index % 1024 == 0 {
                preempt::relax();
            }
            let mut next = bucket.first();
            while let Some(slot) = NonNull::new(next) {
                // SAFETY: By the invariant. Nobody else has the table any more: readers borrow it.
                unsafe {
                    let node = (*slot.as_ptr()).value.assume_init_ref();
                    next = node.next.load(Ordering::Relaxed);
                    self.pool.free(slot);
                }
            }
        }
    }
}
