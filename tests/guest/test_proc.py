# SPDX-License-Identifier: GPL-2.0
"""/proc/net/toa, the live connections that came with a client, and how many there are."""

import collections
import errno
import ipaddress
import mmap
import os
import re
import stat
import struct
import time
from socket import AF_INET, AF_INET6, IPPROTO_IP

import module
import net
from case import Case, Child, port_of
from net import pad, toa
from syscalls import IPPROTO_MPTCP, disconnect

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)

HEADING = "local balancer client kind from vip vpc\n"

END = r"(?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+"
LINE = re.compile(rf"({END}) ({END}) ({END}) (\d+) (syn|ack|data) (?:({END}) (\d+)|- -)\n")

Row = collections.namedtuple("Row", "local balancer client kind origin vip vpc")

# All rows of toa_stats, of which the first eight are those of other TOA modules.
STATISTICS = [
    "syn_recv_sock_toa", "syn_recv_sock_no_toa",
    "getname_toa_ok", "getname_toa_mismatch", "getname_toa_bypass", "getname_toa_empty",
    "ip6_address_alloc", "ip6_address_free",
    "option_254", "option_253", "option_252", "option_250", "option_249", "option_202", "option_201",
    "option_200", "option_28",
    "malformed", "not_trusted", "port_not_selected",
    "syn_kept", "syn_used", "syn_superseded", "syn_expired", "syn_dropped", "syn_cookie",
    "record_lost", "sockopt_ok", "sockopt_empty", "records_live",
]


def end(address, port):
    """One end of a connection, as the file has it."""
    address = ipaddress.ip_address(address)
    address = getattr(address, "ipv4_mapped", None) or address
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def line(connection, client, kind=254, origin="ack", service="- -"):
    remote = getattr(connection, "remote", connection)
    return f"{end(*remote.server)} {end(*remote.name)} {end(*client)} {kind} {origin} {service}\n"


def live():
    return module.stats().total("records_live")


class ProcCase(Case):
    def setUp(self):
        super().setUp()
        self.assertTrue(os.path.exists(module.LIST), module.LIST)
        if self.read() != HEADING:
            # An earlier test's connection whose other end has gone is kept until the kernel gives up.
            module.reload()

    def read(self, path=module.LIST):
        with open(path) as file:
            return file.read()

    def rows(self, text=None):
        """The lines behind the heading, which are well formed."""
        heading, *lines = (self.read() if text is None else text).splitlines(keepends=True)
        self.assertEqual(heading, HEADING)
        return [self.row(line) for line in lines]

    def row(self, line):
        match = LINE.fullmatch(line)
        self.assertTrue(match, line)
        return Row(*match.groups())

    def assert_rows(self, *expected):
        self.assert_text(self.read(), *expected)

    def assert_text(self, text, *expected):
        """It has the heading and these lines, each once and in any order."""
        heading, *lines = text.splitlines(keepends=True)
        self.assertEqual(heading, HEADING)
        seen, expected = collections.Counter(lines), collections.Counter(expected)
        # Of thousands, a few will tell.
        problems = {"missing": [*(expected - seen)][:9], "unexpected": [*(seen - expected)][:9]}
        self.assertEqual(problems, {"missing": [], "unexpected": []})


