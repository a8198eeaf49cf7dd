# SPDX-License-Identifier: GPL-2.0
"""Connections of all kinds, made, passed on, asked for their peer, and closed, for as long as the soak goes on."""

import dataclasses
import errno
import os
import pickle
import random
import socket
import struct
import time
from socket import AF_INET, AF_INET6, IPPROTO_IP, SO_LINGER, SOL_SOCKET

import era
import net
from case import Case, Child, name, sockaddr
from mptcp import MptcpCase
from syscalls import IPPROTO_MPTCP, so_peername

TOA_SO_GET_CLIENT = 1348
# How getsockopt() says that there is no client: nobody answers (any more, or yet), the module does,
# and MPTCP does.
NO_CLIENT = {errno.ENOPROTOOPT, errno.EAGAIN, errno.ESRCH, errno.EOPNOTSUPP}

# Seconds that a process rests between connections, on an average. Loading has to interrupt all CPUs at
# each of its steps, which an emulator runs in turns, a tenth of a second each: with busy ones it would
# only wait.
PAUSE = 1
# So many connections a process holds open, also while the module goes and comes.
HELD = 4
# Time for a process that never gets a CPU.
PATIENCE = 120

RESET = struct.pack("ii", 1, 0)  # struct linger: close() resets, and leaves no TIME_WAIT behind


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of connection. `number` is that of its TUN device."""

    number: int
    listener: int = AF_INET
    packets: int = AF_INET
    syn: bool = False  # the option is in the SYN, not in the ACK
    mptcp: bool = False
    believed: bool = True  # whether parameters ever allow the module to believe the option
    port: int = 0

    def client(self, serial):
        if self.packets == AF_INET6:
            return f"2001:db8::1:{serial >> 16:x}:{serial & 0xFFFF:x}", serial % 65535 + 1
        return f"198.51.{100 + serial // 250 % 8}.{serial % 250 + 1}", serial % 65535 + 1


# Devices that parameters name as trusted, and one that they do not: see parameters.py.
TRUSTED, FORGER = range(1, 8), 9
NAMESPACE = 7
UNSELECTED_PORT = 61500
KINDS = {
    "ipv4": Kind(1),
    "ipv6": Kind(2, AF_INET6, AF_INET6),
    "mapped": Kind(3, AF_INET6),
    "syn": Kind(4, AF_INET6, AF_INET6, syn=True),
    "mptcp": Kind(5, mptcp=True),
    "port": Kind(6, believed=False, port=UNSELECTED_PORT),
    "forged": Kind(FORGER, AF_INET6, believed=False),
}


@dataclasses.dataclass
class Expected:
    """What a socket may say of its peer."""

    client: tuple
    peer: tuple
    client_sockaddr: bytes
    opened: tuple = ()

    def check(self, clock, connection, accepted=None):
        """Asks a connection in all ways; returns what getpeername() said."""
        before = clock.now()
        named, bytes_named = connection.getpeername(), so_peername(connection)
        option = get_client(connection)
        after = clock.now()
        # With accept() it was asked when it was opened.
        since = self.opened[0] if accepted else before
        right = era.allowed(self.opened, (since, after), self.client, self.peer)
        context = f"opened {self.opened}, asked {(since, after)}, {self}"
        for answer in (named, accepted or named):
            assert answer in right, f"{answer} is not in {right}: {context}"
        raw = {sockaddr(connection.family, *answer[:2]) for answer in right}
        assert bytes_named in raw, f"SO_PEERNAME {bytes_named.hex()}: {context}"
        self.check_option(option, right, context)
        return named

    def check_option(self, option, right, context):
        if isinstance(option, int):
            must = right == {self.client} - {self.peer} and option != errno.EOPNOTSUPP
            assert option in NO_CLIENT and not must, f"getsockopt() {errno.errorcode[option]}: {context}"
        else:
            assert self.client in right and option == self.client_sockaddr, (
                f"getsockopt() {option.hex()}: {context}"
            )


def rest(choice, pauses=1):
    time.sleep(choice.uniform(0, 2 * pauses * PAUSE))


def get_client(connection):
    """The answer of getsockopt(), or the number of its error."""
    try:
        return connection.getsockopt(IPPROTO_IP, TOA_SO_GET_CLIENT, 28)
    except OSError as error:
        return error.errno


class Held:
    """Connections that a process holds open."""

    def __init__(self, clock, seed):
        self.clock = clock
        self.choice = random.Random(seed)
        self.all = []

    def add(self, key, connection, expected):
        self.all.append((key, connection, expected))

    def ask(self):
        """Asks one of them."""
        _, connection, expected = self.choice.choice(self.all)
        expected.check(self.clock, connection)

    def close_some(self, keep):
        """Closes any but so many; returns their keys."""
        keys = []
        while len(self.all) > keep:
            key, connection, _ = self.all.pop(self.choice.randrange(len(self.all)))
            connection.close()
            keys.append(key)
        return keys


def hold(clock, channel, seed):
    """Gets connections from another process over `channel`, and says which it has closed."""
    held = Held(clock, seed)
    passed = 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
        keys = []
        if message:
            key, expected = pickle.loads(message)
            held.add(key, socket.socket(fileno=descriptors[0]), expected)
            passed += 1
            held.ask()
            keys = held.close_some(HELD)
        else:
            held.close_some(0)
        try:
            channel.send(pickle.dumps(keys))
        except BrokenPipeError:
            pass
        if not message:
            return passed


class Server:
    """Serves connections of one kind, half of which it passes on to another process."""

    def __init__(self, clock, kind, seed, tun=None):
        self.clock, self.kind = clock, kind
        self.tun = tun or net.Tun(kind.number)
        self.owner = Case()
        proto = IPPROTO_MPTCP if kind.mptcp else 0
        self.listener = self.owner.listen(kind.listener, proto, port=kind.port)
        self.held = Held(clock, seed)
        self.cases = {}  # by number: what to clean up when the connection is closed
        self.shown = {"client": 0, "peer": 0}
        self.serial = seed % 10_000 * 100_000

    def open(self):
        """Makes the next connection; returns its number, socket, and what it may show."""
        kind = self.kind
        self.serial += 1
        client = kind.client(self.serial)
        option = net.toa(*client)
        before = self.clock.now()
        case = (MptcpCase if kind.mptcp and self.serial % 2 else Case)()
        case.tun = self.tun
        if isinstance(case, MptcpCase):
            case.listener = self.listener
            connection = case.accept(self.listener, case.connect_mptcp(option))
        else:
            options = {"syn_options": option} if kind.syn else {"options": option}
            connection = case.connect(self.listener, family=kind.packets, **options)
        shown_as = name(kind.listener, *client)
        peer = name(kind.listener, *connection.remote.name)
        expected = Expected(
            shown_as if kind.believed else peer,
            peer,
            sockaddr(kind.packets, *client) if kind.believed else b"",
            (before, self.clock.now()),
        )
        named = expected.check(self.clock, connection.socket, connection.accepted)
        self.shown["client" if named == shown_as else "peer"] += 1
        self.cases[self.serial] = case
        return self.serial, connection.socket, expected

    def closed(self, keys):
        """Somebody has closed these connections: their far ends go too."""
        for key in keys:
            self.cases.pop(key).doCleanups()

    def step(self, channel=None):
        key, connection, expected = self.open()
        if channel and key // 2 % 2:
            socket.send_fds(channel, [pickle.dumps((key, expected))], [connection.fileno()])
            connection.close()
            self.closed(pickle.loads(channel.recv(4096)))
        else:
            self.held.add(key, connection, expected)
        if self.held.all:
            self.held.ask()
        self.closed(self.held.close_some(HELD))

    def close(self):
        self.closed(self.held.close_some(0))
        self.closed(list(self.cases))
        self.owner.doCleanups()
        self.tun.close()


def serve(clock, kind, seed):
    """Returns how many connections showed their client, and their peer, and how many were passed on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.settimeout(PATIENCE)

    def hold_passed():
        ours.close()
        return hold(clock, theirs, seed)

    holder = Child(hold_passed)
    theirs.close()
    server = Server(clock, kind, seed)
    try:
        while clock.goes_on():
            server.step(ours)
            rest(server.held.choice)
    except (EOFError, BrokenPipeError):
        holder.result()  # which tells why it has gone
        raise
    ours.shutdown(socket.SHUT_WR)
    passed = holder.result()
    ours.close()
    server.close()
    return {**server.shown, "passed": passed}


