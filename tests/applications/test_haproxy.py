# SPDX-License-Identifier: GPL-2.0
"""HAProxy: its log, and `acl ... src`."""

from case import CLIENTS_V4, UNWELCOME, WELCOME, Application, module

PORT = 8081

CONFIGURATION = """
defaults
    mode http
    timeout client 1m
    timeout server 1m
    timeout connect 1m
    log stdout format raw local0
    log-format "%ci:%cp %HM %HU %ST"

frontend web
    bind :{port}
    bind [::]:{port} v6only
    acl welcome src {welcome[0]} {welcome[1]}
    http-request deny if {{ path /private }} !welcome
    http-request return status 200 content-type text/plain lf-string "%[src]"
"""


class HAProxy(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        file = folder / "haproxy.cfg"
        file.write_text(CONFIGURATION.format(port=PORT, welcome=WELCOME))
        cls.run_server("haproxy", "-db", "-f", file, log="haproxy.log")

    def test_log(self):
        for client in WELCOME:
            answer = self.get(client, PORT)
            line = self.next_line("haproxy.log", " GET / ")
            address, _, port = line.split(" ")[0].rpartition(":")
            self.assert_shown(address, port, answer.client)
            self.assertEqual(answer.body, self.shown(client))

    def test_acl_src(self):
        for client in WELCOME + UNWELCOME + CLIENTS_V4[2:]:
            status = self.get(client, PORT, "/private").status
            self.next_line("haproxy.log", "/private")
            self.assertEqual(status, 200 if client in WELCOME and module.loaded() else 403, client)
