# SPDX-License-Identifier: GPL-2.0
"""TCP Fast Open: the SYN carries data, and makes the connection by itself."""

import socket
from socket import AF_INET6, IPPROTO_TCP

import module
import net
from case import name
from net import ACK, SYN, toa
from syn import (
    ASKS_FOR_FAST_OPEN,
    CLIENT6,
    FAST_OPEN,
    FAST_OPEN_EVERYWHERE,
    OTHER6,
    SynCase,
)


class FastOpenIpv4(SynCase):
    """Data in the SYN makes the connection before the handshake ends."""

    def setUp(self):
        super().setUp()
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)

    def open(self, options, asks=(ASKS_FOR_FAST_OPEN,), **counts):
        """Connects with data in the SYN, and asserts all that changes in the counters."""
        remote = self.listen_and_begin(options=asks)
        with self.assert_counts(**counts):
            remote.send(SYN, options, b"hello")
        reply = remote.expect(SYN | ACK)
        remote.acked = (reply.seq + 1) % 2**32
        # It acknowledges the data as well.
        self.assertEqual(reply.ack, remote.seq)
        return remote

    def open_tagged(self, **arguments):
        counts = {"syn_recv_sock_toa": 1, "records_live": 1, **self.ip6(self.client)}
        return self.open(toa(*self.client), option_254=1, **counts, **arguments)

    def check(self, remote, client):
        connection = self.accept(self.listener, remote)
        TCP_INFO, TCP_SYN_RECV = 11, 3
        state = connection.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0]
        self.assertEqual(state, TCP_SYN_RECV)
        self.assert_shows(connection, *client)
        self.assert_listed(connection, client, net.TOA, "syn")
        self.assertEqual(connection.socket.recv(5), b"hello")
        return connection

    def test_before_the_third_ack(self):
        remote = self.open_tagged()
        connection = self.check(remote, self.client)
        connection.socket.send(b"reply")
        with self.assert_counts():
            self.assertEqual(remote.read(5), b"reply")
        self.assert_named(connection.socket, *self.client)

    def test_third_ack_does_not_change_the_client(self):
        remote = self.open_tagged()
        connection = self.check(remote, self.client)
        with self.assert_counts():
            remote.ack(toa(*self.other))
        self.assert_named(connection.socket, *self.client)

    def test_accept_after_the_third_ack(self):
        remote = self.open_tagged()
        with self.assert_counts():
            remote.ack(toa(*self.other))
        connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *self.client)
        self.assert_listed(connection, self.client, net.TOA, "syn")

    def test_listener_that_did_not_ask_for_it(self):
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN_EVERYWHERE)
        self.check(self.open_tagged(asks=()), self.client)

    def test_syn_sent_twice(self):
        remote = self.open_tagged()
        self.check(remote, self.client)
        with self.assert_counts():
            remote.seq -= len(b"hello") + 1
            remote.send(SYN, toa(*self.other), b"hello")
        self.assertEqual(remote.expect(ACK).ack, remote.seq)

    def test_without_an_option(self):
        remote = self.open(b"", syn_recv_sock_no_toa=1)
        connection = self.accept(self.listener, remote)
        self.assert_shows_peer(connection)
        remote.ack(toa(*self.client), b" world")
        self.assertEqual(connection.socket.recv(11, socket.MSG_WAITALL), b"hello world")
        self.assert_shows_peer(connection)

    def test_data_that_waits_for_the_third_ack(self):
        # This listener does not do it, so that the data comes again.
        remote = self.listen_and_begin()
        with self.assert_counts(option_254=1, syn_kept=1):
            remote.send(SYN, toa(*self.client), b"hello")
        reply = remote.expect(SYN | ACK)
        remote.acked, remote.seq = (reply.seq + 1) % 2**32, reply.ack
        self.complete(remote, self.client, payload=b"hello")

    def test_reset_before_the_third_ack(self):
        remote = self.open_tagged()
        remote.rst()
        remote = self.again(remote)
        remote.syn()
        remote.ack()
        connection, accepted = self.listener.accept()
        self.addCleanup(connection.close)
        if accepted == name(self.family, *self.client):
            # The kernel hands out what was reset, too.
            connection, accepted = self.listener.accept()
            self.addCleanup(connection.close)
        self.assertEqual(accepted, name(self.family, *remote.name))

    def test_ended_before_anybody_accepts(self):
        before = module.stats().total("records_live")
        remote = self.open_tagged()
        self.assertEqual(module.stats().total("records_live"), before + (not module.absent))
        self.listener.close()
        remote.rst()
        self.assertEqual(module.stats().total("records_live"), before)
        self.assertTrue(module.loaded())


class FastOpenIpv6(FastOpenIpv4):
    family, segments, client, other = AF_INET6, AF_INET6, CLIENT6, OTHER6


class FastOpenIpv4OnIpv6Socket(FastOpenIpv4):
    family = AF_INET6
