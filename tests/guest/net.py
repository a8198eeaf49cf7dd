# SPDX-License-Identifier: GPL-2.0
"""The network that the tests play: a TUN device, and the far ends of connections behind it.

A far end (`Remote`) does TCP by hand, so that each segment carries exactly the option bytes that a
test wants, at the moment it wants them. No library that knows better sits in between.
"""

import collections
import contextlib
import fcntl
import itertools
import os
import select
import struct
import subprocess
import time
from socket import AF_INET, AF_INET6, IPPROTO_TCP, inet_ntop, inet_pton

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

EOL, NOP = b"\0", b"\1"
TOA = 254

# Long enough for a guest whose host is busy; nothing waits so long unless it fails.
TIMEOUT = 10

Segment = collections.namedtuple("Segment", "source destination seq ack flags options payload")


def family_of(address):
    return AF_INET6 if ":" in address else AF_INET


def packed(address):
    return inet_pton(family_of(address), address)


def toa(address, port, kind=TOA):
    """The option that a load balancer names its client in."""
    value = struct.pack("!H", port) + packed(address)
    return bytes([kind, 2 + len(value)]) + value


def pad(options, byte=NOP):
    """Fills up to the words of four bytes that a TCP header is counted in."""
    return options + byte * (-len(options) % 4)


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def build(segment):
    """Returns the IP packet of a segment, with exactly its option bytes."""
    (source, source_port), (destination, destination_port) = segment.source, segment.destination
    if len(segment.options) % 4 or len(segment.options) > 40:
        raise ValueError(f"a header has no room for {len(segment.options)} bytes of options")
    source, destination = packed(source), packed(destination)
    length = 20 + len(segment.options) + len(segment.payload)

    def tcp(check):
        header = struct.pack(
            "!HHIIBBHHH",
            source_port,
            destination_port,
            segment.seq,
            segment.ack,
            (20 + len(segment.options)) // 4 << 4,
            segment.flags,
            65535,
            check,
            0,
        )
        return header + segment.options + segment.payload

    pseudo_header = source + destination + struct.pack("!II", length, IPPROTO_TCP)
    body = tcp(checksum(pseudo_header + tcp(0)))

    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, length, IPPROTO_TCP, 64) + source + destination + body

    def ip(check):
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, IPPROTO_TCP, check)
        return fixed + source + destination

    return ip(checksum(ip(0))) + body


def parse(packet):
    """Returns the segment in an IP packet, or None if it is of another protocol."""
    if packet[0] >> 4 == 4:
        protocol, start, family = packet[9], (packet[0] & 15) * 4, AF_INET
        source, destination = packet[12:16], packet[16:20]
        end = struct.unpack_from("!H", packet, 2)[0]
    else:
        protocol, start, family = packet[6], 40, AF_INET6
        source, destination = packet[8:24], packet[24:40]
        end = 40 + struct.unpack_from("!H", packet, 4)[0]
    if protocol != IPPROTO_TCP:
        return None
    source_port, destination_port, seq, ack, offset, flags = struct.unpack_from(
        "!HHIIBB", packet, start
    )
    payload = start + (offset >> 4) * 4
    return Segment(
        (inet_ntop(family, source), source_port),
        (inet_ntop(family, destination), destination_port),
        seq,
        ack,
        flags,
        packet[start + 20 : payload],
        packet[payload:end],
    )


class Tun:
    """A TUN device of the current network namespace. What the kernel sends out of it, we read."""

    def __init__(self, number=0):
        self.server4, self.server6 = f"10.77.{number}.1", f"fd7{number}::1"
        self.balancer4, self.balancer6 = f"10.77.{number}.2", f"fd7{number}::2"
        self.remotes = {}

        if not os.path.exists("/dev/net/tun"):
            subprocess.run(["modprobe", "tun"], check=True)
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
        name = f"toa{number}"
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
        commands = (
            "link set lo up",
            f"link set {name} up",
            f"addr add {self.server4}/24 dev {name}",
            # Without this the address is unusable until nobody has objected to it.
            f"addr add {self.server6}/64 dev {name} nodad",
        )
        subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)

    def close(self):
        os.close(self.fd)

    def send(self, segment):
        os.write(self.fd, build(segment))

    def receive(self, remote, timeout=TIMEOUT):
        """Returns the next segment for `remote`, or None if none comes in time."""
        deadline = time.monotonic() + timeout
        while not remote.inbox:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            self.deliver(os.read(self.fd, 65536))
        return remote.inbox.popleft()

    def deliver(self, packet):
        segment = parse(packet)
        if segment is None:
            return
        # Somebody who waits to be connected to does not know who will.
        remote = self.remotes.get((segment.destination, segment.source)) or self.remotes.get(
            (segment.destination, None)
        )
        if remote is not None:
            remote.inbox.append(segment)


