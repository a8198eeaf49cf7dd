# SPDX-License-Identifier: GPL-2.0
"""getsockopt(): each option of include/uapi/linux/toa.h, to the byte and to the error.

sockopt.c, which tests/guest/build compiles, asks; it knows no more than the header.
"""

import collections
import errno
import socket
import struct
import subprocess
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, IPPROTO_IP, SOCK_DGRAM, SOCK_RAW

import net
from case import Case, sockaddr
from net import pad, toa
from syscalls import IPPROTO_MPTCP, disconnect

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)
VIP4 = ("192.0.2.80", 8443)
VIP6 = "2001:db8:f::80"
VPC = 0x00A1B2C3

LOOKUP, INFO, CLIENT = 4096, 4097, 1348
VS, VS4RDS, VS6 = 1345, 1346, 1347
# The sizes of answers, that of the client for one with an IPv6 address.
SIZES = {LOOKUP: 20, INFO: 68, CLIENT: 28, VS: 12, VS4RDS: 32, VS6: 24}
# Those that fail alike where there is no client.
REST = [(option, size) for option, size in SIZES.items() if option != LOOKUP]

FROM_SYN, FROM_ACK, FROM_DATA = 1, 2, 3

PATTERN = b"\xa5"

Answer = collections.namedtuple("Answer", "error length bytes fields")


def ask(connection, *questions, program="sockopt"):
    """What sockopt.c got for each (option, length) or (option, length, place)."""
    words = [":".join(map(str, (*question, "roomy")[:3])) for question in questions]
    fd = connection.fileno()
    done = subprocess.run(
        [f"/share/{program}", str(fd), *words],
        pass_fds=[fd], check=True, stdout=subprocess.PIPE, text=True,
    )
    return [answer(block) for block in done.stdout.split("\n\n")[:-1]]


def answer(block):
    fields = dict(line.split("=") for line in block.splitlines())
    error, length = int(fields.pop("errno")), int(fields.pop("length"))
    return Answer(errno.errorcode.get(error, ""), length, bytes.fromhex(fields.pop("bytes")), fields)


def v6(address):
    """An address as in6_addr has it."""
    address = ip_address(address)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


# What load balancers tell of the service.
def vip_option(kind=250):
    return bytes([kind, 8]) + struct.pack("!H4s", VIP4[1], ip_address(VIP4[0]).packed)


def vpc_option():
    return struct.pack("!BBI", 201, 6, VPC)


def option252():
    client, vip = ip_address(CLIENT4[0]).packed, ip_address(VIP4[0]).packed
    return struct.pack("!BBH4sI4sHxx", 252, 20, CLIENT4[1], client, VPC, vip, VIP4[1])


def option249():
    client, vip = ip_address(CLIENT6[0]).packed, ip_address(VIP6).packed
    return struct.pack("!BBH16sI16s", 249, 40, CLIENT6[1], client, VPC << 8, vip)


class Asking(Case):
    def assert_errors(self, error, connection, *questions):
        """Each fails so, and nothing is written, not even a length."""
        for question, answer in zip(questions, ask(connection, *questions), strict=True):
            self.assertEqual(answer.error, errno.errorcode[error], question)
            self.assertEqual(answer.length, question[1], question)
            self.assertEqual(answer.bytes, PATTERN * len(answer.bytes), question)

    def assert_answer(self, connection, option, expected, kept=0):
        """The answer is `expected`, behind `kept` bytes that stay as they are, and no byte more."""
        size = kept + len(expected)
        questions = [(option, size), (option, size, "edge")]
        if option != VS4RDS:
            questions += [(option, size + 1), (option, 200)]
        for question, answer in zip(questions, ask(connection, *questions), strict=True):
            self.assertEqual((answer.error, answer.length), ("", size), question)
            self.assertEqual(answer.bytes[kept:size].hex(), expected.hex(), question)
            rest = answer.bytes[:kept] + answer.bytes[size:]
            self.assertEqual(rest, PATTERN * len(rest), question)
        return answer.fields

    def assert_answers(self, connection, *questions):
        for question, answer in zip(questions, ask(connection, *questions), strict=True):
            self.assertEqual(answer.error, "", question)


