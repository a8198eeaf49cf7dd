# SPDX-License-Identifier: GPL-2.0
"""Unloading while a getpeername() is asleep in the kernel, for as long as somebody else wishes.

Linux takes the socket's lock to answer. A sender keeps that lock while it copies from memory, and an
owner of that memory (userfaultfd) can let it wait there. A module whose replacement of inet_getname
calls the original is gone when that returns, and the kernel with it.
"""

import contextlib
import os
import threading
import time
from socket import AF_INET, AF_INET6

import module
import net
import tracing
from case import Case, Child, name
from mptcp import MptcpCase
from net import toa
from syscalls import IPPROTO_MPTCP, MissingPage

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)
DATA = bytes(range(256)) * (MissingPage.LENGTH // 256)

# Before Linux 5.16 the original takes no lock.
ORIGINAL_LOCKS = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 16)


class Sender(Child):
    """Has the lock of a connection until it is released."""

    def __init__(self, connection):
        self.connection = connection
        released, self.release_pipe = os.pipe()
        super().__init__(self.send, connection.socket, released)

    @staticmethod
    def send(connection, released):
        page = MissingPage()

        def supply():
            os.read(released, 1)
            page.supply(DATA)

        thread = threading.Thread(target=supply)
        thread.start()
        sent = page.send(connection)
        thread.join()
        return sent

    def release(self):
        os.write(self.release_pipe, b"1")


class Tcp(Case):
    family, getname, client = AF_INET, "inet_getname", CLIENT4
    proto = 0

    def setUp(self):
        super().setUp()
        self.listener = self.listen(self.family, self.proto)
        self.tagged = self.open(toa(*self.client))
        self.untagged = self.open()
        self.senders = [self.stop_sender(connection) for connection in (self.tagged, self.untagged)]

    def open(self, options=b""):
        return self.connect(self.listener, options)

    def until(self, condition, what):
        deadline = time.monotonic() + net.TIMEOUT
        while not condition():
            self.assertLess(time.monotonic(), deadline, what())
            time.sleep(0.01)

    def assert_in(self, child, *functions):
        """A process is, or comes to be, in all of these functions."""
        self.until(
            lambda: set(functions) <= set(child.stack()) and child.is_alive(),
            lambda: f"{child.stack()} has not all of {functions}",
        )

    def stop_sender(self, connection):
        sender = Sender(connection)
        # Whatever happens, nobody is to wait for ever.
        self.addCleanup(sender.release)
        self.assert_in(sender, "handle_userfault")
        return sender

    def assert_senders_stopped(self):
        for sender in self.senders:
            self.assertTrue(sender.is_alive())
            self.assertIn("handle_userfault", sender.stack())

    def ask(self, connection):
        """Asks for the peer, in a process that waits for the answer."""
        return Child(connection.socket.getpeername)

    def assert_answers_now(self, connection, address, port):
        """While the sender has the lock."""
        asker = self.ask(connection)
        self.until(lambda: not asker.is_alive(), lambda: f"waits in {asker.stack()}")
        self.assertEqual(asker.result(), name(self.family, address, port))
        self.assert_senders_stopped()

    def ask_original(self, connection):
        """Asks where the kernel's own function answers, which waits for the lock."""
        asker = self.ask(connection)
        if ORIGINAL_LOCKS:
            self.assert_in(asker, self.getname, "__lock_sock")
        return asker

    def assert_waits(self, asker):
        if ORIGINAL_LOCKS:
            self.assert_in(asker, self.getname, "__lock_sock")
        self.assert_senders_stopped()

    def assert_all_end(self, askers):
        """The senders get their data, and everybody goes on."""
        for sender in self.senders:
            sender.release()
        for connection, asker in askers:
            self.assertEqual(asker.result(), name(self.family, *connection.remote.name))
        for sender in self.senders:
            self.assertEqual(sender.result(), len(DATA))
            self.assert_sent(sender.connection)

    def assert_sent(self, connection):
        self.assertEqual(connection.remote.read(len(DATA)), DATA)

    def test_unload(self):
        self.assert_answers_now(self.tagged, *self.client)
        untagged = self.ask_original(self.untagged)
        module.unload()
        self.assertFalse(module.loaded())
        self.assert_waits(untagged)
        self.assert_all_end([(self.untagged, untagged)])
        self.assert_shows_balancer_again()

    def test_unload_and_load_over_and_over(self):
        self.assert_answers_now(self.tagged, *self.client)
        askers = [(self.untagged, self.ask_original(self.untagged))]
        for _ in range(3):
            module.unload()
            # What had a client asks the original as well now.
            askers.append((self.tagged, self.ask_original(self.tagged)))
            module.load()
            askers.append((self.untagged, self.ask_original(self.untagged)))
            for _, asker in askers:
                self.assert_waits(asker)
        self.assert_all_end(askers)
        self.assert_shows_balancer_again()

    def test_unload_under_the_function_tracer(self):
        with tracing.FunctionTracer():
            self.assert_answers_now(self.tagged, *self.client)
            untagged = self.ask_original(self.untagged)
            module.unload()
            self.assert_waits(untagged)
        self.assert_waits(untagged)
        module.load()
        with tracing.FunctionTracer():
            self.assert_all_end([(self.untagged, untagged)])
        self.assert_shows_balancer_again()

    def test_unload_under_a_tracer_of_returns(self):
        with self.return_probe():
            self.assert_answers_now(self.tagged, *self.client)
            untagged = self.ask(self.untagged)
            if ORIGINAL_LOCKS:
                self.assert_in(untagged, "__lock_sock")
            module.unload()
            self.assert_senders_stopped()
            self.assertEqual(untagged.is_alive(), ORIGINAL_LOCKS)
            self.assert_all_end([(self.untagged, untagged)])
        self.assert_shows_balancer_again()

    @contextlib.contextmanager
    def return_probe(self):
        """Somebody else changes where the function returns to."""
        tracing.append("kprobe_events", f"r:toatest/returns {self.getname} $retval\n")
        try:
            tracing.write("events/toatest/enable", "1")
            yield
        finally:
            tracing.write("events/toatest/enable", "0")
            tracing.append("kprobe_events", "-:toatest/returns\n")

    def assert_shows_balancer_again(self):
        """Of before the last unload; and new ones show their client."""
        module.load()
        for connection in (self.tagged, self.untagged):
            self.assert_named(connection.socket, *connection.remote.name)
        self.assert_shows(self.open(toa(*self.client)), *self.client)


class TcpV6(Tcp):
    family, getname, client = AF_INET6, "inet6_getname", CLIENT6


class Mptcp(Tcp, MptcpCase):
    proto = IPPROTO_MPTCP

    def open(self, options=b""):
        return self.accept(self.listener, self.connect_mptcp(options))
