// SPDX-License-Identifier: GPL-2.0
/*
 * A hostile sender and the server that it sends to, in one process, so that it is known which segment
 * has made each connection, and therefore what accept() has to say of it.
 *
 * usage: hostile TUN NUMBER SEGMENTS SEED
 *
 * TUN is the descriptor of a device whose addresses are 10.77.NUMBER.1/24 and fdNUMBER::1/64. The far
 * ends are .2 and ::2, which are to be trusted, and .3 and ::3, which are not. All kinds are to be read,
 * and `ports` is to be 2000-2999.
 *
 * Each segment comes from its number and the seed alone, but for sequence numbers and for what suits a
 * connection at the moment. Stops itself when its servers listen, and half way. Prints what it did as
 * lines of name and number. Whatever accept() or getpeername() says wrong is shown with the segment, and
 * makes the exit status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/toa.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../bytes.h"
#include "options.h"

#define FLOWS 4068
#define FIRST_PORT 10000
/* Flows that most segments belong to for a while, so that connections get somewhere. */
#define HOT 24
#define HOT_SEGMENTS 1024
#define HELD 512
#define REMEMBERED 64
#define LAZY_SEGMENTS 256
#define SHOWN_FAILURES 10

enum { FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, URG = 0x20 };

enum listener_type {
	V4,
	DUAL,
	V4_COOKIES,
	DUAL_COOKIES,
	FAST_OPEN,
	MPTCP,
	DEFERRED,
	NOT_SELECTED,
	/* One whose queue is full most of the time. */
	LAZY,
	LISTENERS,
};

struct listener {
	int fd;
	uint16_t port;
};

/* A client that a segment of a flow has named. */
struct named {
	uint32_t sequence;
	bool syn;
	struct client client;
};

/* The far end of connections between two ports, one after another. */
struct flow {
	/* Both of what is sent next. */
	uint32_t sequence, acknowledged;
	uint32_t first_sequence;
	/* Of the SYN that was answered last. */
	uint32_t answered_sequence;
	enum { IDLE, SYN_SENT, ANSWERED, OPEN } state;
	bool has_key;
	unsigned char key[8];
	unsigned int count;
	struct named named[REMEMBERED];
};

struct segment {
	uint64_t number;
	unsigned int flow;
	unsigned char bytes[512];
	/* Of the packet, of the part before TCP, and of what TCP gets to see. */
	size_t length, ip_length, tcp_length;
	uint32_t data;
	/* What it names. */
	bool has_client;
	struct client client;
};

/* A connection that the server has accepted, and who that said it was. */
struct held {
	int fd;
	unsigned int flow;
	struct sockaddr_in6 name;
	socklen_t length;
};

static struct {
	unsigned long long segments, refused, answered, resets, accepted, accepted_mptcp, aborted, asked_names,
		asked_options, answered_options, own, own_untrusted, from_syn, late, bypassed,
		reset_before;
} counts;

static int tun, number, failures;
static struct listener listeners[LISTENERS];
static struct flow flows[FLOWS];
static struct held held[HELD];

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(2);
	}
}

/* What a flow is follows from its index. */
static enum listener_type listener_of(unsigned int flow)
{
	return flow % LISTENERS;
}

static bool listens_on_v4(enum listener_type type)
{
	return type == V4 || type == V4_COOKIES;
}

static bool is_v6(unsigned int flow)
{
	return !listens_on_v4(listener_of(flow)) && flow / LISTENERS & 1;
}

static bool is_trusted(unsigned int flow)
{
	return flow / LISTENERS & 2;
}

static bool is_believed(unsigned int flow)
{
	return is_trusted(flow) && listener_of(flow) != NOT_SELECTED;
}

