#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the module costs, in instructions, on stock kernels.

usage: bench.py [KERNEL...]              measure; default 7.3 and 6.12
       bench.py --where OPERATION KIND [KERNEL]
                                         the functions that one operation of a row spends its
                                         instructions in, without and with the module; each single
                                         instruction goes to build/bench/KERNEL/OPERATION-KIND.*

  --module FILE   measure this module instead of building it

The guest runs under QEMU's -icount: a tick of its time stamp counter is an instruction. In one boot,
each row is measured without the module, with it, and without it again. A row has two values. "One"
is the median of single operations: what an operation costs by itself, the same in every run to
within an instruction or two. "All" is the mean over all, which has in addition the operation's share
of what the kernel does beside it: timer interrupts, RCU callbacks, worker threads.

A cycle is a whole connection over a TUN device: SYN, SYN-ACK, ACK, accept() with the address, the
balancer's FIN, close(), FIN, the last ACK. No socket is left in TIME_WAIT. Counted are the server's
system calls and the writes to the device, in which the kernel receives a segment; not the reads from
it. Every address that the kernel returns is checked.
"""

import argparse
import datetime
import json
import sys

sys.dont_write_bytecode = True

import guest  # noqa: E402
import where  # noqa: E402

KERNELS = ["7.3", "6.12"]
IDLE = "idle 8"
COUNT = 3000
LIVE = 10

# Operation, kind of connection, and what is asked of it: a ratio, or instructions more.
ROWS = [
    ("getpeername", "ipv4-tagged", ("ratio", 0.93)),
    ("getpeername", "ipv4-untagged", ("ratio", 1.06)),
    ("getpeername", "ipv6-tagged", ("ratio", 0.95)),
    ("getpeername", "ipv6-untagged", ("ratio", 1.06)),
    ("getpeername", "mapped-tagged", ("ratio", 0.95)),
    ("getpeername", "mapped-untagged", ("ratio", 1.06)),
    ("cycle", "ipv4-tagged", ("added", 60)),
    ("cycle", "ipv4-untagged", ("added", 125)),
    ("cycle", "ipv6-tagged", ("added", 60)),
    ("cycle", "ipv6-untagged", ("added", 125)),
    ("cycle", "mapped-tagged", ("added", 60)),
    ("cycle", "mapped-untagged", ("added", 125)),
    ("cycle", "ipv4-syn", None),
    ("getsockopt", "ipv4-tagged", None),
]
KINDS = list(dict.fromkeys(kind for _, kind, _ in ROWS))


def name_of(operation, kind):
    return f"{operation} {kind}"


def phase():
    """The script that measures all rows once."""
    # The module knows connections from their beginning, so that each phase makes its own.
    yield from (f"open {kind} {LIVE}" for kind in KINDS)
    yield from (f"row {operation} {kind} {COUNT}" for operation, kind, _ in ROWS)
    yield from (f"close {kind}" for kind in KINDS)


class Measured:
    """One value of a row in one phase."""

    def __init__(self, words):
        self.answer = words[3]
        self.one, self.least = (int(word) for word in words[4:6])
        self.all = float(words[6])


def measure(kernel, module):
    """Returns the guest, and the rows of the three phases."""
    machine = guest.Guest(kernel, module)
    phases = [{}]
    script = [IDLE, *phase(), "load", *phase(), "unload", *phase()]
    for words in machine.run(script):
        if words[0] in ("load", "unload"):
            phases.append({})
        elif words[0] == "row":
            phases[-1][name_of(words[1], words[2])] = Measured(words)
    return machine, phases


def expected(operation, kind, loaded):
    """The answers that are right."""
    if operation == "getsockopt":
        return ("refused", "client") if loaded else ("refused",)
    if loaded and kind.endswith("-syn"):
        return ("peer", "client")
    return ("client",) if loaded and kind.endswith("-tagged") else ("peer",)


def note(operation, kind, answer):
    """What a reader has to know of a row that did not do what it is for."""
    if operation == "getsockopt" and answer == "refused":
        return "not measured: the module has no such option"
    if kind.endswith("-syn") and answer == "peer":
        return "the module does not read the SYN"
    return ""


def evaluate(phases):
    """Rows as they are recorded."""
    for operation, kind, target in ROWS:
        name = name_of(operation, kind)
        before, loaded, after = (rows[name] for rows in phases)
        for value, is_loaded in ((before, False), (loaded, True), (after, False)):
            if value.answer not in expected(operation, kind, is_loaded):
                raise guest.Failure(f"{name}: wrong answer: {value.answer}")
        row = {
            "row": name,
            "stock": before.one,
            "loaded": loaded.one,
            "unloaded": after.one,
            "stock_all": round((before.all + after.all) / 2, 1),
            "loaded_all": loaded.all,
            "ratio": round(loaded.one / before.one, 4),
            "added": loaded.one - before.one,
            "note": note(operation, kind, loaded.answer),
        }
        row["added_all"] = round(row["loaded_all"] - row["stock_all"], 1)
        if target:
            key, limit = target
            row["target"] = f"{key} <= {limit}"
            row["met"] = row[key] <= limit
        yield row


def show(result):
    print(f"\n{result['kernel']}, {result['date']}: instructions without the module, with, without")
    print(f"\n{'row':28} {'stock':>7} {'with':>7} {'again':>7} {'ratio':>7} {'added':>6} {'all':>8}")
    for row in result["rows"]:
        verdict = ("met" if row["met"] else "MISSED") if "target" in row else ""
        print(
            f"{row['row']:28} {row['stock']:7} {row['loaded']:7} {row['unloaded']:7} "
            f"{row['ratio']:7.4f} {row['added']:+6} {row['added_all']:+8.1f}  "
            f"{row.get('target', ''):15} {verdict}{row['note']}".rstrip()
        )


def bench(kernel, module):
    machine, phases = measure(kernel, module)
    result = {
        "kernel": machine.release,
        "date": datetime.date.today().isoformat(),
        "emulator": " ".join(guest.EMULATOR),
        "rows": list(evaluate(phases)),
    }
    path = machine.directory / "bench.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    show(result)
    print(f"\n{path.relative_to(guest.TOP)}")


def locate(operation, kind, kernel, module):
    parts = where.trace(kernel, operation, kind, module)
    for name, part in zip(("without", "with"), parts):
        path = guest.BUILD / kernel / f"{operation}-{kind}.{name}"
        path.write_text("".join(f"{line}\n" for line in where.listing(part)))
        print(path.relative_to(guest.TOP))
    print("\n".join(where.table(*parts)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--module")
    parser.add_argument("--where", nargs=2)
    parser.add_argument("kernels", nargs="*")
    options = parser.parse_args()
    try:
        if options.where:
            locate(*options.where, (options.kernels or KERNELS)[0], options.module)
            return 0
        for kernel in options.kernels or KERNELS:
            bench(kernel, options.module)
    except guest.Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