class Rows(ProcCase):
    def test_no_connection(self):
        self.connect(self.listen())
        self.assertEqual(self.read(), HEADING)

    def test_families(self):
        expected = []
        for family, segments, client in (
            (AF_INET, AF_INET, CLIENT4),
            (AF_INET, AF_INET, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT4),
            (AF_INET6, AF_INET, CLIENT4),
            (AF_INET6, AF_INET, CLIENT6),
        ):
            connection = self.connect(self.listen(family), toa(*client), segments)
            expected.append(line(connection, client))
            self.assert_rows(*expected)
        # One of them spelled out.
        self.assertRegex(expected[2], r"^\[fd70::1\]:\d+ \[fd70::2\]:\d+ \[2001:db8::7\]:40123 254 ack - -\n$")

    def test_segments(self):
        listener = self.listen()
        syn = self.connect(listener, syn_options=toa(*CLIENT4))
        data = self.remote(listener)
        data.syn()
        data.ack(toa(*CLIENT4), b"hello")
        both = self.connect(listener, toa(*CLIENT4), syn_options=toa(*CLIENT6))
        self.assert_rows(
            line(syn, CLIENT4, origin="syn"), line(data, CLIENT4, origin="data"), line(both, CLIENT4)
        )

    def test_kinds_and_services(self):
        self.parameter("kinds", "254,252,250,249,201,28")
        vip4, vip6 = ipaddress.ip_address("192.0.2.80").packed, ipaddress.ip_address("2001:db8:f::80").packed
        client4, client6 = (ipaddress.ip_address(address).packed for address in (CLIENT4[0], CLIENT6[0]))
        port = CLIENT4[1]
        listener = self.listen(AF_INET6)
        expected = []
        for options, client, kind, service in (
            (struct.pack("!BBH4sI4sHxx", 252, 20, port, client4, 7, vip4, 8443), CLIENT4, 252, "192.0.2.80:8443 7"),
            (struct.pack("!BBH16sI16s", 249, 40, port, client6, 7 << 8, vip6), CLIENT6, 249, "[2001:db8:f::80]:0 7"),
            (toa(*CLIENT4) + struct.pack("!BBH4s", 250, 8, 8443, vip4), CLIENT4, 254, "192.0.2.80:8443 0"),
            (toa(*CLIENT4) + struct.pack("!BBI", 201, 6, 0xFFFFFFFF), CLIENT4, 254, "[::]:0 4294967295"),
            (struct.pack("!BBB4s", 28, 7, 1, client4), None, 28, "- -"),
        ):
            connection = self.connect(listener, pad(options))
            # An option without a port leaves that of the connection.
            client = client or (CLIENT4[0], connection.remote.name[1])
            expected.append(line(connection, client, kind, service=service))
            self.assert_rows(*expected)

    def test_mptcp_connection(self):
        listener = self.listen(AF_INET, IPPROTO_MPTCP)
        remote = self.remote(listener)
        reply = remote.syn(b"\x1e\x04\x01\x01")
        start = reply.options.index(b"\x1e\x0c\x01\x01")
        remote.ack(b"\x1e\x14\x01\x01ourkey!!" + reply.options[start + 4 : start + 12] + toa(*CLIENT4))
        connection = self.accept(listener, remote)
        self.assert_rows(line(connection, CLIENT4))
        disconnect(connection.socket)
        self.assert_rows()

    def test_states(self):
        listener = self.listen()
        half_open, waiting, accepted, finished, left = (self.remote(listener) for _ in range(5))
        expected = {remote: line(remote, CLIENT4) for remote in (waiting, accepted, finished, left)}

        half_open.syn(toa(*CLIENT4))
        self.assert_rows()
        accepted.connect(toa(*CLIENT4))
        self.accept(listener, accepted)
        finished.connect(toa(*CLIENT4))
        finished.fin()
        self.accept(listener, finished)
        left.connect(toa(*CLIENT4))
        ours = self.accept(listener, left).socket
        waiting.connect(toa(*CLIENT4))
        self.assert_rows(*expected.values())

        # Closed by the server, whose end the client has yet to acknowledge.
        ours.close()
        self.assert_rows(*expected.values())
        left.rst()
        del expected[left]
        self.assert_rows(*expected.values())

    def test_end(self):
        listener = self.listen(AF_INET6)
        closed, disconnected, kept = (self.connect(listener, toa(*CLIENT6)) for _ in range(3))
        self.assert_rows(*(line(connection, CLIENT6) for connection in (closed, disconnected, kept)))
        closed.remote.rst()
        closed.socket.close()
        disconnect(disconnected.socket)
        self.assert_rows(line(kept, CLIENT6))

    def test_connection_that_was_reset(self):
        # The server has yet to hear of it. The kernel has taken its port away.
        connection = self.connect(self.listen(), toa(*CLIENT4))
        connection.remote.rst()
        self.assertEqual([row.client for row in self.rows()], [end(*CLIENT4)])
        connection.socket.close()
        self.assert_rows()

    def test_never_accepted(self):
        listener = self.listen()
        for _ in range(3):
            self.remote(listener).connect(toa(*CLIENT4))
        self.assertEqual(len(self.rows()), 3)
        listener.close()
        self.assert_rows()

    def test_after_unload(self):
        connection = self.connect(self.listen(), toa(*CLIENT4))
        module.unload()
        self.assertFalse(os.path.exists(module.LIST))
        module.load()
        self.assert_rows()
        self.assert_shows_peer_now(connection)

    def assert_shows_peer_now(self, connection):
        self.assert_named(connection.socket, *connection.remote.name)


