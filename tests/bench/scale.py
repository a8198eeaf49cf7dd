# SPDX-License-Identifier: GPL-2.0
"""What changes when there are many connections: instructions, memory, and how long unloading takes."""

import rows
from guest import Failure, Guest

LEVELS = [10, 10_000, 200_000, 1_000_000]
# A million connections take 5 GB of it.
MEMORY = "10G"
PAGE = 4096


def level(script, phase, live):
    script.add(f"open ipv4-tagged {live}")
    script.measure(phase, rows.growing(live))
    script.add("memory")


def scale_script(levels):
    script = rows.Script()
    script.add("memory", "load", "memory", "unload", "watch nothing")
    for live in levels:
        level(script, "stock", live)
    script.add("close ipv4-tagged", "load")
    for live in levels:
        level(script, "loaded", live)
    script.add("watch unload", "close ipv4-tagged")
    script.add("load", f"open ipv4-tagged {levels[0]}", "watch unload")
    return script


class Memory:
    """What the guest says of its memory, in bytes."""

    def __init__(self):
        self.free = self.object = self.slabs = 0

    def take(self, words):
        if words[:2] == ["/proc/slabinfo", "toa_record"]:
            # Name, objects in use, all objects, bytes of one, objects of a slab, pages of a slab, ...
            self.object = int(words[4])
            self.slabs = int(words[-2]) * int(words[6]) * PAGE
        elif words[:2] == ["/proc/meminfo", "MemFree:"]:
            self.free = int(words[2]) * 1024


def memory_result(unloaded, empty, stock, loaded, live):
    """From what was used before and after loading, and at the lowest and highest level: `live` more."""
    return {
        "record": loaded[-1].object,
        "tagged_connection": round((loaded[-1].slabs - loaded[0].slabs) / live, 1),
        "connection": round((stock[0].free - stock[-1].free) / live),
        "loading": unloaded.free - empty.free,
    }


def watch_result(words):
    took, ran, stall, grace_period = (int(word) / 1e6 for word in words[2:])
    return {"took_ms": took, "ran_ms": ran, "stall_ms": stall, "grace_period_ms": grace_period}


def run(kernel, module, levels):
    """Measures on one kernel."""
    machine = Guest(kernel, module, MEMORY)
    script = scale_script(levels)
    memories, watches = [Memory()], []
    for words in machine.run(script.commands):
        script.take(words)
        memories[-1].take(words)
        if words[0] == "open":
            print(f"{words[2]} live", flush=True)
        elif words[0] == "memory":
            memories.append(Memory())
        elif words[0] == "watch":
            watches.append(watch_result(words))
    unloaded, empty, *memories = memories
    stock, loaded = memories[: len(levels)], memories[len(levels) : 2 * len(levels)]
    if not loaded[-1].object:
        raise Failure("no slab cache toa_record")
    more = levels[-1] - levels[0]
    return rows.heading(machine) | {
        "rows": list(rows.results(script.values)),
        "live": levels[-1],
        "memory": memory_result(unloaded, empty, stock, loaded, more),
        "unload": dict(zip(("nothing", "many", "few"), watches, strict=True)),
    }


def table(result):
    """The results, as lines of text."""
    yield from rows.table(result["rows"])
    memory, unload = result["memory"], result["unload"]
    yield ""
    yield f"bytes of a record                 {memory['record']:9}"
    yield f"bytes a tagged connection adds    {memory['tagged_connection']:9}"
    yield f"bytes any connection takes        {memory['connection']:9}"
    yield f"KiB that loading takes, of {MEMORY:6} {memory['loading'] // 1024:9}"
    yield ""
    yield f"{'ms in the guest':26} {'took':>9} {'ran':>9} {'stall':>9} {'RCU':>9}"
    names = {
        "nothing": "computing in user space",
        "few": "rmmod, 10 records",
        "many": f"rmmod, {result['live']:,} records",
    }
    for key, name in names.items():
        w = unload[key]
        yield (f"{name:26} {w['took_ms']:9.3f} {w['ran_ms']:9.3f} {w['stall_ms']:9.3f} "
               f"{w['grace_period_ms']:9.3f}")
