/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers in network byte order, at any address. */
#ifndef BYTES_H
#define BYTES_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

static inline void put16(unsigned char *to, uint16_t value)
{
	value = htons(value);
	memcpy(to, &value, sizeof(value));
}

static inline void put32(unsigned char *to, uint32_t value)
{
	value = htonl(value);
	memcpy(to, &value, sizeof(value));
}

static inline uint16_t get16(const unsigned char *from)
{
	return from[0] << 8 | from[1];
}

static inline uint32_t get32(const unsigned char *from)
{
	return (uint32_t)get16(from) << 16 | get16(from + 2);
}

#endif