class Access(ProcCase):
    def test_root_alone(self):
        status = os.stat(module.LIST)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o400)
        self.assertEqual((status.st_uid, status.st_gid), (0, 0))

    def test_another_user(self):
        self.connect(self.listen(), toa(*CLIENT4))

        def read():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with open(module.PROC) as statistics:
                self.assertIn("records_live", statistics.read())
            with self.assertRaises(PermissionError):
                os.open("/proc/self/net/toa", os.O_RDONLY)

        Child(read).result()


class Namespaces(ProcCase):
    def test_each_has_its_own(self):
        here = self.connect(self.listen(), toa(*CLIENT4))
        before = live()

        def elsewhere():
            with net.namespace("toatest"):
                case = Rows()
                case.tun = net.Tun(1)
                case.assert_rows()
                case.assertEqual(live(), 0)
                there = case.connect(case.listen(AF_INET6), toa(*CLIENT6))
                case.assert_rows(line(there, CLIENT6))
                case.assertEqual(live(), 1)
                # The first one, seen from here.
                case.assertEqual(case.read("/proc/1/net/toa"), HEADING + line(here, CLIENT4))
                case.doCleanups()
                case.assert_rows()
                case.assertEqual(live(), 0)

        Child(elsewhere).result()
        self.assert_rows(line(here, CLIENT4))
        self.assertEqual(live(), before)


