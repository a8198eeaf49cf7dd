# SPDX-License-Identifier: GPL-2.0
"""A load balancer's whole path in one machine, as three network namespaces.

    client ------------------ balancer ------------------ server
    203.0.113.10, .20, .30    198.51.100.1 -> 10.0.0.1    10.0.0.2
    2001:db8:c::10, ::20      2001:db8:b::1 -> fd00::1    fd00::2

Clients connect to the balancer's public address. It sends every TCP port on to the server from its
own private address, and from a port of its own choice (full NAT), so that by itself nothing that
the server sees tells of the client; balancer.py adds the option that does.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

CLIENTS_V4 = ("203.0.113.10", "203.0.113.20", "203.0.113.30")
CLIENTS_V6 = ("2001:db8:c::10", "2001:db8:c::20")
PUBLIC_V4, PUBLIC_V6 = "198.51.100.1", "2001:db8:b::1"
BALANCER_V4, BALANCER_V6 = "10.0.0.1", "fd00::1"
SERVER_V4, SERVER_V6 = "10.0.0.2", "fd00::2"

# No port that a client's kernel would pick: who sees one of these sees the balancer.
BALANCER_PORTS = range(10000, 20000)

QUEUE = 0

# What the option takes from the 1460 and 1440 bytes that fit into a packet on Ethernet. Without
# it full segments outgrow the link behind the balancer, and large uploads stall.
SEGMENT_V4, SEGMENT_V6 = 1440, 1420

_LINKS = """
link add toclients netns balancer type veth peer name uplink netns client
link add toservers netns balancer type veth peer name uplink netns server
"""

_CLIENT = f"""
link set lo up
link set uplink up
{"".join(f"address add {address}/24 dev uplink{chr(10)}" for address in CLIENTS_V4)}
{"".join(f"address add {address}/64 dev uplink nodad{chr(10)}" for address in CLIENTS_V6)}
route add default via 203.0.113.1
route add default via 2001:db8:c::1
"""

_BALANCER = f"""
link set lo up
link set toclients up
link set toservers up
address add {PUBLIC_V4}/32 dev lo
address add {PUBLIC_V6}/128 dev lo nodad
address add 203.0.113.1/24 dev toclients
address add 2001:db8:c::1/64 dev toclients nodad
address add {BALANCER_V4}/24 dev toservers
address add {BALANCER_V6}/64 dev toservers nodad
"""

_SERVER = f"""
link set lo up
link set uplink up
address add {SERVER_V4}/24 dev uplink
address add {SERVER_V6}/64 dev uplink nodad
"""

# `bypass`: while no program reads the queue, this is plain NAT.
_RULES = f"""
define ports = {BALANCER_PORTS[0]}-{BALANCER_PORTS[-1]}

table inet balancer {{
	chain arriving {{
		type nat hook prerouting priority dstnat
		ip daddr {PUBLIC_V4} meta l4proto tcp dnat ip to {SERVER_V4}
		ip6 daddr {PUBLIC_V6} meta l4proto tcp dnat ip6 to {SERVER_V6}
	}}
	chain between {{
		type filter hook forward priority filter
		iifname toclients meta l4proto tcp queue flags bypass to {QUEUE}
		oifname toclients meta nfproto ipv4 tcp flags syn tcp option maxseg size set {SEGMENT_V4}
		oifname toclients meta nfproto ipv6 tcp flags syn tcp option maxseg size set {SEGMENT_V6}
	}}
	chain leaving {{
		type nat hook postrouting priority srcnat
		oifname toservers meta nfproto ipv4 meta l4proto tcp snat ip to {BALANCER_V4}:$ports
		oifname toservers meta nfproto ipv6 meta l4proto tcp snat ip6 to [{BALANCER_V6}]:$ports
	}}
}}
"""


class Namespace:
    """A network namespace, and how to do things in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Runs a command in the namespace; raises if it fails."""
        return subprocess.run(self._command(command), check=True, **options)

    def start(self, *command: str, **options) -> subprocess.Popen:
        """Starts a command in the namespace."""
        return subprocess.Popen(self._command(command), **options)

    def output(self, *command: str) -> str:
        """What a command prints in the namespace; raises if it fails."""
        return self.run(*command, stdout=subprocess.PIPE, text=True).stdout

    def set(self, setting: str, value: int) -> None:
        """Sets a parameter of the namespace under /proc/sys/net."""
        with self.entered():
            pathlib.Path("/proc/sys/net", setting).write_text(str(value))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Puts the calling thread into the namespace, where the sockets that it opens stay."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            os.setns(there.fileno(), os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(home.fileno(), os.CLONE_NEWNET)

    def _command(self, command: tuple[str, ...]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]


class Path:
    """The three namespaces, from `with Path() as path:` to the end of the block."""

    def __init__(self) -> None:
        self.client = Namespace("client")
        self.balancer = Namespace("balancer")
        self.server = Namespace("server")
        self._inserting: subprocess.Popen | None = None

    def __enter__(self) -> "Path":
        self._remove()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop_inserting()
        self._remove()

    def start_inserting(self) -> None:
        """From here on the balancer adds the option."""
        program = pathlib.Path(__file__).with_name("balancer.py")
        self._inserting = self.balancer.start(
            sys.executable, str(program), str(QUEUE), stdout=subprocess.PIPE, text=True
        )
        if self._inserting.stdout.readline() != "ready\n":
            self.stop_inserting()
            raise RuntimeError(f"{program} did not start")

    def stop_inserting(self) -> None:
        """From here on the balancer is plain NAT, as it is at first."""
        if self._inserting:
            self._inserting.terminate()
            self._inserting.communicate()
            self._inserting = None

    def _build(self) -> None:
        for namespace in self._namespaces():
            _ip("netns", "add", namespace.name)
        _ip("-batch", "-", input=_LINKS)
        _ip("-netns", self.client.name, "-batch", "-", input=_CLIENT)
        _ip("-netns", self.balancer.name, "-batch", "-", input=_BALANCER)
        _ip("-netns", self.server.name, "-batch", "-", input=_SERVER)
        # Without TIME_WAIT a client can use the same port again at once.
        self.client.set("ipv4/tcp_max_tw_buckets", 0)
        self.balancer.set("ipv4/ip_forward", 1)
        self.balancer.set("ipv6/conf/all/forwarding", 1)
        self.balancer.run("nft", "-f", "-", input=_RULES, text=True)

    def _remove(self) -> None:
        for namespace in self._namespaces():
            if os.path.exists(f"/run/netns/{namespace.name}"):
                _ip("netns", "delete", namespace.name)

    def _namespaces(self) -> tuple[Namespace, ...]:
        return self.client, self.balancer, self.server


def _ip(*arguments: str, **options) -> None:
    subprocess.run(["ip", *arguments], check=True, text=True, **options)
