# SPDX-License-Identifier: GPL-2.0
"""What all test cases share: a server to listen on, a balancer to connect from, and assertions."""

import collections
import contextlib
import functools
import os
import pickle
import select
import socket
import struct
import traceback
import unittest
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET

import module
import net
import tracing
from syscalls import so_peername

Connection = collections.namedtuple("Connection", "socket accepted remote")


@functools.cache
def tun():
    """The device that all test cases share."""
    return net.Tun()


def name(family, address, port):
    """The name that a socket of `family` has for an address, as Python gives it."""
    if family == AF_INET6 and ":" not in address:
        address = "::ffff:" + address
    address = socket.inet_ntop(family, socket.inet_pton(family, address))
    return (address, port, 0, 0) if family == AF_INET6 else (address, port)


def end(address, port):
    """An end of a connection as /proc/net/toa and the kernel log have it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def sockaddr(family, address, port):
    """The same as the bytes of a `struct sockaddr_in` or `sockaddr_in6`."""
    address = socket.inet_pton(family, name(family, address, port)[0])
    if family == AF_INET6:
        return struct.pack("=H", family) + struct.pack("!HI16sI", port, 0, address, 0)
    return struct.pack("=H", family) + struct.pack("!H4s8x", port, address)


@functools.cache
def port_of(listener):
    """A listener's port, asked for once: the module counts questions for names."""
    return listener.getsockname()[1]


def sysctl(variable, value):
    """Sets a kernel variable; returns what it was."""
    with open("/proc/sys/" + variable.replace(".", "/"), "r+") as file:
        before = file.read().strip()
        file.seek(0)
        file.write(str(value))
    return before


