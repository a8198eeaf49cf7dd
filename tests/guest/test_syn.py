# SPDX-License-Identifier: GPL-2.0
"""Options that the SYN alone carries: kept until the connection is made, and no longer."""

import time
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_DEFER_ACCEPT

import module
import net
from case import port_of
from net import ACK, RST, SYN, toa
from syn import (
    ASKS_FOR_FAST_OPEN,
    CLIENT4,
    CLIENT6,
    FAST_OPEN,
    OTHER6,
    SynCase,
)


class Ipv4(SynCase):
    """Handshakes whose SYN has an option."""

    def test_only_the_syn(self):
        remote = self.listen_and_begin()
        with self.assert_counts(option_254=1, syn_kept=1):
            remote.syn(toa(*self.client))
        counts = {"syn_recv_sock_toa": 1, "records_live": 1, **self.ip6(self.client)}
        with self.assert_counts(syn_used=1, **counts):
            remote.ack()
        self.complete(remote, self.client)

    def test_first_data_after_a_lost_ack(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        with self.assert_intake(toa=1):
            connection = self.complete(remote, self.client, payload=b"hello")
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_deferred_accept(self):
        remote = self.listen_and_begin(options=((IPPROTO_TCP, TCP_DEFER_ACCEPT, 30),))
        remote.syn(toa(*self.client))
        with self.assert_counts():
            remote.ack()
        with self.assert_intake(toa=1):
            connection = self.complete(remote, self.client, payload=b"hello")
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_option_of_the_ack_counts_rather_than_that_of_the_syn(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.other))
        counts = {"syn_recv_sock_toa": 1, "records_live": 1, **self.ip6(self.client)}
        with self.assert_counts(option_254=1, syn_superseded=1, **counts):
            remote.ack(toa(*self.client))
        self.complete(remote, self.client, "ack")

    def test_option_of_first_data_counts_rather_than_that_of_the_syn(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.other))
        self.complete(remote, self.client, "data", toa(*self.client), b"hello")

    def test_malformed_option_of_the_ack_does_not_count(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        self.complete(remote, self.client, options=bytes([net.TOA, 4, 0, 0]))

    def test_syn_sent_twice(self):
        remote = self.listen_and_begin()
        first = remote.syn(toa(*self.client))
        remote.seq -= 1
        with self.assert_counts():
            self.assertEqual(remote.syn(toa(*self.client)).seq, first.seq)
        self.complete(remote, self.client)

    def test_syn_sent_twice_with_another_option(self):
        # The request is that of the first.
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        for options in (toa(*self.other), b""):
            remote.seq -= 1
            remote.syn(options)
        self.complete(remote, self.client)

    def test_syn_ack_sent_twice(self):
        remote = self.listen_and_begin()
        first = remote.syn(toa(*self.client))
        # The server's timer runs out after a second.
        self.assertEqual(remote.expect(SYN | ACK).seq, first.seq)
        self.complete(remote, self.client)

    def test_several_at_once(self):
        remote = self.listen_and_begin()
        remotes = [remote] + [self.remote(self.listener, self.segments) for _ in range(8)]
        for number, one in enumerate(remotes):
            one.syn(toa(self.client[0], 1000 + number))
        for number, one in reversed(list(enumerate(remotes))):
            self.complete(one, (self.client[0], 1000 + number))

    def test_not_of_another_port_or_listener(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        neighbour = self.remote(self.listener, self.segments, remote.name[1] + 1)
        neighbour.syn()
        self.complete(neighbour)
        first, self.listener = self.listener, self.listen(self.family)
        twin = self.remote(self.listener, self.segments, remote.name[1])
        twin.syn()
        self.complete(twin)
        self.listener = first
        self.complete(remote, self.client)


class Ipv6(Ipv4):
    family, segments, client, other = AF_INET6, AF_INET6, CLIENT6, OTHER6


class Ipv4OnIpv6Socket(Ipv4):
    family = AF_INET6


class Ipv6ClientInIpv4Segment(Ipv4):
    family, client, other = AF_INET6, CLIENT6, OTHER6


class AbandonedIpv4(SynCase):
    """A SYN with an option that came to nothing; then the same port connects again.

    It never shows the client of before, who is somebody else.
    """

    def abandon(self, **listener):
        """Returns another far end with the address and the port of one that gave up."""
        remote = self.listen_and_begin(**listener)
        remote.syn(toa(*self.client))
        remote.rst()
        return self.again(remote)

    def test_without_an_option(self):
        remote = self.abandon()
        with self.assert_counts(syn_superseded=1):
            remote.syn()
        self.complete(remote)

    def test_with_another_option(self):
        remote = self.abandon()
        with self.assert_counts(option_254=1, syn_kept=1, syn_superseded=1):
            remote.syn(toa(*self.other))
        self.complete(remote, self.other)

    def test_with_an_option_in_the_ack(self):
        remote = self.abandon()
        remote.syn()
        self.complete(remote, self.other, "ack", toa(*self.other))

    def test_with_a_malformed_option(self):
        remote = self.abandon()
        remote.syn(bytes([net.TOA, 4, 0, 0]))
        self.complete(remote)

    def test_with_an_option_of_a_kind_that_is_not_read(self):
        remote = self.abandon()
        remote.syn(toa(*self.other, kind=253))
        self.complete(remote)

    def test_with_an_option_that_is_not_trusted(self):
        remote = self.abandon()
        self.parameter("trusted", "192.0.2.1,2001:db8:1::1")
        with self.assert_counts(option_254=1, not_trusted=1, syn_superseded=1):
            remote.syn(toa(*self.other))
        self.complete(remote)

    def test_over_a_syn_cookie(self):
        remote = self.abandon()
        self.sysctl("net.ipv4.tcp_syncookies", 2)
        with self.assert_counts(syn_superseded=1):
            remote.syn()
        self.complete(remote)

    def test_over_a_syn_cookie_with_an_option_in_the_syn(self):
        remote = self.abandon()
        self.sysctl("net.ipv4.tcp_syncookies", 2)
        with self.assert_counts(option_254=1, syn_cookie=1, syn_superseded=1):
            remote.syn(toa(*self.other))
        self.complete(remote)

    def test_with_fast_open(self):
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)
        remote = self.abandon(options=(ASKS_FOR_FAST_OPEN,))
        # The SYN makes the connection, and nothing of an earlier one belongs to it.
        with self.assert_counts(syn_superseded=1, syn_recv_sock_no_toa=1):
            remote.send(SYN, b"", b"hello")
        connection = self.accept(self.listener, remote)
        self.assert_shows_peer(connection)
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_with_fast_open_and_another_option(self):
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)
        remote = self.abandon(options=(ASKS_FOR_FAST_OPEN,))
        remote.send(SYN, toa(*self.other), b"hello")
        connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *self.other)
        self.assert_listed(connection, self.other, net.TOA, "syn")

    def test_after_the_listener_has_closed(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        port = port_of(self.listener)
        self.listener.close()
        self.listener = self.listen(self.family, port=port)
        # The ACK of nobody's handshake is refused.
        remote.ack()
        remote.expect(RST)
        remote = self.again(remote)
        remote.syn()
        self.complete(remote)

    def test_after_the_server_gave_up(self):
        self.sysctl("net.ipv4.tcp_synack_retries", 0)
        first = self.listen_and_begin()
        first.syn(toa(*self.client))
        remote = self.again(first)
        # Far outside of the window, so that the request of before does not end by it.
        remote.seq = (first.seq + 2**30) % 2**32
        deadline = time.monotonic() + net.TIMEOUT
        while time.monotonic() < deadline:
            begin = remote.seq
            remote.send(SYN)
            if reply := remote.receive(0.2):
                if reply.flags & SYN and reply.ack == remote.seq:
                    break
            remote.seq = begin
        else:
            self.fail("the server keeps the request")
        remote.acked = (reply.seq + 1) % 2**32
        self.complete(remote)

    def test_port_of_a_connection_that_has_ended(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.client))
        connection = self.complete(remote, self.client)
        remote.rst()
        connection.socket.close()
        remote = self.again(remote)
        with self.assert_counts():
            remote.syn()
        self.complete(remote)

    def test_port_of_a_connection_that_waits(self):
        for options, client in ((toa(*self.other), self.other), (b"", None)):
            with self.subTest(client=client):
                remote = self.listen_and_begin()
                remote.syn(toa(*self.client))
                # The server closes first, and is in TIME_WAIT.
                self.complete(remote, self.client).socket.close()
                remote.acked = (remote.expect(net.FIN).seq + 1) % 2**32
                remote.fin()
                last = remote.seq
                remote = self.again(remote)
                remote.seq = (last + 2**20) % 2**32
                remote.syn(options)
                self.complete(remote, client)


