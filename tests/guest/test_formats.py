# SPDX-License-Identifier: GPL-2.0
"""Each layout of the option that load balancers send, byte by byte, and what becomes of it."""

import collections
import itertools
from socket import AF_INET, AF_INET6

import module
from case import Case
from net import EOL, NOP, pad, toa

PORT, VPORT, VPC = 40123, 443, 74565
CLIENT4, CLIENT6 = "198.51.100.7", "2001:db8::7"
VIP4, VIP6 = "203.0.113.80", "2001:db8:ffff::80"

# The same as bytes.
port, client4, client6 = "9cbb", "c6336407", "20010db8 00000000 00000000 00000007"
vport, vpc, vip4, vip6 = "01bb", "00012345", "cb007150", "20010db8 ffff0000 00000000 00000080"

Format = collections.namedtuple("Format", "kind option client vip vpc", defaults=("-", "-"))


def row(option, client=None, *service):
    option = bytes.fromhex(option)
    if len(option) != option[1]:
        raise ValueError(f"{option.hex()} is {len(option)} bytes")
    return Format(option[0], option, client, *service)


# Those that name a client, by kind and length.
FORMATS = {
    (254, 8): row(f"fe08 {port} {client4}", CLIENT4),
    (254, 20): row(f"fe14 {port} {client6}", CLIENT6),
    (200, 8): row(f"c808 {port} {client4}", CLIENT4),
    (253, 8): row(f"fd08 {port} {client4}", CLIENT4),
    (253, 20): row(f"fd14 {port} {client6}", CLIENT6),
    (28, 7): row(f"1c07 01 {client4}", CLIENT4),
    (28, 19): row(f"1c13 01 {client6}", CLIENT6),
    (252, 20): row(
        f"fc14 {port} {client4} {vpc} {vip4} {vport} 0000", CLIENT4, f"{VIP4}:{VPORT}", VPC
    ),
    (249, 40): row(f"f928 {port} {client6} abcdef 00 {vip6}", CLIENT6, f"[{VIP6}]:0", 0xABCDEF),
}
# Those that accompany them.
VS_250 = row(f"fa08 {vport} {vip4}")
VPC_201 = row(f"c906 {vpc}")
VS_202 = row(f"ca08 {vport} {vip4}")

NO_VIP = "[::]:0"


def names(connection, format):
    """The client that an option names: without a port in it, the connection keeps its own."""
    return format.client, connection.remote.name[1] if format.kind == 28 else PORT


def kinds(*options):
    return ",".join(sorted({str(option[0]) for option in options}, reverse=True))


class Formats(Case):
    family = AF_INET

    def setUp(self):
        super().setUp()
        # What fails before it accepts leaves a connection, and shall not make others fail.
        self.listener = self.listen(self.family, backlog=1024)

    def handshake(self, options, listener=None, family=None, malformed=0, **counts):
        """Makes a connection, and asserts all that its third ACK changes in the counters."""
        listener = listener or self.listener
        remote = self.remote(listener, family)
        remote.syn()
        with self.assert_counts(malformed=malformed, **counts):
            remote.ack(pad(options))
        return self.accept(listener, remote)

    def tagged(self, options, *formats, client, **arguments):
        """The same with a client in the options; `formats` are those to be counted."""
        counts = {f"option_{format.kind}": 1 for format in formats}
        if ":" in client:
            counts["ip6_address_alloc"] = 1
        return self.handshake(
            options, **arguments, **counts, syn_recv_sock_toa=1, records_live=1
        )

    def untagged(self, options, *formats, **arguments):
        counts = {f"option_{format.kind}": 1 for format in formats}
        connection = self.handshake(options, **arguments, **counts, syn_recv_sock_no_toa=1)
        self.assert_shows_peer(connection)
        self.assert_not_listed(connection)
        return connection


