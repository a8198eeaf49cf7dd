// SPDX-License-Identifier: GPL-2.0
/*
 * Owns a function as a livepatch does: the kernel lets one hook at a time replace it.
 */
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/string.h>

static char *function = "inet_getname";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "the function to own");

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#define REGS struct ftrace_regs
#define FLAGS 0
#else
#define REGS struct pt_regs
#define FLAGS FTRACE_OPS_FL_SAVE_REGS
#endif

/* Replaces nothing: owning is enough. */
static void notrace hook(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			 REGS *regs)
{
}

static struct ftrace_ops ops = {
	.func = hook,
	.flags = FTRACE_OPS_FL_IPMODIFY | FLAGS,
};

static int __init ipmodify_init(void)
{
	int error = ftrace_set_filter(&ops, function, strlen(function), 1);

	return error ?: register_ftrace_function(&ops);
}

static void __exit ipmodify_exit(void)
{
	unregister_ftrace_function(&ops);
	ftrace_set_filter(&ops, NULL, 0, 1);
}

module_init(ipmodify_init);
module_exit(ipmodify_exit);
MODULE_DESCRIPTION("Owner of a function, for the tests of toa");
MODULE_LICENSE("GPL");
