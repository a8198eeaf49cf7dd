# SPDX-License-Identifier: GPL-2.0
"""What programs do with sockets while the client stays right."""

import errno
import select
import socket
import struct
import subprocess
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SOL_SOCKET

import module
import net
from case import Case, Child, name, sockaddr
from net import toa
from syscalls import (
    Sockmap,
    accept_without_address,
    disconnect,
    raw_getpeername,
    so_peername,
)

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)


class Names(Case):
    """The ways to ask, and what is not asked of us."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()

    def test_address_has_the_kernels_length_and_no_stray_bytes(self):
        for family, client in ((AF_INET, CLIENT4), (AF_INET6, CLIENT6), (AF_INET6, CLIENT4)):
            with self.subTest(family=family, client=client):
                connection = self.connect(self.listen(family), toa(*client))
                fd = connection.socket.fileno()
                self.assertEqual(raw_getpeername(fd), sockaddr(family, *client))

    def test_accept_without_an_address(self):
        remote = self.remote(self.listener)
        remote.connect(toa(*CLIENT4))
        connection = accept_without_address(self.listener)
        self.addCleanup(connection.close)
        self.assert_named(connection, *CLIENT4)

    def test_duplicated_descriptor(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        copy = connection.socket.dup()
        self.addCleanup(copy.close)
        connection.socket.close()
        self.assert_named(copy, *CLIENT4)

    def test_child_process(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        self.assertEqual(Child(connection.socket.getpeername).result(), CLIENT4)
        # The child's end closed its descriptor, which must not have ended anything.
        self.assert_shows(connection, *CLIENT4)

    def test_connection_accepted_by_a_child_process(self):
        remote = self.remote(self.listener)
        remote.connect(toa(*CLIENT4))

        def serve():
            connection, accepted = self.listener.accept()
            return accepted, connection.getpeername()

        self.assertEqual(Child(serve).result(), (CLIENT4, CLIENT4))

    def test_descriptor_passed_to_another_process(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        connection = self.connect(self.listener, toa(*CLIENT4))

        def receive():
            _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
            return socket.socket(fileno=fd).getpeername()

        child = Child(receive)
        theirs.close()
        socket.send_fds(ours, [b"x"], [connection.socket.fileno()])
        connection.socket.close()
        self.assertEqual(child.result(), CLIENT4)

    def test_udp_is_untouched(self):
        for family, address in ((AF_INET, "127.0.0.1"), (AF_INET6, "::1")):
            with self.subTest(family=family):
                udp = socket.socket(family, socket.SOCK_DGRAM)
                self.addCleanup(udp.close)
                udp.connect((address, 9))
                with self.assert_counts(getname_toa_empty=1):
                    raw_getpeername(udp.fileno())
                self.assert_named(udp, address, 9)

    def test_unix_is_untouched(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        connection = self.connect(self.listener, toa(*CLIENT4))
        with self.assert_counts():
            self.assertEqual(ours.getpeername(), "")
        self.assert_shows(connection, *CLIENT4)

    def test_outgoing_connection_is_untouched(self):
        with self.assert_intake():
            remote = net.Remote(self.tun, None, self.tun.balancer4)
            self.addCleanup(remote.close)
            outgoing = self.connecting(*remote.name)
            remote.accept(toa(*CLIENT4))
            self.addCleanup(remote.abort)
            self.assert_connected(outgoing)
        with self.assert_counts(getname_toa_empty=1):
            raw_getpeername(outgoing.fileno())
        self.assert_named(outgoing, *remote.name)

    def connecting(self, address, port):
        outgoing = socket.socket(AF_INET)
        self.addCleanup(outgoing.close)
        outgoing.setblocking(False)
        self.assertEqual(outgoing.connect_ex((address, port)), errno.EINPROGRESS)
        return outgoing

    def assert_connected(self, outgoing):
        self.assertEqual(select.select([], [outgoing], [], net.TIMEOUT)[1], [outgoing])
        self.assertEqual(outgoing.getsockopt(SOL_SOCKET, socket.SO_ERROR), 0)


class Ends(Case):
    """A client is shown as long as its connection lives, and to nobody else."""

    family, client, other = AF_INET, CLIENT4, ("203.0.113.9", 50234)

    def setUp(self):
        super().setUp()
        self.listener = self.listen(self.family)

    def assert_not_connected(self, connection):
        with self.assertRaises(OSError) as raised:
            connection.getpeername()
        self.assertEqual(raised.exception.errno, errno.ENOTCONN)

    def test_socket_disconnected_and_connected_to_the_same_balancer(self):
        connection = self.connect(self.listener, toa(*self.client))
        self.assert_shows(connection, *self.client)
        server, remote = connection.socket, connection.remote
        disconnect(server)
        self.assert_not_connected(server)
        with self.assertRaises(OSError):
            so_peername(server)

        again = net.Remote(self.tun, None, *remote.name)
        self.addCleanup(again.close)
        server.setblocking(False)
        self.assertEqual(server.connect_ex(remote.name), errno.EINPROGRESS)
        self.assert_not_connected(server)
        again.accept(toa(*self.client))
        self.addCleanup(again.abort)
        self.assertEqual(select.select([], [server], [], net.TIMEOUT)[1], [server])
        self.assert_named(server, *remote.name)

    def test_socket_disconnected_and_made_a_listener(self):
        connection = self.connect(self.listener, toa(*self.client))
        self.assert_shows(connection, *self.client)
        server = connection.socket
        disconnect(server)
        server.listen()
        self.assert_not_connected(server)
        server.settimeout(net.TIMEOUT)
        # What it accepts now has its own clients.
        self.assert_shows(self.connect(server, toa(*self.other)), *self.other)
        self.assert_shows_peer(self.connect(server))

    def test_memory_of_closed_sockets_does_not_show_their_clients(self):
        ways = ("reset by the client", "closed by the server first", "closed by the client first")
        for way in ways:
            with self.subTest(way):
                for _ in range(20):
                    connection = self.connect(self.listener, toa(*self.client))
                    self.assert_named(connection.socket, *self.client)
                    self.end(connection, way)
                for connection in [self.connect(self.listener) for _ in range(30)]:
                    self.assert_shows_peer(connection)

    def test_next_connection_from_the_same_port_and_in_the_same_memory(self):
        # The kernel gives the memory of a closed socket to the next; the balancer gives it the port.
        PORT = 19999
        for way in ("reset by the client", "closed by the client first"):
            with self.subTest(way):
                for _ in range(20):
                    tagged = self.remote(self.listener, port=PORT)
                    tagged.connect(toa(*self.client))
                    connection = self.accept(self.listener, tagged)
                    self.assert_named(connection.socket, *self.client)
                    self.end(connection, way)
                    untagged = self.remote(self.listener, port=PORT)
                    untagged.connect()
                    connection = self.accept(self.listener, untagged)
                    self.assert_shows_peer(connection)
                    self.end(connection, way)

    def end(self, connection, way):
        server, remote = connection.socket, connection.remote
        if way == "reset by the client":
            remote.rst()
            server.close()
        elif way == "closed by the server first":
            server.close()
            remote.acked = (remote.expect(net.FIN).seq + 1) % 2**32
            remote.fin()
        else:
            remote.fin()
            server.close()
            remote.acked = (remote.expect(net.FIN).seq + 1) % 2**32
            remote.ack()

    def test_memory_of_outgoing_sockets_does_not_show_clients(self):
        for _ in range(20):
            connection = self.connect(self.listener, toa(*self.client))
            self.assert_named(connection.socket, *self.client)
            self.end(connection, "reset by the client")
        local = self.listen(self.family)
        address = ("::1" if self.family == AF_INET6 else "127.0.0.1", local.getsockname()[1])
        for _ in range(20):
            outgoing = socket.create_connection(address)
            self.addCleanup(outgoing.close)
            self.assert_named(outgoing, *address)

    def test_reset_connection_is_not_connected(self):
        connection = self.connect(self.listener, toa(*self.client))
        self.assert_shows(connection, *self.client)
        connection.remote.rst()
        self.assert_not_connected(connection.socket)

    def test_accept_of_a_reset_connection_gives_the_client(self):
        remote = self.remote(self.listener)
        remote.connect(toa(*self.client))
        remote.rst()
        connection = self.accept(self.listener, remote)
        self.assertEqual(connection.accepted, name(self.family, *self.client))
        self.assert_not_connected(connection.socket)
        # The kernel answers SO_PEERNAME as it answers accept().
        self.assertEqual(so_peername(connection.socket), sockaddr(self.family, *self.client))

    def test_half_closed_connection_still_has_its_client(self):
        connection = self.connect(self.listener, toa(*self.client))
        connection.remote.fin()
        self.assertEqual(connection.socket.recv(1), b"")
        self.assert_shows(connection, *self.client)
        connection.socket.shutdown(socket.SHUT_WR)
        self.assert_named(connection.socket, *self.client)

    def test_listener_closed_with_connections_in_its_backlog(self):
        listener = self.listen(self.family)
        with self.assert_intake(toa=20):
            for _ in range(20):
                self.remote(listener).connect(toa(*self.client))
        listener.close()
        for connection in [self.connect(self.listener) for _ in range(30)]:
            self.assert_shows_peer(connection)


class EndsIpv6(Ends):
    family, client, other = AF_INET6, CLIENT6, ("2001:db8::9", 50234)


class Listeners(Case):
    """Listeners of all sorts."""

    def test_several_on_one_port(self):
        SO_REUSEPORT = (SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listeners = [self.listen(options=[SO_REUSEPORT])]
        port = listeners[0].getsockname()[1]
        listeners += [self.listen(options=[SO_REUSEPORT], port=port) for _ in range(3)]
        remotes = {}
        for number in range(24):
            remote = self.remote(listeners[0])
            client = ("198.51.100.1", 1000 + number)
            remote.connect(toa(*client))
            remotes[client] = remote
        used = set()
        for _ in range(len(remotes)):
            listener = select.select(listeners, [], [], net.TIMEOUT)[0][0]
            used.add(listener)
            server, accepted = listener.accept()
            self.addCleanup(server.close)
            self.assertEqual(server.getpeername(), accepted)
            self.assertIn(accepted, remotes, "no client, or one that was accepted before")
            del remotes[accepted]
        self.assertGreater(len(used), 1)

    def test_deferred_accept(self):
        # The kernel drops the third ACK, so that the first data makes the connection.
        listener = self.listen(options=[(IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)])
        remote = self.remote(listener)
        remote.connect(toa("203.0.113.9", 1))
        with self.assert_intake(toa=1):
            remote.ack(toa(*CLIENT4), b"hello")
            connection = self.accept(listener, remote)
        self.assert_shows(connection, *CLIENT4)
        self.assertEqual(connection.socket.recv(5), b"hello")

    def test_one_bound_to_a_device_and_an_address(self):
        SO_BINDTODEVICE = 25
        listener = socket.socket(AF_INET)
        self.addCleanup(listener.close)
        listener.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, b"toa0\0")
        listener.bind((self.tun.server4, 0))
        listener.listen()
        listener.settimeout(net.TIMEOUT)
        self.assert_shows(self.connect(listener, toa(*CLIENT4)), *CLIENT4)

    def test_one_in_another_network_namespace(self):
        def serve():
            with net.namespace("toatest"):
                case = Case()
                case.tun = net.Tun(1)
                before = module.stats()
                case.assertEqual(before.since(module.Stats("\n")), {})
                for family, client in ((AF_INET, CLIENT4), (AF_INET6, CLIENT6)):
                    connection = case.connect(case.listen(family), toa(*client))
                    case.assert_shows(connection, *client)
                counted = module.stats().since(before)
                case.doCleanups()
                case.tun.close()
                return counted

        with self.assert_counts():
            counted = Child(serve).result()
        self.assertEqual(counted["syn_recv_sock_toa"], 2)
        # For each: accept(), getpeername() and SO_PEERNAME.
        self.assertEqual(counted["getname_toa_ok"], 6)
        self.assertEqual(counted["ip6_address_alloc"], 1)

    def test_one_in_a_namespace_that_ends_before_its_connections(self):
        def serve():
            with net.namespace("toatest"):
                case = Case()
                case.tun = net.Tun(1)
                connection = case.connect(case.listen(AF_INET6), toa(*CLIENT6))
            # The namespace has lost its name, and lives on with its sockets alone.
            case.assert_shows(connection, *CLIENT6)
            case.tun.close()
            case.assert_named(connection.socket, *CLIENT6)
            # Reset rather than finished: there is no way to the other end any more.
            connection.socket.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))

        with self.assert_counts():
            Child(serve).result()


class Neighbours(Case):
    """Features of the kernel that keep their own state in sockets, as other TOA modules did."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()

    def test_kernel_tls(self):
        subprocess.run(["modprobe", "tls"], check=True)
        TCP_ULP, SOL_TLS, TLS_TX = 31, 282, 1
        TLS_1_2, AES_GCM_128 = 0x0303, 51
        connection = self.connect(self.listener, toa(*CLIENT4))
        server = connection.socket
        server.setsockopt(IPPROTO_TCP, TCP_ULP, b"tls")
        self.assert_shows(connection, *CLIENT4)
        nonce, key, salt, number = b"NONCE678", bytes(16), bytes(4), bytes(8)
        crypto = struct.pack("=HH", TLS_1_2, AES_GCM_128) + nonce + key + salt + number
        server.setsockopt(SOL_TLS, TLS_TX, crypto)

        text = b"what nobody on the way can read"
        server.send(text)
        TAG = 16
        record = connection.remote.read(5 + len(nonce) + len(text) + TAG)
        APPLICATION_DATA = 23
        kind, version, length = struct.unpack_from("!BHH", record)
        self.assertEqual((kind, version), (APPLICATION_DATA, TLS_1_2))
        self.assertEqual(length, len(nonce) + len(text) + TAG)
        self.assertEqual(record[5:13], nonce)
        self.assertNotIn(text, record)
        self.assert_shows(connection, *CLIENT4)

    def test_sockmap(self):
        sockmap = Sockmap()
        self.addCleanup(sockmap.close)
        connection = self.connect(self.listener, toa(*CLIENT4))
        self.assert_shows(connection, *CLIENT4)
        sockmap.add(0, connection.socket)
        self.assert_shows(connection, *CLIENT4)
        connection.remote.ack(payload=b"ping")
        self.assertEqual(connection.socket.recv(4), b"ping")
        connection.socket.send(b"pong")
        self.assertEqual(connection.remote.read(4), b"pong")
        sockmap.delete(0)
        self.assert_shows(connection, *CLIENT4)

    def test_socket_closed_in_a_sockmap(self):
        sockmap = Sockmap()
        self.addCleanup(sockmap.close)
        with self.assert_intake(toa=4):
            for index in range(4):
                connection = self.connect(self.listener, toa(*CLIENT4))
                sockmap.add(index, connection.socket)
                self.assert_shows(connection, *CLIENT4)
                connection.socket.close()
        self.assert_shows_peer(self.connect(self.listener))
