#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Shows what servers behind a load balancer log, without toa.ko and with it.

Runs as root in a virtual machine, since it loads the module; tests/demo/run starts one.
Exits with 0 only if the servers logged what they should, each time.

usage: demo.py MODULE
"""

import dataclasses
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "balancer"))

import spoofer
import topology as net
from servers import DUAL_STACK_PORT, PYTHON_PORT, Servers

BALANCERS = f"{net.BALANCER_V4},{net.BALANCER_V6}"
SPOOFER_PORT = 50041

UPLOAD = random.Random(254).randbytes(1_000_003)

INTRODUCTION = f"""
  Behind a load balancer, servers see the balancer's address where the client's should be.
  This balancer adds the client's as a TCP option (kind 254), and toa.ko shows it to the servers.

    clients     {", ".join(net.CLIENTS_V4)}    {", ".join(net.CLIENTS_V6)}
       |
    balancer    accepts at    {net.PUBLIC_V4:<16} {net.PUBLIC_V6}
       |        forwards from {net.BALANCER_V4:<16} {net.BALANCER_V6}
    server      nginx and Python's http.server, neither of which knows of any of this
"""


@dataclasses.dataclass
class Request:
    """A connection that a client makes, and how the server should log it."""

    client: str
    port: int  # the client's own, the same each time
    service: int  # the server's
    uploads: bool = False
    logged: list[str] = dataclasses.field(default_factory=list)  # each time: the peer

    @property
    def source(self) -> str:
        """The client and its port."""
        return f"{self.client}:{self.port}"

    def url(self, file: str = "") -> str:
        """Where the client finds `file`."""
        host = f"[{net.PUBLIC_V6}]" if ":" in self.client else net.PUBLIC_V4
        return f"http://{host}:{self.service}/{file}"

    @property
    def is_right(self) -> bool:
        """Whether the server saw the balancer first, from whichever port, and then the client."""
        balancer = net.BALANCER_V6 if ":" in self.client else net.BALANCER_V4
        before, *after = self.logged
        return set(after) == {self._as_logged(self.client, self.port)} and any(
            before == self._as_logged(balancer, port) for port in net.BALANCER_PORTS
        )

    def _as_logged(self, address: str, port: int) -> str:
        # An IPv4 address, on a socket that takes both families.
        if ":" not in address and self.service in (DUAL_STACK_PORT, PYTHON_PORT):
            address = f"::ffff:{address}"
        return address if self.service == PYTHON_PORT else f"{address}:{port}"


SECTIONS = {
    "nginx, listen 80 and listen [::]:80, logs $remote_addr:$remote_port": [
        Request(client, 50001 + index, 80)
        for index, client in enumerate(net.CLIENTS_V4 + net.CLIENTS_V6)
    ],
    "nginx, listen [::]:8080 ipv6only=off, which takes IPv4 too": [
        Request(net.CLIENTS_V4[0], 50011, DUAL_STACK_PORT),
    ],
    f"nginx, uploads of {len(UPLOAD):,} bytes, compared on arrival": [
        Request(net.CLIENTS_V4[1], 50021, 80, uploads=True),
        Request(net.CLIENTS_V6[1], 50022, 80, uploads=True),
    ],
    "python3 -m http.server --bind ::, which logs no port": [
        Request(net.CLIENTS_V4[2], 50031, PYTHON_PORT),
        Request(net.CLIENTS_V6[0], 50032, PYTHON_PORT),
    ],
}
REQUESTS = [request for section in SECTIONS.values() for request in section]


CURL = ["curl", "--silent", "--show-error", "--fail", "--max-time", "60", "--output", "/dev/null"]


def ask(client: net.Namespace, servers: Servers, request: Request) -> None:
    """Makes a request with curl, and notes whom the server logged."""
    curl = [*CURL, "--interface", request.client, "--local-port", str(request.port)]
    if request.uploads:
        client.run(*curl, "--upload-file", "-", request.url("upload"), input=UPLOAD)
        if servers.take("upload") != UPLOAD:
            raise RuntimeError(f"the upload of {request.source} arrived damaged")
    else:
        client.run(*curl, request.url())
    request.logged.append(servers.next_peer(request.service))


def ask_with_a_forged_option(host: spoofer.Spoofer, servers: Servers) -> str:
    """Goes around the balancer, and claims to be somebody else; returns whom nginx logged."""
    forged = ["--interface", spoofer.CLAIMED, "--local-port", str(SPOOFER_PORT)]
    host.run(*CURL, *forged, f"http://{spoofer.SERVER}/")
    return servers.next_peer(80)


row = "  {:<27}{:<25}{:<28}{}".format


def show_logs() -> None:
    """Prints what was logged of each client, without and with the module."""
    print(row("client", "logged without toa.ko", "logged with toa.ko", "").rstrip())
    for title, section in SECTIONS.items():
        print(f"\n  {title}")
        for request in section:
            print(row(request.source, *request.logged[:2], "ok" if request.is_right else "WRONG"))


def show_spoofer(believed: str, ignored: str) -> bool:
    """Prints what was logged of it, before and after; returns whether that is right."""
    right = (believed, ignored) == (
        f"{spoofer.CLAIMED}:{SPOOFER_PORT}",
        f"{spoofer.ADDRESS}:{SPOOFER_PORT}",
    )
    print("\n  A client that goes around the balancer and sends the option itself: whom nginx logs\n")
    print(row("client, and its claim", "trusted is empty", f"trusted={BALANCERS}", "").rstrip())
    print(row(f"{spoofer.ADDRESS}, {spoofer.CLAIMED}", believed, ignored, "ok" if right else "WRONG"))
    return right


def kernel_log() -> list[str]:
    """The module's lines in the kernel's log."""
    log = subprocess.run(["dmesg"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [line for line in log.splitlines() if "TOA: " in line]


def show_output(command: str, lines: list[str]) -> None:
    """Prints what a command of an operator's prints."""
    print("", f"# {command}", *lines, sep="\n  ")


