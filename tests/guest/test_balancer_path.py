# SPDX-License-Identifier: GPL-2.0
"""What servers see behind a load balancer: three network namespaces, as tests/balancer builds them.

No packet is made here: clients, NAT and servers are the kernel's own, and the balancer's program
inserts the option into segments that real connections exchange.
"""

import contextlib
import hashlib
import http.client
import http.server
import pathlib
import random
import selectors
import socket
import struct
import sys
import threading
import unittest
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "balancer"))

import module
import topology

CLIENT_V4, CLIENT_V6 = topology.CLIENTS_V4[0], topology.CLIENTS_V6[0]
PATIENCE = 60  # seconds; an emulated machine is slow
Name = tuple[str, int]  # an address and a port
CONTENT = random.Random(254).randbytes(1_000_003)

SOL_MPTCP = 284
MPTCP_INFO = 1
MPTCP_INFO_FLAG_FALLBACK = 1


class Answers(http.server.BaseHTTPRequestHandler):
    """Tells clients who they are and what they sent, and gives them something to check."""

    def do_GET(self):
        self.answer(CONTENT if self.path == "/content" else self.peer())

    def do_PUT(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.peer() + digest(sent))

    def peer(self) -> bytes:
        return repr(self.client_address[:2]).encode()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Case(unittest.TestCase):
    """A test with the path, which is plain NAT until the test says otherwise."""

    def setUp(self):
        module.load()
        self.path = self.enterContext(topology.Path())

    def listen(self, address: str, protocol: int = 0, *, dual_stack: bool = False) -> socket.socket:
        """A listener in the server's namespace."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.path.server.entered():
            listener = socket.socket(family, socket.SOCK_STREAM, protocol)
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        listener.bind((address, 0))
        listener.listen(256)
        return listener

    def client(self, source: str, protocol: int = 0) -> socket.socket:
        """A socket of a client, which has an address and a port already."""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with self.path.client.entered():
            client = socket.socket(family, socket.SOCK_STREAM, protocol)
        self.addCleanup(client.close)
        client.settimeout(PATIENCE)
        client.bind((source, 0))
        return client

    def connect(self, client: socket.socket, listener: socket.socket) -> tuple[socket.socket, Name]:
        """Connects through the balancer. Returns the server's end, and what accept() said."""
        client.connect(public(client, listener))
        connection, peer = listener.accept()
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        self.assertEqual(connection.getpeername(), peer)
        return connection, peer[:2]

    @contextlib.contextmanager
    def serving(self, address: str, **options) -> Iterator[socket.socket]:
        """An HTTP server's listener, while the server runs."""
        listener = self.listen(address, **options)
        server = http.server.ThreadingHTTPServer(("", 0), Answers, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def request(self, source: str, listener: socket.socket, *request) -> tuple[bytes, bytes]:
        """Asks an HTTP server through the balancer. Returns who asked, and the answer's body."""
        client = self.client(source)
        client.connect(public(client, listener))
        address, port = name(client)
        if listener.family == socket.AF_INET6 and ":" not in address:
            address = f"::ffff:{address}"
        connection = http.client.HTTPConnection("balancer")
        connection.sock = client
        connection.request(*request)
        return repr((address, port)).encode(), connection.getresponse().read()


class WithOption(Case):
    def setUp(self):
        super().setUp()
        self.path.start_inserting()

    def test_http_over_ipv4(self):
        with self.serving("0.0.0.0") as listener:
            self.assertEqual(*self.request(CLIENT_V4, listener, "GET", "/"))

    def test_http_over_ipv6(self):
        with self.serving("::") as listener:
            self.assertEqual(*self.request(CLIENT_V6, listener, "GET", "/"))

    def test_http_to_a_listener_for_both_families(self):
        with self.serving("::", dual_stack=True) as listener:
            self.assertEqual(*self.request(CLIENT_V4, listener, "GET", "/"))
            self.assertEqual(*self.request(CLIENT_V6, listener, "GET", "/"))

    def test_upload_and_download_arrive_intact(self):
        for source, address in (CLIENT_V4, "0.0.0.0"), (CLIENT_V6, "::"):
            with self.subTest(source=source), self.serving(address) as listener:
                client, answer = self.request(source, listener, "PUT", "/", CONTENT)
                self.assertEqual(answer, client + digest(CONTENT))
                _, content = self.request(source, listener, "GET", "/content")
                self.assertEqual(digest(content), digest(CONTENT))

    def test_many_clients_at_once(self):
        listeners = {4: self.listen("0.0.0.0"), 6: self.listen("::")}
        waiting = [
            (self.client(source), listeners[6 if ":" in source else 4])
            for source in (topology.CLIENTS_V4 + topology.CLIENTS_V6) * 40
        ]
        with selectors.DefaultSelector() as ready:
            for client, listener in waiting:
                client.setblocking(False)
                client.connect_ex(public(client, listener))
                ready.register(client, selectors.EVENT_WRITE)
            # Each client says who it is, as soon as it can.
            while ready.get_map():
                events = ready.select(PATIENCE)
                self.assertTrue(events, f"{len(ready.get_map())} clients got no connection")
                for key, _ in events:
                    key.fileobj.sendall(repr(name(key.fileobj)).encode())
                    ready.unregister(key.fileobj)
        for _, listener in waiting:
            connection, peer = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                self.assertEqual(connection.recv(100).decode(), repr(peer[:2]))

    def test_mptcp_over_ipv4(self):
        self.assert_mptcp_shows_client(CLIENT_V4, self.listen("0.0.0.0", socket.IPPROTO_MPTCP))

    def test_mptcp_over_ipv6(self):
        # A handshake's last segment has no room for this option beside MPTCP's and timestamps.
        self.path.client.set("ipv4/tcp_timestamps", 0)
        self.assert_mptcp_shows_client(CLIENT_V6, self.listen("::", socket.IPPROTO_MPTCP))

    def test_tcp_to_an_mptcp_listener(self):
        client = self.client(CLIENT_V4)
        _, peer = self.connect(client, self.listen("0.0.0.0", socket.IPPROTO_MPTCP))
        self.assertEqual(peer, name(client))

    def assert_mptcp_shows_client(self, source: str, listener: socket.socket) -> None:
        client = self.client(source, socket.IPPROTO_MPTCP)
        connection, peer = self.connect(client, listener)
        self.assertEqual(peer, name(client))
        client.sendall(b"hello")
        self.assertEqual(connection.recv(5), b"hello")
        self.assertFalse(fell_back(connection), "this was a connection of plain TCP")


class WithoutOption(Case):
    def test_the_balancer_is_seen(self):
        for source, address, balancer in (
            (CLIENT_V4, "0.0.0.0", topology.BALANCER_V4),
            (CLIENT_V6, "::", topology.BALANCER_V6),
        ):
            with self.subTest(source=source), self.path.server.entered():
                before = module.stats()
                _, (address, port) = self.connect(self.client(source), self.listen(address))
                self.assertEqual(address, balancer)
                self.assertIn(port, topology.BALANCER_PORTS)
                self.assertEqual(module.stats().since(before).get("syn_recv_sock_no_toa"), 1)


def public(client: socket.socket, listener: socket.socket) -> Name:
    """Where a client finds a listener: at the balancer."""
    address = topology.PUBLIC_V6 if client.family == socket.AF_INET6 else topology.PUBLIC_V4
    return address, listener.getsockname()[1]


def name(client: socket.socket) -> Name:
    """A client's own address and port."""
    return client.getsockname()[:2]


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def fell_back(connection: socket.socket) -> bool:
    """Whether an MPTCP connection goes on as plain TCP."""
    # struct mptcp_info: eight bytes of counts, then the flags.
    info = connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 12)
    return bool(struct.unpack_from("=8xI", info)[0] & MPTCP_INFO_FLAG_FALLBACK)
