# SPDX-License-Identifier: GPL-2.0
"""Is what the module reads what scapy's reading of the same header says?

Headers whose list of options breaks off are no matter for scapy, which reads on: those are compared
with a walk of our own.
"""

import ipaddress
import pathlib
import random
import struct
import subprocess
import unittest

from scapy.layers.inet import TCP, TCPOptions, TCPOptionsField

TOP = pathlib.Path(__file__).resolve().parents[2]
HOST = TOP / "tests/host"
KINDS = (254, 253, 252, 250, 249, 202, 201, 200, 28)
HEADERS = 40_000


def mapped(octets):
    if len(octets) == 4:
        octets = bytes(10) + b"\xff\xff" + octets
    return ipaddress.IPv6Address(octets)


def port_of(octets):
    return struct.unpack("!H", octets)[0]


def client_4(value):
    return {"client": mapped(value[2:6]), "port": port_of(value[:2])}


def client_6(value):
    return {"client": mapped(value[2:18]), "port": port_of(value[:2])}


def of_version_1(value):
    return {"client": mapped(value[1:]), "port": None} if value[0] == 1 else None


def alibaba_4(value):
    vpc, vip, vport = struct.unpack("!I4sH2x", value[6:])
    return client_4(value) | {"vip": mapped(vip), "vport": vport, "vpc": vpc}


def alibaba_6(value):
    vpc = int.from_bytes(value[18:21], "big")
    return client_6(value) | {"vip": mapped(value[22:]), "vpc": vpc}


def vip_4(value):
    return {"vip": mapped(value[2:]), "vport": port_of(value[:2])}


def vpc_only(value):
    return {"vpc": int.from_bytes(value, "big")}


FORMATS = {
    (254, 8): client_4,
    (254, 20): client_6,
    (253, 8): client_4,
    (253, 20): client_6,
    (252, 20): alibaba_4,
    (250, 8): vip_4,
    (249, 40): alibaba_6,
    (202, 8): vip_4,
    (201, 6): vpc_only,
    (200, 8): client_4,
    (28, 7): of_version_1,
    (28, 19): of_version_1,
}


def service_of(says):
    parts = [says.get(part) for part in ("vip", "vport", "vpc")]
    if parts == [None, None, None]:
        return ""
    return f" {parts[0] or mapped(bytes(16))} {parts[1] or 0} {parts[2] or 0}"


def expected(options, broken, syn, kinds):
    """The line that says what these options, of kind and value, say."""
    malformed, seen, client, around = broken, set(), None, {}
    for kind, value in options:
        if kind not in KINDS:
            continue
        if syn and kind == 254 and value.startswith((b"\xf9\x89", b"\xe2\xd4\xc3\xd9")):
            continue
        decode = FORMATS.get((kind, len(value) + 2))
        says = decode(value) if decode else None
        if says is None:
            malformed |= kind in kinds and (kind, len(value)) != (28, 2)
            continue
        seen.add(kind)
        if kind not in kinds:
            continue
        if "client" not in says:
            around = says | around
        elif client is None:
            client = says | {"kind": kind}
    line = f"{str(malformed).lower()} [{','.join(str(kind) for kind in KINDS if kind in seen)}]"
    if client:
        port = "-" if client["port"] is None else client["port"]
        line += f" {client['kind']} {client['client']} {port}"
        line += service_of(client) or service_of(around)
    return line


def read_by_scapy(space):
    """The options that scapy finds, as kind and value: it has names and formats for some."""
    offset = 5 + len(space) // 4
    segment = TCP(bytes(12) + bytes([offset << 4]) + bytes(7) + space)
    for name, value in segment.options:
        if name in ("NOP", "EOL"):
            continue
        kind = TCPOptions[1].get(name, name)
        # Names and values turn into bytes, padded at the end.
        raw = TCPOptionsField("options", []).i2m(None, [(name, value)])
        assert raw[0] == kind, (name, value)
        yield kind, raw[2 : raw[1]]


