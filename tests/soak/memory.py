# SPDX-License-Identifier: GPL-2.0
"""What the kernel has allocated, with nothing of the module loaded."""

import gc
import glob
import os
import re
import time

SLAB = "/sys/kernel/slab"
# Of /proc/meminfo.
AMOUNTS = ("Percpu", "VmallocUsed")

# What the module, connections, and network namespaces are made of, by the names of slab caches. Others
# belong to processes and files, which come and go as they like.
OURS = re.compile(
    r"toa_|kmalloc-|TCP|tw_sock|request_sock|MPTCP|sock_inode_cache|skbuff|net_namespace|"
    r"ftrace_event_field|trace_event_file"
)
LOOKS = 5
# The kernel's own noise, in objects or KiB.
NOISE = 64


class Memory:
    """What is left when everything that can be given back was: the least of some looks."""

    def __init__(self):
        gc.collect()
        self.objects = {}
        for _ in range(LOOKS):
            settle()
            for name, number in (*slabs(), *amounts()):
                self.objects[name] = min(number, self.objects.get(name, number))

    def since(self, before):
        """What there is more of than at an earlier look."""
        changes = {name: self.objects[name] - before.objects.get(name, 0) for name in self.objects}
        return {name: change for name, change in changes.items() if change}


def settle():
    """Frees what is cached or waits to be freed."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    time.sleep(1)


def slabs():
    """Objects in use by slab cache."""
    for path in glob.glob(f"{SLAB}/*"):
        name = os.path.basename(path)
        try:
            if OURS.match(name):
                yield name, objects(path)
        except OSError:
            continue  # it has gone just now


def objects(cache):
    """All objects of the slabs that a CPU allocates from count as in use: counted when no CPU has one.

    With `shrink` they give theirs back, which lasts until the next allocation.
    """
    with open(f"{cache}/objects") as count, open(f"{cache}/shrink", "w") as shrink:
        shrink.write("1")
        shrink.flush()
        return int(count.read().split()[0])


def amounts():
    """Amounts in KiB."""
    with open("/proc/meminfo") as file:
        for line in file:
            name, amount, *_ = line.replace(":", " ").split()
            if name in AMOUNTS:
                yield f"{name} KiB", int(amount)


def leaks(grown, cycles):
    """What has grown by so much in so many loads and unloads that something must be lost each time."""
    return {name: more for name, more in grown.items() if more > max(NOISE, cycles)}