def nat64_peer(address, port):
    return v6(address) + struct.pack("!H", port) + bytes(2)


def vtoa(vpc=0, address="0.0.0.0", port=0):
    return struct.pack("=I", vpc) + ip_address(address).packed + struct.pack("!H", port) + bytes(2)


def v6vtoa(vpc=0, address="0.0.0.0", port=0):
    address = ip_address(address)
    family = AF_INET if address.version == 4 else AF_INET6
    start = struct.pack("=I16sH", vpc, address.packed, family)
    return start[:22] + struct.pack("!H", port)


def info(kind, origin, client, balancer, service=None):
    """`struct toa_info`; `service` is VIP, its port and VPC."""
    vip, vport, vpc = service or ("::", 0, 0)
    return (
        struct.pack("=HHBBBx", 1, 68, kind, origin, service is not None)
        + v6(client[0]) + v6(balancer[0]) + v6(vip)
        + struct.pack("!HHHxx", client[1], balancer[1], vport)
        + struct.pack("=I", vpc)
    )


class Header(Asking):
    def test_numbers_and_sizes(self):
        expected = {
            "TOA_SO_GET_LOOKUP": LOOKUP,
            "TOA_SO_GET_INFO": INFO,
            "TOA_SO_GET_CLIENT": CLIENT,
            "VTOA_SO_GET_VS": VS,
            "VTOA_SO_GET_VS4RDS": VS4RDS,
            "V6VTOA_SO_GET_VS": VS6,
            "TOA_INFO_VERSION": 1,
            "TOA_INFO_SIZE_VER1": 68,
            "TOA_INFO_SERVICE": 1,
            "TOA_FROM_SYN": FROM_SYN,
            "TOA_FROM_ACK": FROM_ACK,
            "TOA_FROM_DATA": FROM_DATA,
            "sizeof(struct toa_nat64_peer)": 20,
            "sizeof(struct toa_info)": 68,
            "sizeof(struct vtoa_get_vs)": 12,
            "sizeof(struct vtoa_get_vs4rds)": 32,
            "sizeof(struct v6vtoa_get_vs)": 24,
        }
        connection = self.connect(self.listen(), toa(*CLIENT4))
        answers = []
        for program in ("sockopt", "sockopt-c99", "sockopt-c++"):
            with self.subTest(program=program):
                done = subprocess.run(
                    [f"/share/{program}", "constants"], check=True, stdout=subprocess.PIPE, text=True
                )
                found = dict(line.split("=") for line in done.stdout.splitlines())
                self.assertEqual({key: int(value) for key, value in found.items()}, expected)
                answers += ask(connection.socket, (INFO, 68), program=program)
        self.assertEqual(answers[0].error, "")
        self.assertEqual(answers[1:], answers[:1] * 2)


class Client(Asking):
    """1348: the client as an address."""

    def test_by_the_familys_own_structure(self):
        for family, segments, client in (
            (AF_INET, AF_INET, CLIENT4),
            (AF_INET, AF_INET, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT4),
            (AF_INET6, AF_INET, CLIENT4),
            (AF_INET6, AF_INET, CLIENT6),
        ):
            with self.subTest(family=family, segments=segments, client=client):
                connection = self.connect(self.listen(family), toa(*client), segments).socket
                # Whatever the socket's family.
                its_own = net.family_of(client[0])
                self.assert_answer(connection, CLIENT, sockaddr(its_own, *client))
                short = 15 if its_own == AF_INET else 27
                self.assert_errors(errno.EINVAL, connection, (CLIENT, short))

    def test_client_without_a_port(self):
        self.parameter("kinds", "28")
        option = struct.pack("!BBB4s", 28, 7, 1, ip_address(CLIENT4[0]).packed)
        connection = self.connect(self.listen(), pad(option))
        expected = sockaddr(AF_INET, CLIENT4[0], connection.remote.name[1])
        self.assert_answer(connection.socket, CLIENT, expected)

    def test_without_a_client(self):
        connection = self.connect(self.listen()).socket
        self.assert_errors(errno.ESRCH, connection, *((CLIENT, length) for length in (0, 15, 16, 28)))


