// SPDX-License-Identifier: GPL-2.0
/*
 * Answers options of getsockopt() at level IPPROTO_IP, as another TOA module does.
 */
#include <linux/module.h>
#include <linux/netfilter.h>

static int first = 1345;
module_param(first, int, 0444);
MODULE_PARM_DESC(first, "the lowest option");

static int count = 1;
module_param(count, int, 0444);
MODULE_PARM_DESC(count, "how many");

static int get(struct sock *sk, int option, void __user *value, int *length)
{
	return -EPROTO;
}

static struct nf_sockopt_ops options = {
	.pf = PF_INET,
	.get = get,
	.owner = THIS_MODULE,
};

static int __init takeoptions_init(void)
{
	options.get_optmin = first;
	options.get_optmax = first + count;
	return nf_register_sockopt(&options);
}

static void __exit takeoptions_exit(void)
{
	nf_unregister_sockopt(&options);
}

module_init(takeoptions_init);
module_exit(takeoptions_exit);
MODULE_DESCRIPTION("Owner of socket options, for the tests of toa");
MODULE_LICENSE("GPL");
