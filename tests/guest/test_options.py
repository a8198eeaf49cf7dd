# SPDX-License-Identifier: GPL-2.0
"""Which bytes of which segment name the client."""

from socket import AF_INET, AF_INET6

import net
from case import Case
from net import EOL, NOP, pad, toa

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)
OTHER4 = ("203.0.113.9", 50234)


def tcp_extension(counter):
    """A counter of the TcpExt group in /proc/net/netstat."""
    with open("/proc/thread-self/net/netstat") as file:
        names, values = [line.split() for line in file if line.startswith("TcpExt:")]
    return int(values[names.index(counter)])


class Segments:
    """Which segments count, for one family of sockets, of segments and of clients."""

    def test_third_ack(self):
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, toa(*self.client), self.segments)
        self.assert_shows(connection, *self.client)

    def test_first_data_after_a_lost_ack(self):
        remote = self.remote(self.listener, self.segments)
        remote.syn()
        with self.assert_intake(toa=1):
            remote.ack(toa(*self.client), b"hello")
            connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *self.client)
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_ack_of_a_syn_cookie(self):
        self.sysctl("net.ipv4.tcp_syncookies", 2)
        before = tcp_extension("SyncookiesRecv")
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, toa(*self.client), self.segments)
        self.assertEqual(tcp_extension("SyncookiesRecv"), before + 1)
        self.assert_shows(connection, *self.client)

    def test_segment_that_also_ends_the_stream(self):
        remote = self.remote(self.listener, self.segments)
        remote.syn()
        with self.assert_intake(toa=1):
            remote.fin(toa(*self.client))
            connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *self.client)
        self.assertEqual(connection.socket.recv(1), b"")

    def test_no_option(self):
        with self.assert_intake(no_toa=1):
            connection = self.connect(self.listener, b"", self.segments)
        self.assert_shows_peer(connection)


class Ipv4(Segments, Case):
    family, segments, client = AF_INET, AF_INET, CLIENT4

    def setUp(self):
        super().setUp()
        self.listener = self.listen(self.family)


class Ipv6(Ipv4):
    family, segments, client = AF_INET6, AF_INET6, CLIENT6


class Ipv4OnIpv6Socket(Ipv4):
    family, segments, client = AF_INET6, AF_INET, CLIENT4


class Ipv4ClientInIpv6Segment(Ipv4):
    family, segments, client = AF_INET6, AF_INET6, CLIENT4


class Ipv6ClientInIpv4Segment(Ipv4):
    family, segments, client = AF_INET6, AF_INET, CLIENT6


class WhichSegment(Case):
    def setUp(self):
        super().setUp()
        self.listener = self.listen()

    def test_the_syn(self):
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, syn_options=toa(*CLIENT4))
        self.assert_shows(connection, *CLIENT4)

    def test_not_later_data(self):
        with self.assert_intake(no_toa=1):
            connection = self.connect(self.listener)
            connection.remote.ack(toa(*CLIENT4), b"hello")
            self.assertEqual(connection.socket.recv(5), b"hello")
        self.assert_shows_peer(connection)

    def test_later_data_does_not_change_the_client(self):
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, toa(*CLIENT4))
            connection.remote.ack(toa(*OTHER4), b"hello")
            self.assertEqual(connection.socket.recv(5), b"hello")
        self.assert_shows(connection, *CLIENT4)

    def test_third_ack_rather_than_the_syn(self):
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, toa(*CLIENT4), syn_options=toa(*OTHER4))
        self.assert_shows(connection, *CLIENT4)

    def test_not_an_ack_that_a_full_backlog_refuses(self):
        listener = self.listen(backlog=0)
        first, second = self.remote(listener), self.remote(listener)
        first.syn()
        second.syn()
        first.ack()
        with self.assert_intake(toa=1):
            second.ack(toa(*OTHER4))
            self.accept(listener, first)
            second.ack(toa(*CLIENT4), b"hello")
            connection = self.accept(listener, second)
        self.assert_shows(connection, *CLIENT4)

    def test_not_an_ack_out_of_the_window(self):
        remote = self.remote(self.listener)
        remote.syn()
        with self.assert_intake(toa=1):
            remote.acked += 1
            remote.ack(toa(*OTHER4))
            remote.acked -= 1
            remote.ack(toa(*CLIENT4))
            connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *CLIENT4)


