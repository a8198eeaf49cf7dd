// SPDX-License-Identifier: GPL-2.0
/*
 * What one operation costs, in instructions. Runs as init of a guest in which the time stamp
 * counter counts instructions (QEMU's -icount shift=0), does what the lines of /script say, and
 * reports on the second serial port. bench.py writes the script, and reads the reports.
 *
 *	idle SECONDS		let the guest come to rest
 *	load [PARAMETERS]	load /toa.ko
 *	unload			unload it
 *	open KIND COUNT		have so many live connections of that kind
 *	close KIND		close them
 *	row OPERATION KIND COUNT
 *				measure so many operations
 *	trace OPERATION KIND	do a few operations while the emulator logs, which the reader of the
 *				reports starts and stops, and confirms with a byte
 *	symbols			print the kernel's functions
 *	memory			print what memory the module and the kernel use
 *
 * Each operation is checked: what the kernel answers has to be one of the two addresses that it can
 * be, and the same for the whole row. Which one it was is part of the report.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof(*(array)))

#define PORTS 4		       /* listeners of a family */
#define FLOWS_PER_ADDRESS 50000 /* as many ports each address of the balancer uses */
#define MAX_LIVE 1000000
#define MAX_SAMPLES 100000
#define TOA_SO_PEER 1348 /* at IPPROTO_IP */
#define TRACED 7	 /* operations, of which the reader takes the one that nothing interrupted */

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

enum answer { PEER, CLIENT, REFUSED, ANSWERS };
static const char *const answers[] = { "peer", "client", "refused" };

static int listeners[2][PORTS];
static int report, tun;
/* Instructions in timed calls since it was last set to zero. */
static uint64_t cost;

static void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vdprintf(report, format, arguments);
	va_end(arguments);
	/* What is still on its way would interrupt what comes next. */
	tcdrain(report);
}

static void die(const char *what)
{
	say("fail %s: %s\n", what, strerror(errno));
	reboot(RB_AUTOBOOT);
	exit(1);
}

static int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* A system call that counts. Not inlined, so that a log of instructions shows which calls do. */
static __attribute__((noinline)) long timed(long number, long a, long b, long c, long d, long e)
{
	register long fourth asm("r10") = d;
	register long fifth asm("r8") = e;
	uint64_t start = tsc();
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
		     : "rcx", "r11", "memory");
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
	return PEER;
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

/* A live connection, every time another, spread over all there are. */
static int some_live(const struct kind *kind, int index)
{
	if (!kind->count) {
		errno = ENOTCONN;
		die("no live connection");
	}
	return (int)((uint64_t)index * 999983 % kind->count);
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
	result = timed(SYS_getsockopt, kind->live[chosen], IPPROTO_IP, TOA_SO_PEER, (long)&name,
		       (long)&length);
	operation_ends();
	return result < 0 ? REFUSED : whose(&name, &plain, &flow);
}

static const struct {
	const char *name;
	enum answer (*function)(struct kind *kind, int index);
} operations[] = {
	{ "getpeername", getpeername_ },
	{ "getsockopt", getsockopt_ },
	{ "cycle", cycle },
};

static enum answer (*operation_named(const char *name))(struct kind *kind, int index)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(operations[i].name, name))
			return operations[i].function;
	errno = EINVAL;
	die(name);
	return NULL;
}

static struct kind *kind_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errno = EINVAL;
	die(name);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

/*
 * Reports the median of single operations, the least, and the mean of all that happened from the first
 * to the last. The median is what an operation costs by itself. The mean has, in addition, its share
 * of what the kernel does beside it, and what this program does to make segments and check answers.
 */
static void do_row(char *arguments)
{
	static uint32_t samples[MAX_SAMPLES];
	char operation[32], name[32];
	enum answer answer = ANSWERS;
	enum answer (*function)(struct kind *, int);
	struct kind *kind;
	uint64_t start;
	int count;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %31s %d", operation, name, &count) != 3 || count < 1 ||
	    count > MAX_SAMPLES)
		die("row");
	function = operation_named(operation);
	kind = kind_named(name);

	/* First some that do not count, so that nothing is measured that happens only once. */
	for (int i = 0; i < 100; i++)
		function(kind, i);
	start = tsc();
	for (int i = 0; i < count; i++) {
		enum answer this = function(kind, i);

		errno = EBADMSG;
		if (answer != ANSWERS && answer != this)
			die("answers differ within a row");
		answer = this;
		samples[i] = cost;
	}
	start = tsc() - start;
	qsort(samples, count, sizeof(*samples), compare);
	say("row %s %s %s %u %u %.1f\n", operation, name, answers[answer], samples[count / 2],
	    samples[0], (double)start / count);
}