/* The address of the server (1) or of a far end. */
static void put_address(unsigned char *to, bool v6, int host)
{
	const unsigned char v4[] = { 10, 77, number, host };

	if (!v6) {
		memcpy(to, v4, sizeof(v4));
		return;
	}
	memset(to, 0, 16);
	to[0] = 0xfd;
	to[1] = 0x70 + number;
	to[15] = host;
}

/* The far end of a flow, in IPv6 form. */
static struct client peer_of(unsigned int flow)
{
	struct client peer = { .port = FIRST_PORT + flow, .has_port = true };
	int host = is_trusted(flow) ? 2 : 3;

	if (is_v6(flow)) {
		put_address(peer.address, true, host);
	} else {
		memset(peer.address + 10, 0xff, 2);
		put_address(peer.address + 12, false, host);
	}
	return peer;
}

static bool is_same(const struct client *a, const struct client *b)
{
	return a->port == b->port && !memcmp(a->address, b->address, sizeof(a->address));
}

/* Whether this is the far end of a flow that is one of a listener's. */
static bool is_peer(unsigned int flow, enum listener_type type, const struct client *client)
{
	struct client peer = peer_of(flow);

	return flow < FLOWS && listener_of(flow) == type && is_same(client, &peer);
}

static bool is_mapped(const struct client *client)
{
	static const unsigned char prefix[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return !memcmp(client->address, prefix, sizeof(prefix));
}

/* The client as connection `flow` has it: without a port it has that of the peer. */
static struct client with_port(struct client client, unsigned int flow)
{
	if (!client.has_port)
		client.port = FIRST_PORT + flow;
	client.has_port = true;
	return client;
}

static void print_client(const char *what, const struct client *client)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, client->address, text, sizeof(text));
	printf("  %s [%s]:%u\n", what, text, client->port);
}

static void fail(const char *what, unsigned int flow, const struct segment *segment,
		 const struct client *shown)
{
	struct client peer = peer_of(flow);

	if (++failures > SHOWN_FAILURES)
		return;
	printf("wrong: %s\n", what);
	printf("  flow %u, listener %d, %s, state %d\n", flow, listener_of(flow),
	       is_trusted(flow) ? "trusted" : "not trusted", flows[flow].state);
	print_client("peer ", &peer);
	if (shown)
		print_client("shown", shown);
	if (segment) {
		printf("  segment %llu of flow %u:", (unsigned long long)segment->number,
		       segment->flow);
		for (size_t i = 0; i < segment->length; i++)
			printf(" %02x", segment->bytes[i]);
		printf("\n");
		if (segment->has_client)
			print_client("named", &segment->client);
	}
	fflush(stdout);
}

static uint32_t sum(const unsigned char *data, size_t length, uint32_t total)
{
	for (; length > 1; data += 2, length -= 2)
		total += get16(data);
	return length ? total + (*data << 8) : total;
}

static uint16_t fold(uint32_t total)
{
	total = (total & 0xffff) + (total >> 16);
	total += total >> 16;
	return ~total;
}

/* What a segment is made of, beside its options. */
struct plan {
	unsigned int flags;
	uint32_t sequence, acknowledged;
	size_t data;
	/* Damage, each none if it is zero: another data offset; more or fewer bytes as IP has it. */
	unsigned int data_offset;
	int length_error;
	bool wrong_checksum, ip_options;
	/* How many bytes at the end are not sent. */
	size_t cut;
};

