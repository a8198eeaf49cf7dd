# SPDX-License-Identifier: GPL-2.0
"""Redis: CLIENT LIST."""

import re

from case import CLIENTS_V4, CLIENTS_V6, Application

PORT = 6379


class Redis(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        settings = "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--dir", folder
        cls.run_server("redis-server", "--port", PORT, *settings, log="redis.log")

    def test_client_list(self):
        for client in CLIENTS_V4[0], CLIENTS_V6[0]:
            connection = self.connect(client, PORT)
            reply = connection.makefile()
            connection.sendall(b"CLIENT ID\r\n")
            number = reply.readline().strip().removeprefix(":")
            connection.sendall(f"CLIENT LIST ID {number}\r\n".encode())
            # The reply is the count of its bytes, on a line of its own, and so many bytes.
            reply.readline()
            line = reply.readline()
            self.say(re.match(r".* fd=\d+", line)[0] + " ...")
            address, _, port = re.search(r" addr=(\S+)", line)[1].rpartition(":")
            self.assert_shown(address.strip("[]"), port, connection.getsockname())
            connection.close()