def walk(space):
    """The options of a space, and whether the list breaks off."""
    options = []
    while space and space[0] != 0:
        if space[0] == 1:
            space = space[1:]
            continue
        if len(space) < 2 or not 2 <= space[1] <= len(space):
            return options, True
        options.append((space[0], space[2 : space[1]]))
        space = space[space[1] :]
    return options, False


def option_of_a_balancer(rng):
    kind, length = rng.choice(list(FORMATS))
    version = b"\x01" if kind == 28 else b""
    return bytes([kind, length]) + version + rng.randbytes(length - 2 - len(version))


def some_option(rng):
    value = rng.randbytes(rng.randrange(12))
    others = (
        b"\x01",
        b"\x04\x02",
        b"\x02\x04\x05\xb4",
        b"\x03\x03\x07",
        b"\x08\x0a" + rng.randbytes(8),
        b"\x05\x0a" + rng.randbytes(8),
        b"\x1c\x04\x80\x01",
        b"\xfe\x08\xf9\x89" + rng.randbytes(4),
        b"\xfe\x06\xe2\xd4\xc3\xd9",
        bytes([rng.choice(KINDS), len(value) + 2]) + value,
        bytes([rng.randrange(35, 200), len(value) + 2]) + value,
    )
    return option_of_a_balancer(rng) if rng.random() < 0.5 else rng.choice(others)


def whole_space(rng):
    """An option space whose list of options ends where it may."""
    space = b""
    for _ in range(rng.randrange(6)):
        option = some_option(rng)
        if len(space) + len(option) <= 40:
            space += option
    if len(space) < 40 and rng.random() < 0.2:
        return (space + b"\0" + rng.randbytes(40))[: -(-(len(space) + 1) // 4) * 4]
    return space + bytes([rng.randrange(2)]) * (-len(space) % 4)


def broken_space(rng):
    """An option space that may have anything in it."""
    space = bytearray(whole_space(rng))
    for _ in range(rng.randrange(1, 3)):
        if space:
            byte = rng.choice((0, 1, 2, 40, 254, 255, rng.randrange(256)))
            space[rng.randrange(len(space))] = byte
    return bytes(space[: rng.randrange(len(space) + 1)])


def in_one_notation(line):
    """The words of a line: an address may be written in more than one way."""
    return [ipaddress.ip_address(word) if ":" in word else word for word in line.split(" ")]


class Reading(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        manifest = ["--manifest-path", HOST / "Cargo.toml"]
        cargo = ["cargo", "build", "-q", *manifest, "--example", "read"]
        subprocess.run(cargo, check=True, stdin=subprocess.DEVNULL)

    def compare(self, seed, make, options_of):
        rng = random.Random(seed)
        questions, answers = [], []
        for _ in range(HEADERS):
            space = make(rng)
            syn = rng.random() < 0.5
            kinds = KINDS if rng.random() < 0.5 else [254, *rng.sample(KINDS[1:], rng.randrange(9))]
            questions.append(f"{int(syn)} {','.join(map(str, kinds))} {space.hex()}\n")
            answers.append(expected(*options_of(space), syn, kinds))
        done = subprocess.run(
            [HOST / "target/debug/examples/read"], input="".join(questions), text=True,
            stdout=subprocess.PIPE, check=True,
        )
        found = done.stdout.splitlines()
        self.assertEqual(len(found), HEADERS)
        for question, answer, line in zip(questions, answers, found):
            self.assertEqual(in_one_notation(line), in_one_notation(answer), question)
        # A comparison of nothing with nothing would be none.
        self.assertGreater(sum(len(answer.split()) > 2 for answer in answers), HEADERS // 10)

    def test_as_scapy_reads_it(self):
        self.compare(1, whole_space, lambda space: (list(read_by_scapy(space)), False))

    def test_scapy_walks_as_we_do(self):
        rng = random.Random(2)
        for _ in range(HEADERS // 10):
            space = whole_space(rng)
            self.assertEqual((list(read_by_scapy(space)), False), walk(space), space.hex())

    def test_whatever_is_sent(self):
        self.compare(3, broken_space, walk)


if __name__ == "__main__":
    unittest.main()
