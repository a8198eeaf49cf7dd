# SPDX-License-Identifier: GPL-2.0
"""MPTCP clients played by hand, and a listener for them."""

import struct
from socket import AF_INET

from case import Case
from syscalls import IPPROTO_MPTCP


class MptcpCase(Case):
    family, segments = AF_INET, AF_INET

    # MP_CAPABLE of version 1 with HMAC-SHA256 (RFC 8684, 3.1).
    SYN = b"\x1e\x04\x01\x01"
    KEY = b"ourkey!!"

    def setUp(self):
        super().setUp()
        self.listener = self.listen(self.family, IPPROTO_MPTCP)

    def syn_mptcp(self, options=b""):
        """Begins a connection; returns its far end and the server's key."""
        remote = self.remote(self.listener, self.segments)
        return remote, self.key(remote.syn(self.SYN + options))

    def connect_mptcp(self, options=b"", syn_options=b""):
        remote, key = self.syn_mptcp(syn_options)
        remote.ack(b"\x1e\x14\x01\x01" + self.KEY + key + options)
        return remote

    def first_data(self, key, data):
        """The option of first data after a lost ACK: it repeats the keys, and adds a length."""
        return b"\x1e\x16\x01\x01" + self.KEY + key + struct.pack("!H", len(data))

    def key(self, syn_ack):
        """The server's key."""
        start = syn_ack.options.index(b"\x1e\x0c\x01\x01")
        return syn_ack.options[start + 4 : start + 12]

    def is_mptcp(self, connection):
        SOL_MPTCP, MPTCP_INFO = 284, 1
        try:
            connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 64)
        except OSError:
            return False
        return True
