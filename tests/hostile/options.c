// SPDX-License-Identifier: GPL-2.0
#include "options.h"

#include <string.h>

enum { EOL = 0, NOP = 1 };

/* Steele, Lea and Flood's SplitMix: any state is as good as another to begin with. */
uint32_t random32(struct random *random)
{
	uint64_t mixed = random->state += 0x9e3779b97f4a7c15;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
	return (mixed ^ mixed >> 31) >> 16;
}

uint32_t below(struct random *random, uint32_t limit)
{
	return (uint64_t)random32(random) * limit >> 32;
}

bool in_percent(struct random *random, uint32_t percent)
{
	return below(random, 100) < percent;
}

/* An option space that is being filled. What does not fit is cut off. */
struct space {
	unsigned char *bytes;
	size_t length;
};

static void put(struct space *space, unsigned char byte)
{
	if (space->length < OPTIONS_MAX)
		space->bytes[space->length++] = byte;
}

static void put_bytes(struct space *space, const void *bytes, size_t length)
{
	for (const unsigned char *byte = bytes; length--; byte++)
		put(space, *byte);
}

static void put_noise(struct space *space, struct random *random, size_t length)
{
	while (length--)
		put(space, random32(random));
}

/* An IPv6 address of a client: nearly always one that could be. */
static void put_address6(struct space *space, struct random *random)
{
	static const unsigned char documentation[] = { 0x20, 0x01, 0x0d, 0xb8 };
	static const unsigned char mapped[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	switch (below(random, 16)) {
	case 0:
		put_bytes(space, mapped, sizeof(mapped));
		put_noise(space, random, 4);
		break;
	case 1:
		put_noise(space, random, 16);
		break;
	case 2:
		for (int i = 0; i < 15; i++)
			put(space, 0);
		put(space, random32(random) & 1);
		break;
	default:
		put_bytes(space, documentation, sizeof(documentation));
		put_noise(space, random, 12);
	}
}

/* All kinds that load balancers send, with the length of each; some kinds have two. */
static const unsigned char formats[][2] = {
	{ 254, 8 }, { 254, 20 }, { 253, 8 }, { 253, 20 }, { 252, 20 }, { 250, 8 },
	{ 249, 40 }, { 202, 8 },  { 201, 6 }, { 200, 8 },  { 28, 7 },   { 28, 19 },
};

static void put_format(struct space *space, struct random *random, unsigned int index, int length)
{
	unsigned int kind = formats[index][0], real = formats[index][1];

	put(space, kind);
	put(space, length < 0 ? (int)real : length);
	if (kind == 28) {
		put(space, in_percent(random, 90) ? 1 : random32(random));
		real--;
	} else if (kind != 201) {
		put_noise(space, random, 2);
		real -= 2;
	}
	if (real - 2 >= 16) {
		put_address6(space, random);
		real -= 16;
	}
	put_noise(space, random, real - 2);
}

static void put_any_format(struct space *space, struct random *random, int length)
{
	put_format(space, random, below(random, sizeof(formats) / sizeof(*formats)), length);
}

/* Kind 254 as Linux itself reads it in a SYN. */
static void put_look_alike(struct space *space, struct random *random, const void *magic,
			   size_t magic_length)
{
	static const unsigned char lengths[] = { 4, 6, 8, 12, 20 };
	size_t length = lengths[below(random, sizeof(lengths))];

	put(space, 254);
	put(space, length);
	put_bytes(space, magic, magic_length < length - 2 ? magic_length : length - 2);
	if (length - 2 > magic_length)
		put_noise(space, random, length - 2 - magic_length);
}

static void put_option(struct space *space, unsigned char kind, struct random *random,
		       size_t length)
{
	put(space, kind);
	put(space, length);
	put_noise(space, random, length - 2);
}

static void put_piece(struct space *space, struct random *random)
{
	static const unsigned char lengths[] = { 0, 1, 2, 3, 7, 9, 19, 21, 39, 41, 255 };
	static const unsigned char of_linux[][2] = { { 2, 4 }, { 3, 3 }, { 4, 2 }, { 5, 10 },
						     { 8, 10 }, { 19, 18 }, { 28, 4 }, { 29, 16 },
						     { 34, 2 }, { 34, 10 } };
	const unsigned char *option;

	switch (below(random, 16)) {
	case 0:
		put_any_format(space, random, lengths[below(random, sizeof(lengths))]);
		break;
	case 1:
		put_any_format(space, random, random32(random) & 0xff);
		break;
	case 2:
		put_look_alike(space, random, "\xf9\x89", 2);
		break;
	case 3:
		put_look_alike(space, random, "\xe2\xd4\xc3\xd9", 4);
		break;
	case 4:
		put(space, NOP);
		break;
	case 5:
		if (in_percent(random, 20))
			put(space, EOL);
		break;
	case 6:
		/* MPTCP, with any subtype. */
		put_option(space, 30, random, 3 + below(random, 20));
		break;
	case 7:
		put_option(space, random32(random), random, 2 + below(random, 16));
		break;
	case 8:
	case 9:
		option = of_linux[below(random, sizeof(of_linux) / sizeof(*of_linux))];
		put_option(space, option[0], random, option[1]);
		break;
	default:
		put_any_format(space, random, -1);
	}
}

size_t make_options(struct random *random, unsigned char options[OPTIONS_MAX])
{
	struct space space = { options, 0 };
	unsigned int choice = below(random, 100);

	if (choice < 15) {
		;
	} else if (choice < 22) {
		/* The largest segment, selective acknowledgements, the scale of the window. */
		put_bytes(&space, "\2\4\5\xb4\1\1\4\2\1\3\3\7", 12);
	} else if (choice < 45) {
		put_format(&space, random, in_percent(random, 30), -1);
	} else if (choice < 58) {
		put_any_format(&space, random, -1);
	} else if (choice < 92) {
		for (unsigned int pieces = 1 + below(random, 6); pieces; pieces--)
			put_piece(&space, random);
	} else {
		put_noise(&space, random, 4 + below(random, OPTIONS_MAX - 3));
	}

	/* Padding is no operation, the end mark with anything behind it, or missing. */
	switch (below(random, 8)) {
	case 0:
		while (space.length % 4)
			put(&space, random32(random));
		break;
	case 1:
		return space.length / 4 * 4;
	case 2:
		while (space.length % 4)
			put(&space, EOL);
		break;
	default:
		while (space.length % 4)
			put(&space, NOP);
	}
	return space.length;
}

static bool with_v4(struct client *client, const unsigned char *address)
{
	memset(client->address, 0, 10);
	memset(client->address + 10, 0xff, 2);
	memcpy(client->address + 12, address, 4);
	return true;
}

static bool with_v6(struct client *client, const unsigned char *address)
{
	memcpy(client->address, address, 16);
	return true;
}

/* The client in one option, whose value is what follows kind and length. */
static bool option_names(unsigned int kind, unsigned int length, const unsigned char *value,
			 struct client *client)
{
	client->has_port = kind != 28;
	client->port = client->has_port && length >= 4 ? value[0] << 8 | value[1] : 0;
	switch (kind) {
	case 254:
	case 253:
		if (length == 8)
			return with_v4(client, value + 2);
		return length == 20 && with_v6(client, value + 2);
	case 252:
		return length == 20 && with_v4(client, value + 2);
	case 249:
		return length == 40 && with_v6(client, value + 2);
	case 200:
		return length == 8 && with_v4(client, value + 2);
	case 28:
		if (length == 7 && value[0] == 1)
			return with_v4(client, value + 1);
		return length == 19 && value[0] == 1 && with_v6(client, value + 1);
	default:
		return false;
	}
}

bool names_client(const unsigned char *options, size_t length, bool syn, struct client *client)
{
	size_t at = 0;

	while (at < length && options[at] != EOL) {
		unsigned int kind = options[at], size;
		const unsigned char *value = options + at + 2;

		if (kind == NOP) {
			at++;
			continue;
		}
		if (at + 1 == length)
			return false;
		size = options[at + 1];
		if (size < 2 || at + size > length)
			return false;
		at += size;
		if (syn && kind == 254 &&
		    ((size >= 4 && !memcmp(value, "\xf9\x89", 2)) ||
		     (size >= 6 && !memcmp(value, "\xe2\xd4\xc3\xd9", 4))))
			continue;
		if (option_names(kind, size, value, client))
			return true;
	}
	return false;
}
