# SPDX-License-Identifier: GPL-2.0
"""PostgreSQL: pg_hba.conf by address, pg_stat_activity, and the log."""

import pathlib
import re

from case import SHARE, UNWELCOME, WELCOME, Application, module, public

PORT = 5432
USER = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]

PG_HBA = """
# TYPE  DATABASE  USER  ADDRESS     METHOD
host    all       all   {0}/32      trust
host    all       all   {1}/128     trust
"""


class PostgreSQL(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        data = SHARE / "postgresql"
        (data / "pg_hba.conf").write_text(PG_HBA.format(*WELCOME))
        (program,) = pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")
        settings = "listen_addresses=*", "unix_socket_directories=", "log_connections=on", "fsync=off"
        cls.run_server(
            *USER, program, "-D", data, *(f"-c{setting}" for setting in settings),
            log="postgresql.log",
        )

    def query(self, client, query):
        return self.run_client(
            client, "psql", "-h", public(client), "-U", "postgres", "-XAtc", query, "postgres"
        )

    def test_addresses_in_pg_stat_activity(self):
        for client in WELCOME:
            done = self.query(client, "SELECT client_addr FROM pg_stat_activity"
                                      " WHERE pid = pg_backend_pid()")
            line = self.next_line("postgresql.log", "connection received")
            self.assertEqual(re.search(r"host=(\S+)", line)[1], self.shown(client))
            self.say(done.stdout)
            if module.loaded():
                self.assertEqual(done.stdout, f"{client}\n")
            else:
                # It was not even let in.
                self.next_line("postgresql.log", "no pg_hba.conf entry")
                self.assertNotEqual(done.returncode, 0)

    def test_pg_hba_lets_in_by_address(self):
        for client in WELCOME + UNWELCOME:
            done = self.query(client, "SELECT 'hello'")
            if client in WELCOME and module.loaded():
                self.assertEqual(done.stdout, "hello\n")
            else:
                line = self.next_line("postgresql.log", "no pg_hba.conf entry")
                self.assertIn(f'no pg_hba.conf entry for host "{self.shown(client)}"', line)
                self.assertNotEqual(done.returncode, 0)
