# SPDX-License-Identifier: GPL-2.0
"""/proc/net/toa_stats: its bytes, and what each event adds to it."""

import os
import socket
from socket import AF_INET, AF_INET6

import module
import net
from case import Case, Child, port_of, sockaddr
from net import toa
from syscalls import (
    accept_without_address,
    check,
    disconnect,
    libc,
    raw_accept,
    raw_getpeername,
    so_peername,
)

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)

# The order that other TOA modules have; ours follow.
ROWS = [
    "syn_recv_sock_toa",
    "syn_recv_sock_no_toa",
    "getname_toa_ok",
    "getname_toa_mismatch",
    "getname_toa_bypass",
    "getname_toa_empty",
    "ip6_address_alloc",
    "ip6_address_free",
]


def online():
    """The numbers of the online CPUs."""
    with open("/sys/devices/system/cpu/online") as file:
        numbers = []
        for part in file.read().strip().split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
        return numbers


class Format(Case):
    def test_every_byte(self):
        connection = self.connect(self.listen(), toa(*CLIENT4))
        self.assert_shows(connection, *CLIENT4)
        text = self.stats_text()
        header, *rows = text.split("\n")
        self.assertEqual(rows.pop(), "", "the file ends with a newline")
        self.assertEqual(header, " " * 34 + "".join(f"CPU{cpu}       " for cpu in online()))
        self.assertEqual([row.split(":")[0].rstrip() for row in rows][: len(ROWS)], ROWS)
        stats = module.Stats(text)
        for row, (title, counters) in zip(rows, stats.rows.items(), strict=True):
            expected = f"{title:<25}:" + "".join(f"{counter:>10} " for counter in counters)
            self.assertEqual(row, expected)
            self.assertEqual(len(counters), len(online()))

    def test_read_in_small_pieces(self):
        whole = self.stats_text()
        fd = os.open(module.PROC, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        self.assertEqual(b"".join(iter(lambda: os.read(fd, 7), b"")).decode(), whole)

    def test_nobody_writes(self):
        self.stats_text()
        self.assertEqual(os.stat(module.PROC).st_mode & 0o777, 0o444)


# What a connection with the option adds.
TAGGED = {"syn_recv_sock_toa": 1, "option_254": 1, "records_live": 1}


class Events(Case):
    """What each event adds, and that it adds nothing else."""

    def setUp(self):
        super().setUp()
        self.listener = self.listen()
        self.listener6 = self.listen(AF_INET6)

    def handshake(self, listener, options=b"", family=None):
        remote = self.remote(listener, family)
        remote.connect(options)
        return remote

    def test_connection_with_the_option(self):
        with self.assert_counts(**TAGGED):
            self.handshake(self.listener, toa(*CLIENT4))

    def test_connection_without_the_option(self):
        with self.assert_counts(syn_recv_sock_no_toa=1):
            self.handshake(self.listener)

    def test_connection_with_an_ipv6_client(self):
        for listener in (self.listener, self.listener6):
            with self.assert_counts(**TAGGED, ip6_address_alloc=1):
                self.handshake(listener, toa(*CLIENT6))

    def test_connection_with_an_ipv4_client_on_an_ipv6_socket(self):
        with self.assert_counts(**TAGGED):
            self.handshake(self.listener6, toa(*CLIENT4), AF_INET)

    def test_accept(self):
        for row, listener, options in (
            ("getname_toa_ok", self.listener, toa(*CLIENT4)),
            ("getname_toa_ok", self.listener6, toa(*CLIENT4)),
            ("getname_toa_ok", self.listener6, toa(*CLIENT6)),
            ("getname_toa_bypass", self.listener, toa(*CLIENT6)),
            ("getname_toa_empty", self.listener, b""),
            ("getname_toa_empty", self.listener6, b""),
        ):
            with self.subTest(row=row, family=listener.family, options=options.hex()):
                self.handshake(listener, options)
                with self.assert_counts(**{row: 1}):
                    fd = raw_accept(listener, with_address=True)
                self.addCleanup(os.close, fd)
                with self.assert_counts(**{row: 3}):
                    for _ in range(3):
                        raw_getpeername(fd)

    def test_accept_without_an_address(self):
        self.handshake(self.listener, toa(*CLIENT4))
        with self.assert_counts():
            fd = raw_accept(self.listener, with_address=False)
        self.addCleanup(os.close, fd)
        with self.assert_counts(getname_toa_ok=1):
            raw_getpeername(fd)

    def test_so_peername(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        with self.assert_counts(getname_toa_ok=1):
            so_peername(connection.socket)

    def test_own_name(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        with self.assert_counts(getname_toa_empty=1):
            connection.socket.getsockname()

    def test_connection_that_was_reset(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        connection.remote.rst()
        with self.assert_counts(getname_toa_mismatch=1), self.assertRaises(OSError):
            raw_getpeername(connection.socket.fileno())

    def test_disconnected_socket(self):
        connection = self.connect(self.listener6, toa(*CLIENT6))
        with self.assert_counts(ip6_address_free=1, records_live=-1):
            disconnect(connection.socket)
        with self.assert_counts(getname_toa_empty=1), self.assertRaises(OSError):
            raw_getpeername(connection.socket.fileno())

    def test_end_of_a_connection_with_an_ipv6_client(self):
        connection = self.connect(self.listener6, toa(*CLIENT6))
        with self.assert_counts():
            connection.remote.rst()
        with self.assert_counts(ip6_address_free=1, records_live=-1):
            connection.socket.close()

    def test_connection_never_accepted(self):
        listener = self.listen(AF_INET6)
        counts = {**TAGGED, "records_live": 0, "ip6_address_alloc": 1, "ip6_address_free": 1}
        with self.assert_counts(**counts):
            self.handshake(listener, toa(*CLIENT6))
            listener.close()

    def test_handshake_that_never_ends(self):
        remote = self.remote(self.listener)
        with self.assert_counts(option_254=1, syn_kept=1):
            remote.syn(toa(*CLIENT4))
            remote.rst()
        with self.assert_counts(**TAGGED):
            self.handshake(self.listener, toa(*CLIENT4))

    def test_outgoing_connection(self):
        local = self.listen()
        with self.assert_counts(syn_recv_sock_no_toa=1):
            with socket.socket() as outgoing:
                address = sockaddr(AF_INET, "127.0.0.1", port_of(local))
                check(libc.connect(outgoing.fileno(), address, 16))


class Cpus(Case):
    """Counting on the CPU where it happens, whichever are there."""

    def setUp(self):
        super().setUp()
        self.assertEqual(online(), [0, 1, 2, 3], "these tests need a guest with four CPUs")
        self.connection = self.connect(self.listen(), toa(*CLIENT4))
        self.addCleanup(os.sched_setaffinity, 0, os.sched_getaffinity(0))

    def on_each_cpu(self, row):
        stats = module.Stats(self.stats_text())
        return dict(zip(stats.cpus, stats.rows[row], strict=True))

    def test_question_counts_where_it_is_asked(self):
        for cpu in online():
            with self.subTest(cpu=cpu):
                os.sched_setaffinity(0, [cpu])
                before = self.on_each_cpu("getname_toa_ok")
                for _ in range(10 + cpu):
                    raw_getpeername(self.connection.socket.fileno())
                before[cpu] += 10 + cpu
                self.assertEqual(self.on_each_cpu("getname_toa_ok"), before)

    def test_connection_counts_where_its_segment_comes_in(self):
        listener = self.listen()
        for cpu in online():
            with self.subTest(cpu=cpu):
                os.sched_setaffinity(0, [cpu])
                before = self.on_each_cpu("syn_recv_sock_toa")
                for _ in range(1 + cpu):
                    self.connect(listener, toa(*CLIENT4))
                before[cpu] += 1 + cpu
                self.assertEqual(self.on_each_cpu("syn_recv_sock_toa"), before)

    def test_offline_cpu_has_no_column(self):
        os.sched_setaffinity(0, [0])
        self.switch(1, False)
        try:
            self.assertEqual(online(), [0, 2, 3])
            header = self.stats_text().split("\n")[0]
            self.assertEqual(header, " " * 34 + "CPU0       CPU2       CPU3       ")
            self.test_question_counts_where_it_is_asked()
            self.test_connection_counts_where_its_segment_comes_in()
        finally:
            self.switch(1, True)

    def test_counts_of_a_cpu_survive_its_absence(self):
        os.sched_setaffinity(0, [1])
        for _ in range(5):
            raw_getpeername(self.connection.socket.fileno())
        before = self.on_each_cpu("getname_toa_ok")
        os.sched_setaffinity(0, [0])
        self.switch(1, False)
        self.switch(1, True)
        self.assertEqual(self.on_each_cpu("getname_toa_ok"), before)

    def switch(self, cpu, on):
        with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w") as file:
            file.write("1" if on else "0")


class Sums(Case):
    """Not one event is lost when many processes make them at once."""

    def test_questions_from_many_processes(self):
        ROUNDS, PROCESSES = 1500, 8
        listener = self.listen()
        tagged, untagged = self.connect(listener, toa(*CLIENT4)), self.connect(listener)

        def ask():
            for _ in range(ROUNDS):
                raw_getpeername(tagged.socket.fileno())
                raw_getpeername(untagged.socket.fileno())

        total = PROCESSES * ROUNDS
        with self.assert_counts(getname_toa_ok=total, getname_toa_empty=total):
            for child in [Child(ask) for _ in range(PROCESSES)]:
                child.result()

    def test_connections_from_many_processes(self):
        CONNECTIONS, PROCESSES = 40, 4

        def serve(number):
            case = Case()
            case.tun = net.Tun(1 + number)
            listener = case.listen(AF_INET6)
            for serial in range(CONNECTIONS):
                client = (f"2001:db8::{number}", 1 + serial)
                remote = case.remote(listener)
                remote.connect(toa(*client))
                connection = accept_without_address(listener)
                connection.close()
                remote.abort()
                case.remote(listener, AF_INET).connect()
            case.doCleanups()

        total = CONNECTIONS * PROCESSES
        with self.assert_intake(toa=total, no_toa=total):
            before = module.stats()
            for child in [Child(serve, number) for number in range(PROCESSES)]:
                child.result()
            changes = module.stats().since(before)
        self.assertEqual(changes["ip6_address_alloc"], total)
        self.assertEqual(changes["ip6_address_free"], total)
