// SPDX-License-Identifier: GPL-2.0
#include "wire.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../bytes.h"

#define TOA 254
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20

size_t toa_option(unsigned char *option, int family)
{
	size_t length = family == AF_INET6 ? 20 : 8;

	memset(option, 0, length);
	option[0] = TOA;
	option[1] = length;
	put16(option + 2, CLIENT_PORT);
	if (family == AF_INET6) {
		put32(option + 4, 0x20010db8);
		put32(option + 16, CLIENT6_LOW);
	} else {
		put32(option + 4, CLIENT4);
	}
	return length;
}

static uint32_t sum(const unsigned char *data, size_t length, uint32_t total)
{
	for (; length; data += 2, length -= 2)
		total += get16(data);
	return total;
}

static uint16_t fold(uint32_t total)
{
	total = (total & 0xffff) + (total >> 16);
	total += total >> 16;
	return ~total;
}

/* fd77::1 and fd77::1:a.b.c.d */
static void put_address6(unsigned char *to, uint32_t low)
{
	memset(to, 0, 16);
	put16(to, 0xfd77);
	if (low)
		put16(to + 10, 1);
	put32(to + 12, low ? low : 1);
}

void make_segment(struct segment *segment, struct flow *flow, int flags,
		  const unsigned char *options, size_t length)
{
	unsigned char *ip = segment->bytes;
	size_t tcp_length = TCP_HEADER + length;
	unsigned char *addresses, *tcp;
	size_t address_length;

	memset(segment->bytes, 0, sizeof(segment->bytes));
	if (flow->family == AF_INET6) {
		ip[0] = 0x60;
		put16(ip + 4, tcp_length);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		put_address6(ip + 8, flow->address);
		put_address6(ip + 24, 0);
		addresses = ip + 8;
		address_length = 16;
		tcp = ip + IPV6_HEADER;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, IPV4_HEADER + tcp_length);
		put16(ip + 6, 0x4000); /* DF */
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		put32(ip + 12, flow->address);
		put32(ip + 16, SERVER4);
		put16(ip + 10, fold(sum(ip, IPV4_HEADER, 0)));
		addresses = ip + 12;
		address_length = 4;
		tcp = ip + IPV4_HEADER;
	}

	put16(tcp, flow->port);
	put16(tcp + 2, flow->server_port);
	put32(tcp + 4, flow->seq);
	put32(tcp + 8, flags & ACK ? flow->ack : 0);
	tcp[12] = tcp_length / 4 << 4;
	tcp[13] = flags;
	put16(tcp + 14, 65535);
	memcpy(tcp + TCP_HEADER, options, length);
	put16(tcp + 16, fold(sum(addresses, 2 * address_length,
				 sum(tcp, tcp_length, IPPROTO_TCP + tcp_length))));

	segment->length = tcp + tcp_length - ip;
	flow->seq += !!(flags & SYN) + !!(flags & FIN);
}

int expect(int tun, struct flow *flow, int flags)
{
	unsigned char packet[2048];

	while (read(tun, packet, sizeof(packet)) > 0) {
		const unsigned char *tcp;

		if (packet[0] >> 4 == 6 && packet[6] == IPPROTO_TCP)
			tcp = packet + IPV6_HEADER;
		else if (packet[0] >> 4 == 4 && packet[9] == IPPROTO_TCP)
			tcp = packet + IPV4_HEADER;
		else
			continue;
		if (get16(tcp + 2) != flow->port || (tcp[13] & flags) != flags)
			continue;
		flow->ack = get32(tcp + 4) + !!(tcp[13] & SYN) + !!(tcp[13] & FIN);
		return 0;
	}
	return -1;
}

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static struct sockaddr ipv4(uint32_t address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
	struct sockaddr any;

	memcpy(&any, &in, sizeof(any));
	return any;
}

static void bring_up(int control, const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_UP | IFF_RUNNING };

	strcpy(request.ifr_name, name);
	check(ioctl(control, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
}

int open_tun(void)
{
	/* The names and the layout are the kernel's: <linux/ipv6.h>. */
	struct in6_ifreq request6 = { .ifr6_prefixlen = 64 };
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	int control6 = socket(AF_INET6, SOCK_DGRAM, 0);
	int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	check(control, "socket");
	check(control6, "socket, IPv6");
	check(tun, "/dev/net/tun");
	strcpy(request.ifr_name, "toa0");
	check(ioctl(tun, TUNSETIFF, &request), "TUNSETIFF");

	bring_up(control, "lo");
	request.ifr_addr = ipv4(SERVER4);
	check(ioctl(control, SIOCSIFADDR, &request), "SIOCSIFADDR");
	request.ifr_netmask = ipv4(0xffff0000);
	check(ioctl(control, SIOCSIFNETMASK, &request), "SIOCSIFNETMASK");
	bring_up(control, "toa0");

	check(ioctl(control, SIOCGIFINDEX, &request), "SIOCGIFINDEX");
	request6.ifr6_ifindex = request.ifr_ifindex;
	put_address6((unsigned char *)&request6.ifr6_addr, 0);
	check(ioctl(control6, SIOCSIFADDR, &request6), "SIOCSIFADDR, IPv6");

	close(control);
	close(control6);
	return tun;
}
