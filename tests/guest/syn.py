# SPDX-License-Identifier: GPL-2.0
"""What tests of options in SYNs share: handshakes in two steps."""

from socket import AF_INET, IPPROTO_TCP, TCP_FASTOPEN

import module
import net
from case import Case

CLIENT4, OTHER4 = ("198.51.100.7", 40123), ("203.0.113.9", 50234)
CLIENT6, OTHER6 = ("2001:db8::7", 40123), ("2001:db8::9", 50234)

# net.ipv4.tcp_fastopen: servers (2) accept data in a SYN without a cookie (0x200).
FAST_OPEN = 0x202
# The same for listeners that did not ask for it (0x400).
FAST_OPEN_EVERYWHERE = 0x602
# What a listener asks for it with: how many connections may wait that way.
ASKS_FOR_FAST_OPEN = (IPPROTO_TCP, TCP_FASTOPEN, 16)

# What happens to a client that was kept.
FATES = ("syn_used", "syn_superseded", "syn_expired", "syn_dropped")


class SynCase(Case):
    family, segments, client, other = AF_INET, AF_INET, CLIENT4, OTHER4

    def listen_and_begin(self, **listener):
        """A far end that has sent nothing yet, to a listener of its own."""
        self.listener = self.listen(self.family, **listener)
        return self.remote(self.listener, self.segments)

    def again(self, remote):
        """Another far end with the same address and port."""
        remote.close()
        return self.remote(self.listener, self.segments, remote.name[1])

    def complete(self, remote, client=None, segment="syn", options=b"", payload=b""):
        """Ends the handshake; `client` is who is to be shown, none for the peer."""
        remote.ack(options, payload)
        connection = self.accept(self.listener, remote)
        if client:
            self.assert_shows(connection, *client)
            self.assert_listed(connection, client, net.TOA, segment)
        else:
            self.assert_shows_peer(connection)
            self.assert_not_listed(connection)
        return connection

    def changes(self, before, *rows):
        """How some counters have changed."""
        changes = module.stats().since(before)
        return {row: changes[row] for row in rows if row in changes}

    def ip6(self, client):
        """What the record of a client adds to the counters if its address is of IPv6."""
        return {"ip6_address_alloc": 1} if ":" in client[0] else {}
