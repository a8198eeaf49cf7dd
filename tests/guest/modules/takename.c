// SPDX-License-Identifier: GPL-2.0
/*
 * Makes /proc/net/toa_stats in the network namespace that it is loaded from, as another TOA module
 * does.
 */
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <net/net_namespace.h>

static struct proc_dir_entry *file;

static int show(struct seq_file *seq, void *data)
{
	return 0;
}

static int __init takename_init(void)
{
	file = proc_create_single("toa_stats", 0444, current->nsproxy->net_ns->proc_net, show);
	return file ? 0 : -ENOMEM;
}

static void __exit takename_exit(void)
{
	proc_remove(file);
}

module_init(takename_init);
module_exit(takename_exit);
MODULE_DESCRIPTION("Owner of a file name, for the tests of toa");
MODULE_LICENSE("GPL");
