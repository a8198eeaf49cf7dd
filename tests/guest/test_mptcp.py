# SPDX-License-Identifier: GPL-2.0
"""Listeners opened for MPTCP, which Go programs have by default, and MPTCP clients played by hand."""

import errno
import hashlib
import subprocess
from socket import AF_INET, AF_INET6

import module
import net
from case import name
from mptcp import MptcpCase
from net import toa
from syscalls import disconnect

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)
OTHER4 = ("203.0.113.9", 50234)


class Mptcp(MptcpCase):
    client, other = CLIENT4, ("203.0.113.9", 50234)

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
        remote, key = self.syn_mptcp()
        data = b"hello"
        remote.ack(net.pad(self.first_data(key, data) + toa(*self.client)), data)
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        self.assert_shows(connection, *self.client)
        self.assertEqual(connection.socket.recv(5), data)

    def test_client_that_speaks_mptcp_and_does_not_know_the_servers_key(self):
        remote, _ = self.syn_mptcp()
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


class Join(MptcpCase):
    """Further subflows of a connection, whose segments balancers tag like any other's."""

    def join(self, key, code, options):
        """Asks to join the connection of the server's key, and answers its challenge with `code`."""
        token = hashlib.sha256(key).digest()[:4]
        remote = self.remote(self.listener, self.segments)
        remote.syn(b"\x1e\x0c\x10\x01" + token + b"ours")
        remote.ack(b"\x1e\x18\x10\x00" + code + options)
        return remote

    def test_one_that_fails_leaves_no_record(self):
        subprocess.run(["ip", "mptcp", "limits", "set", "subflow", "4"], check=True)
        remote, key = self.syn_mptcp()
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + key + toa(*CLIENT4))
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        # The kernel takes subflows once data has shown that the peer means it.
        remote.ack(net.pad(self.first_data(key, b"hello")), b"hello")
        self.assertEqual(connection.socket.recv(5), b"hello")

        before = module.stats().total("records_live")
        for _ in range(3):
            joining = self.join(key, bytes(20), toa(*OTHER4))
            joining.expect(net.RST)
        self.assertEqual(module.stats().total("records_live"), before)
        self.assert_shows(connection, *CLIENT4)
