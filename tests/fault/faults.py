# SPDX-License-Identifier: GPL-2.0
"""Failures of memory allocations on demand (Documentation/fault-injection), and what the kernel says of them."""

import contextlib
import glob
import re

import module
from case import sysctl

DEBUGFS = "/sys/kernel/debug"
# The kernel's text and data end below it, and modules lie between.
MODULES_END = 0xFFFFFFFFFF000000
ANYWHERE = 0, 2**64 - 1
# More allocations than anything here makes.
MANY = 1_000_000

KMEMLEAK = "mem_pool_alloc", "__alloc_object", "__create_object"

# What is no failed allocation, as in the lab's list; but for stack traces, which those have too.
TROUBLE = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|Kernel panic|general protection fault|rcu: INFO|"
    r"INFO: task .* blocked|INFO: .*(stall|circular|inconsistent)|unregister_netdevice: waiting|"
    r"refcount_t:|list_(add|del) corruption|UBSAN|KASAN|sleeping function called"
)


def _write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def _symbols():
    """Names and addresses of what is in the kernel and its modules; a name may be there several times."""
    with open("/proc/kallsyms") as file:
        for line in file:
            address, _, name = line.split()[:3]
            yield name, int(address, 16)


def end_of_kernel():
    return next(address for name, address in _symbols() if name == "_end")


def kmemleak():
    """Where the function with which kmemleak makes an object to note an allocation begins and ends."""
    addresses = sorted(set(address for _, address in _symbols()))
    named = dict(_symbols())
    # Which of them that is depends on what the compiler has put into its caller.
    begin = next(named[name] for name in KMEMLEAK if name in named)
    return begin, addresses[addresses.index(begin) + 1]


def _limit(what, first, end):
    """Sets a range of memory for functions on the stack of an allocation."""
    for start in glob.glob(f"{DEBUGFS}/fail*/{what}-start"):
        _write(start, first)
        _write(start.removesuffix("start") + "end", end)


def _restrict(first, end):
    """Only allocations with a function from this part of the memory on their stack fail."""
    _limit("require", first, end)


def prepare():
    """Allocations of any kind may fail, but none does yet."""
    for directory in glob.glob(f"{DEBUGFS}/fail*/"):
        for name, value in {
            "probability": 0, "interval": 1, "times": -1, "space": 0, "verbose": 0,
            "stacktrace-depth": 32, "task-filter": "N",
        }.items():
            _write(directory + name, value)
    for name in ("failslab", "fail_page_alloc"):
        _write(f"{DEBUGFS}/{name}/ignore-gfp-wait", "N")
    _write(f"{DEBUGFS}/fail_page_alloc/ignore-gfp-highmem", "N")
    _write(f"{DEBUGFS}/fail_page_alloc/min-order", 0)
    # It makes an object of its own for each, and does without.
    _limit("reject", *kmemleak())
    ours()
    # Failures of the allocator come with stack traces, which the lab takes for trouble. `Log` looks at all
    # the lines instead.
    sysctl("kernel.printk", "4 4 1 7")


def ours():
    """Only allocations that a module asks for, of which there is toa alone, may fail from now on."""
    _restrict(end_of_kernel(), MODULES_END)


@contextlib.contextmanager
def anybodys():
    """All allocations may fail inside the block."""
    _restrict(*ANYWHERE)
    try:
        yield
    finally:
        ours()


@contextlib.contextmanager
def all_fail(*caches):
    """All such allocations fail inside the block, on all CPUs and in all contexts; or those of some slab caches."""
    names = ["failslab"] if caches else ["failslab", "fail_page_alloc"]
    for cache in caches:
        _write(f"/sys/kernel/slab/{cache}/failslab", 1)
    _write(f"{DEBUGFS}/failslab/cache-filter", "Y" if caches else "N")
    try:
        for name in names:
            _write(f"{DEBUGFS}/{name}/probability", 100)
        yield
    finally:
        for name in names:
            _write(f"{DEBUGFS}/{name}/probability", 0)
        _write(f"{DEBUGFS}/failslab/cache-filter", "N")
        for cache in caches:
            _write(f"/sys/kernel/slab/{cache}/failslab", 0)


def fail(nth, call):
    """Runs `call` with the nth of such allocations by this thread failing.

    Returns the OSError that it raised, if any, and how many allocations were left: none if one has failed.
    """
    error = None
    with open("/proc/thread-self/fail-nth", "r+b", buffering=0) as file:
        file.write(b"%d" % nth)
        try:
            call()
        except OSError as raised:
            error = raised
        try:
            # Writing has not moved the place that is read from, and nothing else can.
            left = int(file.read(32))
        except OSError:
            # It was the turn of this.
            left = 1
        with contextlib.suppress(OSError):
            file.write(b"0")
    return error, left


def count(call):
    """How many such allocations `call` makes."""
    error, left = fail(MANY, call)
    if error:
        raise error
    return MANY - left


def each(call, undo=lambda: None):
    """Runs `call` with each of its allocations failing in turn, then with none; yields the number and the error."""
    nth = 0
    while True:
        nth += 1
        error, left = fail(nth, call)
        yield nth, error
        if not error:
            undo()
        if left:
            return


class Log(module.Log):
    """The kernel's log, of which nothing may be trouble but failed allocations."""

    def __init__(self):
        super().__init__()
        self.bad = []

    def lines(self):
        lines = super().lines()
        self.bad += [line for line in lines if TROUBLE.search(line)]
        return lines

    def trouble(self):
        """What there was since the beginning."""
        self.lines()
        return self.bad
