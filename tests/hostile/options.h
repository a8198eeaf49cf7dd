/* SPDX-License-Identifier: GPL-2.0 */
/* What a hostile sender puts into the option space of a TCP header, and which client is named there. */
#ifndef _OPTIONS_H
#define _OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 40

/* A source of numbers that are the same whenever its first state is. */
struct random {
	uint64_t state;
};

uint32_t random32(struct random *random);

/* A number below `limit`, which is not zero. */
uint32_t below(struct random *random, uint32_t limit);

/* Whether something happens that does so in `percent` of all cases. */
bool in_percent(struct random *random, uint32_t percent);

struct client {
	unsigned char address[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;		   /* in the order of the machine */
	bool has_port;
};

/* Writes options, which may be anything; returns how many bytes, a multiple of four. */
size_t make_options(struct random *random, unsigned char options[OPTIONS_MAX]);

/*
 * The client that an option space names, when all kinds are read. Written after the formats' descriptions
 * and not after the module, which it is to judge.
 */
bool names_client(const unsigned char *options, size_t length, bool syn, struct client *client);

#endif