class Rows:
    """One format at a time, for one family of sockets and of segments."""

    def check(self, *key):
        format = FORMATS[key]
        with module.setting("kinds", format.kind):
            connection = self.tagged(
                format.option, format, client=format.client, family=self.segments
            )
        client = names(connection, format)
        if self.family == AF_INET and ":" in format.client:
            self.assert_shows_peer(connection)
        else:
            self.assert_shows(connection, *client)
        self.assert_listed(connection, client, format.kind, vip=format.vip, vpc=format.vpc)

        if format.kind != 254:
            self.untagged(format.option, format, family=self.segments)

    def test_254_of_8_bytes(self):
        self.check(254, 8)

    def test_254_of_20_bytes(self):
        self.check(254, 20)

    def test_200_of_8_bytes(self):
        self.check(200, 8)

    def test_253_of_8_bytes(self):
        self.check(253, 8)

    def test_253_of_20_bytes(self):
        self.check(253, 20)

    def test_28_of_7_bytes(self):
        self.check(28, 7)

    def test_28_of_19_bytes(self):
        self.check(28, 19)

    def test_252_of_20_bytes(self):
        self.check(252, 20)

    def test_249_of_40_bytes(self):
        self.check(249, 40)


class RowsIpv4(Rows, Formats):
    family, segments = AF_INET, AF_INET


class RowsIpv6(Rows, Formats):
    family, segments = AF_INET6, AF_INET6


class RowsIpv4OnIpv6Socket(Rows, Formats):
    family, segments = AF_INET6, AF_INET


class Defaults(Formats):
    def test_254_alone_is_read(self):
        for format in FORMATS.values():
            with self.subTest(format=format):
                if format.kind == 254:
                    self.tagged(format.option, format, client=format.client)
                else:
                    self.untagged(format.option, format)

    def test_those_that_accompany_are_counted_and_not_read(self):
        client = FORMATS[254, 8]
        for format in (VS_250, VPC_201, VS_202):
            with self.subTest(format=format):
                self.untagged(format.option, format)
                options = client.option + format.option
                connection = self.tagged(options, client, format, client=CLIENT4)
                self.assert_shows(connection, CLIENT4, PORT)
                self.assert_listed(connection, (CLIENT4, PORT), 254)


class Service(Formats):
    """What the client connected to, in options that accompany the one with the client."""

    def check(self, formats, client, vip, vpc, listener=None, family=None):
        options = b"".join(format.option for format in formats)
        with module.setting("kinds", kinds(*(format.option for format in formats))):
            connection = self.tagged(
                options, *formats, client=client.client, listener=listener, family=family
            )
        self.assert_shows(connection, *names(connection, client))
        self.assert_listed(
            connection, names(connection, client), client.kind, vip=vip, vpc=vpc
        )

    def in_any_order(self, *formats, vip, vpc):
        for order in itertools.permutations(formats):
            with self.subTest(order=[format.kind for format in order]):
                self.check(order, formats[0], vip, vpc)

    def test_virtual_server_of_alibaba(self):
        for kind in (254, 253, 200):
            self.in_any_order(FORMATS[kind, 8], VS_250, vip=f"{VIP4}:{VPORT}", vpc=0)

    def test_virtual_server_of_tencent(self):
        for kind in (254, 253, 200):
            self.in_any_order(FORMATS[kind, 8], VS_202, vip=f"{VIP4}:{VPORT}", vpc=0)

    def test_vpc_of_tencent(self):
        for kind in (254, 253, 200):
            self.in_any_order(FORMATS[kind, 8], VPC_201, vip=NO_VIP, vpc=VPC)

    def test_vpc_and_virtual_server_of_tencent(self):
        for kind in (254, 253, 200):
            self.in_any_order(FORMATS[kind, 8], VPC_201, VS_202, vip=f"{VIP4}:{VPORT}", vpc=VPC)

    def test_beside_a_client_without_a_port(self):
        self.in_any_order(FORMATS[28, 7], VS_250, VPC_201, vip=f"{VIP4}:{VPORT}", vpc=VPC)

    def test_beside_an_ipv6_client(self):
        listener = self.listen(AF_INET6)
        for key in ((254, 20), (253, 20), (28, 19)):
            for order in itertools.permutations((FORMATS[key], VS_250, VPC_201)):
                with self.subTest(order=[format.kind for format in order]):
                    self.check(order, FORMATS[key], f"{VIP4}:{VPORT}", VPC, listener)

    def test_first_virtual_server_counts(self):
        client = FORMATS[254, 8]
        other = row("ca08 1f90 cb007151")
        for formats, vip in (
            ((client, VS_250, other), f"{VIP4}:{VPORT}"),
            ((other, client, VS_250), "203.0.113.81:8080"),
        ):
            with self.subTest(vip=vip):
                self.check(formats, client, vip, 0)

    def test_that_of_the_clients_own_option_counts(self):
        client = FORMATS[252, 20]
        other = row("fa08 1f90 cb007151")
        for formats in ((client, other), (other, client)):
            with self.subTest(first=formats[0].kind):
                self.check(formats, client, client.vip, client.vpc)

    def test_not_of_a_later_client(self):
        # What the second client's option says does not belong to the first.
        first, second = FORMATS[254, 8], FORMATS[252, 20]
        self.check((first, second), first, "-", "-")

    def test_without_a_client(self):
        with module.setting("kinds", "254,250,202,201"):
            self.untagged(VS_250.option + VPC_201.option, VS_250, VPC_201)
            self.untagged(VS_202.option, VS_202)

    def test_not_one_of_another_connection(self):
        client = FORMATS[254, 8]
        with module.setting("kinds", "254,250"):
            self.tagged(client.option + VS_250.option, client, VS_250, client=CLIENT4)
            connection = self.tagged(client.option, client, client=CLIENT4)
        self.assert_listed(connection, (CLIENT4, PORT), 254)


