# SPDX-License-Identifier: GPL-2.0
"""balancer.py rewrites packets as a network would accept them.

Runs anywhere: python3 -m unittest discover -s tests/balancer
"""

import ipaddress
import itertools
import struct
import unittest

from balancer import client_option, insert_option

V4 = "203.0.113.10", "10.0.0.2"
V6 = "2001:db8:c::10", "fd00::2"
PORT = 50001
NOP = b"\x01"
TIMESTAMPS = NOP * 2 + bytes([8, 10]) + bytes(8)
SYN, RST, ACK = 0x02, 0x04, 0x10


def internet_checksum(data: bytes) -> int:
    """RFC 1071 as it is written, over everything: nothing of balancer.py's shortcuts."""
    if len(data) % 2:
        data += b"\0"
    total = sum(data[i] << 8 | data[i + 1] for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    if len(source) == 4:
        return source + destination + struct.pack("!BBH", 0, 6, length)
    return source + destination + struct.pack("!IxxxB", length, 6)


def segment(ends: tuple[str, str], options: bytes, payload: bytes, flags: int) -> bytes:
    source, destination = (ipaddress.ip_address(end).packed for end in ends)
    offset = (20 + len(options)) // 4 << 4
    fixed = struct.pack("!HHIIBBHHH", PORT, 80, 0x89ABCDEF, 0x1234567, offset, flags, 0xFFFF, 0, 0)
    data = fixed + options + payload
    checksum = internet_checksum(pseudo_header(source, destination, len(data)) + data)
    return data[:16] + struct.pack("!H", checksum) + data[18:]


def packet(
    ends=V4, options=b"", payload=b"", flags=ACK, *, ip_options=b"", fragment=0, protocol=6
) -> bytes:
    """A whole IP packet with right lengths and checksums."""
    tcp = segment(ends, options, payload, flags)
    source, destination = (ipaddress.ip_address(end).packed for end in ends)
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(tcp), protocol, 64) + source + destination + tcp
    words = 5 + len(ip_options) // 4
    length = words * 4 + len(tcp)
    fixed = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, length, 7, fragment, 64, protocol, 0)
    header = fixed + source + destination + ip_options
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + tcp


def split(whole: bytes) -> tuple[bytes, bytes]:
    length = (whole[0] & 0xF) * 4 if whole[0] >> 4 == 4 else 40
    return whole[:length], whole[length:]


class Inserts(unittest.TestCase):
    def check_lengths_and_checksums(self, whole: bytes) -> None:
        header, tcp = split(whole)
        if whole[0] >> 4 == 4:
            self.assertEqual(struct.unpack_from("!H", header, 2)[0], len(whole))
            self.assertEqual(internet_checksum(header), 0)
            source, destination = header[12:16], header[16:20]
        else:
            self.assertEqual(struct.unpack_from("!H", header, 4)[0], len(tcp))
            source, destination = header[8:24], header[24:40]
        self.assertEqual(internet_checksum(pseudo_header(source, destination, len(tcp)) + tcp), 0)

    def check(self, before: bytes, option: bytes) -> None:
        after = insert_option(before, option)
        self.assertIsNotNone(after)
        self.check_lengths_and_checksums(after)
        _, old = split(before)
        _, new = split(after)
        end = (new[12] >> 4) * 4
        self.assertEqual(end, (old[12] >> 4) * 4 + len(option))
        self.assertEqual(new[20:end], option + old[20 : end - len(option)])
        self.assertEqual(new[end:], old[end - len(option) :], "the data is another")
        # Beside the data offset and the checksum the fixed header stays.
        self.assertEqual(new[:12] + new[13:16] + new[18:20], old[:12] + old[13:16] + old[18:20])

    def test_the_packets_of_this_file_are_right(self):
        for ends in V4, V6:
            self.check_lengths_and_checksums(packet(ends, TIMESTAMPS, b"odd"))

    def test_everywhere_a_client_may_need_it(self):
        options = b"", TIMESTAMPS, TIMESTAMPS + NOP * 8
        payloads = b"", b"x", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 5 + b"odd"
        for ends, opts, payload, flags in itertools.product(
            (V4, V6), options, payloads, (SYN, ACK, ACK | 0x08, ACK | 0x01)
        ):
            before = packet(ends, opts, payload, flags)
            with self.subTest(ends=ends, options=opts, payload=len(payload), flags=flags):
                self.check(before, client_option(before))

    def test_behind_ip_options(self):
        before = packet(V4, TIMESTAMPS, b"odd", ip_options=NOP * 8)
        option = client_option(before)
        self.assertEqual(option[2:4], struct.pack("!H", PORT))
        self.check(before, option)

    def test_whatever_the_checksum_carries(self):
        for port, low in itertools.product((0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF), range(256)):
            option = bytes([254, 8]) + struct.pack("!HBBBB", port, 0xFF, 0xFF, 0xFF, low)
            self.check(packet(V4, b"", bytes([low, 0xFF])), option)

    def test_into_the_last_space_of_a_header(self):
        self.check(packet(V4, NOP * 32), bytes([254, 8]) + bytes(6))
        self.check(packet(V6, NOP * 20), bytes([254, 20]) + bytes(18))


class NamesTheClient(unittest.TestCase):
    def test_by_ipv4(self):
        self.assertEqual(client_option(packet(V4)).hex(), "fe08" "c351" "cb00710a")

    def test_by_ipv6(self):
        address = "20010db8000c00000000000000000010"
        self.assertEqual(client_option(packet(V6)).hex(), "fe14" "c351" + address)


class LeavesAlone(unittest.TestCase):
    def check(self, *packets: bytes) -> None:
        for whole in packets:
            self.assertIsNone(insert_option(whole, bytes([254, 8]) + bytes(6)))

    def test_resets(self):
        self.check(packet(V4, flags=RST), packet(V6, flags=RST | ACK))

    def test_headers_without_room(self):
        self.check(packet(V4, NOP * 36), packet(V4, NOP * 40), packet(V6, NOP * 36))
        self.assertIsNone(insert_option(packet(V6, NOP * 24), bytes([254, 20]) + bytes(18)))

    def test_fragments(self):
        self.check(packet(fragment=0x2000), packet(fragment=100))

    def test_other_protocols(self):
        self.check(packet(V4, protocol=17), packet(V6, protocol=58))

    def test_packets_that_would_grow_too_long(self):
        self.check(packet(V4, payload=bytes(0xFFFF - 40 - 7)))

    def test_what_ends_before_its_header(self):
        whole = packet(V4)
        self.check(*(whole[:length] for length in range(len(whole))))
        whole = packet(V6)
        self.check(*(whole[:length] for length in range(len(whole))))

    def test_what_is_not_ip(self):
        self.check(b"", bytes(60), b"\xf0" + bytes(59))


if __name__ == "__main__":
    unittest.main()
