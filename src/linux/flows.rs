// SPDX-License-Identifier: GPL-2.0

//! A table of limited size from flows to values that are kept for a limited time.
//!
//! Whoever sends packets fills it: so it takes a fixed amount of memory, allocated when it is made,
//! an operation takes a few steps whatever is in it, and nobody can choose where an entry lands.

use core::{
    mem::size_of_val,
    sync::atomic::{AtomicUsize, Ordering},
};

use kernel::prelude::*;

use super::{
    alloc::Array,
    bindings,
    preempt::Exclusive,
    sock::{Net, Sock},
    spinlock::RawSpinLock,
};
use crate::address::End;

/// A connection to be: both ends, in a network namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flow {
    /// The address of its `struct net`.
    net: usize,
    /// The device that the listener is bound to.
    device: i32,
    local: End,
    remote: End,
}

impl Flow {
    fn of(sk: Sock<'_>) -> Self {
        Self {
            net: sk.net().as_ptr() as usize,
            device: sk.device(),
            local: sk.local(),
            remote: sk.peer(),
        }
    }

    /// A number that nobody can predict without `key`.
    fn hash(&self, key: &[u64; 2]) -> u64 {
        let [a, b] = self.local.address.0;
        let [c, d] = self.remote.address.0;
        let ports = (u64::from(self.device as u32) << 32)
            | (u64::from(self.local.port.0) << 16)
            | u64::from(self.remote.port.0);
        let data = [self.net as u64, a, b, c, d, ports];
        // SAFETY: Reads so many bytes.
        unsafe {
            bindings::rust_helper_siphash(data.as_ptr().cast(), size_of_val(&data), key.as_ptr())
        }
    }
}

/// How the table lost an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was the oldest, and a new one needed its place.
    Room,
    /// It was too old.
    Age,
    /// The same flow began anew.
    Anew,
}

/// The index of no entry.
const NONE: u32 = u32::MAX;

struct Entry<V> {
    flow: Flow,
    /// The hash of the flow.
    hash: u64,
    /// The sequence number that it began with.
    sequence: u32,
    /// When it was added, in seconds since boot.
    since: i64,
    /// Neighbours in the order of age.
    older: u32,
    newer: u32,
    /// The next one of the same bucket, or of the free ones.
    chain: u32,
    /// None in a free entry.
    value: Option<V>,
}

/// A part of the table, with its own lock.
struct Shard<V> {
    entries: Array<Entry<V>>,
    /// The first entry of each chain. A power of two.
    buckets: Array<u32>,
    free: u32,
    oldest: u32,
    newest: u32,
}

impl<V: Copy> Shard<V> {
    fn new(entries: usize) -> Result<Self> {
        let next_free = core::cell::Cell::new(0);
        Ok(Self {
            entries: Array::new(entries, || {
                next_free.set(next_free.get() + 1);
                Entry {
                    flow: Flow {
                        net: 0,
                        device: 0,
                        local: End::NONE,
                        remote: End::NONE,
                    },
                    hash: 0,
                    sequence: 0,
                    since: 0,
                    older: NONE,
                    newer: NONE,
                    // That of the last one leads nowhere.
                    chain: next_free.get(),
                    value: None,
                }
            })?,
            buckets: Array::new(entries.next_power_of_two(), || NONE)?,
            free: 0,
            oldest: NONE,
            newest: NONE,
        })
    }

