# SPDX-License-Identifier: GPL-2.0
"""What the kernel has allocated, with nothing of the module loaded."""

import contextlib
import gc
import glob
import os
import re
import time

# Of /proc/meminfo.
AMOUNTS = ("Percpu", "VmallocUsed")

# What the module, connections, and network namespaces are made of, by the names of slab caches. Others
# belong to processes and files, which come and go as they like.
OURS = re.compile(
    r"toa_|kmalloc-|TCP|tw_sock|request_sock|MPTCP|sock_inode_cache|skbuff|net_namespace|"
    r"ftrace_event_field|trace_event_file|Percpu|VmallocUsed"
)
# The kernel's own noise, in objects or KiB.
NOISE = 64


class Memory:
    """One look, after everything that can be given back was."""

    def __init__(self):
        gc.collect()
        settle()
        self.objects = {}
        with open("/proc/slabinfo") as file:
            for line in file.readlines()[2:]:
                name, active, *_ = line.split()
                self.objects[name] = int(active)
        with open("/proc/meminfo") as file:
            for line in file:
                name, amount, *_ = line.replace(":", " ").split()
                if name in AMOUNTS:
                    self.objects[f"{name} KiB"] = int(amount)

    def since(self, before):
        """What there is more of than at an earlier look."""
        changes = {name: self.objects[name] - before.objects.get(name, 0) for name in self.objects}
        return {name: change for name, change in changes.items() if change}


def settle():
    """Frees what is cached or waits to be freed, and what CPUs keep for themselves."""
    for _ in range(3):
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
        time.sleep(1)
        for shrink in glob.glob("/sys/kernel/slab/*/shrink"):
            # A cache may go just now.
            with contextlib.suppress(OSError), open(shrink, "w") as file:
                file.write("1")


def leaks(grown, cycles):
    """What has grown by so much in so many loads and unloads that something must be lost each time."""
    most = max(NOISE, cycles)
    return {name: more for name, more in grown.items() if OURS.match(name) and more > most}
