// SPDX-License-Identifier: GPL-2.0

//! A hash table from sockets to values, read under RCU, written by hooks.

use core::sync::atomic::{AtomicPtr, Ordering};

use kernel::{ffi::CStr, prelude::*, sync::rcu};

use super::{
    alloc::Array,
    bindings, irq,
    pool::{Pool, Slot},
    sock::SockKey,
    spinlock::RawSpinLock,
};

/// Locks that the buckets share: enough that two CPUs seldom want the same one.
const LOCKS: usize = 256;

/// An entry, in the chain of its bucket.
struct Node<V> {
    /// Stays as it was when the node is unlinked, so that a reader that stands on it gets on.
    next: AtomicPtr<Slot<Node<V>>>,
    key: SockKey,
    value: V,
}

type NodeSlot<V> = Slot<Node<V>>;

/// The table. Its size is fixed when it is made: hooks cannot grow it, and chains of a few entries
/// cost next to nothing beside the work of a connection.
///
/// # Invariants
///
/// A slot in a chain holds an initialised node. A slot that was unlinked keeps its node until an
/// RCU grace period has passed.
pub(crate) struct Table<V: Copy + Send + Sync> {
    buckets: Array<AtomicPtr<NodeSlot<V>>>,
    /// By how much to shift a hash of 64 bits to get the index of a bucket.
    shift: u32,
    locks: Array<RawSpinLock<()>>,
    pool: Pool<Node<V>>,
}

// SAFETY: The table owns its nodes; what is shared is atomic or under a lock.
unsafe impl<V: Copy + Send + Sync> Send for Table<V> {}
// SAFETY: As above.
unsafe impl<V: Copy + Send + Sync> Sync for Table<V> {}

/// There was no memory for an entry.
pub(crate) struct NoMemory;

impl<V: Copy + Send + Sync> Table<V> {
    /// Creates an empty table whose entries come from a slab cache called `name`; may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: &'static CStr) -> Result<Self> {
        // One bucket for 32 KiB of memory: 0.02 % of it. A server that holds more tagged
        // connections than buckets has spent over 10 % of its memory on their sockets.
        // SAFETY: Reads a counter.
        let pages = unsafe { bindings::rust_helper_totalram_pages() };
        let buckets = (pages / 8).next_power_of_two().clamp(1 << 10, 1 << 20);

        Ok(Self {
            buckets: Array::new(buckets, || AtomicPtr::new(core::ptr::null_mut()))?,
            shift: u64::BITS - buckets.trailing_zeros(),
            locks: Array::new(LOCKS, || RawSpinLock::new(()))?,
            pool: Pool::new(name)?,
        })
    }

    #[inline]
    fn index(&self, key: SockKey) -> usize {
        // Multiplicative hashing: the high bits depend on all bits of the address.
        const GOLDEN_RATIO_64: u64 = 0x61C8_8646_80B5_83EB;
        ((key.0 as u64).wrapping_mul(GOLDEN_RATIO_64) >> self.shift) as usize
    }

    #[inline]
    fn bucket(&self, index: usize) -> &AtomicPtr<NodeSlot<V>> {
        debug_assert!(index < self.buckets.len());
        // SAFETY: `index` shifts a 64-bit hash to below the number of buckets.
        unsafe { self.buckets.get_unchecked(index) }
    }

    #[inline]
    fn lock_of(&self, index: usize) -> &RawSpinLock<()> {
        // SAFETY: There are `LOCKS` locks.
        unsafe { self.locks.get_unchecked(index % LOCKS) }
    }

    /// Adds an entry; any context. If there is one of the same key, the new one is found.
    ///
    /// # Errors
    ///
    /// No memory: the table is as it was.
    pub(crate) fn insert(&self, key: SockKey, value: V) -> Result<(), NoMemory> {
        let index = self.index(key);
        let bucket = self.bucket(index);
        let irq = irq::Disabled::new();
        let slot = self.pool.take(&irq).ok_or(NoMemory)?.as_ptr();

        let _lock = self.lock_of(index).lock(&irq);
        let next = AtomicPtr::new(bucket.load(Ordering::Relaxed));
        // SAFETY: The slot is ours alone until the store below.
        unsafe { (*slot).value.write(Node { next, key, value }) };
        // INVARIANT: The node is initialised; release makes it so for who finds it.
        bucket.store(slot, Ordering::Release);
        Ok(())
    }

    /// Finds the value of `key`; any context. It stays readable as long as the guard lives.
    #[inline]
    pub(crate) fn find<'a>(&'a self, key: SockKey, _rcu: &'a rcu::Guard) -> Option<&'a V> {
        let mut link = self.bucket(self.index(key));
        loop {
            // SAFETY: By the invariant what a chain leads to is an initialised node, and stays one
            // at least until the guard is dropped.
            let node = unsafe {
                link.load(Ordering::Acquire)
                    .as_ref()?
                    .value
                    .assume_init_ref()
            };
            if node.key == key {
                return Some(&node.value);
            }
            link = &node.next;
        }
    }

    /// Removes the entry of `key` and returns its value; any context.
    #[inline]
    pub(crate) fn remove(&self, key: SockKey) -> Option<V> {
        // Most sockets have no entry, and most of those an empty bucket. Who removes an entry has
        // the socket that it was added for, so cannot miss it here.
        if self
            .bucket(self.index(key))
            .load(Ordering::Relaxed)
            .is_null()
        {
            return None;
        }
        self.remove_from_chain(key)
    }

    fn remove_from_chain(&self, key: SockKey) -> Option<V> {
        let index = self.index(key);
        let irq = irq::Disabled::new();
        let lock = self.lock_of(index).lock(&irq);

        let mut link = self.bucket(index);
        let (slot, value) = loop {
            let slot = core::ptr::NonNull::new(link.load(Ordering::Relaxed))?;
            // SAFETY: By the invariant; the lock keeps the chain as it is.
            let node = unsafe { (*slot.as_ptr()).value.assume_init_ref() };
            if node.key == key {
                link.store(node.next.load(Ordering::Relaxed), Ordering::Release);
                break (slot, node.value);
            }
            link = &node.next;
        };
        drop(lock);

        // SAFETY: The slot came from `take` in `insert`, and no chain leads to it any more.
        unsafe { self.pool.give(slot, &irq) };
        Some(value)
    }
}

impl<V: Copy + Send + Sync> Drop for Table<V> {
    fn drop(&mut self) {
        for bucket in self.buckets.iter() {
            let mut next = bucket.load(Ordering::Relaxed);
            while let Some(slot) = core::ptr::NonNull::new(next) {
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