    fn entry(&self, index: u32) -> Option<&Entry<V>> {
        self.entries.get(index as usize)
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<V>> {
        self.entries.get_mut(index as usize)
    }

    fn bucket(&mut self, hash: u64) -> Option<&mut u32> {
        let mask = self.buckets.len() - 1;
        self.buckets.get_mut(hash as usize & mask)
    }

    fn find(&mut self, flow: &Flow, hash: u64) -> Option<u32> {
        let mut index = *self.bucket(hash)?;
        loop {
            let entry = self.entry(index)?;
            if entry.flow == *flow {
                return Some(index);
            }
            index = entry.chain;
        }
    }

    /// Takes an entry that is in use out, and returns its value.
    fn remove(&mut self, index: u32) -> Option<V> {
        let &Entry {
            hash,
            older,
            newer,
            chain,
            ..
        } = self.entry(index)?;

        let bucket = self.bucket(hash)?;
        if *bucket == index {
            *bucket = chain;
        } else {
            let mut before = *bucket;
            while self.entry(before)?.chain != index {
                before = self.entry(before)?.chain;
            }
            self.entry_mut(before)?.chain = chain;
        }

        match self.entry_mut(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry_mut(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }

        let free = self.free;
        self.free = index;
        let entry = self.entry_mut(index)?;
        entry.chain = free;
        entry.value.take()
    }

    /// Puts a new entry into a free place, if there is one.
    fn add(&mut self, flow: Flow, hash: u64, sequence: u32, value: V, now: i64) -> Option<()> {
        let index = self.free;
        self.free = self.entry(index)?.chain;
        let chain = core::mem::replace(self.bucket(hash)?, index);
        let older = core::mem::replace(&mut self.newest, index);
        *self.entry_mut(index)? = Entry {
            flow,
            hash,
            sequence,
            since: now,
            older,
            newer: NONE,
            chain,
            value: Some(value),
        };
        match self.entry_mut(older) {
            Some(older) => older.newer = index,
            None => self.oldest = index,
        }
        Some(())
    }
}

/// The table.
///
/// # Invariants
///
/// The namespaces of entries live: who makes the table sees to it that [`Self::forget`] is called for
/// each that ends, when no packets come to it any more (`netns::State::ended`).
pub(crate) struct Flows<V> {
    shards: Array<RawSpinLock<Shard<V>>>,
    key: [u64; 2],
    /// How many entries there are.
    length: AtomicUsize,
    /// For how many seconds an entry is kept.
    seconds: i64,
}

impl<V: Copy + Send> Flows<V> {
    /// Makes an empty table for `max` entries, each kept for so many seconds; may sleep. It has one lock
    /// and one order of age for each few thousand entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(max: usize, seconds: u32) -> Result<Self> {
        let shards = if max == 0 {
            0
        } else {
            (max / 2048).clamp(1, 64)
        };
        let mut key = [0; 2];
        // SAFETY: Writes so many bytes.
        unsafe {
            bindings::rust_helper_get_random_bytes(key.as_mut_ptr().cast(), size_of_val(&key))
        };
        Ok(Self {
            shards: Array::try_new(shards, || Ok(RawSpinLock::new(Shard::new(max / shards)?)))?,
            key,
            length: AtomicUsize::new(0),
            seconds: i64::from(seconds),
        })
    }

    /// Whether there is no entry: then no connection needs to be looked for.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }

    /// Whether the table never has an entry.
    pub(crate) fn is_off(&self) -> bool {
        self.shards.is_empty()
    }

    /// Keeps `value`, if any, for the flow of `sk`, which begins now with a sequence number; any context. What was kept for the
    /// same flow is lost, and so may be other entries: `lost` gets their namespaces.
    pub(crate) fn begin(
        &self,
        sk: Sock<'_>,
        sequence: u32,
        value: Option<V>,
        lost: &mut dyn FnMut(Net<'_>, Loss),
    ) {
        let flow = Flow::of(sk);
        let hash = flow.hash(&self.key);
        let Some(shard) = self.shard(hash) else {
            return;
        };
        let cpu = Exclusive::new();
        let shard = &mut *shard.lock(&cpu);
        let now = now();
        self.expire(shard, now, lost);
        if let Some(index) = shard.find(&flow, hash) {
            self.lose(shard, index, Loss::Anew, lost);
        }
        let Some(value) = value else { return };
        if shard.entry(shard.free).is_none() {
            self.lose(shard, shard.oldest, Loss::Room, lost);
        }
        if shard.add(flow, hash, sequence, value, now).is_some() {
            self.length.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The value that is kept for the flow of `sk` that began with this sequence number, unless it is too
    /// old; any context.
    pub(crate) fn get(&self, sk: Sock<'_>, sequence: u32) -> Option<V> {
        let flow = Flow::of(sk);
        let hash = flow.hash(&self.key);
        let cpu = Exclusive::new();
        let shard = &mut *self.shard(hash)?.lock(&cpu);
        let index = shard.find(&flow, hash)?;
        let entry = shard.entry(index)?;
        let fits = entry.sequence == sequence && !self.is_too_old(entry, now());
        entry.value.filter(|_| fits)
    }

    /// Takes the value out that is kept for the flow of `sk` that began with this sequence number, unless
    /// it is too old; any context. `lost` is as for [`Self::begin`].
    pub(crate) fn take(
        &self,
        sk: Sock<'_>,
        sequence: u32,
        lost: &mut dyn FnMut(Net<'_>, Loss),
    ) -> Option<V> {
        let flow = Flow::of(sk);
        let hash = flow.hash(&self.key);
        let cpu = Exclusive::new();
        let shard = &mut *self.shard(hash)?.lock(&cpu);
        let now = now();
        self.expire(shard, now, lost);
        let index = shard.find(&flow, hash)?;
        if shard.entry(index)?.sequence != sequence {
            // That of another SYN, from whoever; this connection was made with a SYN cookie.
            return None;
        }
        // Others that are older may still be there.
        if self.is_too_old(shard.entry(index)?, now) {
            self.lose(shard, index, Loss::Age, lost);
            return None;
        }
        self.remove(shard, index)
    }

    /// Takes all entries of a namespace out, which ends; may sleep.
    pub(crate) fn forget(&self, net: Net<'_>) {
        for shard in self.shards.iter() {
            // Also with nothing in it: who took the last entry out may still look at its namespace.
            let cpu = Exclusive::new();
            let shard = &mut *shard.lock(&cpu);
            let mut index = shard.oldest;
            while let Some(&Entry { flow, newer, .. }) = shard.entry(index) {
                if flow.net == net.as_ptr() as usize {
                    self.remove(shard, index);
                }
                index = newer;
            }
        }
    }

    fn shard(&self, hash: u64) -> Option<&RawSpinLock<Shard<V>>> {
        // The number of shards is fixed, and the low bits choose the bucket.
        let index = (hash >> 32) as usize % self.shards.len().max(1);
        self.shards.get(index)
    }

    fn is_too_old(&self, entry: &Entry<V>, now: i64) -> bool {
        now - entry.since > self.seconds
    }

    /// Takes entries that are too old out: two for each one that may come, so that they never pile up
    /// and nobody waits long.
    fn expire(&self, shard: &mut Shard<V>, now: i64, lost: &mut dyn FnMut(Net<'_>, Loss)) {
        for _ in 0..2 {
            match shard.entry(shard.oldest) {
                Some(entry) if self.is_too_old(entry, now) => {
                    self.lose(shard, shard.oldest, Loss::Age, lost);
                }
                _ => return,
            }
        }
    }

    fn lose(
        &self,
        shard: &mut Shard<V>,
        index: u32,
        loss: Loss,
        lost: &mut dyn FnMut(Net<'_>, Loss),
    ) {
        let Some(entry) = shard.entry(index) else {
            return;
        };
        // SAFETY: By the invariant the namespace lives, at least until `forget` gets the shard's
        // lock, which the caller holds.
        let net = unsafe { Net::from_raw(entry.flow.net as *mut bindings::net) };
        self.remove(shard, index);
        lost(net, loss);
    }

    fn remove(&self, shard: &mut Shard<V>, index: u32) -> Option<V> {
        let value = shard.remove(index)?;
        self.length.fetch_sub(1, Ordering::Relaxed);
        Some(value)
    }
}

/// Seconds since boot.
fn now() -> i64 {
    // SAFETY: Reads a clock; any context.
    unsafe { bindings::ktime_get_seconds() }
}