class Reading(ProcCase):
    """Whichever pieces it is read in, the text is the same."""

    CONNECTIONS = 120

    def setUp(self):
        super().setUp()
        listener = self.listen(backlog=self.CONNECTIONS)
        listener6 = self.listen(AF_INET6, backlog=self.CONNECTIONS)
        for serial in range(self.CONNECTIONS // 2):
            self.remote(listener).connect(toa("198.51.100.7", serial))
            self.remote(listener6).connect(toa("2001:db8::7", serial))
        self.whole = self.read().encode()
        self.assertEqual(self.whole.count(b"\n"), 1 + self.CONNECTIONS)
        self.fd = os.open(module.LIST, os.O_RDONLY)
        self.addCleanup(os.close, self.fd)

    def test_small_pieces(self):
        for size in (1, 7, 100, 4095, 4096, 1 << 20):
            with self.subTest(size=size):
                os.lseek(self.fd, 0, os.SEEK_SET)
                self.assertEqual(b"".join(iter(lambda: os.read(self.fd, size), b"")), self.whole)

    def test_from_any_place(self):
        length = len(self.whole)
        # Back and forth, within a line, at its end, and past the end of all.
        places = (0, 1, len(HEADING) - 1, len(HEADING), 5000, 100, length - 1, length, length + 1, 3000, 1 << 40)
        for place in places:
            with self.subTest(place=place):
                self.assertEqual(os.pread(self.fd, 64, place), self.whole[place : place + 64])
                os.lseek(self.fd, place, os.SEEK_SET)
                self.assertEqual(os.read(self.fd, 64), self.whole[place : place + 64])

    def test_twice_at_the_same_time(self):
        other = os.open(module.LIST, os.O_RDONLY)
        self.addCleanup(os.close, other)
        texts = b"", b""
        while True:
            pieces = os.read(self.fd, 100), os.read(other, 333)
            if not any(pieces):
                break
            texts = texts[0] + pieces[0], texts[1] + pieces[1]
        self.assertEqual(texts, (self.whole, self.whole))

    def test_nobody_writes(self):
        with self.assertRaises(OSError):
            os.write(os.open(module.LIST, os.O_RDWR), b"x")


class Many(ProcCase):
    def test_thousands(self):
        CONNECTIONS = 3000
        before = live()
        self.sysctl("net.core.somaxconn", CONNECTIONS)
        self.sysctl("net.ipv4.tcp_max_syn_backlog", CONNECTIONS)
        listener = self.listen(AF_INET6, backlog=CONNECTIONS)
        expected = []
        for serial in range(CONNECTIONS):
            family = AF_INET if serial % 2 else AF_INET6
            client = (f"2001:db8::{serial:x}", serial) if serial % 3 else (f"198.51.100.{serial % 256}", serial)
            remote = self.remote(listener, family)
            remote.connect(toa(*client))
            expected.append(line(remote, client))
        self.assertEqual(live(), before + CONNECTIONS)
        self.assert_rows(*expected)
        # A page at a time, as programs may that do not know how long it is.
        with open(module.LIST, "rb", buffering=0) as file:
            text = b"".join(iter(lambda: file.read(4096), b"")).decode()
        self.assert_text(text, *expected)
        listener.close()
        self.assertEqual(live(), before)
        self.assert_rows()


class Churn(ProcCase):
    """Connections come and go while the list is read."""

    STABLE, READINGS = 60, 40

    def come_and_go(self, number, family, flags):
        """Makes and ends connections whose ends and client all tell that they are of this process."""
        case = Case()
        case.tun = net.Tun(number)
        listener = case.listen(family)
        server = case.tun.server6 if family == AF_INET6 else case.tun.server4
        balancer = case.tun.balancer6 if family == AF_INET6 else case.tun.balancer4
        held = collections.deque()
        while not flags[0]:
            remote = net.Remote(case.tun, (server, port_of(listener)), balancer)
            client = f"2001:db8:{number}::1" if family == AF_INET6 else f"198.51.{number}.1"
            remote.connect(toa(client, remote.name[1]))
            connection, _ = listener.accept()
            held.append((connection, remote))
            flags[number] = min(255, flags[number] + 1)
            if len(held) > 8:
                self.end(*held.popleft())
        for one in held:
            self.end(*one)
        case.doCleanups()

    def end(self, connection, remote):
        connection.close()
        remote.abort()

    def assert_of_one_connection(self, row):
        """What a row says of both ends and the client fits together."""
        (local, _), (balancer, port), (client, client_port) = (
            part.rsplit(":", 1) for part in (row.local, row.balancer, row.client)
        )
        self.assertEqual(client_port, port, row)
        number = re.fullmatch(r"198\.51\.(\d+)\.1|\[2001:db8:(\d+)::1\]", client)
        self.assertTrue(number, row)
        number = number[1] or number[2]
        self.assertIn(local, (f"10.77.{number}.1", f"[fd7{number}::1]"), row)
        self.assertIn(balancer, (f"10.77.{number}.2", f"[fd7{number}::2]"), row)

    def test_those_that_stay_are_there_once(self):
        flags = mmap.mmap(-1, mmap.PAGESIZE)
        listener = self.listen(AF_INET6, backlog=self.STABLE)
        stable = []
        for _ in range(self.STABLE):
            remote = self.remote(listener)
            remote.connect(toa("2001:db8::1", remote.name[1]))
            stable.append(line(remote, ("2001:db8::1", remote.name[1])))
        before = live()

        workers = [
            Child(self.come_and_go, number, family, flags)
            for number, family in ((1, AF_INET), (2, AF_INET6), (3, AF_INET6))
        ]
        others = reading = 0
        try:
            # Each of the others has made some, and some of them were seen.
            def enough():
                return min(flags[1:4]) >= 50 and others > self.READINGS

            while reading < self.READINGS or (not enough() and reading < 100 * self.READINGS):
                reading += 1
                fd = os.open(module.LIST, os.O_RDONLY)
                size = (64, 700, 4096, 1 << 16)[reading % 4]
                text = b"".join(iter(lambda: os.read(fd, size), b"")).decode()
                os.close(fd)
                seen = collections.Counter(text.splitlines(keepends=True))
                self.assertEqual({one: seen[one] for one in stable}, dict.fromkeys(stable, 1))
                for row in self.rows(text):
                    if "[2001:db8::1]" not in row.client:
                        self.assert_of_one_connection(row)
                        others += 1
        finally:
            flags[0] = 1
            for worker in workers:
                worker.result()
        self.assertGreater(others, self.READINGS)
        self.assertEqual(live(), before)
        self.assert_rows(*stable)


class Unload(ProcCase):
    def unload(self):
        """Unloads, as often as it takes: a question that is being answered keeps the module."""
        while True:
            try:
                return module.unload()
            except OSError as error:
                self.assertEqual(error.errno, errno.EAGAIN)

    def test_held_open(self):
        listener = self.listen()
        for serial in range(50):
            self.remote(listener).connect(toa("198.51.100.7", serial))
        fresh, begun, at_end = (os.open(module.LIST, os.O_RDONLY) for _ in range(3))
        self.assertTrue(os.read(begun, 100))
        while os.read(at_end, 1 << 16):
            pass
        module.unload()
        for reload in (False, True):
            if reload:
                module.load()
            for fd in (fresh, begun, at_end):
                with self.assertRaises(OSError):
                    os.read(fd, 100)
                with self.assertRaises(OSError):
                    os.pread(fd, 100, 50)
        for fd in (fresh, begun, at_end):
            os.close(fd)
        self.assert_rows()

    def test_while_it_is_read_and_options_are_asked_for(self):
        # Seconds between a process's tries: loading interrupts all CPUs, which waits for busy ones.
        ROUNDS, PAUSE = 4, 0.02
        flags = mmap.mmap(-1, mmap.PAGESIZE)
        listener = self.listen(AF_INET6, backlog=64)
        connection = self.connect(listener, toa(*CLIENT6))

        def read():
            readings = 0
            while not flags[0]:
                time.sleep(PAUSE)
                try:
                    fd = os.open(module.LIST, os.O_RDONLY)
                except FileNotFoundError:
                    continue
                try:
                    text = b"".join(iter(lambda: os.read(fd, 50), b"")).decode()
                    self.rows(text)
                    readings += 1
                except OSError as error:
                    # Its file went while it was open.
                    self.assertIn(error.errno, (errno.EIO, errno.EINVAL))
                finally:
                    os.close(fd)
            return readings

        def ask():
            answers = collections.Counter()
            while not flags[0]:
                time.sleep(PAUSE)
                try:
                    answers[len(connection.socket.getsockopt(IPPROTO_IP, 4097, 100))] += 1
                except OSError as error:
                    answers[error.errno] += 1
            return answers

        readers = [Child(read), Child(read)]
        asker = Child(ask)
        try:
            for _ in range(ROUNDS):
                self.unload()
                module.load()
                self.remote(listener).connect(toa(*CLIENT6))
                time.sleep(0.05)
        finally:
            flags[0] = 1
            readings = [reader.result() for reader in readers]
            answers = asker.result()
        self.assertGreater(min(readings), 0)
        self.assertLessEqual(set(answers), {68, errno.ESRCH, errno.ENOPROTOOPT})
        self.assertGreater(answers[errno.ESRCH], 0)
        self.assertEqual(len(self.rows()), 1)


class Statistics(ProcCase):
    """What toa_stats has of the same."""

    def test_rows_in_order(self):
        self.assertEqual(list(module.stats().rows), STATISTICS)

    def test_live_connections(self):
        listener = self.listen()
        before = live()
        held = [self.connect(listener, toa(*CLIENT4)) for _ in range(5)]
        self.connect(listener)
        self.assertEqual(live(), before + 5)
        self.assertEqual(len(self.rows()), before + 5)
        for connection in held:
            connection.remote.rst()
            connection.socket.close()
        self.assertEqual(live(), before)

    def test_live_connections_that_end_on_another_cpu(self):
        self.addCleanup(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        listener = self.listen()
        before = live()
        os.sched_setaffinity(0, [1])
        held = [self.connect(listener, toa(*CLIENT4)) for _ in range(6)]
        os.sched_setaffinity(0, [2])
        for connection in held[:4]:
            connection.remote.rst()
            connection.socket.close()
        self.assert_sum_in_first_column(before + 2)
        for cpu in (1, 2):
            os.sched_setaffinity(0, [0])
            self.switch(cpu, False)
            self.assert_sum_in_first_column(before + 2)
            self.switch(cpu, True)
            self.assert_sum_in_first_column(before + 2)

    def assert_sum_in_first_column(self, expected):
        columns = module.stats().rows["records_live"]
        self.assertEqual(columns, [expected] + [0] * (len(columns) - 1))

    def switch(self, cpu, on):
        with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w") as file:
            file.write("1" if on else "0")
