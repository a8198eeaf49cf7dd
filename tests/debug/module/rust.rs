// SPDX-License-Identifier: GPL-2.0

//! Mistakes on purpose. If the debug kernel sees these, then it means something that it has nothing to say
//! about toa.ko. Each leaves the kernel in disorder: one to a boot.

use core::hint::black_box;

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{rcu, Arc, SpinLock},
    workqueue,
};

module! {
    type: Mistakes,
    name: "mistakes",
    authors: ["The toa authors"],
    description: "Mistakes that a debug kernel has to see",
    license: "GPL",
    params: {
        mistake: i64 {
            default: 0,
            description: "Which one to make; tests/debug/prove knows them",
        },
    },
}

extern "C" {
    // c.c, for what Rust cannot express.
    fn mistake_rcu_dereference();
    fn mistake_free_pending_work();
    fn mistake_race();
    fn mistake_race_with(change: extern "C" fn(*mut usize));
}

struct Mistakes;

impl kernel::Module for Mistakes {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match module_parameters::mistake.value() {
            1 => read_behind_the_end()?,
            2 => write_after_free()?,
            3 => sleep_under_a_spinlock()?,
            4 => take_locks_in_both_orders()?,
            5 => take_a_lock_twice()?,
            6 => share_a_lock_with_softirqs()?,
            7 => wait_for_readers_as_one_of_them(),
            // SAFETY: None: these are mistakes.
            8 => unsafe { mistake_rcu_dereference() },
            // SAFETY: As above.
            9 => unsafe { mistake_free_pending_work() },
            10 => overflow(),
            11 => leak()?,
            // SAFETY: As above.
            12 => unsafe { mistake_race() },
            // SAFETY: As above.
            13 => unsafe { mistake_race_with(change) },
            _ => return Err(EINVAL),
        }
        Ok(Self)
    }
}

fn read_behind_the_end() -> Result {
    let numbers = KBox::new([1_u8; 40], GFP_KERNEL)?;
    // SAFETY: None: the box has 40 bytes.
    black_box(unsafe { black_box(numbers.as_ptr()).add(40).read_volatile() });
    Ok(())
}

fn write_after_free() -> Result {
    let number = KBox::into_raw(KBox::new(1_u64, GFP_KERNEL)?);
    // SAFETY: The first line's pointer is a box's; the second has no excuse.
    unsafe {
        drop(KBox::from_raw(black_box(number)));
        black_box(number).write_volatile(2);
    }
    Ok(())
}

fn sleep_under_a_spinlock() -> Result {
    let spinlock = KBox::pin_init(new_spinlock!(()), GFP_KERNEL)?;
    let mutex = KBox::pin_init(new_mutex!(()), GFP_KERNEL)?;
    let _guard = spinlock.lock();
    drop(mutex.lock());
    Ok(())
}

fn take_locks_in_both_orders() -> Result {
    let one = KBox::pin_init(new_spinlock!((), "one"), GFP_KERNEL)?;
    let other = KBox::pin_init(new_spinlock!((), "other"), GFP_KERNEL)?;
    {
        let _one = one.lock();
        let _other = other.lock();
    }
    let _other = other.lock();
    let _one = one.lock();
    Ok(())
}

/// Two locks of one class, for a thread that waits for itself would say no more.
fn take_a_lock_twice() -> Result {
    let make = || KBox::pin_init(new_spinlock!((), "same"), GFP_KERNEL);
    let (one, other) = (make()?, make()?);
    let _one = one.lock();
    let _other = other.lock();
    Ok(())
}

fn share_a_lock_with_softirqs() -> Result {
    let lock: Arc<SpinLock<()>> = Arc::pin_init(new_spinlock!((), "shared"), GFP_KERNEL)?;
    drop(lock.lock());
    workqueue::system_bh().try_spawn(GFP_KERNEL, move || drop(lock.lock()))?;
    Ok(())
}

fn wait_for_readers_as_one_of_them() {
    let _guard = rcu::read_lock();
    rcu::synchronize_rcu();
}

fn overflow() {
    black_box(black_box(u8::MAX) + 1);
}

/// Many, for the allocator's own lists still point to the hundred or so that it gave out last, and kmemleak
/// takes those for in use.
fn leak() -> Result {
    for number in 0..10_000_u64 {
        black_box(KBox::into_raw(KBox::new([number; 8], GFP_KERNEL)?));
    }
    Ok(())
}

extern "C" fn change(counter: *mut usize) {
    // SAFETY: C's pointer is valid; but nobody is alone with the counter.
    unsafe { counter.write_volatile(counter.read_volatile() + 1) }
}