class First(Formats):
    """Of several options that name clients, the first of a kind that is read counts."""

    OTHER = {
        254: bytes.fromhex("fe08 c43a cb007109"),
        253: bytes.fromhex("fd08 c43a cb007109"),
        252: bytes.fromhex(f"fc14 c43a cb007109 {vpc} {vip4} {vport} 0000"),
        200: bytes.fromhex("c808 c43a cb007109"),
        28: bytes.fromhex("1c07 01 cb007109"),
    }
    BY_KIND = {format.kind: format for format in FORMATS.values() if format.client == CLIENT4}

    def test_of_each_two_kinds(self):
        with module.setting("kinds", kinds(*self.OTHER.values())):
            for first, second in itertools.permutations(self.OTHER, 2):
                with self.subTest(first=first, second=second):
                    one, two = self.BY_KIND[first], self.BY_KIND[second]
                    options = one.option + self.OTHER[second]
                    connection = self.tagged(options, one, two, client=CLIENT4)
                    self.assert_shows(connection, *names(connection, one))

    def test_of_the_same_kind(self):
        for kind, format in self.BY_KIND.items():
            with self.subTest(kind=kind), module.setting("kinds", kind):
                options = format.option + self.OTHER[kind]
                connection = self.tagged(options, format, client=CLIENT4)
                self.assert_shows(connection, *names(connection, format))

    def test_not_one_of_a_kind_that_is_not_read(self):
        for other, kind in itertools.permutations(self.OTHER, 2):
            with self.subTest(kind=kind, other=other), module.setting("kinds", kind):
                one, two = self.BY_KIND[kind], self.BY_KIND[other]
                connection = self.tagged(self.OTHER[other] + one.option, one, two, client=CLIENT4)
                self.assert_shows(connection, *names(connection, one))

    def test_across_families(self):
        listener = self.listen(AF_INET6)
        with module.setting("kinds", "254,253,28"):
            for first, second in (
                ((28, 19), (254, 8)),
                ((254, 8), (28, 19)),
                ((253, 20), (254, 8)),
                ((28, 7), (254, 20)),
            ):
                with self.subTest(first=first, second=second):
                    one, two = FORMATS[first], FORMATS[second]
                    options = one.option + two.option
                    connection = self.tagged(
                        options, one, two, client=one.client, listener=listener
                    )
                    self.assert_shows(connection, *names(connection, one))

    def test_kinds_that_change_between_connections(self):
        one, two = self.BY_KIND[254], self.BY_KIND[200]
        options = one.option + self.OTHER[200]
        for read, client in (
            ("254", (CLIENT4, PORT)),
            ("200", ("203.0.113.9", 50234)),
            ("254,200", (CLIENT4, PORT)),
        ):
            with self.subTest(kinds=read), module.setting("kinds", read):
                connection = self.tagged(options, one, two, client=CLIENT4)
                self.assert_shows(connection, *client)