class AbandonedIpv6(AbandonedIpv4):
    family, segments, client, other = AF_INET6, AF_INET6, CLIENT6, OTHER6


class AbandonedIpv4OnIpv6Socket(AbandonedIpv4):
    family = AF_INET6


class Magic(SynCase):
    """In a SYN Linux reads kind 254 itself if it begins with the number of Fast Open or of SMC."""

    FAST_OPEN = ("198.51.100.7", 0xF989)
    SMC = ("195.217.100.7", 0xE2D4)

    def setUp(self):
        super().setUp()
        self.listener = self.listen(AF_INET6)

    def begin(self, options, family=AF_INET, **counts):
        remote = self.remote(self.listener, family)
        with self.assert_counts(**counts):
            remote.syn(options)
        return remote

    def test_not_ours_in_a_syn(self):
        for client in (self.FAST_OPEN, self.SMC, ("2001:db8::7", 0xF989), ("c3d9::7", 0xE2D4)):
            with self.subTest(client=client):
                self.complete_peer(self.begin(toa(*client)))
                self.complete_peer(self.begin(toa(*client), AF_INET6))

    def complete_peer(self, remote):
        with self.assert_counts(syn_recv_sock_no_toa=1):
            remote.ack()
        self.assert_shows_peer(self.accept(self.listener, remote))

    def test_ours_in_the_ack(self):
        for client in (self.FAST_OPEN, self.SMC, ("2001:db8::7", 0xF989), ("c3d9::7", 0xE2D4)):
            with self.subTest(client=client):
                remote = self.begin(toa(*client))
                self.complete(remote, client, "ack", toa(*client))

    def test_other_ports_and_addresses_are_ours_in_a_syn(self):
        for client in (
            ("198.51.100.7", 0xF988),
            ("198.51.100.7", 0xF98A),
            ("198.51.100.7", 0x89F9),
            # Half of the number for SMC.
            ("195.216.100.7", 0xE2D4),
            ("195.217.100.7", 0xE2D5),
            ("c3d8::7", 0xE2D4),
        ):
            with self.subTest(client=client):
                remote = self.begin(toa(*client), option_254=1, syn_kept=1)
                self.complete(remote, client)

    def test_other_kinds_are_ours_in_a_syn(self):
        for kind in (253, 200):
            with self.subTest(kind=kind), module.setting("kinds", kind):
                options = toa(*self.FAST_OPEN, kind=kind)
                remote = self.begin(options, **{f"option_{kind}": 1}, syn_kept=1)
                remote.ack()
                self.assert_shows(self.accept(self.listener, remote), *self.FAST_OPEN)

    def test_option_after_one_of_linux(self):
        cookie_request = bytes([net.TOA, 4]) + b"\xf9\x89"
        remote = self.begin(cookie_request + toa(*CLIENT4), option_254=1, syn_kept=1)
        self.complete(remote, CLIENT4)
        remote = self.begin(toa(*self.FAST_OPEN) + toa(*CLIENT4), option_254=1, syn_kept=1)
        self.complete(remote, CLIENT4)

    def test_fast_open_with_such_a_port(self):
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)
        self.listener = self.listen(options=(ASKS_FOR_FAST_OPEN,))
        remote = self.remote(self.listener)
        remote.send(SYN, toa(*self.SMC), b"hello")
        self.assert_shows_peer(self.accept(self.listener, remote))


