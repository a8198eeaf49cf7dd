// SPDX-License-Identifier: GPL-2.0
/*
 * Lets toa's allocations of per-CPU memory fail, which the kernel's fault injection cannot reach: such an
 * allocation nearly always comes out of pages that are there already.
 *
 * The parameter `nth` is which one fails, counted down to zero, when none does any more.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/string.h>

static atomic_t nth = ATOMIC_INIT(0);

static int set_nth(const char *text, const struct kernel_param *param)
{
	int number, error = kstrtoint(text, 0, &number);

	if (!error)
		atomic_set(&nth, number);
	return error;
}

static int get_nth(char *page, const struct kernel_param *param)
{
	return sprintf(page, "%d\n", atomic_read(&nth));
}

static const struct kernel_param_ops nth_ops = { .set = set_nth, .get = get_nth };
module_param_cb(nth, &nth_ops, NULL, 0600);

static noinline notrace void *return_null(void)
{
	return NULL;
}

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long caller = *(unsigned long *)regs->sp;
	char name[KSYM_SYMBOL_LEN];
	bool fails;

	sprint_symbol(name, caller);
	fails = strstr(name, "[toa]") && atomic_add_unless(&nth, -1, 0) && !atomic_read(&nth);
	if (!fails)
		return 0;
	/* Not to the caller itself: a probe cannot take the return address off the stack. */
	regs->ip = (unsigned long)return_null;
	return 1;
}

static struct kprobe probe = {
	.symbol_name = "pcpu_alloc_noprof",
	.pre_handler = before,
};

static int __init failpercpu_init(void)
{
	return register_kprobe(&probe);
}

static void __exit failpercpu_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(failpercpu_init);
module_exit(failpercpu_exit);
MODULE_DESCRIPTION("Failing per-CPU allocations, for the tests of toa");
MODULE_LICENSE("GPL");
