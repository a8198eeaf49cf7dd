// SPDX-License-Identifier: GPL-2.0
/*
 * Static inlines and macros of the kernel's headers, one call each, for Rust. No logic here.
 */
#include <toa.h>

#ifndef SLAB_NO_MERGE
#define SLAB_NO_MERGE 0
#endif

#ifndef TOA_UNBOUND_WQ
#define TOA_UNBOUND_WQ system_unbound_wq
#endif

#ifdef CONFIG_X86_64
/*
 * Where each CPU has its preemption count, as an offset from the base of its memory. Some kernels have
 * it in a structure, as the second member after a pointer.
 */
#ifdef TOA_PCPU_HOT
static_assert(offsetof(struct pcpu_hot, preempt_count) == 8);
#define TOA_PREEMPT_COUNT "pcpu_hot + 8"
#else
#define TOA_PREEMPT_COUNT "__preempt_count"
#endif
asm(".pushsection .rodata, \"a\"\n"
    ".balign 8\n"
    ".globl toa_preempt_count\n"
    "toa_preempt_count: .quad " TOA_PREEMPT_COUNT "\n"
    ".popsection\n");
#endif

void *rust_helper_alloc_percpu(size_t size, size_t align)
{
	return (void *)(uintptr_t)__alloc_percpu(size, align);
}

void rust_helper_cond_resched(void)
{
	cond_resched();
}

unsigned long rust_helper_copy_to_user(void *to, const void *from, unsigned long length)
{
	return copy_to_user((void __user *)to, from, length);
}

unsigned int rust_helper_cpumask_next_online(int cpu)
{
	return cpumask_next(cpu, cpu_online_mask);
}

unsigned int rust_helper_cpumask_next_possible(int cpu)
{
	return cpumask_next(cpu, cpu_possible_mask);
}

void rust_helper_get_random_bytes(void *to, size_t length)
{
	get_random_bytes(to, length);
}

void rust_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

bool rust_helper_is_live(void)
{
	return THIS_MODULE->state == MODULE_STATE_LIVE;
}

void *rust_helper_kmem_cache_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_KERNEL);
}

void *rust_helper_kmem_cache_alloc_atomic(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_ATOMIC | __GFP_NOWARN);
}

struct kmem_cache *rust_helper_kmem_cache_create(const char *name, size_t size, size_t align)
{
	return kmem_cache_create(name, size, align, SLAB_NO_MERGE, NULL);
}

void *rust_helper_kvzalloc(size_t size)
{
	return kvzalloc(size, GFP_KERNEL);
}

unsigned long rust_helper_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void rust_helper_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

bool rust_helper_limited(unsigned int warning)
{
	static struct ratelimit_state states[TOA_WARNINGS] = {
		[0 ... TOA_WARNINGS - 1] = {
			.lock = __RAW_SPIN_LOCK_UNLOCKED(states[0].lock),
			.interval = 60 * HZ,
			.burst = 1,
			/* No line about lines that were left out. */
			.flags = RATELIMIT_MSG_ON_RELEASE,
		},
	};

	return warning >= TOA_WARNINGS || !__ratelimit(&states[warning]);
}

unsigned int rust_helper_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

void *rust_helper_per_cpu_ptr(void *ptr, unsigned int cpu)
{
	return per_cpu_ptr((void __percpu *)(uintptr_t)ptr, cpu);
}

void rust_helper_preempt_schedule_notrace(void)
{
#ifdef CONFIG_PREEMPTION
	__preempt_schedule_notrace();
#endif
}

void rust_helper_printk(const char *level, int length, const char *text)
{
	printk("%sTOA: %.*s\n", level, length, text);
}

struct proc_dir_entry *rust_helper_proc_net(struct net *net)
{
	return net->proc_net;
}

void rust_helper_queue_unbound_work(struct work_struct *work)
{
	queue_work(TOA_UNBOUND_WQ, work);
}

void rust_helper_raw_spin_lock(raw_spinlock_t *lock)
{
	raw_spin_lock(lock);
}

void rust_helper_raw_spin_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

void rust_helper_raw_spin_unlock(raw_spinlock_t *lock)
{
	raw_spin_unlock(lock);
}

struct net *rust_helper_seq_file_net(struct seq_file *seq)
{
	return seq_file_net(seq);
}

struct net *rust_helper_seq_file_single_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
}

__u64 rust_helper_siphash(const void *data, size_t length, const __u64 key[2])
{
	const siphash_key_t siphash_key = { { key[0], key[1] } };

	return siphash(data, length, &siphash_key);
}

void *rust_helper_this_cpu_ptr(void *ptr)
{
	return this_cpu_ptr((void __percpu *)(uintptr_t)ptr);
}

unsigned long rust_helper_totalram_pages(void)
{
	return totalram_pages();
}

void rust_helper_tracepoint_synchronize_unregister(void)
{
	tracepoint_synchronize_unregister();
}

#ifdef TOA_OWN_CRATE
/* Of the `kernel` crate in src/kernel; the kernel's own crate brings its own. */
void *rust_helper_kmalloc(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}
#endif
