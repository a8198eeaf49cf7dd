// SPDX-License-Identifier: GPL-2.0
/*
 * Mistakes on purpose that Rust cannot express.
 */
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

void mistake_rcu_dereference(void);
void mistake_free_pending_work(void);
void mistake_race(void);
void mistake_race_with(void (*change)(unsigned long *counter));

static int __rcu *pointer;

void mistake_rcu_dereference(void)
{
	(void)rcu_dereference(pointer);
}

static void nothing(struct work_struct *work)
{
}

void mistake_free_pending_work(void)
{
	struct delayed_work *work = kzalloc(sizeof(*work), GFP_KERNEL);

	if (!work)
		return;
	INIT_DELAYED_WORK(work, nothing);
	schedule_delayed_work(work, 3600 * HZ);
	kfree(work);
}

static unsigned long counter;
static int watching_cpu;

static void count(void *unused)
{
	for (int i = 0; i < 100000; i++) {
		counter++;
		barrier();
	}
}

void mistake_race(void)
{
	on_each_cpu(count, NULL, 1);
}

static void watch_or_change(void *function)
{
	void (*change)(unsigned long *counter) = function;

	for (int i = 0; i < 100000; i++) {
		if (smp_processor_id() != watching_cpu)
			change(&counter);
		else if (counter == ULONG_MAX)
			break;
		barrier();
	}
}

/* One CPU reads what another changes by a function that the compiler has not instrumented. */
void mistake_race_with(void (*change)(unsigned long *counter))
{
	watching_cpu = get_cpu();
	on_each_cpu(watch_or_change, change, 1);
	put_cpu();
}
