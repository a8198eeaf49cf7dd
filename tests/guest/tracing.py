# SPDX-License-Identifier: GPL-2.0
"""The kernel's own tracing, which hooks the same functions as the module."""

import json
import os
import subprocess
import time

ROOT = "/sys/kernel/tracing"

# What the module hooks: for SYNs, for all that TCP does, and for MPTCP.
SYN_FUNCTIONS = ("tcp_v4_send_synack", "tcp_v6_send_synack")
TCP_FUNCTIONS = (
    "inet_getname",
    "inet6_getname",
    "tcp_child_process",
    "tcp_disconnect",
    *SYN_FUNCTIONS,
)
FUNCTIONS = TCP_FUNCTIONS
if os.path.exists("/proc/sys/net/mptcp"):
    FUNCTIONS += (
        "mptcp_disconnect",
        "mptcp_destroy",
        "mptcp_token_accept",
        "subflow_syn_recv_sock",
    )


def _path(file):
    if not os.path.exists(f"{ROOT}/trace"):
        subprocess.run(["mount", "-t", "tracefs", "tracefs", ROOT], check=True)
    return f"{ROOT}/{file}"


def read(file):
    with open(_path(file)) as opened:
        return opened.read()


def write(file, text):
    with open(_path(file), "w") as opened:
        opened.write(text)


def append(file, text):
    """Adds to a file that opening for writing would clear; Python's own "a" wants to seek."""
    fd = os.open(_path(file), os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def hooked():
    """Which of `FUNCTIONS` anybody hooks."""
    names = {line.split()[0] for line in read("enabled_functions").splitlines()}
    return sorted(names.intersection(FUNCTIONS))


class FunctionTracer:
    """The function tracer on `FUNCTIONS`, on inside a `with`."""

    def __enter__(self):
        write("set_ftrace_filter", "\n".join(FUNCTIONS))
        write("trace", "")
        self.on()
        return self

    def __exit__(self, *_):
        self.off()
        write("set_ftrace_filter", "")

    def on(self):
        write("current_tracer", "function")

    def off(self):
        write("current_tracer", "nop")

    def seen(self):
        """Which of `FUNCTIONS` were called since it is on."""
        # A line is: task, CPU, flags, time, then "function <-caller".
        lines = read("trace").splitlines()
        called = {line.split(" <-")[0].split()[-1] for line in lines if " <-" in line}
        return called.intersection(FUNCTIONS)


# Before, a function that may be replaced takes no BPF program, and the other way round.
BPF_SHARES = int(os.uname().release.split(".")[0]) >= 6


class Refused(Exception):
    """The kernel does not take a program."""


class Bpf:
    """BPF programs at the entry and exit of functions that the module hooks, inside a `with`."""

    PINS = "/sys/fs/bpf/toatest"

    def __enter__(self):
        # Without it the kernel does not count how often a program runs.
        with open("/proc/sys/kernel/bpf_stats_enabled", "w") as file:
            file.write("1")
        try:
            self._bpftool("prog", "loadall", "/share/fentry.bpf.o", self.PINS, "autoattach")
        except Refused:
            self.__exit__()
            raise
        return self

    def runs(self):
        """How often each program has run."""
        programs = json.loads(self._bpftool("-j", "prog", "show"))
        return {
            program["name"]: program.get("run_cnt", 0)
            for program in programs
            if program.get("name", "").startswith("toa_")
        }

    def __exit__(self, *_):
        if os.path.exists(self.PINS):
            for pin in os.listdir(self.PINS):
                os.unlink(f"{self.PINS}/{pin}")
            os.rmdir(self.PINS)
        # The kernel detaches a program some time after its last user has gone.
        deadline = time.monotonic() + 5
        while self.runs() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _bpftool(self, *arguments):
        done = subprocess.run(["bpftool", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"bpftool: {done.stdout}{done.stderr}")
        return done.stdout