class Shapes(Formats):
    """Beside the other options that real segments have, and filling the header."""

    SYN = {
        "mss": bytes.fromhex("0204 05b4"),
        "sack": bytes.fromhex("0402"),
        "timestamps": bytes.fromhex("080a 00000001 00000000"),
        "scale": bytes.fromhex("0303 07"),
    }

    def check(self, format, before=b"", behind=b"", listener=None, fill=NOP):
        with module.setting("kinds", format.kind):
            options = pad(before + format.option + behind, fill)
            connection = self.tagged(options, format, client=format.client, listener=listener)
        self.assert_shows(connection, *names(connection, format))
        self.assert_works(connection)

    def assert_works(self, connection):
        connection.remote.ack(payload=b"ping")
        self.assertEqual(connection.socket.recv(4), b"ping")

    def test_at_each_offset(self):
        listener = self.listen(AF_INET6)
        for format in FORMATS.values():
            for before in range(41 - len(format.option)):
                with self.subTest(format=format.kind, before=before):
                    self.check(format, NOP * before, listener=listener)

    def test_before_an_end_mark(self):
        listener = self.listen(AF_INET6)
        for format in FORMATS.values():
            with self.subTest(format=format):
                self.check(format, listener=listener, fill=EOL)

    def test_after_and_before_sack(self):
        blocks = NOP * 2 + bytes.fromhex("050a 00000001 00000002")
        for format in self.fitting(len(blocks)):
            with self.subTest(format=format):
                self.check(format, before=blocks)
                self.check(format, behind=blocks)

    def fitting(self, length):
        """The formats that leave so much room, and that an IPv4 socket can express."""
        return [
            format
            for format in FORMATS.values()
            if format.client == CLIENT4 and len(format.option) + length <= 40
        ]

    def with_timestamps(self, format, arrange):
        remote = self.remote(self.listener)
        reply = remote.syn(NOP * 2 + self.SYN["timestamps"])
        start = reply.options.index(b"\x08\x0a")
        timestamps = NOP * 2 + b"\x08\x0a\0\0\0\2" + reply.options[start + 2 : start + 6]
        with module.setting("kinds", format.kind):
            with self.assert_intake(toa=1):
                remote.ack(pad(arrange(timestamps, format.option)))
                connection = self.accept(self.listener, remote)
        self.assert_shows(connection, *names(connection, format))

    def test_after_timestamps(self):
        for format in self.fitting(12):
            with self.subTest(format=format):
                self.with_timestamps(format, lambda timestamps, option: timestamps + option)

    def test_before_timestamps(self):
        for format in self.fitting(12):
            with self.subTest(format=format):
                self.with_timestamps(format, lambda timestamps, option: pad(option) + timestamps)

    def test_among_the_options_of_a_syn(self):
        usual = b"".join(self.SYN.values()) + NOP
        self.assertEqual(len(usual), 20)
        listener = self.listen(AF_INET6)
        for format in FORMATS.values():
            if len(format.option) > 20:
                continue
            for arranged in (format.option + usual, usual + format.option):
                with self.subTest(format=format, options=arranged.hex()):
                    with module.setting("kinds", format.kind):
                        remote = self.remote(listener)
                        reply = remote.syn(pad(arranged))
                        start = reply.options.index(b"\x08\x0a")
                        echo = reply.options[start + 2 : start + 6]
                        remote.ack(NOP * 2 + b"\x08\x0a\0\0\0\2" + echo)
                    connection = self.accept(listener, remote)
                    client = names(connection, format)
                    self.assert_shows(connection, *client)
                    self.assert_listed(
                        connection, client, format.kind, "syn", format.vip, format.vpc
                    )