static void build(struct segment *segment, const struct plan *plan, const unsigned char *options,
		  size_t options_length)
{
	unsigned char *ip = segment->bytes, *tcp;
	bool v6 = is_v6(segment->flow);
	size_t tcp_length = 20 + options_length + plan->data, address_length = v6 ? 16 : 4;
	size_t claimed = tcp_length + plan->length_error;
	int host = is_trusted(segment->flow) ? 2 : 3;
	unsigned char *addresses;
	uint16_t checksum;

	memset(ip, 0, sizeof(segment->bytes));
	if (v6) {
		ip[0] = 0x60;
		put16(ip + 4, claimed);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		addresses = ip + 8;
		segment->ip_length = 40;
	} else {
		segment->ip_length = plan->ip_options ? 24 : 20;
		ip[0] = 0x40 | segment->ip_length / 4;
		put16(ip + 2, segment->ip_length + claimed);
		put16(ip + 6, 0x4000); /* DF */
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		addresses = ip + 12;
		memset(ip + 20, 1, segment->ip_length - 20);
	}
	put_address(addresses, v6, host);
	put_address(addresses + address_length, v6, 1);
	if (!v6)
		put16(ip + 10, fold(sum(ip, segment->ip_length, 0)));

	tcp = ip + segment->ip_length;
	put16(tcp, FIRST_PORT + segment->flow);
	put16(tcp + 2, listeners[listener_of(segment->flow)].port);
	put32(tcp + 4, plan->sequence);
	put32(tcp + 8, plan->acknowledged);
	tcp[12] = (plan->data_offset ? plan->data_offset : 5 + options_length / 4) << 4;
	tcp[13] = plan->flags;
	put16(tcp + 14, 65535);
	memcpy(tcp + 20, options, options_length);
	memset(tcp + 20 + options_length, 'd', plan->data);

	/* Right for what the kernel gets to see. */
	segment->tcp_length = claimed < tcp_length ? claimed : tcp_length;
	checksum = fold(sum(addresses, 2 * address_length,
			    sum(tcp, segment->tcp_length, IPPROTO_TCP + segment->tcp_length)));
	put16(tcp + 16, plan->wrong_checksum ? checksum + 1 : checksum);
	segment->length = segment->ip_length + tcp_length - plan->cut;
	segment->data = plan->data;
}

/* Reads the segment as its receiver has to. */
static void read_own(struct segment *segment)
{
	const unsigned char *tcp = segment->bytes + segment->ip_length;
	size_t header = tcp[12] >> 4 << 2;

	segment->has_client = header >= 20 && header <= segment->tcp_length &&
			      names_client(tcp + 20, header - 20, tcp[13] & SYN, &segment->client);
	if (segment->has_client) {
		struct flow *flow = &flows[segment->flow];
		struct named *named = &flow->named[flow->count++ % REMEMBERED];

		segment->client = with_port(segment->client, segment->flow);
		named->sequence = get32(tcp + 4);
		named->syn = tcp[13] & SYN;
		named->client = segment->client;
	}
}

/*
 * Whether the SYN of a connection named this client; or any segment of the flow, if it is not known which one
 * made the connection.
 */
static bool was_named(unsigned int index, const struct segment *segment, const struct client *client)
{
	const struct flow *flow = &flows[index];
	uint32_t first = segment ? get32(segment->bytes + segment->ip_length + 4) - 1 : 0;
	unsigned int remembered = flow->count < REMEMBERED ? flow->count : REMEMBERED;
	bool has_syn = false, with_syn = false, any = false;

	for (unsigned int i = 0; i < remembered; i++) {
		const struct named *named = &flow->named[i];
		bool same = is_same(&named->client, client);

		if (segment && !named->syn)
			continue;
		any |= same;
		/*
		 * A SYN cookie is for the SYN just before it. But a segment that comes out of order makes a
		 * connection too, from the SYN that was answered, whatever others were just before it.
		 */
		if (segment && (named->sequence == first || named->sequence == flow->answered_sequence)) {
			has_syn = true;
			with_syn |= same;
		}
	}
	return has_syn ? with_syn : any;
}

/* The same of any flow whose connections come to this listener. */
static bool was_named_by_any(enum listener_type type, const struct client *client)
{
	for (unsigned int flow = type; flow < FLOWS; flow += LISTENERS)
		if (is_believed(flow) && was_named(flow, NULL, client))
			return true;
	return false;
}

static struct client client_of(const struct sockaddr_in6 *name)
{
	struct client client = { .has_port = true };

