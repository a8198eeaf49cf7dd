# SPDX-License-Identifier: GPL-2.0
"""A host that reaches the server without the load balancer, and says itself who it is.

    spoofer ------------ server
    192.0.2.66           192.0.2.2

It runs the balancer's own program, on connections from an address that it made up.
"""

import pathlib
import subprocess
import sys

from topology import QUEUE, Namespace

ADDRESS, SERVER = "192.0.2.66", "192.0.2.2"
CLAIMED = "203.0.113.99"

_NETWORK = f"""
link set lo up
link set uplink up
address add {ADDRESS}/24 dev uplink
address add {CLAIMED}/32 dev lo
"""

# The option names the source as it is before NAT, which makes it the true one.
_RULES = f"""
table ip spoofer {{
	chain claim {{
		type filter hook output priority filter
		oifname uplink meta l4proto tcp queue to {QUEUE}
	}}
	chain leaving {{
		type nat hook postrouting priority srcnat
		oifname uplink snat to {ADDRESS}
	}}
}}
"""


class Spoofer:
    """The host, from `with Spoofer(server) as spoofer:` to the end of the block."""

    def __init__(self, server: Namespace) -> None:
        self._server = server
        self._host = Namespace("spoofer")

    def __enter__(self) -> "Spoofer":
        _ip("netns", "add", self._host.name)
        _ip("link", "add", "side", "netns", self._server.name,
            "type", "veth", "peer", "name", "uplink", "netns", self._host.name)
        _ip("-netns", self._server.name, "link", "set", "side", "up")
        _ip("-netns", self._server.name, "address", "add", f"{SERVER}/24", "dev", "side")
        _ip("-netns", self._host.name, "-batch", "-", input=_NETWORK)
        # Without TIME_WAIT it can use the same port again at once.
        self._host.set("ipv4/tcp_max_tw_buckets", 0)
        self._host.run("nft", "-f", "-", input=_RULES, text=True)
        program = pathlib.Path(__file__).resolve().parents[1] / "balancer/balancer.py"
        self._inserting = self._host.start(
            sys.executable, str(program), str(QUEUE), stdout=subprocess.PIPE, text=True
        )
        if self._inserting.stdout.readline() != "ready\n":
            raise RuntimeError(f"{program} did not start")
        return self

    def __exit__(self, *_) -> None:
        self._inserting.terminate()
        self._inserting.communicate()
        _ip("netns", "delete", self._host.name)

    def run(self, *command: str) -> None:
        """Runs a command on the host; raises if it fails."""
        self._host.run(*command)


def _ip(*arguments: str, **options) -> None:
    subprocess.run(["ip", *arguments], check=True, text=True, **options)