class Child:
    """A forked process that runs `function`; `result()` waits for what it returned or raised."""

    def __init__(self, function, *arguments):
        self.pipe, answer = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(answer)
            return
        try:
            outcome = True, function(*arguments)
        except BaseException:
            outcome = False, traceback.format_exc()
        with open(answer, "wb") as file:
            pickle.dump(outcome, file)
        os._exit(0)

    def is_alive(self):
        """Whether it has not ended yet."""
        return not select.select([self.pipe], [], [], 0)[0]

    def stack(self):
        """The functions of the kernel that it is in, the innermost first; none if it has ended."""
        try:
            with open(f"/proc/{self.pid}/stack") as file:
                # A line is: [<0>] function+0xoffset/0xlength
                return [line.split()[1].split("+")[0] for line in file]
        except (ProcessLookupError, FileNotFoundError):
            return []

    def result(self):
        with open(self.pipe, "rb") as file:
            outcome = file.read()
        os.waitpid(self.pid, 0)
        succeeded, value = pickle.loads(outcome)
        if not succeeded:
            raise AssertionError(f"in a child process: {value}")
        return value


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        module.load()
        self.tun = tun()

    def sysctl(self, variable, value):
        """Sets a kernel variable for the time of the test."""
        self.addCleanup(sysctl, variable, sysctl(variable, value))

    def parameter(self, name, value):
        """Sets a parameter of the module for the time of the test."""
        self.assertTrue(os.path.exists(module.PARAMETERS), module.PARAMETERS)
        before = module.parameter(name).strip()
        module.set_parameter(name, value)
        self.addCleanup(self.reset_parameter, name, before)

    def reset_parameter(self, name, value):
        # A test may have unloaded the module, which forgets all.
        if module.loaded():
            module.set_parameter(name, value)

    def listen(self, family=AF_INET, proto=0, backlog=64, options=(), port=0):
        listener = socket.socket(family, SOCK_STREAM, proto)
        self.addCleanup(listener.close)
        for level, option, value in ((SOL_SOCKET, SO_REUSEADDR, 1), *options):
            listener.setsockopt(level, option, value)
        listener.bind(("::" if family == AF_INET6 else "0.0.0.0", port))
        listener.listen(backlog)
        listener.settimeout(net.TIMEOUT)
        port_of(listener)
        return listener

    def remote(self, listener, family=None, port=None):
        """The balancer's end of a connection to `listener`, over segments of IP family `family`."""
        v6 = (family or listener.family) == AF_INET6
        server = self.tun.server6 if v6 else self.tun.server4
        balancer = self.tun.balancer6 if v6 else self.tun.balancer4
        remote = net.Remote(self.tun, (server, port_of(listener)), balancer, port)
        self.addCleanup(remote.abort)
        return remote

    def accept(self, listener, remote):
        connection, accepted = listener.accept()
        # Python runs clean-ups in reverse: the connection is closed, then the remote aborts what
        # is left of it, so that no test sees an end of an earlier one's connection.
        self.addCleanup(connection.close)
        return Connection(connection, accepted, remote)

    def reload(self, **parameters):
        """Loads the module anew for the time of the test, with these parameters."""
        self.addCleanup(module.unload)
        module.reload(**parameters)

    def connect(self, listener, options=b"", family=None, syn_options=b""):
        """Makes a connection whose third ACK has exactly `options`."""
        remote = self.remote(listener, family)
        remote.connect(options, syn_options)
        return self.accept(listener, remote)

    def assert_shows(self, connection, address, port):
        """All questions for the connection's peer are answered with this address and port."""
        family = connection.socket.family
        expected = name(family, address, port)
        self.assertEqual(connection.accepted, expected, "accept()")
        self.assert_named(connection.socket, address, port)
        self.assert_own_name_untouched(connection)

    def assert_named(self, connection, address, port):
        expected = name(connection.family, address, port)
        self.assertEqual(connection.getpeername(), expected, "getpeername()")
        self.assertEqual(
            so_peername(connection), sockaddr(connection.family, address, port), "SO_PEERNAME"
        )

    def assert_listed(self, connection, client, kind, segment="ack", vip="-", vpc="-"):
        """/proc/net/toa has exactly this of the connection."""
        local, balancer = end(*connection.remote.server), end(*connection.remote.name)
        self.assertEqual(
            [live for live in module.live() if live.balancer == balancer],
            [module.Live(local, balancer, end(*client), str(kind), segment, vip, str(vpc))],
            module.LIST,
        )

    def assert_not_listed(self, connection):
        balancer = end(*connection.remote.name)
        self.assertNotIn(balancer, [live.balancer for live in module.live()], module.LIST)

    def assert_own_name_untouched(self, connection):
        server = connection.remote.server
        self.assertEqual(
            connection.socket.getsockname(),
            name(connection.socket.family, *server),
            "getsockname()",
        )

    def assert_shows_peer(self, connection):
        self.assert_shows(connection, *connection.remote.name)

    def stats_text(self):
        self.assertTrue(os.path.exists(module.PROC), module.PROC)
        return module.stats_text()

    @contextlib.contextmanager
    def assert_counts(self, **expected):
        """The block changes these counters, by this much, and no others."""
        before = module.stats()
        yield
        expected = {row: change for row, change in expected.items() if change}
        self.assertEqual(module.stats().since(before), expected)

    @contextlib.contextmanager
    def assert_intake(self, toa=0, no_toa=0):
        """The block makes so many connections with and without the option."""
        before = module.stats()
        yield
        changes = module.stats().since(before)
        counted = changes.get("syn_recv_sock_toa", 0), changes.get("syn_recv_sock_no_toa", 0)
        self.assertEqual(counted, (toa, no_toa), "connections with and without the option")

    def assert_nothing_left(self):
        """The module is not loaded, and there is no trace of it."""
        self.assertFalse(module.loaded())
        self.assertFalse(os.path.exists(module.PROC), module.PROC)
        self.assertFalse(os.path.exists(module.LIST), module.LIST)
        self.assertFalse(os.path.exists(module.SLAB), module.SLAB)
        self.assertEqual(module.slab_objects(), 0)
        self.assertEqual(tracing.hooked(), [])
