# SPDX-License-Identifier: GPL-2.0
"""nginx and Python's http.server behind the balancer, and what they log."""

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

from topology import Namespace

DUAL_STACK_PORT = 8080
PYTHON_PORT = 8000

# nginx's IPv6 listeners take IPv6 alone, unless they are told.
NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
events {{}}
http {{
    log_format peer '$remote_addr:$remote_port';
    access_log {folder}/nginx.log peer;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 10m;
    server {{
        listen 80;
        listen [::]:80;
        listen [::]:{dual_stack} ipv6only=off;
        root {folder}/files;
        dav_methods PUT;
    }}
}}
"""

# An emulated machine is slow; who waits this long waits in vain.
PATIENCE = 30


class Servers:
    """Both servers, from `with Servers(...) as servers:` to the end of the block."""

    def __init__(self, namespace: Namespace, folder: pathlib.Path) -> None:
        self._namespace = namespace
        self._folder = folder
        self._logged = {"nginx.log": 0, "python.log": 0}
        self._processes = contextlib.ExitStack()
        self._files = folder / "files"

    def __enter__(self) -> "Servers":
        self._files.mkdir()
        (self._files / "index.html").write_text("hello\n")
        configuration = self._folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=self._folder, dual_stack=DUAL_STACK_PORT))
        errors = str(self._folder / "nginx.errors")
        with contextlib.ExitStack() as stack:
            self._start(stack, "nginx.out", "nginx", "-e", errors, "-c", str(configuration))
            # Requests go to its standard error, that it starts to its standard output.
            python = f"{sys.executable} -m http.server --bind :: -d {self._files} {PYTHON_PORT}"
            self._start(stack, "python.log", *python.split())
            wait_until("the servers listen", self._listen)
            self._processes = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._processes.close()

    def next_peer(self, port: int) -> str:
        """Who the next request to a port came from, as the server logged it."""
        name = "python.log" if port == PYTHON_PORT else "nginx.log"
        log = self._folder / name
        count = self._logged[name] = self._logged[name] + 1
        wait_until(f"{name} has {count} lines", lambda: log.read_text().count("\n") >= count)
        return log.read_text().split("\n")[count - 1].split(" ")[0]

    def take(self, name: str) -> bytes:
        """The content of an uploaded file, which is then deleted."""
        content = (self._files / name).read_bytes()
        (self._files / name).unlink()
        return content

    def _start(self, stack: contextlib.ExitStack, log: str, *command: str) -> None:
        output = stack.enter_context((self._folder / log).open("w"))
        process = self._namespace.start(*command, stdout=subprocess.DEVNULL, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.terminate)

    def _listen(self) -> bool:
        sockets = self._namespace.output("ss", "--no-header", "--listening", "--tcp", "--numeric")
        return all(f":{port} " in sockets for port in (80, DUAL_STACK_PORT, PYTHON_PORT))


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Returns when `condition` is met; raises with `what` it is if it is not in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s in vain until {what}")
        time.sleep(0.02)
