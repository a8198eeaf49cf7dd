/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What toa.ko tells applications beyond accept() and getpeername(): options of getsockopt() at level
 * IPPROTO_IP, on AF_INET and AF_INET6 sockets alike.
 *
 *	struct toa_info info;
 *	socklen_t length = sizeof(info);
 *
 *	if (getsockopt(fd, IPPROTO_IP, TOA_SO_GET_INFO, &info, &length) == 0)
 *		...
 *
 * Without the module all of them fail with ENOPROTOOPT. Numbers whose type begins with __be are in
 * network byte order, others in that of the machine.
 */
#ifndef _UAPI_LINUX_TOA_H
#define _UAPI_LINUX_TOA_H

#include <linux/in6.h>
#include <linux/types.h>

/*
 * The client of a connection that IPv6 clients make through a balancer that speaks IPv4 to the
 * server (NAT64), where getpeername() cannot express it: struct toa_nat64_peer.
 *
 * EINVAL: the connection has no client, or the length is too short. EFAULT: it has one, but is not
 * NAT64. ENOTCONN: the socket is not connected.
 */
#define TOA_SO_GET_LOOKUP	4096

struct toa_nat64_peer {
	struct in6_addr saddr;
	__be16 port;
};

/*
 * All that is known of a connection: struct toa_info. Later versions add fields at its end. The
 * module writes no more than it is given room for, and says in the length how much that was.
 *
 * ESRCH: the connection has no client. EINVAL: the length is below TOA_INFO_SIZE_VER1.
 */
#define TOA_SO_GET_INFO		4097

#define TOA_INFO_VERSION	1
#define TOA_INFO_SIZE_VER1	68

/* toa_info.from: the segment that had the option. */
#define TOA_FROM_SYN		1	/* the first of the handshake */
#define TOA_FROM_ACK		2	/* the last of the handshake */
#define TOA_FROM_DATA		3	/* the same, with data in it */

/* toa_info.flags */
#define TOA_INFO_SERVICE	0x01	/* vip, vport and vpc were given; what was not is zero */

/* Addresses are in IPv6 form, those of IPv4 as ::ffff:a.b.c.d. */
struct toa_info {
	__u16 version;			/* TOA_INFO_VERSION of the module */
	__u16 size;			/* of this structure in the module, in bytes */
	__u8 kind;			/* of the TCP option */
	__u8 from;			/* TOA_FROM_... */
	__u8 flags;			/* TOA_INFO_... */
	__u8 reserved;			/* 0 */
	struct in6_addr client;		/* who connects */
	struct in6_addr balancer;	/* the connection's other end, as without the module */
	struct in6_addr vip;		/* the balancer's address that the client connected to */
	__be16 client_port;
	__be16 balancer_port;
	__be16 vport;
	__be16 reserved2;		/* 0 */
	__u32 vpc;			/* number of the VPC that vip is in */
};

/*
 * The rest is what other modules of this kind have.
 *
 * The client as a struct sockaddr_in or sockaddr_in6, after its address's family. ESRCH: no client.
 * EINVAL: the length is below that of the structure.
 */
#define TOA_SO_GET_CLIENT	1348

/*
 * The service that the client connected to. ESRCH: not known. EINVAL: wrong length.
 *
 * VTOA_SO_GET_VS: struct vtoa_get_vs, for services with an IPv4 address.
 * VTOA_SO_GET_VS4RDS: struct vtoa_get_vs4rds, of exactly this size; only its last member is written.
 * V6VTOA_SO_GET_VS: struct v6vtoa_get_vs, for either family.
 */
#define VTOA_SO_GET_VS		1345
#define VTOA_SO_GET_VS4RDS	1346
#define V6VTOA_SO_GET_VS	1347

struct vtoa_get_vs {
	__u32 vid;			/* number of the VPC */
	__be32 vaddr;
	__be16 vport;
};

struct vtoa_get_vs4rds {
	__u8 connection[20];		/* left as it is */
	struct vtoa_get_vs entry;
};

struct v6vtoa_get_vs {
	__u32 vid;
	__u8 vaddr[16];			/* IPv4 in the first four bytes */
	__u16 af;			/* AF_INET or AF_INET6 */
	__be16 vport;
};

#endif /* _UAPI_LINUX_TOA_H */
