# SPDX-License-Identifier: GPL-2.0
"""Are the packets that toa-check makes what scapy makes of the same?"""

import importlib.machinery
import importlib.util
import ipaddress
import pathlib
import sys
import unittest

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

TOP = pathlib.Path(__file__).resolve().parents[2]

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("toa_check", str(TOP / "scripts/toa-check"))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("toa_check", loader))
loader.exec_module(check)


class Packets(unittest.TestCase):
    def test_as_scapy_makes_them(self):
        option = bytes.fromhex("c351cb007107")
        for sender, server, layer in (
            ("10.0.0.1", "198.18.0.1", lambda **ends: IP(flags="DF", id=0, **ends)), ("fd00::1", "2001:db8:18::1", IPv6),
        ):
            ends = (ipaddress.ip_address(sender), 40001), (ipaddress.ip_address(server), 443)
            for flags, name in ((check.SYN, "S"), (check.ACK, "A"), (check.RST | check.ACK, "RA")):
                made = check.packet(*ends, 7, 9, flags, b"\xfe\x08" + option)
                segment = TCP(sport=40001, dport=443, seq=7, ack=9, flags=name, window=65535, options=[(254, option)])
                self.assertEqual(made, bytes(layer(src=sender, dst=server) / segment))
