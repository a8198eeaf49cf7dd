# SPDX-License-Identifier: GPL-2.0
"""When the module was there: what all processes of a soak share, and what follows for an address."""

import mmap
import struct


class Era:
    """A number in shared memory: even while the module is loaded, odd while it goes, is absent, or comes."""

    def __init__(self):
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.shared[8] = 1
        self.step()

    def now(self):
        return struct.unpack_from("=I", self.shared)[0]

    def step(self):
        """The module begins to go, or has come."""
        struct.pack_into("=I", self.shared, 0, self.now() + 1)

    def stop(self):
        """Tells all processes to come to their end."""
        self.shared[8] = 0

    def goes_on(self):
        return self.shared[8] != 0


def loaded_throughout(since, until):
    return since == until and since % 2 == 0


def unloaded_since(opened, asked):
    """Whether the module was unloaded between two times. One that was odd may be before or after."""
    return asked > (opened + 1 | 1)


def allowed(opened, asked, client, peer):
    """What a connection may show: a set.

    `opened` and `asked` are each the era before and after.
    """
    if unloaded_since(opened[1], asked[0]):
        return {peer}
    if loaded_throughout(opened[0], asked[1]):
        return {client}
    return {client, peer}
