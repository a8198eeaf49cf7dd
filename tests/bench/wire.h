/* SPDX-License-Identifier: GPL-2.0 */
/* The network that the benchmark plays: a TUN device, and the far ends of connections behind it. */
#ifndef _WIRE_H
#define _WIRE_H

#include <stddef.h>
#include <stdint.h>

#define SERVER4 0x0a4d0001 /* 10.77.0.1/16, and fd77::1/64 */
#define CLIENT4 0xcb007107 /* 203.0.113.7 */
#define CLIENT6_LOW 0x07   /* 2001:db8::7 */
#define CLIENT_PORT 50001

/* The far end of one connection, which is the load balancer's. */
struct flow {
	int family;	  /* of the packets */
	uint32_t address; /* IPv4: the address; IPv6: the last 32 bits of it */
	uint16_t port;
	uint16_t server_port;
	uint32_t seq;
	uint32_t ack;
};

struct segment {
	unsigned char bytes[120];
	size_t length;
};

enum { FIN = 0x01, SYN = 0x02, RST = 0x04, ACK = 0x10 };

/* Option 254 with the client of that family; returns its length. */
size_t toa_option(unsigned char *option, int family);

/* Makes the next segment of a flow, and moves its sequence number on. */
void make_segment(struct segment *segment, struct flow *flow, int flags,
		  const unsigned char *options, size_t length);

/*
 * Reads what the server sends until it is a segment of the flow with these flags, and takes up its
 * acknowledgement. Returns -1 if it does not come: all that answers a segment is there when the
 * write of that segment has returned.
 */
int expect(int tun, struct flow *flow, int flags);

/* Makes the device with its addresses; returns its descriptor. */
int open_tun(void);

#endif