static void do_open(char *arguments)
{
	uint64_t start = tsc();
	struct kind *kind;
	char name[32];
	int count;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %d", name, &count) != 2 || count > MAX_LIVE)
		die("open");
	kind = kind_named(name);
	if (!kind->live)
		kind->live = malloc(MAX_LIVE * sizeof(*kind->live));
	for (; kind->count < count; kind->count++) {
		struct flow flow = flow_of(kind, kind->count, true);
		enum answer answer;

		kind->live[kind->count] = connect_and_accept(kind, &flow, &answer);
	}
	say("open %s %d %llu\n", name, count, (unsigned long long)(tsc() - start));
}

/* By reset: nobody measures it. */
static void do_close(char *arguments)
{
	struct kind *kind = kind_named(arguments);
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

/* Waits for the reader of the reports. */
static void rendezvous(const char *what)
{
	char byte;

	say("%s\n", what);
	if (read(report, &byte, 1) != 1)
		die(what);
}

static void do_trace(char *arguments)
{
	enum answer (*function)(struct kind *, int);
	char operation[32], name[32];
	struct kind *kind;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %31s", operation, name) != 2)
		die("trace");
	function = operation_named(operation);
	kind = kind_named(name);
	for (int i = 0; i < 100; i++)
		function(kind, i);
	rendezvous("trace");
	for (int i = 0; i < TRACED; i++)
		function(kind, i);
	rendezvous("traced");
}

static void do_symbols(char *arguments)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	FILE *out = fdopen(dup(report), "w");
	char line[512], type;

	(void)arguments;
	if (!file || !out)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %c", &type) == 1 && strchr("tTwW", type))
			fprintf(out, "symbol %s", line);
	fclose(out);
	fclose(file);
	say("symbols\n");
}

static void insert(const char *path, const char *parameters)
{
	int file = check(open(path, O_RDONLY), path);

	check(syscall(SYS_finit_module, file, parameters, 0), path);
	close(file);
}

static void do_load(char *parameters)
{
	uint64_t start = tsc();

	insert("/toa.ko", parameters);
	say("load %llu\n", (unsigned long long)(tsc() - start));
}

static void do_unload(char *arguments)
{
	uint64_t start = tsc();

	(void)arguments;
	check(syscall(SYS_delete_module, "toa", O_NONBLOCK), "unload");
	say("unload %llu\n", (unsigned long long)(tsc() - start));
}

static void do_idle(char *arguments)
{
	struct timespec time = { .tv_sec = atoi(arguments) };

	nanosleep(&time, NULL);
}

/* Prints those lines of a file that have a word in them. */
static void print_lines(const char *path, const char *word)
{
	FILE *file = fopen(path, "r");
	char line[512];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, word))
			say("%s %s", path, line);
	fclose(file);
}

static void do_memory(char *arguments)
{
	(void)arguments;
	print_lines("/proc/slabinfo", "toa_record");
	print_lines("/proc/vmallocinfo", "[toa]");
	print_lines("/proc/meminfo", "MemFree");
	print_lines("/proc/meminfo", "SUnreclaim");
	say("memory\n");
}

static const struct {
	const char *name;
	void (*function)(char *arguments);
} commands[] = {
	{ "idle", do_idle },   { "load", do_load },   { "unload", do_unload },
	{ "open", do_open },   { "close", do_close }, { "row", do_row },
	{ "trace", do_trace }, { "symbols", do_symbols }, { "memory", do_memory },
};

static void run(char *line)
{
	char *arguments = line + strcspn(line, " ");

	if (*arguments)
		*arguments++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, line)) {
			commands[i].function(arguments);
			return;
		}
	errno = EINVAL;
	die(line);
}

/* Calls a function with each line of a file. */
static void each_line(const char *path, void (*function)(char *line))
{
	FILE *file = fopen(path, "r");
	static char line[1 << 20];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		function(line);
	}
	fclose(file);
}

static void insert_plain(char *path)
{
	insert(path, "");
}

static void write_file(const char *path, const char *text)
{
	int file = check(open(path, O_WRONLY), path);

	check(write(file, text, strlen(text)), path);
	close(file);
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

static void start(void)
{
	struct rlimit files = { MAX_LIVE + 1000, MAX_LIVE + 1000 };
	struct termios raw;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);

	report = open("/dev/ttyS1", O_RDWR | O_NOCTTY);
	tcgetattr(report, &raw);
	cfmakeraw(&raw);
	tcsetattr(report, TCSANOW, &raw);
	dup2(report, STDERR_FILENO);

	write_file("/proc/sys/fs/nr_open", "2000000");
	write_file("/proc/sys/fs/file-max", "2000000");
	check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	each_line("/modules", insert_plain);
	tun = open_tun();
	listen_all();
}

int main(void)
{
	start();
	each_line("/script", run);
	say("done\n");
	reboot(RB_AUTOBOOT);
	return 1;
}