class Nat64(Asking):
    """4096: the IPv6 client of a connection over IPv4."""

    def test_ipv6_client_on_an_ipv4_socket(self):
        connection = self.connect(self.listen(), toa(*CLIENT6))
        fields = self.assert_answer(connection.socket, LOOKUP, nat64_peer(*CLIENT6))
        self.assertEqual(fields["saddr"], v6(CLIENT6[0]).hex())
        self.assertEqual(fields["port"], struct.pack("!H", CLIENT6[1]).hex())
        self.assert_shows_peer(connection)

    def test_ipv6_client_on_an_ipv6_socket_over_ipv4(self):
        connection = self.connect(self.listen(AF_INET6), toa(*CLIENT6), AF_INET)
        self.assert_answer(connection.socket, LOOKUP, nat64_peer(*CLIENT6))
        self.assert_shows(connection, *CLIENT6)

    def test_not_nat64(self):
        for family, segments, client in (
            (AF_INET, AF_INET, CLIENT4),
            (AF_INET6, AF_INET6, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT4),
            (AF_INET6, AF_INET, CLIENT4),
        ):
            with self.subTest(family=family, segments=segments, client=client):
                connection = self.connect(self.listen(family), toa(*client), segments).socket
                self.assert_errors(errno.EFAULT, connection, (LOOKUP, 20), (LOOKUP, 200))
                self.assert_errors(errno.EINVAL, connection, (LOOKUP, 19))

    def test_no_option(self):
        for family in (AF_INET, AF_INET6):
            connection = self.connect(self.listen(family)).socket
            self.assert_errors(errno.EINVAL, connection, (LOOKUP, 0), (LOOKUP, 20), (LOOKUP, 200))

    def test_not_connected(self):
        listener = self.listen()
        reset = self.connect(listener, toa(*CLIENT6))
        reset.remote.rst()
        disconnected = self.connect(listener, toa(*CLIENT6)).socket
        disconnect(disconnected)
        with socket.socket() as new, socket.socket(type=SOCK_DGRAM) as datagrams:
            for unconnected in (listener, reset.socket, disconnected, new, datagrams):
                self.assert_errors(errno.ENOTCONN, unconnected, (LOOKUP, 20))
                self.assert_errors(errno.EINVAL, unconnected, (LOOKUP, 19))

    def test_other_end_has_finished(self):
        connection = self.connect(self.listen(), toa(*CLIENT6))
        connection.remote.fin()
        self.assertEqual(connection.socket.recv(1), b"")
        self.assert_answer(connection.socket, LOOKUP, nat64_peer(*CLIENT6))


