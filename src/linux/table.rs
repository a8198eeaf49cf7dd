// SPDX-License-Identifier: GPL-2.0

//! A hash table from sockets to values, read under RCU, written by hooks.

use core::sync::atomic::{fence, AtomicPtr, AtomicUsize, Ordering};

use kernel::{ffi::CStr, prelude::*, sync::rcu};

use super::{
    alloc::Array,
    irq,
    pool::{Pool, Slot},
    sock::{Sock, SockKey},
    spinlock::RawSpinLock,
};

/// Locks that the buckets share: enough that two CPUs seldom want the same one.
const LOCKS: usize = 256;

/// An entry, in the chain of its bucket.
struct Node<V> {
    /// Stays as it was when the node is unlinked, so that a reader that stands on it gets on.
    next: AtomicPtr<Slot<Node<V>>>,
    /// The socket's address; zero from when the node is unlinked.
    key: AtomicUsize,
    value: V,
}

impl<V> Node<V> {
    #[inline]
    fn has(&self, key: SockKey) -> bool {
        self.key.load(Ordering::Relaxed) == key.0
    }
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
    /// `buckets` is a power of two, and above 1.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(name: &'static CStr, buckets: usize) -> Result<Self> {
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
        unsafe {
            (*slot).value.write(Node {
                next,
                key: AtomicUsize::new(key.0),
                value,
            });
        }
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
            if node.has(key) {
                return Some(&node.value);
            }
            link = &node.next;
        }
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Whether a bucket has entries now.
    pub(crate) fn has(&self, bucket: usize) -> bool {
        self.buckets
            .get(bucket)
            .is_some_and(|bucket| !bucket.load(Ordering::Relaxed).is_null())
    }

    /// Goes through the entries of a bucket: hands what `look` sees of a live socket, and the value, on
    /// to `show`. An entry that stays while this runs is shown once.
    pub(crate) fn each<S>(
        &self,
        bucket: usize,
        _rcu: &rcu::Guard,
        look: impl Fn(Sock<'_>) -> S,
        mut show: impl FnMut(S, V),
    ) {
        let Some(mut link) = self.buckets.get(bucket) else {
            return;
        };
        loop {
            // SAFETY: As in `find`.
            let node = unsafe {
                match link.load(Ordering::Acquire).as_ref() {
                    Some(slot) => slot.value.assume_init_ref(),
                    None => return,
                }
            };
            // SAFETY: The node was linked when, or after, the guard was made, and so was its socket
            // alive. The memory of TCP and MPTCP sockets stays that of a socket for a grace period
            // (SLAB_TYPESAFE_BY_RCU), though perhaps that of another one.
            let seen =
                unsafe { Sock::from_raw(node.key.load(Ordering::Relaxed) as *mut _) }.map(&look);
            // If the node is linked after what was read, then all of it is of its own socket.
            fence(Ordering::Acquire);
            if let (Some(seen), true) = (seen, node.key.load(Ordering::Relaxed) != 0) {
                show(seen, node.value);
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
            if node.has(key) {
                node.key.store(0, Ordering::Relaxed);
                // Before the socket's memory can be used for another: see `each`.
                fence(Ordering::Release);
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