class CookieIpv4(SynCase):
    """With a SYN cookie the server keeps nothing of the SYN, and we have to do likewise."""

    def setUp(self):
        super().setUp()
        self.sysctl("net.ipv4.tcp_syncookies", 2)

    def test_option_of_the_syn_is_lost(self):
        remote = self.listen_and_begin()
        with self.assert_counts(option_254=1, syn_cookie=1):
            remote.syn(toa(*self.client))
        with self.assert_counts(syn_recv_sock_no_toa=1):
            remote.ack()
        self.complete(remote)

    def test_option_of_another_syn_from_there_is_not_ours(self):
        remote = self.listen_and_begin()
        remote.syn()
        # Somebody who can send in the balancer's name begins a connection of the same ends, whose client
        # is kept, for the server has room again, and gives it up.
        self.sysctl("net.ipv4.tcp_syncookies", 1)
        forger = net.Remote(self.tun, remote.server, *remote.name)
        forger.seq = (remote.seq + 1_000_000) % 2**32
        with self.assert_counts(option_254=1, syn_kept=1):
            forger.send(SYN, toa(*self.other))
            forger.acked = (forger.expect(SYN | ACK).seq + 1) % 2**32
        forger.rst()
        # What comes for both goes to the first again.
        self.tun.remotes[remote.name, remote.server] = remote
        self.complete(remote)

    def test_option_of_the_ack_counts(self):
        remote = self.listen_and_begin()
        remote.syn(toa(*self.other))
        self.complete(remote, self.client, "ack", toa(*self.client))

    def test_option_of_first_data_counts(self):
        remote = self.listen_and_begin()
        remote.syn()
        self.complete(remote, self.client, "data", toa(*self.client), b"hello")

    def test_syn_without_an_option(self):
        remote = self.listen_and_begin()
        with self.assert_counts():
            remote.syn()
        with self.assert_counts(syn_recv_sock_no_toa=1):
            remote.ack()
        self.complete(remote)


class CookieIpv6(CookieIpv4):
    family, segments, client, other = AF_INET6, AF_INET6, CLIENT6, OTHER6


class CookieIpv4OnIpv6Socket(CookieIpv4):
    family = AF_INET6