	if (name->sin6_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)name;

		memset(client.address + 10, 0xff, 2);
		memcpy(client.address + 12, &in->sin_addr, 4);
		client.port = ntohs(in->sin_port);
	} else {
		memcpy(client.address, &name->sin6_addr, 16);
		client.port = ntohs(name->sin6_port);
	}
	return client;
}

static void drop(struct held *place)
{
	struct linger at_once = { 1, 0 };
	struct sockaddr_in6 name = { 0 };
	socklen_t length = sizeof(name);

	if (place->fd < 0)
		return;
	counts.asked_names++;
	if (getpeername(place->fd, (struct sockaddr *)&name, &length)) {
		if (errno != ENOTCONN)
			fail("getpeername() failed otherwise than with ENOTCONN", place->flow, NULL, NULL);
	} else if (length != place->length || memcmp(&name, &place->name, length)) {
		struct client shown = client_of(&name);

		fail("getpeername() says another name than accept()", place->flow, NULL, &shown);
	}
	if (place->flow & 1)
		check(setsockopt(place->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "SO_LINGER");
	close(place->fd);
	place->fd = -1;
}

/* Holds what was accepted against what was sent. `segment` made the connection, if it is known which one did. */
static void judge(const struct held *place, const struct segment *segment, bool has_info,
		  const struct toa_info *info)
{
	unsigned int flow = place->flow;
	enum listener_type type = listener_of(flow);
	struct client peer = peer_of(flow), shown = client_of(&place->name), client = shown;
	bool named;

	if (has_info) {
		memcpy(client.address, &info->client, 16);
		client.port = ntohs(info->client_port);
	}
	/* MPTCP passes no such question on. */
	named = type == MPTCP ? !is_same(&shown, &peer) : has_info;

	if (named && !is_believed(flow)) {
		fail(is_trusted(flow) ? "a client on a port that is not selected" : "a client from an untrusted sender",
		     flow, segment, &client);
		return;
	}
	if (segment && segment->has_client && is_believed(flow)) {
		counts.own++;
		if (!named || !is_same(&client, &segment->client)) {
			/* What MPTCP cannot say is seen above alone. */
			fail("not the client that the segment named", flow, segment, &client);
			return;
		}
	} else if (named) {
		counts.from_syn += segment != NULL;
		if (!was_named(flow, segment, &client)) {
			fail("a client that no SYN named", flow, segment, &client);
			return;
		}
	} else if (segment && segment->has_client) {
		counts.own_untrusted++;
	}

	if (named && place->name.sin6_family == AF_INET && !is_mapped(&client)) {
		counts.bypassed++;
		named = false;
	}
	if (!is_same(&shown, named ? &client : &peer))
		fail("accept() says neither client nor peer", flow, segment, &shown);
}

/* Accepts a connection, if there is one. It was made by `segment`, unless that is null. */
static bool take(enum listener_type type, const struct segment *segment, uint32_t where)
{
	struct pollfd waiting = { .fd = listeners[type].fd, .events = POLLIN };
	struct held *place = &held[where % HELD];
	struct toa_info info;
	socklen_t info_length = sizeof(info);
	struct sockaddr_in6 name = { 0 };
	socklen_t length = sizeof(name);
	struct client shown;
	bool has_info;
	int fd;

	/* accept() makes a socket before it looks. */
	if (poll(&waiting, 1, 0) <= 0)
		return false;
	memset(&info, 0, sizeof(info));
	fd = accept4(listeners[type].fd, (struct sockaddr *)&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == ECONNABORTED) {
			counts.asked_names++;
			counts.aborted++;
			return true;
		}
		if (errno != EAGAIN)
			check(-1, "accept");
		return false;
	}
	counts.asked_names++;
	counts.accepted++;
	counts.accepted_mptcp += type == MPTCP;

	drop(place);
	place->fd = fd;
	place->name = name;
	place->length = length;
	has_info = !getsockopt(fd, IPPROTO_IP, TOA_SO_GET_INFO, &info, &info_length);
	if (has_info || errno == ESRCH)
		counts.asked_options++;
	counts.answered_options += has_info;

	/* Whose it is: the port of the far end says so. */
	shown = client_of(&name);
	place->flow = (has_info ? ntohs(info.balancer_port) : shown.port) - FIRST_PORT;
	if (!has_info && !is_peer(place->flow, type, &shown))
		place->flow = segment ? segment->flow : FLOWS;
	if (segment && place->flow != segment->flow) {
		counts.late++;
		segment = NULL;
	}
	if (place->flow == FLOWS) {
		/* One that was reset meanwhile has a client for accept() alone. */
		place->flow = type;
		counts.reset_before++;
		if (!was_named_by_any(type, &shown))
			fail("a client that no segment named", type, NULL, &shown);
		return true;
	}
	judge(place, segment, has_info, &info);
	flows[place->flow].state = OPEN;
	if (where & 0x1000)
		/* A server that speaks first. */
		(void)!send(fd, "220 \r\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
	return true;
}

/* The server's key in the options of a SYN-ACK, if it has one. */
static void read_key(struct flow *flow, const unsigned char *options, size_t length)
{
	flow->has_key = false;
	for (size_t at = 0; at + 12 <= length;) {
		if (options[at] <= 1) {
			at++;
			continue;
		}
		if (options[at] == 30 && options[at + 1] == 12) {
			memcpy(flow->key, options + at + 4, sizeof(flow->key));
			flow->has_key = true;
			return;
		}
		at += options[at + 1];
	}
}

/* Takes up what the server has sent. */
static void receive(void)
{
	unsigned char packet[2048];
	ssize_t length;

	while ((length = read(tun, packet, sizeof(packet))) > 0) {
		size_t ip_length = packet[0] >> 4 == 6 ? 40 : (packet[0] & 15) * 4, header;
		const unsigned char *tcp = packet + ip_length;
		unsigned int index, flags;
		struct flow *flow;

		if (packet[packet[0] >> 4 == 6 ? 6 : 9] != IPPROTO_TCP)
			continue;
		index = get16(tcp + 2) - FIRST_PORT;
		if (index >= FLOWS)
			continue;
		flow = &flows[index];
		flags = tcp[13];
		header = tcp[12] >> 4 << 2;
		if (flags & RST) {
			counts.resets++;
			flow->state = IDLE;
		} else if (flags & SYN) {
			counts.answered++;
			flow->acknowledged = get32(tcp + 4) + 1;
			flow->sequence = get32(tcp + 8);
			flow->answered_sequence = flow->sequence - 1;
			if (flow->state != OPEN)
				flow->state = ANSWERED;
			read_key(flow, tcp + 20, header - 20);
		} else {
			flow->acknowledged = get32(tcp + 4) + length - ip_length - header + (flags & FIN);
			if (flow->state == SYN_SENT) {
				/* There is a connection already: go on with that. */
				flow->sequence = get32(tcp + 8);
				flow->state = OPEN;
			}
		}
	}
}

/* A segment that suits the flow as it is. */
static void plan_proper(struct plan *plan, struct flow *flow, uint32_t choice, uint32_t noise)
{
	plan->sequence = flow->sequence;
	plan->acknowledged = flow->acknowledged;
	switch (flow->state) {
	case ANSWERED:
		if (choice < 80) {
			plan->flags = ACK | (plan->data ? PSH : 0) | (choice < 5 ? FIN : 0);
			return;
		}
		if (choice < 85) {
			plan->flags = RST | (noise & ACK);
			flow->state = IDLE;
			return;
		}
		break;
	case OPEN:
		plan->flags = ACK;
		if (choice < 30) {
			plan->flags |= FIN;
			flow->state = IDLE;
		} else if (choice < 45) {
			plan->flags |= RST;
			flow->state = IDLE;
		}
		flow->sequence += plan->data;
		return;
	default:
		break;
	}
	/* A SYN: once more with other options, or anew. Some try Fast Open. */
	plan->flags = SYN;
	plan->acknowledged = 0;
	if (flow->state == IDLE || choice < 90)
		flow->first_sequence = noise;
	plan->sequence = flow->first_sequence;
	flow->state = SYN_SENT;
	if (choice & 1)
		plan->data = 0;
}

/* A segment that suits nothing, or nearly. */
static void plan_random(struct random *random, struct plan *plan, const struct flow *flow)
{
	static const unsigned char usual[] = { SYN, ACK, SYN | ACK, SYN | FIN, SYN | RST, FIN, 0,
					       FIN | PSH | URG, RST, RST | ACK, ACK | URG, ACK | FIN };
	uint32_t sequences[] = { flow->sequence, flow->first_sequence, flow->sequence + below(random, 9) - 4,
				 flow->sequence + below(random, 4000), random32(random) };
	uint32_t acknowledged[] = { flow->acknowledged, flow->acknowledged + below(random, 9) - 4,
				    random32(random) };

	plan->flags = in_percent(random, 50) ? usual[below(random, sizeof(usual))]
					     : random32(random) & 0xff;
	plan->sequence = sequences[below(random, 5)];
	plan->acknowledged = acknowledged[below(random, 3)];
	if (in_percent(random, 15))
		plan->data_offset = 1 + below(random, 15);
	if (in_percent(random, 5))
		plan->length_error = (int)below(random, 80) - 40;
	if (plan->length_error < -(int)plan->data - 20)
		plan->length_error = -(int)plan->data - 20;
	plan->wrong_checksum = in_percent(random, 3);
	if (in_percent(random, 2))
		plan->cut = 1 + below(random, 20);
}

/* Adds what MPTCP's handshake needs to options, before or behind, if there is room. */
static size_t add_mptcp(unsigned char options[OPTIONS_MAX], size_t length, const struct flow *flow,
			unsigned int flags, bool before)
{
	unsigned char capable[20] = "\x1e\x04\x01\x01ourkey!!";
	size_t added = 4;

	if (!(flags & SYN)) {
		if (!flow->has_key || flow->state != ANSWERED)
			return length;
		capable[1] = added = 20;
		memcpy(capable + 12, flow->key, sizeof(flow->key));
	}
	if (length + added > OPTIONS_MAX)
		return length;
	if (before)
		memmove(options + added, options, length);
	memcpy(options + (before ? 0 : length), capable, added);
	return length + added;
}

static void step(uint64_t seed, uint64_t serial)
{
	struct random random = { seed * 0x2545f4914f6cdd1d + serial };
	struct segment segment = { .number = serial };
	unsigned char options[OPTIONS_MAX];
	struct plan plan = { 0 };
	struct flow *flow;
	uint32_t choice, noise, where;
	enum listener_type type;
	size_t length;
	bool proper, before;

	/* Another place in the sequence of numbers for each segment. */
	random.state = (uint64_t)random32(&random) << 32 | random32(&random);
	if (in_percent(&random, 75))
		segment.flow = (serial / HOT_SEGMENTS * 37 + below(&random, HOT)) % FLOWS;
	else
		segment.flow = below(&random, FLOWS);
	flow = &flows[segment.flow];
	type = listener_of(segment.flow);

	proper = in_percent(&random, 72);
	choice = below(&random, 100);
	noise = random32(&random);
	where = random32(&random);
	before = random32(&random) & 1;
	plan.data = in_percent(&random, 45) ? below(&random, 100) : 0;
	plan.ip_options = in_percent(&random, 1);
	length = make_options(&random, options);

	if (proper)
		plan_proper(&plan, flow, choice, noise);
	else
		plan_random(&random, &plan, flow);
	if (type == MPTCP && proper)
		length = add_mptcp(options, length, flow, plan.flags, before);
	build(&segment, &plan, options, length);
	read_own(&segment);

	counts.refused += write(tun, segment.bytes, segment.length) < 0;
	counts.segments++;
	receive();

	if (type != LAZY && take(type, &segment, where) && proper)
		flow->sequence = plan.sequence + !!(plan.flags & SYN) + plan.data;
	if (serial % LAZY_SEGMENTS == 0)
		while (take(LAZY, NULL, where++))
			;
}

static void listen_on(enum listener_type type)
{
	bool v4 = listens_on_v4(type);
	int one = 1, seconds = 2, waiting = 1024, small = 4096;
	int backlog = type == V4_COOKIES || type == DUAL_COOKIES ? 8 : type == LAZY ? 1 : 1024;
	struct sockaddr_in6 v6_name = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4_name = { .sin_family = AF_INET };
	struct listener *listener = &listeners[type];

	listener->port = (type == NOT_SELECTED ? 3000 : 2000) + number * LISTENERS + type;
	v6_name.sin6_port = v4_name.sin_port = htons(listener->port);
	listener->fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			      type == MPTCP ? IPPROTO_MPTCP : 0);
	check(listener->fd, "socket");
	check(setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), "SO_REUSEADDR");
	check(setsockopt(listener->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), "SO_RCVBUF");
	if (type == DEFERRED)
		check(setsockopt(listener->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)),
		      "TCP_DEFER_ACCEPT");
	if (type == FAST_OPEN)
		check(setsockopt(listener->fd, IPPROTO_TCP, TCP_FASTOPEN, &waiting, sizeof(waiting)),
		      "TCP_FASTOPEN");
	if (v4)
		check(bind(listener->fd, (struct sockaddr *)&v4_name, sizeof(v4_name)), "bind");
	else
		check(bind(listener->fd, (struct sockaddr *)&v6_name, sizeof(v6_name)), "bind");
	check(listen(listener->fd, backlog), "listen");
}

