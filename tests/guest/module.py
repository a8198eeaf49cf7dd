# SPDX-License-Identifier: GPL-2.0
"""The module under test: loading it, its counters, and what it says in the kernel log."""

import collections
import contextlib
import glob
import os

from syscalls import delete_module, finit_module

PATH = "/share/toa.ko"
PROC = "/proc/thread-self/net/toa_stats"
LIST = "/proc/thread-self/net/toa"
SLAB = "/sys/kernel/slab/toa_record"
PARAMETERS = "/sys/module/toa/parameters"

# Set by `main.py --without-module`, to see the tests fail.
absent = False


def loaded():
    return os.path.exists("/sys/module/toa")


def load(**parameters):
    """Loads the module unless it is loaded."""
    if not loaded() and not absent:
        insert(PATH, **parameters)


def unload():
    """Unloads the module if it is loaded."""
    if loaded():
        remove("toa")


def reload(**parameters):
    """Loads the module as new."""
    unload()
    load(**parameters)


def insert(path, **parameters):
    """Loads a module; raises the OSError that the kernel gives."""
    # In quotes, which the kernel takes off, a value may have spaces.
    insert_with(path, " ".join(f'{name}="{value}"' for name, value in parameters.items()))


def insert_with(path, parameters):
    """The same with parameters as the kernel reads them."""
    fd = os.open(path, os.O_RDONLY)
    try:
        finit_module(fd, parameters.encode())
    finally:
        os.close(fd)


def remove(name):
    delete_module(name)


def parameter(name):
    """The value of a parameter, as the kernel shows it."""
    with open(f"{PARAMETERS}/{name}") as file:
        return file.read()


def set_parameter(name, value, end="\n"):
    """Writes a parameter as echo does, with one system call; raises the OSError that the kernel gives.

    Nobody hears of a write of nothing.
    """
    fd = os.open(f"{PARAMETERS}/{name}", os.O_WRONLY)
    try:
        os.write(fd, (value + end).encode())
    finally:
        os.close(fd)


class Stats:
    """One reading of a toa_stats file: rows of counters, each with a column a CPU."""

    def __init__(self, text):
        header, *rows = text.splitlines()
        self.cpus = [int(column.removeprefix("CPU")) for column in header.split()]
        self.rows = {}
        for row in rows:
            name, counters = row.split(":")
            self.rows[name.strip()] = [int(counter) for counter in counters.split()]

    def total(self, row):
        return sum(self.rows.get(row, ()))

    def on_cpu(self, row, cpu):
        return self.rows[row][self.cpus.index(cpu)]

    def since(self, before):
        """Which counters have changed since an earlier reading, and by how much."""
        changes = {row: self.total(row) - before.total(row) for row in self.rows}
        return {row: change for row, change in changes.items() if change}


def stats_text():
    with open(PROC) as file:
        return file.read()


def stats():
    """Reads the counters of this process's network namespace."""
    return Stats("\n" if absent else stats_text())


# A line of /proc/net/toa. `from`, as its heading has it, is no name in Python.
Live = collections.namedtuple("Live", "local balancer client kind segment vip vpc")


def live():
    """The live connections of this process's network namespace."""
    if absent:
        return []
    with open(LIST) as file:
        _, *lines = file.read().splitlines()
    return [Live(*line.split(" ")) for line in lines]


@contextlib.contextmanager
def setting(name, value):
    """A parameter has this value inside the block."""
    if absent:
        yield
        return
    before = parameter(name).strip()
    set_parameter(name, str(value))
    try:
        yield
    finally:
        set_parameter(name, before)


def slab_counts():
    """How many objects of each slab cache are in use, as the allocator counts them, by name."""
    # The allocator counts free ones too that a CPU has at hand, or that KASAN keeps from being used again,
    # until it is told to let go. Only those caches that somebody asks about: there are hundreds.
    for cache in (SLAB, "/sys/kernel/slab/net_namespace", *glob.glob("/sys/kernel/slab/kmalloc*-8k")):
        if os.path.exists(f"{cache}/shrink"):
            with open(f"{cache}/shrink", "w") as file:
                file.write("1")
    with open("/proc/slabinfo") as file:
        lines = [line.split() for line in file]
    return {name: int(active) for name, active, *_ in lines if active.isdecimal()}


def slab_objects():
    """How many records are allocated."""
    return slab_counts().get("toa_record", 0)


class Log:
    """The lines that the kernel logs from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def lines(self):
        """Returns the lines since the last call."""
        lines = []
        while True:
            try:
                record = os.read(self.fd, 8192).decode()
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue  # Older lines were overwritten; the next read goes on behind them.
            # The fields before the semicolon are level, number and time.
            lines.append(record.split(";", 1)[1].split("\n", 1)[0])

    def ours(self):
        return [line for line in self.lines() if line.startswith("TOA: ")]

    def close(self):
        os.close(self.fd)