class Malformed(Formats):
    """Which options count as malformed; none of them hides a good one, nor a connection."""

    def lengths(self, kind):
        """The lengths that no option of a kind has."""
        known = {length for known, length in FORMATS if known == kind}
        known |= {format.option[1] for format in (VS_250, VPC_201, VS_202) if format.kind == kind}
        return [length for length in range(2, 41) if length not in known]

    def odd(self, kind, length):
        return bytes([kind, length]) + (b"\1" * 40)[: length - 2]

    def test_wrong_lengths(self):
        with module.setting("kinds", "254,253,252,250,249,202,201,200,28"):
            for kind in (254, 253, 252, 250, 249, 202, 201, 200, 28):
                for length in self.lengths(kind):
                    # The kernel has user timeouts in kind 28.
                    malformed = (kind, length) != (28, 4)
                    with self.subTest(kind=kind, length=length):
                        self.untagged(self.odd(kind, length), malformed=malformed)

    def test_not_of_a_kind_that_is_not_read(self):
        for kind in (253, 252, 250, 249, 202, 201, 200, 28):
            for length in self.lengths(kind):
                with self.subTest(kind=kind, length=length):
                    self.untagged(self.odd(kind, length))

    def test_not_of_a_kind_that_nobody_uses(self):
        for kind in (2, 27, 29 + 1, 199, 251, 255):
            with self.subTest(kind=kind):
                self.untagged(self.odd(kind, 6))

    def test_other_versions_of_kind_28(self):
        with module.setting("kinds", "28"):
            for key in ((28, 7), (28, 19)):
                for version in (0, 2, 255):
                    with self.subTest(key=key, version=version):
                        option = bytearray(FORMATS[key].option)
                        option[2] = version
                        self.untagged(bytes(option), malformed=1)

    def test_does_not_hide_the_option(self):
        for format in FORMATS.values():
            odd = self.odd(format.kind, 3)
            if format.client != CLIENT4:
                continue
            with self.subTest(format=format), module.setting("kinds", format.kind):
                for options in (odd + format.option, format.option + odd):
                    connection = self.tagged(options, format, client=CLIENT4, malformed=1)
                    self.assert_shows(connection, *names(connection, format))

    def test_counts_once_in_a_segment(self):
        self.untagged(self.odd(254, 3) * 3, malformed=1)

    def test_list_that_breaks_off(self):
        for options in (
            NOP * 3 + bytes([254]),
            NOP * 2 + bytes([254, 8]),
            bytes([254, 0, 0, 0]),
            bytes([99, 1, 0, 0]),
            bytes([99, 5, 0, 0]),
            NOP * 3 + bytes([99]),
        ):
            with self.subTest(options=options.hex()):
                self.untagged(options, malformed=1)

    def test_long_list_that_breaks_off(self):
        for options in (
            FORMATS[254, 20].option[:16],
            FORMATS[249, 40].option[:36],
            bytes([99, 0]) + bytes(6),
        ):
            with self.subTest(options=options.hex()):
                remote = self.remote(self.listener)
                remote.syn()
                before = module.stats()
                remote.ack(options)
                changes = module.stats().since(before)
                # A kernel that authenticates (RFC 5925) looks for that in it, and drops it.
                if changes or module.absent:
                    self.assertEqual(changes, {"malformed": 1, "syn_recv_sock_no_toa": 1})
                remote.ack()
                self.assert_shows_peer(self.accept(self.listener, remote))

    def test_list_that_breaks_off_after_the_option(self):
        format = FORMATS[254, 8]
        for rest in (bytes([99, 0, 0, 0]), bytes([254, 8, 1, 1]), NOP * 3 + bytes([99])):
            with self.subTest(rest=rest.hex()):
                options = format.option + rest
                connection = self.tagged(options, format, client=CLIENT4, malformed=1)
                self.assert_shows(connection, CLIENT4, PORT)

    def test_not_what_follows_an_end_mark(self):
        self.untagged(EOL + bytes([254, 3, 0]))
        self.untagged(EOL + bytes([254, 200, 0]))
        self.untagged(EOL * 4 + toa(CLIENT4, PORT))

    def test_in_a_syn(self):
        remote = self.remote(self.listener)
        with self.assert_counts(malformed=1):
            remote.syn(pad(self.odd(254, 3)))
        with self.assert_counts(syn_recv_sock_no_toa=1):
            remote.ack()
        self.assert_shows_peer(self.accept(self.listener, remote))
