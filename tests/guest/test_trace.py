# SPDX-License-Identifier: GPL-2.0
"""The event toa:toa_client: an operator can watch clients as they come."""

import re
from socket import AF_INET, AF_INET6

import tracing
from case import Case
from net import toa

EVENT = "events/toa/toa_client/enable"
LINE = re.compile(r"toa_client: client=(\S+) balancer=(\S+) kind=(\d+) from=(\w+)$", re.M)


class Trace(Case):
    def setUp(self):
        super().setUp()
        tracing.write(EVENT, "1")
        tracing.write("trace", "")

    def tearDown(self):
        tracing.write(EVENT, "0")
        super().tearDown()

    def assert_traced(self, connection, client, port, origin):
        address, peer_port = connection.remote.name
        mapped = address if ":" in address else f"::ffff:{address}"
        expected = (f"[{client}]:{port}", f"[{mapped}]:{peer_port}", "254", origin)
        self.assertEqual(LINE.findall(tracing.read("trace")), [expected])

    def test_client_of_the_last_segment_of_the_handshake(self):
        connection = self.connect(self.listen(), toa("203.0.113.7", 5000))
        self.assert_traced(connection, "::ffff:203.0.113.7", 5000, "ack")

    def test_ipv6_client(self):
        connection = self.connect(self.listen(AF_INET6), toa("2001:db8::7", 5000))
        self.assert_traced(connection, "2001:db8::7", 5000, "ack")

    def test_client_of_the_syn(self):
        connection = self.connect(
            self.listen(AF_INET6), family=AF_INET, syn_options=toa("203.0.113.7", 5000)
        )
        self.assert_traced(connection, "::ffff:203.0.113.7", 5000, "syn")

    def test_connection_without_a_client(self):
        self.connect(self.listen())
        self.assertEqual(LINE.findall(tracing.read("trace")), [])

    def test_nothing_when_nobody_listens(self):
        tracing.write(EVENT, "0")
        self.connect(self.listen(), toa("203.0.113.7", 5000))
        self.assertEqual(LINE.findall(tracing.read("trace")), [])
