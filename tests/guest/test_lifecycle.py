# SPDX-License-Identifier: GPL-2.0
"""Loading and unloading beside traffic that knows nothing of it."""

import errno
import hashlib
import mmap
import os
import random
import socket
import struct
import time
from socket import AF_INET, AF_INET6, IPPROTO_IP

import module
import net
from case import Case, Child, name
from net import toa

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)


class LoadAndUnload(Case):
    def setUp(self):
        super().setUp()
        self.listener = self.listen()
        self.log = module.Log()
        self.addCleanup(self.log.close)

    def test_lines_in_the_kernel_log(self):
        module.unload()
        self.assertEqual(self.log.ours(), ["TOA: toa unloaded"])
        module.load()
        everyone, loaded = self.log.ours()
        self.assertIn("any sender of options is believed: set trusted=", everyone)
        self.assertEqual(loaded, "TOA: toa loaded")

    def test_connections_of_before_keep_their_peer(self):
        module.unload()
        accepted = self.connect(self.listener, toa(*CLIENT4))
        waiting = self.remote(self.listener)
        waiting.connect(toa(*CLIENT4))
        half_open = self.remote(self.listener)
        half_open.syn()

        module.load()
        self.assert_shows_peer(accepted)
        self.assert_shows_peer(self.accept(self.listener, waiting))
        # The segment that completes this one's handshake comes now.
        half_open.ack(toa(*CLIENT4))
        self.assert_shows(self.accept(self.listener, half_open), *CLIENT4)

    def test_connections_fall_back_to_their_peer_at_unload(self):
        accepted = self.connect(self.listener, toa(*CLIENT4))
        self.assert_shows(accepted, *CLIENT4)
        waiting = self.remote(self.listener)
        waiting.connect(toa(*CLIENT4))

        module.unload()
        self.assert_named(accepted.socket, *accepted.remote.name)
        self.assert_shows_peer(self.accept(self.listener, waiting))
        module.load()
        self.assert_named(accepted.socket, *accepted.remote.name)

    def test_counters_begin_at_zero(self):
        module.unload()
        self.assertFalse(os.path.exists(module.PROC))
        module.load()
        stats = module.stats()
        self.assertEqual(set(map(stats.total, stats.rows)), {0})

    def test_second_load_is_refused(self):
        with self.assertRaises(OSError) as raised:
            module.insert(module.PATH)
        self.assertEqual(raised.exception.errno, errno.EEXIST)
        self.assertEqual(self.log.ours(), [])
        self.assert_shows(self.connect(self.listener, toa(*CLIENT4)), *CLIENT4)

    def test_nothing_is_left_after_unload(self):
        for client in (CLIENT4, CLIENT6):
            connection = self.connect(self.listen(AF_INET6), toa(*client))
            self.assert_shows(connection, *client)
        module.unload()
        self.assert_nothing_left()

    def test_socket_options_go_at_unload(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        numbers = (1345, 1346, 1347, 1348, 4096, 4097)

        def errors():
            found = []
            for number in numbers:
                with self.assertRaises(OSError) as raised:
                    connection.socket.getsockopt(IPPROTO_IP, number, 0)
                found.append(raised.exception.errno)
            return found

        self.assertNotIn(errno.ENOPROTOOPT, errors())
        module.unload()
        self.assertEqual(errors(), [errno.ENOPROTOOPT] * len(numbers))
        module.load()
        self.assertNotIn(errno.ENOPROTOOPT, errors())

    def test_statistics_held_open(self):
        with open(module.PROC) as file:
            module.unload()
            with self.assertRaises(OSError):
                file.read()
            module.load()
        self.assertEqual(module.stats().total("syn_recv_sock_toa"), 0)

    def test_network_namespaces_made_before(self):
        def serve():
            with net.namespace("toatest"):
                module.unload()
                module.load()
                case = Case()
                case.tun = net.Tun(1)
                case.assert_shows(case.connect(case.listen(), toa(*CLIENT4)), *CLIENT4)
                case.assertEqual(module.stats().total("syn_recv_sock_toa"), 1)

        Child(serve).result()
        self.assertEqual(module.stats().total("syn_recv_sock_toa"), 0)


class Transfer(Case):
    """Neither load nor unload disturbs a byte of a running transfer."""

    def reload_until(self, done):
        """Unloads and loads until `done`; returns how often."""
        reloads = 0
        while not done() or reloads < 2:
            module.unload()
            self.assertFalse(module.loaded())
            module.load()
            self.assertTrue(module.loaded())
            reloads += 1
        return reloads

    def test_stream_over_loopback(self):
        BLOCK, BLOCKS = 1 << 16, 400
        listener = self.listen()

        def send():
            digest, source = hashlib.sha256(), random.Random(1)
            with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as stream:
                for _ in range(BLOCKS):
                    block = source.randbytes(BLOCK)
                    digest.update(block)
                    stream.sendall(block)
            return digest.hexdigest()

        received = self.shared_flag()

        def receive():
            digest = hashlib.sha256()
            stream, _ = listener.accept()
            while block := stream.recv(BLOCK):
                digest.update(block)
            received[0] = 1
            return digest.hexdigest()

        receiver, sender = Child(receive), Child(send)
        self.reload_until(lambda: received[0])
        self.assertEqual(receiver.result(), sender.result())

    def test_stream_of_a_connection_with_the_option(self):
        LENGTH = 300_000
        connection = self.connect(self.listen(), toa(*CLIENT4))
        self.assert_shows(connection, *CLIENT4)
        data = random.Random(2).randbytes(LENGTH)
        sent = self.shared_flag()

        def receive():
            received = connection.remote.read(LENGTH)
            sent[0] = 1
            return hashlib.sha256(received).hexdigest()

        # The child has the device to itself while it runs.
        receiver = Child(receive)
        sender = Child(connection.socket.sendall, data)
        self.reload_until(lambda: sent[0])
        sender.result()
        self.assertEqual(receiver.result(), hashlib.sha256(data).hexdigest())

    def shared_flag(self):
        return mmap.mmap(-1, mmap.PAGESIZE)


class Memory(Case):
    """Records go when their connections go."""

    def test_records_are_freed(self):
        CONNECTIONS = 1500
        module.unload()
        module.load()
        listener = self.listen(AF_INET6)
        at_first = module.slab_objects()
        self.assertGreater(at_first, 0)
        for serial in range(CONNECTIONS):
            remote = net.Remote(
                self.tun, (self.tun.server6, listener.getsockname()[1]), self.tun.balancer6
            )
            remote.connect(toa("2001:db8::7", serial))
            connection, accepted = listener.accept()
            self.assertEqual(accepted[1], serial)
            remote.abort()
            connection.close()
        stats = module.stats()
        self.assertEqual(stats.total("ip6_address_alloc"), CONNECTIONS)
        self.assertEqual(stats.total("ip6_address_free"), CONNECTIONS)
        self.assertEqual(stats.total("record_lost"), 0)
        # The kernel counts whole slabs of a CPU as used, hence the margin.
        self.assertLess(module.slab_objects(), at_first + 256)

    def test_more_connections_than_were_prepared_for(self):
        CONNECTIONS = 1300
        module.unload()
        module.load()
        listener = self.listen(backlog=CONNECTIONS)
        self.sysctl("net.core.somaxconn", CONNECTIONS)
        listener.listen(CONNECTIONS)
        for serial in range(CONNECTIONS):
            self.remote(listener).connect(toa("198.51.100.7", serial))
        self.assertEqual(module.stats().total("record_lost"), 0)
        for serial in range(CONNECTIONS):
            connection, accepted = listener.accept()
            self.assertEqual(accepted, ("198.51.100.7", serial))
            connection.close()


class Reload(Case):
    """Unloading and loading while connections come, are asked for their peer, and go."""

    # The soak has many more.
    ROUNDS = 15

    # Seconds between a worker's connections. Without, loading waits for busy CPUs more than it works:
    # each of its steps has to interrupt all of them, which an emulator runs in turns.
    PAUSE = 0.03

    def test_under_load(self):
        # Odd while the module comes or goes or is absent, so that a worker that reads the same
        # even number before and after knows that the module was there all the time.
        shared = mmap.mmap(-1, mmap.PAGESIZE)

        def read():
            return struct.unpack_from("=I", shared)[0]

        def stop():
            return shared[8]

        def step():
            struct.pack_into("=I", shared, 0, read() + 1)

        workers = [
            Child(self.accept_tagged, 1, AF_INET, read, stop),
            Child(self.accept_tagged, 2, AF_INET6, read, stop),
            Child(self.accept_local, AF_INET, "127.0.0.1", stop),
            Child(self.accept_local, AF_INET6, "::1", stop),
            Child(self.make_namespaces, stop),
        ]
        try:
            for _ in range(self.ROUNDS):
                step()
                module.unload()
                module.load()
                step()
                # Time for connections that live and die with the module loaded.
                time.sleep(0.05)
        finally:
            shared[8] = 1
            served = [worker.result() for worker in workers]
        clients = sum(served[0]) + sum(served[1])
        self.assertGreater(min(served[0][0], served[1][0]), 20, "connections with a client")
        self.assertGreater(served[0][1] + served[1][1], 0, f"with a peer, of {clients}")
        self.assertGreater(min(served[2:4]), 20, "connections over loopback")
        self.assertGreater(served[4], 10, "readings of the statistics")

    def accept_tagged(self, number, family, read, stop):
        """Serves tagged connections; returns how many showed their client, and their peer."""
        case = Case()
        case.tun = net.Tun(number)
        listener = case.listen(family)
        shown = {"client": 0, "peer": 0}
        held = []
        serial = 0
        while not stop():
            serial += 1
            generation = read()
            address = f"2001:db8::{serial:x}" if family == AF_INET6 else f"198.51.100.{serial % 256}"
            client = name(family, address, serial % 65536)
            remote = net.Remote(
                case.tun,
                (case.tun.server6 if family == AF_INET6 else case.tun.server4, listener.getsockname()[1]),
                case.tun.balancer6 if family == AF_INET6 else case.tun.balancer4,
            )
            remote.connect(toa(*client[:2]))
            connection, accepted = listener.accept()
            named = connection.getpeername()
            peer = name(family, *remote.name)
            loaded_throughout = generation % 2 == 0 and generation == read()
            allowed = {client} if loaded_throughout else {client, peer}
            case.assertIn(accepted, allowed)
            case.assertIn(named, allowed)
            shown["client" if accepted == client else "peer"] += 1

            # A few live on through the next unload.
            held.append((connection, remote, client, peer))
            for old, _, its_client, its_peer in held:
                case.assertIn(old.getpeername(), {its_client, its_peer})
            if len(held) > 3:
                old, its_remote, _, _ = held.pop(0)
                old.close()
                its_remote.abort()
            time.sleep(self.PAUSE)
        return shown["client"], shown["peer"]

    def accept_local(self, family, address, stop):
        """Serves connections over loopback, which have no client but their own other end."""
        served = 0
        listener = self.listen(family)
        while not stop():
            with socket.create_connection((address, listener.getsockname()[1])) as outgoing:
                connection, accepted = listener.accept()
                with connection:
                    self.assertEqual(accepted, outgoing.getsockname())
                    self.assertEqual(connection.getpeername(), outgoing.getsockname())
                    self.assertEqual(outgoing.getpeername(), connection.getsockname())
            served += 1
            time.sleep(self.PAUSE)
        return served

    def make_namespaces(self, stop):
        """Makes and leaves network namespaces; returns how often their statistics could be read."""
        readings = 0
        while not stop():
            os.unshare(os.CLONE_NEWNET)
            try:
                stats = module.stats()
            except OSError:
                pass  # The module has gone, if only just now.
            else:
                self.assertEqual(set(map(stats.total, stats.rows)), {0})
                readings += 1
            time.sleep(20 * self.PAUSE)
        return readings
