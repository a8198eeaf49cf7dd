# SPDX-License-Identifier: GPL-2.0
"""Go's net/http, whose listeners speak MPTCP: RemoteAddr."""

import socket

from case import CLIENTS_V4, CLIENTS_V6, SHARE, Application, topology

PORT = 8082


class Go(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        cls.run_server(SHARE / "goserver", PORT, log="go.log")

    def test_its_listener_speaks_mptcp(self):
        # What `ss -M` has, and TCP's own list has not, as long as there is no connection.
        sockets = topology.Namespace(self.SERVER).output("ss", "-HlnM")
        self.assertIn(f":{PORT} ", sockets)

    def assert_remote_addr(self, client, protocol=0):
        answer = self.get(client, PORT, protocol=protocol)
        self.say(answer.body)
        address, _, port = answer.body.rpartition(":")
        self.assert_shown(address.strip("[]"), port, answer.client)

    def test_remote_addr(self):
        for client in CLIENTS_V4[0], CLIENTS_V6[0]:
            self.assert_remote_addr(client)

    def test_remote_addr_over_mptcp(self):
        self.assert_remote_addr(CLIENTS_V4[0], socket.IPPROTO_MPTCP)
