# SPDX-License-Identifier: GPL-2.0
"""Whoever sends SYNs with options from made-up sources fills no memory, and stops nobody."""

import collections
import os
import random
import struct
import subprocess
import time
from socket import IPPROTO_TCP, TCP_SYNCNT

import module
import net
from case import Child, port_of
from net import SYN, toa
from syn import CLIENT4, FATES, SynCase


def memory(field):
    """A row of /proc/meminfo, in bytes."""
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) << 10
    raise KeyError(field)


def checksum_with(checksum, added):
    """A checksum after words were added to what it is of: it is their inverted sum."""
    total = (~checksum & 0xFFFF) + added
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Flood(SynCase):
    SENDERS = 3
    # How many are kept.
    ROOM = 4096
    # Of memory that may be in use for other reasons: lists of the CPUs, processes.
    MARGIN = 32 << 20

    def setUp(self):
        super().setUp()
        # What answers them goes out here, where nobody reads it.
        self.target = net.Tun(9)
        self.addCleanup(self.target.close)
        # A range for load tests (RFC 2544).
        subprocess.run(["ip", "route", "add", "198.18.0.0/15", "dev", "toa9"], check=True)
        # A request ends a second later.
        self.sysctl("net.ipv4.tcp_synack_retries", 0)
        self.log = module.Log()
        self.addCleanup(self.log.close)
        self.began = time.monotonic()

    def send(self, seed, syns):
        """Sends SYNs with options from random sources, as fast as one process can."""
        # Places in a packet: of two checksums, and of what is random.
        IP_CHECK, TCP_CHECK, SOURCE, SOURCE_PORT, OPTION_PORT = 10, 36, 14, 20, 42
        server = (self.target.server4, port_of(self.listener))
        option = toa("203.0.113.0", 0)
        packets = []
        for address in ("198.18.0.0", "198.19.0.0"):
            packet = net.build(net.Segment((address, 0), server, 0, 0, SYN, option, b""))
            checks = [struct.unpack_from("!H", packet, place)[0] for place in (IP_CHECK, TCP_CHECK)]
            packets.append((bytearray(packet), *checks))
        numbers = random.Random(seed)
        for serial in range(syns // self.SENDERS):
            packet, ip_check, tcp_check = packets[serial % 2]
            bits = numbers.getrandbits(32)
            host, port = bits >> 16, bits & 0xFFFF
            for place, word in (
                (SOURCE, host),
                (SOURCE_PORT, port),
                (OPTION_PORT, port),
                (IP_CHECK, checksum_with(ip_check, host)),
                (TCP_CHECK, checksum_with(tcp_check, host + 2 * port)),
            ):
                struct.pack_into("!H", packet, place, word)
            os.write(self.target.fd, packet)

    def flood(self, syns):
        """Serves connections while SYNs come; returns how many, and what changed."""
        before, started = module.stats(), time.monotonic()
        mapped = memory("VmallocUsed")
        senders = [Child(self.send, seed, syns) for seed in range(self.SENDERS)]
        rounds = 0
        try:
            while any(sender.is_alive() for sender in senders):
                self.serve(rounds, rounds % 2)
                rounds += 1
        finally:
            for sender in senders:
                sender.result()
        changes = collections.Counter(module.stats().since(before))
        seconds = time.monotonic() - started
        print(f"     {syns / seconds:.0f} SYNs a second, {rounds} connections meanwhile")
        print("    ", ", ".join(f"{row} {changes[row]}" for row in sorted(changes)))
        # The table is of fixed size. Some stacks of processes may have come.
        self.assertLess(memory("VmallocUsed") - mapped, 2 << 20)
        return rounds, changes

    def serve(self, number, in_the_syn):
        """One connection from a balancer, whose SYN or ACK has the option."""
        client, listener = ("192.0.2.7", number), self.served
        remote = self.remote(listener)
        remote.syn(toa(*client) if in_the_syn else b"")
        remote.ack(b"" if in_the_syn else toa(*client))
        connection, accepted = listener.accept()
        with connection:
            self.assertEqual(accepted, client)
            self.assertEqual(connection.getpeername(), client)
            remote.abort()

    def listen_to_the_flood(self, backlog):
        self.sysctl("net.core.somaxconn", backlog)
        self.listener = self.listen(backlog=backlog)
        # Requests to this one last as long as the test does.
        self.served = self.listen(options=((IPPROTO_TCP, TCP_SYNCNT, 20),))
        self.available = memory("MemAvailable")

    def assert_all_is_well(self):
        """The memory of requests comes back, and the kernel complains of nothing."""
        records = module.slab_objects()
        self.listener.close()
        deadline = time.monotonic() + 60
        while (left := memory("MemAvailable")) < self.available - self.MARGIN:
            self.assertLess(time.monotonic(), deadline, f"{left} of {self.available} bytes left")
            time.sleep(0.2)
        self.assertLessEqual(module.slab_objects(), records)
        bad = ("WARNING", "BUG", "lockup", "stall", "hung", "page allocation failure", "Oops")
        lines = self.log.lines()
        self.assertEqual([line for line in lines if any(word in line for word in bad)], [])
        # Each of our warnings at most once a minute.
        ours = collections.Counter(line for line in lines if line.startswith("TOA: "))
        minutes = 1 + (time.monotonic() - self.began) // 60
        self.assertLessEqual(max(ours.values(), default=0), minutes, ours)

    def test_all_of_which_the_kernel_takes(self):
        SYNS = 200_000
        self.reload(syn_max=self.ROOM, syn_seconds=3600)
        self.listen_to_the_flood(2 * SYNS)
        waiting = self.remote(self.served)
        waiting.syn(toa(*CLIENT4))
        rounds, changes = self.flood(SYNS)
        self.assertGreater(rounds, 20)
        # A few have a source that came before.
        self.assertGreater(changes["syn_kept"], SYNS * 0.9)
        # There was one before, and the last connections left their places.
        left = 1 + changes["syn_kept"] - sum(changes[row] for row in FATES)
        self.assertLessEqual(left, self.ROOM)
        self.assertGreater(left, self.ROOM - 8)
        self.assertGreaterEqual(changes["syn_used"], rounds // 2)

        # One that had to make room shows its peer, and nobody else.
        waiting.ack()
        connection, accepted = self.served.accept()
        connection.close()
        self.assertEqual(accepted, waiting.name)
        self.serve(1, True)
        self.serve(2, False)
        self.assert_all_is_well()

    def test_most_of_which_the_kernel_answers_with_cookies(self):
        SYNS = 50_000
        # Of a small backlog, so that requests which expire make no room for many, however slow the machine is.
        self.sysctl("net.ipv4.tcp_syncookies", 1)
        self.reload(syn_max=self.ROOM, syn_seconds=3600)
        self.listen_to_the_flood(16)
        rounds, changes = self.flood(SYNS)
        self.assertGreater(rounds, 20)
        self.assertGreater(changes["syn_cookie"], changes["syn_kept"])
        self.serve(1, True)
        self.serve(2, False)
        self.assert_all_is_well()

    def test_none_of_which_is_trusted(self):
        SYNS = 50_000
        self.reload(syn_max=self.ROOM, syn_seconds=3600, trusted=self.tun.balancer4)
        self.listen_to_the_flood(2 * SYNS)
        waiting = self.remote(self.served)
        waiting.syn(toa(*CLIENT4))
        rounds, changes = self.flood(SYNS)
        self.assertGreater(rounds, 20)
        self.assertGreater(changes["not_trusted"], SYNS * 0.9)
        # Nobody but the balancer is kept, and the oldest of its clients is still there.
        self.assertEqual(changes["syn_kept"], rounds // 2)
        self.assertEqual(changes["syn_used"], rounds // 2)
        self.assertEqual(changes["syn_dropped"], 0)
        waiting.ack()
        connection, accepted = self.served.accept()
        connection.close()
        self.assertEqual(accepted, CLIENT4)
        self.assert_all_is_well()
