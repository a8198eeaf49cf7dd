#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The part of a load balancer that Linux lacks: it names the client in a TCP option.

Linux's own NAT forwards the connections (topology.py has the rules). On their way from DNAT to
SNAT, where the source is still the client, the client's segments pass this program, which inserts
option 254 with the client's port and address, as LVS FullNAT does.

usage: balancer.py QUEUE    (root; needs the package python3-netfilterqueue)
"""

import struct
import sys

IPPROTO_TCP = 6
IPV4_FRAGMENT = 0x3FFF  # more fragments, or an offset
IPV6_HEADER = 40
TCP_HEADER = 20  # without options
TCP_HEADER_LIMIT = 60  # the data offset is four bits of 32-bit words
TCP_RST = 0x04
PACKET_LIMIT = 0xFFFF
KIND = 254


def client_option(packet: bytes) -> bytes:
    """The option that names the source of `packet`, which carries TCP directly after IP."""
    if packet[0] >> 4 == 4:
        header, address = (packet[0] & 0x0F) * 4, packet[12:16]
    else:
        header, address = IPV6_HEADER, packet[8:24]
    return bytes([KIND, 4 + len(address)]) + packet[header : header + 2] + address


def insert_option(packet: bytes, option: bytes) -> bytes | None:
    """`packet` with `option` directly after the fixed TCP header, or None where it can't be.

    It can't in what is not TCP, in fragments, in packets and TCP headers that would grow too
    long; and it must not in resets, which no server ever asks for their sender.
    """
    tcp = _tcp_offset(packet)
    if tcp is None or len(packet) + len(option) > PACKET_LIMIT:
        return None
    offset_and_flags, _window, checksum = struct.unpack_from("!3H", packet, tcp + 12)
    if offset_and_flags & TCP_RST:
        return None
    if (offset_and_flags >> 12) * 4 + len(option) > TCP_HEADER_LIMIT:
        return None

    grown = offset_and_flags + (len(option) // 4 << 12)
    # The pseudo header that the checksum covers too has the length of the segment in it.
    added = [grown, len(option), *_words(option)]
    checksum = _updated(checksum, removed=[offset_and_flags], added=added)

    result = bytearray(packet)
    struct.pack_into("!H", result, tcp + 12, grown)
    struct.pack_into("!H", result, tcp + 16, checksum)
    _lengthen_ip(result, len(option))
    result[tcp + TCP_HEADER : tcp + TCP_HEADER] = option
    return bytes(result)


def _tcp_offset(packet: bytes) -> int | None:
    """Where the TCP header of a whole IP packet begins."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        fragment, protocol = struct.unpack_from("!HxB", packet, 6)
        found = protocol == IPPROTO_TCP and not fragment & IPV4_FRAGMENT
        offset = (packet[0] & 0x0F) * 4
    elif version == 6 and len(packet) >= IPV6_HEADER:
        # A packet with extension headers goes without the option; connections have none.
        found = packet[6] == IPPROTO_TCP
        offset = IPV6_HEADER
    else:
        return None
    return offset if found and len(packet) >= offset + TCP_HEADER else None


def _lengthen_ip(packet: bytearray, more: int) -> None:
    """Adds `more` bytes to what the IP header says of the packet's length."""
    if packet[0] >> 4 == 4:
        (length,) = struct.unpack_from("!H", packet, 2)
        (checksum,) = struct.unpack_from("!H", packet, 10)
        checksum = _updated(checksum, removed=[length], added=[length + more])
        struct.pack_into("!H", packet, 2, length + more)
        struct.pack_into("!H", packet, 10, checksum)
    else:
        (length,) = struct.unpack_from("!H", packet, 4)
        struct.pack_into("!H", packet, 4, length + more)


def _updated(checksum: int, removed: list[int], added: list[int]) -> int:
    """An Internet checksum after some 16-bit words gave way to others (RFC 1624, equation 3)."""
    total = (checksum ^ 0xFFFF) + sum(word ^ 0xFFFF for word in removed) + sum(added)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(data) // 2}H", data)


def _forward(queued) -> None:
    packet = queued.get_payload()
    if _tcp_offset(packet) is not None:
        tagged = insert_option(packet, client_option(packet))
        if tagged is not None:
            queued.set_payload(tagged)
    queued.accept()


def main() -> None:
    # Only here: the functions above are tested on machines that lack the package.
    from netfilterqueue import NetfilterQueue

    queue = NetfilterQueue()
    queue.bind(int(sys.argv[1]), _forward)
    # Until now packets passed untouched: whoever started us waits for this line.
    print("ready", flush=True)
    queue.run()


if __name__ == "__main__":
    main()
