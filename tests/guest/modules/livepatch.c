// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch of a function that toa answers for, of which there can be one owner.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/net.h>

static int livepatch_getname(struct socket *sock, struct sockaddr *name, int peer)
{
	return -ENOTCONN;
}

static struct klp_func functions[] = {
	{ .old_name = "inet6_getname", .new_func = livepatch_getname },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions }, /* of the kernel itself, as it has no name */
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Livepatch of a function, for the tests of toa");
MODULE_LICENSE("GPL");