class Info(Asking):
    """4097: everything."""

    def setUp(self):
        super().setUp()
        self.parameter("kinds", "254,253,252,250,249,202,201,200,28")

    def assert_info(self, connection, kind, origin, client, service=None):
        balancer = connection.remote.name
        expected = info(kind, origin, client, balancer, service)
        fields = self.assert_answer(connection.socket, INFO, expected)
        # By the header's own names, so that the structure there is the one in the contract.
        self.assertEqual(fields["kind"], f"{kind:02x}")
        self.assertEqual(fields["from"], f"{origin:02x}")
        self.assertEqual(fields["client"], v6(client[0]).hex())
        self.assertEqual(fields["balancer"], v6(balancer[0]).hex())
        self.assertEqual(fields["client_port"], f"{client[1]:04x}")
        self.assertEqual(fields["balancer_port"], f"{balancer[1]:04x}")
        vip, vport, vpc = service or ("::", 0, 0)
        self.assertEqual(fields["vip"], v6(vip).hex())
        self.assertEqual(fields["vport"], f"{vport:04x}")
        self.assertEqual(fields["vpc"], struct.pack("=I", vpc).hex())

    def test_families(self):
        for family, segments, client in (
            (AF_INET, AF_INET, CLIENT4),
            (AF_INET, AF_INET, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT6),
            (AF_INET6, AF_INET6, CLIENT4),
            (AF_INET6, AF_INET, CLIENT4),
            (AF_INET6, AF_INET, CLIENT6),
        ):
            with self.subTest(family=family, segments=segments, client=client):
                connection = self.connect(self.listen(family), toa(*client), segments)
                self.assert_info(connection, 254, FROM_ACK, client)

    def test_kinds(self):
        for kind in (254, 253, 200):
            with self.subTest(kind=kind):
                connection = self.connect(self.listen(), toa(*CLIENT4, kind=kind))
                self.assert_info(connection, kind, FROM_ACK, CLIENT4)

    def test_segments(self):
        listener = self.listen()
        with self.subTest("the SYN"):
            connection = self.connect(listener, syn_options=toa(*CLIENT4))
            self.assert_info(connection, 254, FROM_SYN, CLIENT4)
        with self.subTest("the third ACK, though the SYN had one"):
            connection = self.connect(listener, toa(*CLIENT4), syn_options=toa(*CLIENT6))
            self.assert_info(connection, 254, FROM_ACK, CLIENT4)
        with self.subTest("data"):
            remote = self.remote(listener)
            remote.syn()
            remote.ack(toa(*CLIENT4), b"hello")
            connection = self.accept(listener, remote)
            self.assert_info(connection, 254, FROM_DATA, CLIENT4)
        with self.subTest("an end without data"):
            remote = self.remote(listener)
            remote.syn()
            remote.fin(toa(*CLIENT4))
            connection = self.accept(listener, remote)
            self.assert_info(connection, 254, FROM_ACK, CLIENT4)

    def test_services(self):
        v4 = ("::ffff:" + VIP4[0], VIP4[1])
        for options, kind, service in (
            (toa(*CLIENT4) + vip_option(), 254, (*v4, 0)),
            (vip_option() + toa(*CLIENT4), 254, (*v4, 0)),
            (toa(*CLIENT4) + vip_option(202) + vpc_option(), 254, (*v4, VPC)),
            (toa(*CLIENT4) + vpc_option(), 254, ("::", 0, VPC)),
            (option252(), 252, (*v4, VPC)),
            (toa(*CLIENT6) + vip_option(), 254, (*v4, 0)),
        ):
            with self.subTest(options=options.hex()):
                connection = self.connect(self.listen(AF_INET6), pad(options))
                client = CLIENT6 if v6(CLIENT6[0]) in options else CLIENT4
                self.assert_info(connection, kind, FROM_ACK, client, service)
        connection = self.connect(self.listen(AF_INET6), option249())
        self.assert_info(connection, 249, FROM_ACK, CLIENT6, (VIP6, 0, VPC))

    def test_of_a_connection_that_has_ended(self):
        connection = self.connect(self.listen(), toa(*CLIENT4))
        self.assert_info(connection, 254, FROM_ACK, CLIENT4)
        connection.remote.rst()
        self.assert_errors(errno.ESRCH, connection.socket, (INFO, 68))


