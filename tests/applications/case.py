# SPDX-License-Identifier: GPL-2.0
"""What all tests of applications share: the balancer, servers behind it, and clients in front."""

import collections
import contextlib
import functools
import http.client
import itertools
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "balancer"), str(HERE.parent / "guest")]

import module  # noqa: E402
import topology  # noqa: E402

CLIENTS_V4, CLIENTS_V6 = topology.CLIENTS_V4, topology.CLIENTS_V6
# Two clients of each family: the first may, the second may not, where a server makes a difference.
WELCOME, UNWELCOME = (CLIENTS_V4[0], CLIENTS_V6[0]), (CLIENTS_V4[1], CLIENTS_V6[1])
PATIENCE = 300  # seconds; an emulated machine is slow, and Node.js starts slowly
SHARE = pathlib.Path("/share")

# What the servers wrote in the running test.
said: list[str] = []

Answer = collections.namedtuple("Answer", "status body client")

_lab = None


class Lab:
    """Balancer and servers, from `with Lab():` to the end of the block."""

    def __init__(self):
        self.path = topology.Path()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        global _lab
        self.folder.chmod(0o755)
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.stack.enter_context(self.path)
        self.path.start_inserting()
        _lab = self
        return self

    def __exit__(self, *_):
        self.stack.close()


class Application(unittest.TestCase):
    """A server that its first test starts and that runs until the end of all tests."""

    PORTS: tuple[int, ...] = ()
    SERVER = "server"  # the network namespace, in which each of the ports will be listened to

    # Clients' ports, far from those that the balancer uses.
    ports = itertools.count(50001)
    # How many lines of each log file were read.
    read = collections.Counter()

    def setUp(self):
        self.path, self.folder = _lab.path, _lab.folder
        self.start_once()

    @classmethod
    @functools.cache
    def start_once(cls):
        """Starts the server unless it runs; raises if it does not listen in time."""
        cls.start(_lab.folder)
        wait_until(f"{cls.__name__} listens", cls.listens)

    @classmethod
    def start(cls, folder):
        """Starts the server, with its files in the folder."""

    @classmethod
    def listens(cls):
        sockets = topology.Namespace(cls.SERVER).output("ss", "-Hltn")
        return all(f":{port} " in sockets for port in cls.PORTS)

    @classmethod
    def run_server(cls, *command, log):
        """Starts a command in the server's namespace; its output goes to a file."""
        output = _lab.stack.enter_context((_lab.folder / log).open("w"))
        process = topology.Namespace(cls.SERVER).start(
            *map(str, command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        cls.cleanup(process.wait)
        cls.cleanup(process.terminate)

    @classmethod
    def cleanup(cls, function, *arguments):
        """At the end of all tests, the last first."""
        _lab.stack.callback(function, *arguments)

    def shown(self, client):
        """The address that servers should have for a client: the balancer's without the module."""
        if module.loaded():
            return client
        return topology.BALANCER_V6 if ":" in client else topology.BALANCER_V4

    def assert_shown(self, address, port, client):
        """A server has the right address and port for a client, given with its port."""
        self.assertEqual(address, self.shown(client[0]))
        if module.loaded():
            self.assertEqual(int(port), client[1])
        else:
            self.assertIn(int(port), topology.BALANCER_PORTS)

    def connect(self, client, port, protocol=0):
        """A client's connection to a server, through the balancer."""
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        with self.path.client.entered():
            connection = socket.socket(family, socket.SOCK_STREAM, protocol)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.bind((client, next(self.ports)))
        connection.connect((public(client), port))
        return connection

    def get(self, client, port, file="/", protocol=0):
        """A client's request over HTTP."""
        web = http.client.HTTPConnection("balancer")
        web.sock = self.connect(client, port, protocol)
        name = web.sock.getsockname()[:2]
        web.request("GET", file, headers={"Connection": "close"})
        response = web.getresponse()
        return Answer(response.status, response.read().decode(), name)

    def run_client(self, client, *command):
        """Runs a client's program, whose connections are made from this address; never fails."""
        family = "-6" if ":" in client else "-4"
        gateway = "2001:db8:c::1" if ":" in client else "203.0.113.1"
        route = ["ip", family, "route", "replace", "default", "via", gateway, "src", client]
        self.path.client.run(*route)
        return subprocess.run(
            ["ip", "netns", "exec", self.path.client.name, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, timeout=PATIENCE,
        )

    def next_line(self, log, *having):
        """The next unread line of a log file that has all these words; shows it."""
        file = self.folder / log
        found = []

        def look():
            # The last piece is of a line that is still being written, or nothing.
            for line in file.read_text().split("\n")[self.read[log] : -1]:
                self.read[log] += 1
                if all(word in line for word in having):
                    found.append(line)
                    return True
            return False

        wait_until(f"{log} has a line with {having}", look)
        self.say(found[0])
        return found[0]

    def say(self, line):
        """Shows a server's own words."""
        said.extend(line.rstrip().splitlines())


def public(client):
    """Where a client finds the balancer."""
    return topology.PUBLIC_V6 if ":" in client else topology.PUBLIC_V4


def mapped(address):
    """As a socket for both families has it."""
    return address if ":" in address else f"::ffff:{address}"


def wait_until(what, condition):
    """Returns when a condition is met; raises with what it is if it is not in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s in vain until {what}")
        time.sleep(0.05)
