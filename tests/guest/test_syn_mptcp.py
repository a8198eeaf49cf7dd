# SPDX-License-Identifier: GPL-2.0
"""Options that the SYN alone carries, for the MPTCP listeners that Go programs have by default."""

import time
from socket import AF_INET, AF_INET6

import module
import net
from mptcp import MptcpCase
from net import ACK, SYN, pad, toa
from syn import ASKS_FOR_FAST_OPEN, CLIENT6, FAST_OPEN, FATES, OTHER6, SynCase


class Mptcp(MptcpCase, SynCase):
    # Not all: the kernel may only now destroy the socket of an earlier test, which counts as well.
    ROWS = ("syn_kept", "syn_cookie", "syn_recv_sock_toa", "syn_recv_sock_no_toa", *FATES)

    def complete_mptcp(self, remote, key, client, segment="syn", options=b""):
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + key + options)
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        if client is None:
            self.assert_shows_peer(connection)
        else:
            self.assert_shows(connection, *client)
            self.assert_listed(connection, client, net.TOA, segment)
        return connection

    def test_client_that_speaks_mptcp(self):
        before = module.stats()
        remote, key = self.syn_mptcp(toa(*self.client))
        self.complete_mptcp(remote, key, self.client)
        self.assertEqual(
            self.changes(before, *self.ROWS),
            {"syn_kept": 1, "syn_used": 1, "syn_recv_sock_toa": 1},
        )

    def test_client_that_speaks_mptcp_and_whose_ack_was_lost(self):
        remote, key = self.syn_mptcp(toa(*self.client))
        remote.ack(pad(self.first_data(key, b"hello")), b"hello")
        connection = self.accept(self.listener, remote)
        self.assertTrue(self.is_mptcp(connection.socket))
        self.assert_shows(connection, *self.client)
        self.assert_listed(connection, self.client, net.TOA, "syn")
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_option_of_the_ack_counts_rather_than_that_of_the_syn(self):
        remote, key = self.syn_mptcp(toa(*self.other))
        if self.family == AF_INET:
            before = module.stats()
            self.complete_mptcp(remote, key, self.client, "ack", toa(*self.client))
            self.assertEqual(
                self.changes(before, *self.ROWS), {"syn_superseded": 1, "syn_recv_sock_toa": 1}
            )
        else:
            # No header has room for both; this one's client is that of the SYN.
            self.complete_mptcp(remote, key, self.other)

    def test_client_that_speaks_tcp(self):
        remote = self.remote(self.listener, self.segments)
        remote.syn(toa(*self.client))
        connection = self.complete(remote, self.client)
        self.assertFalse(self.is_mptcp(connection.socket))

    def test_client_that_does_not_know_the_servers_key(self):
        remote, _ = self.syn_mptcp(toa(*self.client))
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + b"notyours")
        self.assert_shows(self.accept(self.listener, remote), *self.client)

    def test_client_whose_mptcp_a_device_removed_after_the_syn(self):
        remote, _ = self.syn_mptcp(toa(*self.client))
        remote.ack()
        self.assert_shows(self.accept(self.listener, remote), *self.client)

    def test_abandoned(self):
        remote, _ = self.syn_mptcp(toa(*self.client))
        remote.rst()
        remote = self.again(remote)
        key = self.key(remote.syn(self.SYN))
        self.complete_mptcp(remote, key, None)

    def test_ack_of_a_syn_cookie(self):
        self.sysctl("net.ipv4.tcp_syncookies", 2)
        before = module.stats()
        remote, key = self.syn_mptcp(toa(*self.client))
        self.complete_mptcp(remote, key, None)
        self.assertEqual(
            self.changes(before, *self.ROWS), {"syn_cookie": 1, "syn_recv_sock_no_toa": 1}
        )

    def test_too_old(self):
        self.reload(syn_seconds=1)
        remote, key = self.syn_mptcp(toa(*self.client))
        time.sleep(2.5)
        before = module.stats()
        self.complete_mptcp(remote, key, None)
        self.assertEqual(self.changes(before, *FATES), {"syn_expired": 1})

    def fast_open(self, remote, *options):
        self.listener.setsockopt(*ASKS_FOR_FAST_OPEN)
        self.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)
        remote.send(SYN, b"".join(options), b"hello")
        remote.acked = (remote.expect(SYN | ACK).seq + 1) % 2**32
        return self.accept(self.listener, remote)

    def test_mptcp_fast_open(self):
        remote = self.remote(self.listener, self.segments)
        with self.assert_intake(toa=1):
            connection = self.fast_open(remote, self.SYN, toa(*self.client))
        self.assert_shows(connection, *self.client)
        self.assert_listed(connection, self.client, net.TOA, "syn")
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_mptcp_fast_open_of_a_client_that_speaks_tcp(self):
        remote = self.remote(self.listener, self.segments)
        connection = self.fast_open(remote, toa(*self.client))
        self.assert_shows(connection, *self.client)
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_mptcp_fast_open_after_one_that_was_abandoned(self):
        for options in (self.SYN, b""):
            with self.subTest(options=options.hex()):
                remote, _ = self.syn_mptcp(toa(*self.client))
                remote.rst()
                self.assert_shows_peer(self.fast_open(self.again(remote), options))


class MptcpIpv6(Mptcp):
    family, segments, client, other = AF_INET6, AF_INET6, CLIENT6, OTHER6
    test_too_old = None


class MptcpIpv4OnIpv6Socket(Mptcp):
    family = AF_INET6
    test_too_old = None