class Remote:
    """One far end: what the server sees as its peer.

    `server` is the address and port that it talks to; None waits for whoever connects.
    """

    ports = itertools.cycle(range(20000, 60000))

    def __init__(self, tun, server, address, port=None):
        self.tun = tun
        self.server = server
        self.name = (address, port or next(self.ports))
        self.inbox = collections.deque()
        # Near the end of the sequence space, so that arithmetic wraps within a test.
        self.seq = 0xFFFFFF00 + self.name[1] % 200
        self.acked = 0
        tun.remotes[self.name, server] = self

    def close(self):
        """Goes without a word."""
        self.tun.remotes.pop((self.name, self.server), None)

    def abort(self):
        """Resets the connection and goes."""
        self.rst()
        self.close()

    def send(self, flags, options=b"", payload=b""):
        ack = self.acked if flags & ACK else 0
        segment = Segment(self.name, self.server, self.seq, ack, flags, options, payload)
        self.tun.send(segment)
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        self.seq = (self.seq + length) % 2**32

    def receive(self, timeout=TIMEOUT):
        return self.tun.receive(self, timeout)

    def expect(self, flags, timeout=TIMEOUT):
        """Returns the next segment that has all of `flags`, skipping others."""
        deadline = time.monotonic() + timeout
        while segment := self.receive(max(0, deadline - time.monotonic())):
            if segment.flags & flags == flags:
                return segment
        raise TimeoutError(f"no segment with flags {flags:#x} came to {self.name}")

    def syn(self, options=b"", payload=b""):
        """Sends a SYN and returns the SYN-ACK."""
        self.send(SYN, options, payload)
        reply = self.expect(SYN | ACK)
        self.acked = (reply.seq + 1) % 2**32
        return reply

    def ack(self, options=b"", payload=b""):
        self.send(ACK | (PSH if payload else 0), options, payload)

    def fin(self, options=b""):
        self.send(FIN | ACK, options)

    def rst(self):
        self.send(RST | ACK)

    def connect(self, options=b"", syn_options=b""):
        """Does the handshake; `options` are those of the third ACK."""
        self.syn(syn_options)
        self.ack(options)

    def accept(self, options=b""):
        """Plays the passive side for whoever connects; `options` are those of the SYN-ACK."""
        opening = self.expect(SYN)
        self.close()
        self.server = opening.source
        self.tun.remotes[self.name, self.server] = self
        self.acked = (opening.seq + 1) % 2**32
        self.send(SYN | ACK, options)
        self.expect(ACK)

    def read(self, length):
        """Receives and acknowledges a stream of so many bytes."""
        data = bytearray()
        while len(data) < length:
            segment = self.receive()
            if segment is None:
                raise TimeoutError(f"{len(data)} of {length} bytes came to {self.name}")
            if segment.payload:
                # Anything but the next byte is a retransmission, or follows one that was lost.
                if segment.seq == self.acked:
                    data += segment.payload
                    self.acked = (self.acked + len(segment.payload)) % 2**32
                self.ack()
        return bytes(data)


@contextlib.contextmanager
def namespace(name):
    """Moves this process into a new network namespace; it has to have a single thread."""
    CLONE_NEWNET = 0x40000000
    subprocess.run(["ip", "netns", "add", name], check=True)
    back = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        os.setns(there, CLONE_NEWNET)
        os.close(there)
        yield
    finally:
        os.setns(back, CLONE_NEWNET)
        os.close(back)
        subprocess.run(["ip", "netns", "del", name], check=True)
