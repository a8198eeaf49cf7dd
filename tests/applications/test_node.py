# SPDX-License-Identifier: GPL-2.0
"""Node.js: socket.remoteAddress and remotePort."""

from case import CLIENTS_V4, CLIENTS_V6, HERE, Application

PORT = 8083


class Node(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        cls.run_server("node", HERE / "programs/server.js", PORT, log="node.log")

    def test_remote_address(self):
        for client in CLIENTS_V4[0], CLIENTS_V6[0]:
            answer = self.get(client, PORT)
            self.say(answer.body)
            address, port = answer.body.split(" ")
            # It listens for both families, and says so of IPv4 clients.
            self.assertEqual(address.startswith("::ffff:"), client in CLIENTS_V4)
            self.assert_shown(address.removeprefix("::ffff:"), port, answer.client)
