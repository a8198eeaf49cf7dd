// SPDX-License-Identifier: GPL-2.0
/*
 * The module's version and parameters: the names, and what modinfo says of them. Their texts go to Rust.
 */
#include <toa.h>

/* The one place that has the version: `make install` and the packages read it here. */
MODULE_VERSION("1.0.0");

static int toa_set(const char *text, const struct kernel_param *param)
{
	return toa_param_set((uintptr_t)param->arg, text);
}

static int toa_get(char *page, const struct kernel_param *param)
{
	return toa_param_get((uintptr_t)param->arg, page);
}

static void toa_free(void *arg)
{
	toa_param_free((uintptr_t)arg);
}

static const struct kernel_param_ops toa_param_ops = {
	.set = toa_set,
	.get = toa_get,
	.free = toa_free,
};

#define TOA_PARAM(name, number, mode, text)				\
	module_param_cb(name, &toa_param_ops, (void *)(uintptr_t)number, mode); \
	MODULE_PARM_DESC(name, text)

TOA_PARAM(kinds, TOA_PARAM_KINDS, 0644,
	  "TCP option kinds to read, of 254,253,252,250,249,202,201,200,28 (default 254)");
TOA_PARAM(trusted, TOA_PARAM_TRUSTED, 0644,
	  "Prefixes of the load balancers to believe, such as 10.0.0.0/8,fd00::/8 (default: everyone)");
TOA_PARAM(ports, TOA_PARAM_PORTS, 0644,
	  "Local ports to read options on, such as 80,443,8000-8999 (default: all)");
TOA_PARAM(syn_max, TOA_PARAM_SYN_MAX, 0444,
	  "How many clients that SYNs named to keep until their connections are made (default: by memory; 0: none)");
TOA_PARAM(syn_seconds, TOA_PARAM_SYN_SECONDS, 0444,
	  "For how many seconds to keep them (default 64)");
