# SPDX-License-Identifier: GPL-2.0
"""Listeners opened for MPTCP, which Go programs have by default, and MPTCP clients played by hand."""

import errno
import struct
from socket import AF_INET, AF_INET6

import net
from case import Case, name
from net import toa
from syscalls import IPPROTO_MPTCP, disconnect

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)


class Mptcp(Case):
    family, client, segments = AF_INET, CLIENT4, AF_INET
    other = ("203.0.113.9", 50234)

    # MP_CAPABLE of version 1 with HMAC-SHA256 (RFC 8684, 3.1).
    SYN = b"\x1e\x04\x01\x01"
    KEY = b"ourkey!!"

    def setUp(self):
        super().setUp()
        self.listener = self.listen(self.family, IPPROTO_MPTCP)

    def connect_mptcp(self, options=b""):
        remote = self.remote(self.listener, self.segments)
        reply = remote.syn(self.SYN)
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + self.key(reply) + options)
        return remote

    def key(self, syn_ack):
        """The server's key."""
        start = syn_ack.options.index(b"\x1e\x0c\x01\x01")
        return syn_ack.options[start + 4 : start + 12]

    def is_mptcp(self, connection):
        SOL_MPTCP, MPTCP_INFO = 284, 1
        try:
            connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 64)
        except OSError:
            return False
        return True

    def test_client_that_speaks_tcp(self):
        connection = self.connect(self.listener, toa(*self.client), self.segments)
        self.assertFalse(self.is_mptcp(connection.socket))
        self.assert_shows(connection, *self.client)

    def test_client_that_speaks_mptcp(self):
        remote = self.connect_mptcp(toa(*self.client))
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        self.assert_shows(connection, *self.client)

    def test_client_that_speaks_mptcp_and_whose_ack_was_lost(self):
        # First data repeats the keys, and adds the length of the data.
        remote = self.remote(self.listener, self.segments)
        reply = remote.syn(self.SYN)
        data = b"hello"
        capable = b"\x1e\x16\x01\x01" + self.KEY + self.key(reply) + struct.pack("!H", len(data))
        remote.ack(net.pad(capable + toa(*self.client)), data)
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        self.assert_shows(connection, *self.client)
        self.assertEqual(connection.socket.recv(5), data)

    def test_client_that_speaks_mptcp_and_does_not_know_the_servers_key(self):
        remote = self.remote(self.listener, self.segments)
        remote.syn(self.SYN)
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + b"notyours" + toa(*self.client))
        connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *self.client)

    def test_ack_of_a_syn_cookie(self):
        self.sysctl("net.ipv4.tcp_syncookies", 2)
        connection = self.accept(self.listener, self.connect_mptcp(toa(*self.client)))
        self.assert_shows(connection, *self.client)

    def test_client_that_speaks_mptcp_without_the_option(self):
        with self.assert_intake(no_toa=1):
            connection = self.accept(self.listener, self.connect_mptcp())
        self.assertTrue(self.is_mptcp(connection.socket))
        self.assert_shows_peer(connection)

    def test_accept_of_a_reset_mptcp_connection(self):
        remote = self.connect_mptcp(toa(*self.client))
        remote.rst()
        connection = self.accept(self.listener, remote)
        self.assertEqual(connection.accepted, name(self.family, *self.client))

    def test_mptcp_connection_whose_client_has_gone(self):
        remote = self.connect_mptcp(toa(*self.client))
        connection = self.accept(self.listener, remote)
        remote.rst()
        # The connection outlives its subflow, and still has the same client.
        self.assert_named(connection.socket, *self.client)

    def test_mptcp_connection_does_not_show_who_uses_its_port_next(self):
        remote = self.connect_mptcp(toa(*self.client))
        connection = self.accept(self.listener, remote)
        remote.abort()
        # The balancer gives the port to another client, while the server has not yet closed.
        other = self.remote(self.listener, self.segments, remote.name[1])
        other.connect(toa(*self.other))
        successor = self.accept(self.listener, other)
        self.assertEqual(successor.accepted, name(self.family, *self.other))
        self.assertNotEqual(connection.socket.getpeername(), name(self.family, *self.other))

    def test_disconnected_mptcp_socket(self):
        connection = self.accept(self.listener, self.connect_mptcp(toa(*self.client)))
        self.assert_shows(connection, *self.client)
        disconnect(connection.socket)
        with self.assertRaises(OSError) as raised:
            connection.socket.getpeername()
        self.assertEqual(raised.exception.errno, errno.ENOTCONN)


class MptcpIpv6(Mptcp):
    family, client, segments = AF_INET6, CLIENT6, AF_INET6
    other = ("2001:db8::9", 50234)

    # No header has room for such a client's option beside that one of MPTCP's.
    test_client_that_speaks_mptcp_and_whose_ack_was_lost = None


class MptcpIpv4OnIpv6Socket(Mptcp):
    family, client, segments = AF_INET6, CLIENT4, AF_INET