def demonstrate(module: str, path: net.Path, servers: Servers) -> bool:
    """Asks, loads the module, asks again, and keeps others from forging. Returns whether all was right."""
    path.start_inserting()
    for request in REQUESTS:
        ask(path.client, servers, request)
    subprocess.run(["insmod", module], check=True)
    for request in REQUESTS:
        ask(path.client, servers, request)
    with spoofer.Spoofer(path.server) as host:
        believed = ask_with_a_forged_option(host, servers)
        pathlib.Path("/sys/module/toa/parameters/trusted").write_text(BALANCERS)
        ignored = ask_with_a_forged_option(host, servers)
    for request in REQUESTS:
        ask(path.client, servers, request)

    show_logs()
    is_kept_off = show_spoofer(believed, ignored)
    log = kernel_log()
    show_output("dmesg | grep TOA", log)
    stats = path.server.output("grep", "-e", "CPU", "-e", " [1-9]", "/proc/net/toa_stats")
    show_output("grep -e CPU -e ' [1-9]' /proc/net/toa_stats", stats.splitlines())

    right = sum(request.is_right for request in REQUESTS)
    is_loaded = any(line.endswith("TOA: toa loaded") for line in log)
    passed = right == len(REQUESTS) and is_kept_off and is_loaded
    verdict = "PASS" if passed else "FAIL"
    count = f"{right} of {len(REQUESTS)} connections"
    print(f"\n  {verdict}: {count} show the balancer without toa.ko, and their client with it,")
    print("        whom nobody else can forge once trusted= has the balancer.")
    return passed


def main() -> int:
    print(INTRODUCTION, flush=True)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            net.Path() as path,
            Servers(path.server, pathlib.Path(folder)) as servers,
        ):
            return 0 if demonstrate(sys.argv[1], path, servers) else 1
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"\n  FAIL: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
