// SPDX-License-Identifier: GPL-2.0
/*
 * Connections over a TUN device, and the operations on them that are measured.
 *
 * Each operation is checked: what the kernel answers has to be one of the two addresses that it can
 * be.
 */
#include "bench.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORTS 4			/* listeners of a family */
#define FLOWS_PER_ADDRESS 50000 /* as many ports each address of the balancer uses */
#define TOA_SO_GET_CLIENT 1348	/* at IPPROTO_IP */

struct kind {
	const char *name;
	int listener;	/* family */
	int packets;	/* family */
	int ack_option; /* family of the client that the third ACK names; 0: none */
	int syn_option; /* the same of the SYN */
	int *live;	/* sockets */
	int count;
};

static struct kind kinds[] = {
	{ "ipv4-tagged", AF_INET, AF_INET, AF_INET, 0, NULL, 0 },
	{ "ipv4-untagged", AF_INET, AF_INET, 0, 0, NULL, 0 },
	{ "ipv6-tagged", AF_INET6, AF_INET6, AF_INET6, 0, NULL, 0 },
	{ "ipv6-untagged", AF_INET6, AF_INET6, 0, 0, NULL, 0 },
	{ "mapped-tagged", AF_INET6, AF_INET, AF_INET, 0, NULL, 0 },
	{ "mapped-untagged", AF_INET6, AF_INET, 0, 0, NULL, 0 },
	{ "ipv4-syn", AF_INET, AF_INET, 0, AF_INET, NULL, 0 },
};

const char *const answers[] = { "peer", "client", "refused" };

static int listeners[2][PORTS];
static int tun;
uint64_t cost;

/* A system call that counts. Not inlined, so that a log of instructions shows which calls do. */
static __attribute__((noinline)) long timed(long number, long a, long b, long c, long d, long e)
{
#ifdef __aarch64__
	register long call asm("x8") = number;
	register long result asm("x0") = a;
	register long second asm("x1") = b;
	register long third asm("x2") = c;
	register long fourth asm("x3") = d;
	register long fifth asm("x4") = e;
	uint64_t start = tsc();

	asm volatile("svc 0"
		     : "+r"(result)
		     : "r"(call), "r"(second), "r"(third), "r"(fourth), "r"(fifth)
		     : "memory");
#else
	register long fourth asm("r10") = d;
	register long fifth asm("r8") = e;
	uint64_t start = tsc();
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
		     : "rcx", "r11", "memory");
#endif
	cost += tsc() - start;
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

/* Where an operation begins and ends in a log of instructions. */
static __attribute__((noinline)) void operation_begins(void)
{
	asm volatile("");
	cost = 0;
}

static __attribute__((noinline)) void operation_ends(void)
{
	asm volatile("");
}

static bool name_is(const struct sockaddr_storage *name, const struct kind *kind, int family,
		    uint32_t ipv4, const struct in6_addr *ipv6, uint16_t port)
{
	const struct sockaddr_in6 *in6 = (const void *)name;
	const struct sockaddr_in *in = (const void *)name;
	struct in6_addr mapped = { 0 };

	if (kind->listener == AF_INET)
		return in->sin_family == AF_INET && in->sin_port == htons(port) &&
		       in->sin_addr.s_addr == htonl(ipv4);
	if (family == AF_INET) {
		mapped.s6_addr16[5] = 0xffff;
		mapped.s6_addr32[3] = htonl(ipv4);
		ipv6 = &mapped;
	}
	return in6->sin6_family == AF_INET6 && in6->sin6_port == htons(port) &&
	       !memcmp(&in6->sin6_addr, ipv6, sizeof(*ipv6));
}

/* Whether a name is that of the client or of the flow's far end. Any other is an error. */
static enum answer whose(const struct sockaddr_storage *name, const struct kind *kind,
			 const struct flow *flow)
{
	struct in6_addr client = { 0 }, peer = { 0 };

	client.s6_addr32[0] = htonl(0x20010db8);
	client.s6_addr32[3] = htonl(CLIENT6_LOW);
	peer.s6_addr16[0] = htons(0xfd77);
	peer.s6_addr16[5] = htons(1);
	peer.s6_addr32[3] = htonl(flow->address);
	if (name_is(name, kind, kind->packets, CLIENT4, &client, CLIENT_PORT))
		return CLIENT;
	if (name_is(name, kind, kind->packets, flow->address, &peer, flow->port))
		return PEER;
	errno = EBADMSG;
	die("a name that is neither the client's nor the peer's");
}

/* The flow of connection `index` of a kind, which is live or one that comes and goes. */
static struct flow flow_of(const struct kind *kind, int index, bool live)
{
	return (struct flow){
		.family = kind->packets,
		.address = (SERVER4 & 0xffff0000) + 0x100 + (kind - kinds) * 64 + (live ? 0 : 32) +
			   index / FLOWS_PER_ADDRESS,
		.port = 10000 + index % FLOWS_PER_ADDRESS,
		.server_port = (kind->listener == AF_INET ? 8000 : 9000) + index % PORTS,
		.seq = 0xfffff000 + index,
	};
}

static void send_segment(struct flow *flow, int flags, const unsigned char *options, size_t length)
{
	struct segment segment;

	make_segment(&segment, flow, flags, options, length);
	if (timed(SYS_write, tun, (long)segment.bytes, segment.length, 0, 0) < 0)
		die("write to the device");
}

