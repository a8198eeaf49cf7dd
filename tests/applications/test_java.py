# SPDX-License-Identifier: GPL-2.0
"""Java's com.sun.net.httpserver: getRemoteAddress()."""

import ipaddress

from case import CLIENTS_V4, CLIENTS_V6, SHARE, Application

PORT = 8084


class Java(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        # The interpreter alone starts sooner.
        cls.run_server("java", "-Xint", "-Xshare:auto", "-cp", SHARE, "Server", PORT, log="java.log")

    def test_get_remote_address(self):
        for client in CLIENTS_V4[0], CLIENTS_V6[0]:
            answer = self.get(client, PORT)
            self.say(answer.body)
            address, port = answer.body.split(" ")
            # Java writes IPv6 addresses without "::".
            self.assert_shown(str(ipaddress.ip_address(address)), port, answer.client)