class Services(Asking):
    """1345, 1346 and 1347: what the client connected to."""

    def setUp(self):
        super().setUp()
        self.parameter("kinds", "254,252,250,249,202,201")

    def assert_service(self, options, vpc=0, address="0.0.0.0", port=0):
        v4 = ip_address(address).version == 4
        for family in (AF_INET, AF_INET6):
            connection = self.connect(self.listen(family), pad(options)).socket
            fields = self.assert_answer(connection, VS6, v6vtoa(vpc, address, port))
            self.assertEqual(fields["vid"], struct.pack("=I", vpc).hex())
            self.assertEqual(fields["vport"], f"{port:04x}")
            self.assertEqual(fields["af"], struct.pack("=H", AF_INET if v4 else AF_INET6).hex())
            if not v4:
                self.assert_errors(errno.ESRCH, connection, (VS, 12), (VS4RDS, 32))
                continue
            fields = self.assert_answer(connection, VS, vtoa(vpc, address, port))
            self.assertEqual(fields["vaddr"], ip_address(address).packed.hex())
            fields = self.assert_answer(connection, VS4RDS, vtoa(vpc, address, port), kept=20)
            self.assertEqual(fields["entry.vaddr"], ip_address(address).packed.hex())
            self.assertEqual(fields["connection"], (PATTERN * 20).hex())

    def test_address_and_port_that_accompany_the_client(self):
        self.assert_service(toa(*CLIENT4) + vip_option(), 0, *VIP4)
        self.assert_service(toa(*CLIENT4) + vip_option(202), 0, *VIP4)
        self.assert_service(vip_option() + toa(*CLIENT4), 0, *VIP4)

    def test_network_that_accompanies_the_client(self):
        self.assert_service(toa(*CLIENT4) + vpc_option(), VPC)
        self.assert_service(toa(*CLIENT4) + vpc_option() + vip_option(202), VPC, *VIP4)

    def test_all_in_one_option(self):
        self.assert_service(option252(), VPC, *VIP4)

    def test_ipv6_address(self):
        self.assert_service(option249(), VPC, VIP6)

    def test_on_an_ipv6_client(self):
        self.assert_service(toa(*CLIENT6) + vip_option(), 0, *VIP4)

    def test_lengths(self):
        connection = self.connect(self.listen(), option252()).socket
        for option, lengths in (
            (VS, (0, 1, 10, 11)),
            (VS4RDS, (0, 12, 20, 31, 33, 64, 200)),
            (VS6, (0, 1, 12, 23)),
        ):
            self.assert_errors(errno.EINVAL, connection, *((option, length) for length in lengths))

    def test_no_service(self):
        for options in (b"", toa(*CLIENT4)):
            for family in (AF_INET, AF_INET6):
                connection = self.connect(self.listen(family), options).socket
                self.assert_errors(errno.ESRCH, connection, (VS, 12), (VS4RDS, 32), (VS6, 24))

    def test_kinds_that_are_not_read(self):
        self.parameter("kinds", "254")
        connection = self.connect(self.listen(), toa(*CLIENT4) + vip_option()).socket
        self.assert_errors(errno.ESRCH, connection, (VS, 12), (VS4RDS, 32), (VS6, 24))


class EveryOption(Asking):
    """What holds for all of them."""

    def setUp(self):
        super().setUp()
        self.parameter("kinds", "254,250")

    def test_counted(self):
        connection = self.connect(self.listen(), toa(*CLIENT6) + vip_option()).socket
        with self.assert_counts(sockopt_ok=len(SIZES)):
            self.assert_answers(connection, *SIZES.items())
        with self.assert_counts(sockopt_empty=len(SIZES)):
            short = ((option, size - 1) for option, size in SIZES.items())
            self.assert_errors(errno.EINVAL, connection, *short)

    def test_no_memory_for_the_answer(self):
        for family in (AF_INET, AF_INET6):
            connection = self.connect(self.listen(family), toa(*CLIENT6) + vip_option(), AF_INET).socket
            self.assert_answers(connection, *SIZES.items())
            for place in ("no-value", "no-length"):
                questions = ((option, size, place) for option, size in SIZES.items())
                self.assert_errors(errno.EFAULT, connection, *questions)

    def test_lengths_that_have_room_for_nothing(self):
        connection = self.connect(self.listen(), toa(*CLIENT6) + vip_option()).socket
        for length in (0, -1, -(2**31)):
            self.assert_errors(errno.EINVAL, connection, *((option, length) for option in SIZES))

    def test_greatest_length(self):
        connection = self.connect(self.listen(), toa(*CLIENT6) + vip_option()).socket
        questions = [(option, 2**31 - 1) for option in SIZES if option != VS4RDS]
        for (option, _), answer in zip(questions, ask(connection, *questions), strict=True):
            self.assertEqual((answer.error, answer.length), ("", SIZES[option]))

    def test_sockets_without_a_client(self):
        listener = self.listen()
        untagged = self.connect(listener).socket
        disconnected = self.connect(listener, toa(*CLIENT6) + vip_option()).socket
        self.assert_answers(disconnected, (INFO, 68))
        disconnect(disconnected)
        reset = self.connect(listener, toa(*CLIENT6) + vip_option())
        reset.remote.rst()
        sockets = [listener, self.listen(AF_INET6), untagged, disconnected, reset.socket]
        datagrams = socket.socket(type=SOCK_DGRAM)
        datagrams6 = socket.socket(AF_INET6, SOCK_DGRAM)
        datagrams.connect((self.tun.balancer4, 9))
        datagrams6.connect((self.tun.balancer6, 9))
        raw = socket.socket(AF_INET, SOCK_RAW, 253)
        outgoing = socket.create_connection((self.tun.server4, listener.getsockname()[1]))
        for one in (datagrams, datagrams6, raw, outgoing):
            self.addCleanup(one.close)
            sockets.append(one)
        for one in sockets:
            self.assert_errors(errno.ESRCH, one, *REST)
        for one in (datagrams, datagrams6, outgoing):
            self.assert_errors(errno.EINVAL, one, (LOOKUP, 20))

    def test_socket_that_was_used_again(self):
        listener = self.listen()
        connection = self.connect(listener, toa(*CLIENT6) + vip_option()).socket
        port = connection.getsockname()[1]
        disconnect(connection)
        connection.connect((self.tun.server4, port))
        self.assert_errors(errno.EINVAL, connection, (LOOKUP, 20))
        self.assert_errors(errno.ESRCH, connection, *REST)

    def test_numbers_beside_ours(self):
        connection = self.connect(self.listen(), toa(*CLIENT6) + vip_option()).socket
        self.assert_answers(connection, (INFO, 68))
        numbers = (1344, 1349, 4095, 4098)
        self.assert_errors(errno.ENOPROTOOPT, connection, *((number, 200) for number in numbers))

    def test_nothing_can_be_set(self):
        connection = self.connect(self.listen(), toa(*CLIENT6)).socket
        self.assert_answers(connection, (INFO, 68))
        for number in SIZES:
            with self.assertRaises(OSError) as raised:
                connection.setsockopt(IPPROTO_IP, number, bytes(68))
            self.assertEqual(raised.exception.errno, errno.ENOPROTOOPT)

    def test_another_level(self):
        connection = self.connect(self.listen(AF_INET6), toa(*CLIENT6)).socket
        self.assert_answers(connection, (INFO, 68))
        with self.assertRaises(OSError) as raised:
            connection.getsockopt(socket.IPPROTO_IPV6, INFO, 68)
        self.assertEqual(raised.exception.errno, errno.ENOPROTOOPT)


