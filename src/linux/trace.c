// SPDX-License-Identifier: GPL-2.0
/*
 * The module's own tracepoints, which only C can declare.
 */
#include <toa.h>

#define CREATE_TRACE_POINTS
#include <toa_trace.h>

void rust_helper_trace_toa_client(const void *client, __u16 client_port, const void *balancer,
				  __u16 balancer_port, __u8 kind, __u8 from)
{
	trace_toa_client(client, client_port, balancer, balancer_port, kind, from);
}
