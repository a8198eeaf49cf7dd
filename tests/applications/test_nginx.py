# SPDX-License-Identifier: GPL-2.0
"""nginx: the access log, allow and deny, and a limit of requests a client."""

from case import CLIENTS_V4, CLIENTS_V6, UNWELCOME, WELCOME, Application, mapped, module

PORT, DUAL_STACK_PORT = 80, 8080

CONFIGURATION = """
daemon off;
user root;
pid {folder}/nginx.pid;
events {{}}
http {{
    log_format client '$remote_addr:$remote_port "$request" $status';
    access_log {folder}/nginx.log client;
    limit_req_zone $binary_remote_addr zone=per_client:1m rate=1r/m;
    limit_req_status 429;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {port};
        listen [::]:{port};
        listen [::]:{dual_stack} ipv6only=off;
        location / {{
            return 200 $remote_addr;
        }}
        location /private {{
            allow {welcome[0]};
            allow {welcome[1]};
            deny all;
            root {folder};
        }}
        location /limited {{
            limit_req zone=per_client;
            root {folder};
        }}
    }}
}}
"""


class Nginx(Application):
    PORTS = (PORT, DUAL_STACK_PORT)

    @classmethod
    def start(cls, folder):
        (folder / "private").write_text("hello\n")
        (folder / "limited").write_text("hello\n")
        file = folder / "nginx.conf"
        file.write_text(
            CONFIGURATION.format(
                folder=folder, port=PORT, dual_stack=DUAL_STACK_PORT, welcome=WELCOME
            )
        )
        cls.run_server("nginx", "-e", folder / "nginx.errors", "-c", file, log="nginx.out")

    def test_access_log(self):
        for client in CLIENTS_V4[0], CLIENTS_V6[0]:
            answer = self.get(client, PORT, "/logged")
            address, _, port = self.next_line("nginx.log", "/logged").split(" ")[0].rpartition(":")
            self.assert_shown(address, port, answer.client)
            self.assertEqual(answer.body, self.shown(client))

    def test_ipv4_client_of_a_listener_for_both_families(self):
        answer = self.get(CLIENTS_V4[0], DUAL_STACK_PORT)
        self.assertEqual(answer.body, mapped(self.shown(CLIENTS_V4[0])))

    def test_allow_and_deny(self):
        for client in WELCOME + UNWELCOME:
            status = self.get(client, PORT, "/private").status
            self.next_line("nginx.log", "/private")
            self.assertEqual(status, 200 if client in WELCOME and module.loaded() else 403, client)

    def test_limit_per_client(self):
        # All connect first, so that no emulator is slow enough for a minute to pass between requests.
        connections = [self.connect(client, PORT) for client in (*CLIENTS_V4[:2], CLIENTS_V4[0])]
        statuses = []
        for connection in connections:
            connection.sendall(b"GET /limited HTTP/1.0\r\n\r\n")
            statuses.append(int(connection.makefile().readline().split()[1]))
            self.next_line("nginx.log", "/limited")
        # The balancer is a single client, whose second request is one too many.
        self.assertEqual(statuses, [200, 200, 429] if module.loaded() else [200, 429, 429])