class Mptcp(Asking):
    """Listeners opened for MPTCP."""

    def test_client_that_speaks_tcp(self):
        connection = self.connect(self.listen(AF_INET, IPPROTO_MPTCP), toa(*CLIENT6))
        self.assert_answer(connection.socket, LOOKUP, nat64_peer(*CLIENT6))
        expected = info(254, FROM_ACK, CLIENT6, connection.remote.name)
        self.assert_answer(connection.socket, INFO, expected)

    def test_client_that_speaks_mptcp(self):
        # Linux passes no option that it does not know on to the registry that ours are in.
        listener = self.listen(AF_INET, IPPROTO_MPTCP)
        remote = self.remote(listener)
        reply = remote.syn(b"\x1e\x04\x01\x01")
        start = reply.options.index(b"\x1e\x0c\x01\x01")
        remote.ack(b"\x1e\x14\x01\x01ourkey!!" + reply.options[start + 4 : start + 12] + toa(*CLIENT4))
        connection = self.accept(listener, remote)
        self.assert_shows(connection, *CLIENT4)
        self.assert_errors(errno.EOPNOTSUPP, connection.socket, *SIZES.items())

    def test_client_that_falls_back_to_tcp(self):
        listener = self.listen(AF_INET, IPPROTO_MPTCP)
        remote = self.remote(listener)
        remote.syn(b"\x1e\x04\x01\x01")
        remote.ack(b"\x1e\x14\x01\x01ourkey!!notyours" + toa(*CLIENT4))
        connection = self.accept(listener, remote)
        self.assert_shows(connection, *CLIENT4)
        self.assert_errors(errno.EOPNOTSUPP, connection.socket, *SIZES.items())
        # From now on Linux asks the TCP socket inside, which servers never get and nothing is kept for.
        remote.ack(payload=b"hello")
        self.assertEqual(connection.socket.recv(5), b"hello")
        self.assert_shows(connection, *CLIENT4)
        self.assert_errors(errno.EINVAL, connection.socket, (LOOKUP, 20))
        self.assert_errors(errno.ESRCH, connection.socket, *REST)