int main(int argc, char **argv)
{
	unsigned long long segments, seed;

	if (argc != 5) {
		fprintf(stderr, "usage: hostile TUN NUMBER SEGMENTS SEED\n");
		return 2;
	}
	tun = atoi(argv[1]);
	number = atoi(argv[2]);
	segments = strtoull(argv[3], NULL, 0);
	seed = strtoull(argv[4], NULL, 0);

	for (int type = 0; type < LISTENERS; type++)
		listen_on(type);
	for (int i = 0; i < HELD; i++)
		held[i].fd = -1;
	/* Whoever started us takes a look at the counters now. */
	raise(SIGSTOP);
	for (unsigned long long serial = 0; serial < segments && failures <= SHOWN_FAILURES; serial++) {
		if (serial == segments / 2)
			/* What is kept of SYNs gets too old, if nobody sends for a while. */
			raise(SIGSTOP);
		step(seed, serial);
	}

	for (int i = 0; i < HELD; i++)
		drop(&held[i]);
	for (int type = 0; type < LISTENERS; type++)
		while (take(type, NULL, 0))
			drop(&held[0]);
	for (int type = 0; type < LISTENERS; type++)
		close(listeners[type].fd);

#define PRINT(name) printf(#name " %llu\n", counts.name)
	PRINT(segments);
	PRINT(refused);
	PRINT(answered);
	PRINT(resets);
	PRINT(accepted);
	PRINT(accepted_mptcp);
	PRINT(aborted);
	PRINT(late);
	PRINT(own);
	PRINT(own_untrusted);
	PRINT(from_syn);
	PRINT(bypassed);
	PRINT(reset_before);
	PRINT(asked_names);
	PRINT(asked_options);
	PRINT(answered_options);
	printf("wrong %d\n", failures);
	return failures != 0;
}
