# SPDX-License-Identifier: GPL-2.0
"""What does not change: all that looks at packets sees where they come from, which is the balancer."""

import re
import subprocess

from case import CLIENTS_V4, Application, module, topology

PORT = 8085

RULES = f"""
table ip lookout {{
	counter from_balancer {{}}
	counter from_client {{}}
	chain arriving {{
		type filter hook input priority filter
		ct state established accept
		tcp dport {PORT} ip saddr {topology.BALANCER_V4} counter name from_balancer
		tcp dport {PORT} ip saddr {CLIENTS_V4[0]} counter name from_client
	}}
}}
"""


class Unchanged(Application):
    """A connection to a server of Python's, which accept() tells the client of."""

    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        topology.Namespace(cls.SERVER).run("nft", "-f", "-", input=RULES, text=True)
        cls.run_server("python3", "-uc", PROGRAM, PORT, log="python.log")

    def setUp(self):
        super().setUp()
        self.server = self.path.server
        self.connection = self.connect(CLIENTS_V4[0], PORT)
        line = self.next_line("python.log", "accepted ")
        address, port = line.split(" ")[1:]
        self.assert_shown(address, port, self.connection.getsockname())

    def assert_balancer(self, text):
        """A tool shows the balancer, and nothing of the client."""
        self.say(text)
        self.assertIn(topology.BALANCER_V4, text)
        self.assertNotIn(CLIENTS_V4[0], text)

    def test_ss(self):
        self.assert_balancer(self.server.output("ss", "-Htn", "state", "established", "sport", f"= {PORT}"))

    def test_conntrack(self):
        # How many it has found goes to its standard error.
        listed = self.server.run(
            "conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED", "--dport", str(PORT),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.assert_balancer(listed.stdout)

    def test_nftables(self):
        counters = self.server.output("nft", "list", "counters")
        packets = dict(re.findall(r"counter (\w+) {\s+packets (\d+)", counters))
        self.say(f"packets: {packets}")
        self.assertGreater(int(packets["from_balancer"]), 0)
        self.assertEqual(packets["from_client"], "0")

    def test_tcpdump(self):
        # Until it says that it listens, it has not begun.
        dump = self.server.start(
            "tcpdump", "-lnvc", "1", "-i", "uplink", f"tcp dst port {PORT}",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.addCleanup(dump.communicate)
        self.addCleanup(dump.kill)
        self.assertIn("listening", dump.stderr.readline())
        self.connection.sendall(b"hello")
        printed = "".join(dump.stdout.readline().strip() + " " for _ in range(2))
        self.assert_balancer(printed)

    def test_proc_net_toa_has_both(self):
        if not module.loaded():
            self.assertFalse(self.server.output("ls", "/proc/net").count("toa"))
            return
        client = "{}:{}".format(*self.connection.getsockname())
        listed = self.server.output("cat", "/proc/net/toa").splitlines()
        (line,) = [line for line in listed if client in line]
        self.say(line)
        local, balancer, shown = line.split(" ")[:3]
        self.assertEqual((local, shown), (f"{topology.SERVER_V4}:{PORT}", client))
        self.assertRegex(balancer, rf"^{topology.BALANCER_V4}:1\d{{4}}$")


PROGRAM = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
connections = []
while True:
    connection, peer = listener.accept()
    connections.append(connection)
    print("accepted", *peer)
"""
