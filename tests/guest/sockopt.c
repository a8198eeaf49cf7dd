// SPDX-License-Identifier: GPL-2.0
/*
 * Asks with getsockopt() as an application does that knows the module from its header, and shows to the
 * byte what the kernel wrote. test_sockopt.py reads what this prints.
 *
 *   sockopt constants                       names of the header with their numbers
 *   sockopt FD OPTION:LENGTH:PLACE...       answers for an inherited socket
 *
 * PLACE is where the answer may go: `roomy`, with room behind it whose bytes are shown too; `edge`, where
 * nothing is mapped behind LENGTH bytes; `no-value` and `no-length`, where there is no memory at all.
 *
 * Builds as C99, GNU C11 and C++. The header has to do on its own, and before or after the C library's
 * own of the same structures.
 */
#ifdef NETINET_BEFORE
#include <netinet/in.h>
#endif
#include <linux/toa.h>
#ifdef NETINET_AFTER
#include <netinet/in.h>
#endif

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef IPPROTO_IP
#define IPPROTO_IP 0
#endif

#define ROOM 256
#define PATTERN 0xa5
/* One page or several, whatever size the kernel has. */
#define PAGE (64 << 10)

static void show(const char *name, const void *bytes, size_t length)
{
	const unsigned char *byte = (const unsigned char *)bytes;

	printf("%s=", name);
	while (length--)
		printf("%02x", *byte++);
	printf("\n");
}

#define NUMBER(name) printf("%s=%lu\n", #name, (unsigned long)(name))
#define FIELD(field) show(#field, &answer.field, sizeof(answer.field))

static int constants(void)
{
	NUMBER(TOA_SO_GET_LOOKUP);
	NUMBER(TOA_SO_GET_INFO);
	NUMBER(TOA_SO_GET_CLIENT);
	NUMBER(VTOA_SO_GET_VS);
	NUMBER(VTOA_SO_GET_VS4RDS);
	NUMBER(V6VTOA_SO_GET_VS);
	NUMBER(TOA_INFO_VERSION);
	NUMBER(TOA_INFO_SIZE_VER1);
	NUMBER(TOA_INFO_SERVICE);
	NUMBER(TOA_FROM_SYN);
	NUMBER(TOA_FROM_ACK);
	NUMBER(TOA_FROM_DATA);
	NUMBER(sizeof(struct toa_nat64_peer));
	NUMBER(sizeof(struct toa_info));
	NUMBER(sizeof(struct vtoa_get_vs));
	NUMBER(sizeof(struct vtoa_get_vs4rds));
	NUMBER(sizeof(struct v6vtoa_get_vs));
	return 0;
}

/* The members of an answer, by the names that the header gives them. */
static void show_fields(int option, const void *bytes)
{
	if (option == TOA_SO_GET_LOOKUP) {
		struct toa_nat64_peer answer;

		memcpy(&answer, bytes, sizeof(answer));
		FIELD(saddr);
		FIELD(port);
	} else if (option == TOA_SO_GET_INFO) {
		struct toa_info answer;

		memcpy(&answer, bytes, sizeof(answer));
		FIELD(version);
		FIELD(size);
		FIELD(kind);
		FIELD(from);
		FIELD(flags);
		FIELD(reserved);
		FIELD(client);
		FIELD(balancer);
		FIELD(vip);
		FIELD(client_port);
		FIELD(balancer_port);
		FIELD(vport);
		FIELD(reserved2);
		FIELD(vpc);
	} else if (option == VTOA_SO_GET_VS) {
		struct vtoa_get_vs answer;

		memcpy(&answer, bytes, sizeof(answer));
		FIELD(vid);
		FIELD(vaddr);
		FIELD(vport);
	} else if (option == VTOA_SO_GET_VS4RDS) {
		struct vtoa_get_vs4rds answer;

		memcpy(&answer, bytes, sizeof(answer));
		FIELD(connection);
		FIELD(entry.vid);
		FIELD(entry.vaddr);
		FIELD(entry.vport);
	} else if (option == V6VTOA_SO_GET_VS) {
		struct v6vtoa_get_vs answer;

		memcpy(&answer, bytes, sizeof(answer));
		FIELD(vid);
		FIELD(vaddr);
		FIELD(af);
		FIELD(vport);
	}
}

/* Two pages, of which the second is not there. */
static unsigned char *half_mapped(void)
{
	void *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED || munmap((char *)pages + PAGE, PAGE)) {
		perror("mmap");
		exit(2);
	}
	return (unsigned char *)pages;
}

static int ask(int fd, int option, int length, const char *place)
{
	unsigned char roomy[ROOM];
	unsigned char *pages = half_mapped();
	unsigned char *value = roomy;
	size_t room = sizeof(roomy);
	socklen_t answered = (socklen_t)length;
	socklen_t *where = &answered;

	if (!strcmp(place, "edge")) {
		room = (size_t)length;
		value = pages + PAGE - room;
	} else if (!strcmp(place, "no-value")) {
		room = 0;
		value = pages + PAGE;
	} else if (!strcmp(place, "no-length")) {
		where = (socklen_t *)(void *)(pages + PAGE);
	} else if (strcmp(place, "roomy")) {
		return 2;
	}
	memset(value, PATTERN, room);

	errno = 0;
	if (getsockopt(fd, IPPROTO_IP, option, value, where) == 0)
		show_fields(option, value);
	printf("errno=%d\n", errno);
	printf("length=%d\n", (int)answered);
	show("bytes", value, room);
	printf("\n");
	munmap(pages, PAGE);
	return 0;
}

int main(int argc, char **argv)
{
	int fd, option, length, question;
	char place[16];

	if (argc == 2 && !strcmp(argv[1], "constants"))
		return constants();
	if (argc < 3) {
		fprintf(stderr, "usage: sockopt constants | sockopt FD OPTION:LENGTH:PLACE...\n");
		return 2;
	}
	fd = atoi(argv[1]);
	for (question = 2; question < argc; question++) {
		if (sscanf(argv[question], "%d:%d:%15s", &option, &length, place) != 3 ||
		    ask(fd, option, length, place)) {
			fprintf(stderr, "sockopt: what is %s?\n", argv[question]);
			return 2;
		}
	}
	return 0;
}