/* Connects, accepts, and returns the socket. Reading what the server sends is not timed. */
static int connect_and_accept(struct kind *kind, struct flow *flow, enum answer *answer)
{
	unsigned char options[40] = { 2, 4, 1460 >> 8, 1460 & 255 };
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	size_t options_length = 4;
	int accepted;

	if (kind->syn_option)
		options_length += toa_option(options + 4, kind->syn_option);
	send_segment(flow, SYN, options, options_length);
	check(expect(tun, flow, SYN | ACK), "no SYN-ACK");

	options_length = kind->ack_option ? toa_option(options, kind->ack_option) : 0;
	send_segment(flow, ACK, options, options_length);
	accepted = timed(SYS_accept4,
			 listeners[kind->listener == AF_INET6][flow->server_port % PORTS],
			 (long)&name, (long)&length, 0, 0);
	check(accepted, "accept");
	*answer = whose(&name, kind, flow);
	return accepted;
}

/*
 * The balancer closes first, the server then, and the balancer acknowledges: nothing stays behind in
 * TIME_WAIT.
 */
static void disconnect(int accepted, struct flow *flow)
{
	send_segment(flow, FIN | ACK, NULL, 0);
	check(timed(SYS_close, accepted, 0, 0, 0, 0), "close");
	check(expect(tun, flow, FIN | ACK), "no FIN");
	send_segment(flow, ACK, NULL, 0);
}

static enum answer cycle(struct kind *kind, int index)
{
	struct flow flow = flow_of(kind, index, false);
	enum answer answer;
	int accepted;

	operation_begins();
	accepted = connect_and_accept(kind, &flow, &answer);
	disconnect(accepted, &flow);
	operation_ends();
	return answer;
}

/* A live connection, every time another, spread over old and new ones. */
static int some_live(const struct kind *kind, int index)
{
	if (!kind->count) {
		errno = ENOTCONN;
		die("no live connection");
	}
	/* A multiple of the golden ratio of 2^32: neighbours are far apart, whatever the count. */
	return (int)((uint64_t)index * 2654435761u % kind->count);
}

static enum answer getpeername_(struct kind *kind, int index)
{
	int chosen = some_live(kind, index);
	struct flow flow = flow_of(kind, chosen, true);
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);

	operation_begins();
	check(timed(SYS_getpeername, kind->live[chosen], (long)&name, (long)&length, 0, 0),
	      "getpeername");
	operation_ends();
	return whose(&name, kind, &flow);
}

static enum answer getsockopt_(struct kind *kind, int index)
{
	int chosen = some_live(kind, index);
	struct flow flow = flow_of(kind, chosen, true);
	struct sockaddr_storage name;
	socklen_t length = kind->ack_option == AF_INET6 ? sizeof(struct sockaddr_in6) :
							  sizeof(struct sockaddr_in);
	/* Unlike a socket's own name, this one is of the client's family. */
	struct kind plain = *kind;
	long result;

	plain.listener = kind->ack_option ? kind->ack_option : kind->packets;
	operation_begins();
	result = timed(SYS_getsockopt, kind->live[chosen], IPPROTO_IP, TOA_SO_GET_CLIENT, (long)&name,
		       (long)&length);
	operation_ends();
	return result < 0 ? REFUSED : whose(&name, &plain, &flow);
}

static const struct {
	const char *name;
	operation *function;
} operations[] = {
	{ "getpeername", getpeername_ },
	{ "getsockopt", getsockopt_ },
	{ "cycle", cycle },
};

operation *operation_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(operations[i].name, name))
			return operations[i].function;
	errno = EINVAL;
	die(name);
}

struct kind *kind_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errno = EINVAL;
	die(name);
}

void open_live(struct kind *kind, int count)
{
	if (!kind->live)
		kind->live = malloc(MAX_LIVE * sizeof(*kind->live));
	for (; kind->count < count; kind->count++) {
		struct flow flow = flow_of(kind, kind->count, true);
		enum answer answer;

		kind->live[kind->count] = connect_and_accept(kind, &flow, &answer);
	}
}

/* By reset: nobody measures it. */
void close_live(struct kind *kind)
{
	static const struct linger reset = { .l_onoff = 1 };
	char packet[2048];

	for (int i = 0; i < kind->count; i++) {
		setsockopt(kind->live[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(kind->live[i]);
		while (read(tun, packet, sizeof(packet)) > 0)
			;
	}
	kind->count = 0;
}

static void listen_all(void)
{
	for (int family = 0; family < 2; family++)
		for (int i = 0; i < PORTS; i++) {
			struct sockaddr_in in = {
				.sin_family = AF_INET,
				.sin_port = htons(8000 + i),
			};
			struct sockaddr_in6 in6 = {
				.sin6_family = AF_INET6,
				.sin6_port = htons(9000 + i),
			};
			int listener = check(socket(family ? AF_INET6 : AF_INET,
						    SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");

			check(bind(listener, family ? (void *)&in6 : (void *)&in,
				   family ? sizeof(in6) : sizeof(in)), "bind");
			check(listen(listener, 1024), "listen");
			listeners[family][i] = listener;
		}
}

void start_network(void)
{
	tun = open_tun();
	listen_all();
}