class Layout(Case):
    """Where in the header the option counts."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()

    def assert_client(self, options, client, **syn):
        with self.assert_intake(toa=1):
            connection = self.connect(self.listener, options, **syn)
        self.assert_shows(connection, *client)
        self.assert_works(connection)

    def assert_ignored(self, options, payload=b""):
        with self.assert_intake(no_toa=1):
            remote = self.remote(self.listener)
            remote.syn()
            remote.ack(options, payload)
            # Where the kernel itself drops a segment for its options, the next one opens.
            remote.ack()
            connection = self.accept(self.listener, remote)
        self.assert_shows_peer(connection)
        if payload:
            self.assertEqual(connection.socket.recv(len(payload)), payload)
        self.assert_works(connection)

    def assert_works(self, connection):
        connection.remote.ack(payload=b"ping")
        self.assertEqual(connection.socket.recv(4), b"ping")
        connection.socket.send(b"pong")
        self.assertEqual(connection.remote.read(4), b"pong")

    def test_first_option_counts(self):
        self.assert_client(toa(*CLIENT4) + toa(*OTHER4), CLIENT4)
        self.assert_client(toa(*OTHER4) + toa(*CLIENT4), OTHER4)

    def test_first_option_counts_across_families(self):
        listener = self.listen(AF_INET6)
        for first, second in ((CLIENT4, CLIENT6), (CLIENT6, CLIENT4)):
            with self.subTest(first=first):
                options = pad(toa(*first) + toa(*second))
                self.assert_shows(self.connect(listener, options), *first)

    def test_end_mark_ends_the_list(self):
        self.assert_ignored(EOL * 4 + toa(*CLIENT4))
        self.assert_ignored(pad(NOP + EOL) + toa(*CLIENT4))

    def test_end_mark_after_the_option(self):
        self.assert_client(toa(*CLIENT4) + EOL * 4, CLIENT4)
        self.assert_client(toa(*CLIENT4) + EOL * 4 + toa(*OTHER4), CLIENT4)

    def test_after_timestamps(self):
        remote = self.remote(self.listener)
        reply = remote.syn(NOP * 2 + b"\x08\x0a" + b"\0\0\0\1" + b"\0\0\0\0")
        # Where the kernel answers with timestamps, it wants them in all segments that follow.
        start = reply.options.index(b"\x08\x0a")
        echo = reply.options[start + 2 : start + 6]
        with self.assert_intake(toa=1):
            remote.ack(NOP * 2 + b"\x08\x0a" + b"\0\0\0\2" + echo + toa(*CLIENT4))
            connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *CLIENT4)

    def test_unaligned(self):
        for before in (1, 2, 3):
            with self.subTest(before=before):
                self.assert_client(pad(NOP * before + toa(*CLIENT4)), CLIENT4)
                self.assert_client(pad(NOP * before + toa(*CLIENT4), EOL), CLIENT4)

    def test_at_the_end_of_forty_bytes(self):
        self.assert_client(NOP * 32 + toa(*CLIENT4), CLIENT4)
        self.assert_client(b"\xfd\x20" + bytes(30) + toa(*CLIENT4), CLIENT4)

    def test_ipv6_client_at_the_end_of_forty_bytes(self):
        listener = self.listen(AF_INET6)
        with self.assert_intake(toa=2):
            filled = self.connect(listener, NOP * 20 + toa(*CLIENT6))
            twice = self.connect(listener, toa(*CLIENT6) + toa("2001:db8::8", 1))
        self.assert_shows(filled, *CLIENT6)
        self.assert_shows(twice, *CLIENT6)

    def test_after_an_option_that_nobody_knows(self):
        self.assert_client(b"\xfd\x08ignore" + toa(*CLIENT4), CLIENT4)
        self.assert_client(pad(b"\xc8\x02" + toa(*CLIENT4)), CLIENT4)

    def test_bytes_inside_another_option_are_not_an_option(self):
        self.assert_ignored(pad(b"\xfd\x0a" + toa(*CLIENT4)))

    def test_other_kinds_that_balancers_use_are_off(self):
        for kind in (200, 253):
            with self.subTest(kind=kind):
                self.assert_ignored(toa(*CLIENT4, kind=kind))

    def test_other_lengths_are_ignored(self):
        for length in set(range(2, 41)) - {8, 20}:
            with self.subTest(length=length):
                value = (toa(*CLIENT4)[2:] * 7)[: length - 2]
                self.assert_ignored(pad(bytes([net.TOA, length]) + value))

    def test_another_length_does_not_hide_the_option(self):
        for length in (2, 7, 9, 19, 21):
            with self.subTest(length=length):
                odd = bytes([net.TOA, length]) + bytes(length - 2)
                self.assert_client(pad(odd + toa(*CLIENT4)), CLIENT4)

    def test_lengths_zero_and_one_end_the_list(self):
        for length in (0, 1):
            with self.subTest(length=length):
                self.assert_ignored(bytes([net.TOA, length, 0, 0]) + toa(*CLIENT4))
                self.assert_ignored(bytes([99, length, 0, 0]) + toa(*CLIENT4))

    def test_option_past_the_header(self):
        for options in (
            toa(*CLIENT6)[:12],
            toa(*CLIENT6)[:16],
            toa(*CLIENT4)[:4],
            NOP * 2 + toa(*CLIENT4)[:2],
            NOP * 3 + toa(*CLIENT4)[:1],
            NOP * 36 + toa(*CLIENT4)[:4],
            bytes([net.TOA, 255, 0, 0]),
        ):
            with self.subTest(options=options.hex()):
                self.assert_ignored(options)

    def test_option_that_goes_on_in_the_payload(self):
        option = toa(*CLIENT4)
        self.assert_ignored(option[:4], option[4:])
        self.assert_ignored(NOP * 36 + option[:4], option[4:])
        self.assert_ignored(b"", option)


class Values(Case):
    """What the option says is shown."""

    def test_ipv4_extremes(self):
        listener = self.listen()
        for address in ("0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", CLIENT4[0]):
            for port in (0, 1, 65535):
                with self.subTest(address=address, port=port):
                    connection = self.connect(listener, toa(address, port))
                    self.assert_shows(connection, address, port)

    def test_ipv4_extremes_on_an_ipv6_socket(self):
        listener = self.listen(AF_INET6)
        for address in ("0.0.0.0", "255.255.255.255"):
            for port in (0, 65535):
                with self.subTest(address=address, port=port):
                    connection = self.connect(listener, toa(address, port))
                    self.assert_shows(connection, address, port)

    def test_ipv6_extremes(self):
        listener = self.listen(AF_INET6)
        highest = ":".join(["ffff"] * 8)
        for address in ("::", "::1", "fe80::1", "ff02::1", "::ffff:198.51.100.7", highest):
            for port in (0, 65535):
                with self.subTest(address=address, port=port):
                    connection = self.connect(listener, toa(address, port))
                    self.assert_shows(connection, address, port)

    def test_ports_that_look_like_fast_open_or_smc(self):
        # Linux reads kind 254 with these first bytes as its own, but only where SYN is set.
        listener = self.listen()
        for client in (("198.51.100.7", 0xF989), ("195.217.100.7", 0xE2D4)):
            with self.subTest(client=client):
                self.assert_shows(self.connect(listener, toa(*client)), *client)

    def test_client_that_is_the_balancer(self):
        connection = self.connect(self.listen(), toa(self.tun.balancer4, 443))
        self.assert_shows(connection, self.tun.balancer4, 443)

    def test_client_that_is_the_server(self):
        connection = self.connect(self.listen(), toa(self.tun.server4, 443))
        self.assert_shows(connection, self.tun.server4, 443)

    def test_ipv6_client_on_an_ipv4_socket(self):
        listener = self.listen()
        with self.assert_intake(toa=1):
            connection = self.connect(listener, toa(*CLIENT6))
        self.assert_shows_peer(connection)