def serve_local(clock, seed):
    """Connections over loopback, which have no client but their own other end."""
    case, served, choice = Case(), 0, random.Random(seed)
    listeners = {"127.0.0.1": case.listen(AF_INET), "::1": case.listen(AF_INET6)}
    while clock.goes_on():
        for address, listener in listeners.items():
            with socket.create_connection((address, listener.getsockname()[1])) as outgoing:
                outgoing.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
                connection, accepted = listener.accept()
                with connection:
                    answers = (accepted, connection.getpeername())
                    assert answers == (outgoing.getsockname(),) * 2, answers
                    assert outgoing.getpeername() == connection.getsockname()
                    assert get_client(connection) in NO_CLIENT
            served += 1
        rest(choice)
    case.doCleanups()
    return {"peer": served}


def serve_in_namespaces(clock, seed):
    """Makes network namespaces with connections in them; a connection outlives all else of its namespace."""
    made, shown, outlived = 0, {"client": 0, "peer": 0}, None
    while clock.goes_on():
        os.unshare(os.CLONE_NEWNET)
        server = Server(clock, Kind(NAMESPACE), seed + made)
        for _ in range(3):
            server.step()
        if outlived:
            outlived[1].check(clock, outlived[0])
            outlived[0].close()
        _, connection, expected = server.held.all.pop()
        connection.setsockopt(SOL_SOCKET, SO_LINGER, RESET)  # there is nobody to end it with
        outlived = connection, expected
        server.closed(server.held.close_some(0))
        server.tun.close()
        server.owner.doCleanups()
        made += 1
        shown = {key: shown[key] + server.shown[key] for key in shown}
        rest(server.held.choice, 4)
    if outlived:
        outlived[0].close()
    return {**shown, "namespaces": made}
