// SPDX-License-Identifier: GPL-2.0
/*
 * Mistakes on purpose that Rust cannot express.
 */
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

void mistake_rcu_dereference(void);
void mistake_free_pending_work(void);

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
