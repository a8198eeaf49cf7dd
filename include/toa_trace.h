/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The event toa:toa_client: a load balancer told of the client of a new connection.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM toa

#if !defined(_TOA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TOA_TRACE_H

#include <linux/in6.h>
#include <linux/tracepoint.h>
#include <uapi/linux/toa.h>

/* Addresses are 16 bytes in network byte order, ports in host byte order. */
TRACE_EVENT(toa_client,
	TP_PROTO(const void *client, u16 client_port, const void *balancer, u16 balancer_port,
		 u8 kind, u8 from),
	TP_ARGS(client, client_port, balancer, balancer_port, kind, from),
	TP_STRUCT__entry(
		__array(u8, client, 16)
		__array(u8, balancer, 16)
		__field(u16, client_port)
		__field(u16, balancer_port)
		__field(u8, kind)
		__field(u8, from)
	),
	TP_fast_assign(
		memcpy(__entry->client, client, 16);
		memcpy(__entry->balancer, balancer, 16);
		__entry->client_port = client_port;
		__entry->balancer_port = balancer_port;
		__entry->kind = kind;
		__entry->from = from;
	),
	TP_printk("client=[%pI6c]:%u balancer=[%pI6c]:%u kind=%u from=%s",
		  __entry->client, __entry->client_port,
		  __entry->balancer, __entry->balancer_port, __entry->kind,
		  __print_symbolic(__entry->from, { TOA_FROM_SYN, "syn" },
				   { TOA_FROM_ACK, "ack" }, { TOA_FROM_DATA, "data" }))
);

#endif /* _TOA_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE toa_trace
#include <trace/define_trace.h>
