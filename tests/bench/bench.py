#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the module costs, in instructions, on stock kernels.

usage: bench.py [KERNEL...]            measure; default 7.3, 6.12 and 7.3-arm64 (make bench)
       bench.py --scale [KERNEL...]    with up to a million connections, or --live N; default 7.3; takes
                                       10 GB of memory and a quarter of an hour (make bench-scale)
       bench.py --check [KERNEL...]    fail if anything costs more than what was recorded; default
                                       7.3 (make bench-check)
       bench.py --record               record what the first two measured last, and draw the chart
       bench.py --readme               print the tables of what was recorded
       bench.py --where OPERATION KIND [KERNEL]
                                       the functions that one operation of a row spends its
                                       instructions in, without and with the module; each single
                                       instruction goes to build/bench/KERNEL/OPERATION-KIND.*

  --module FILE   measure this module instead of building it

Results are in build/bench/KERNEL/*.json; what is recorded is in tests/bench/baseline.json.

The guest runs under QEMU's -icount: a tick of its time stamp counter is an instruction, and what is
not an instruction does not count: neither caches nor the time of locked ones. In one boot, each row
is measured without the module, with it, and without it again. A row has two values. "One" is the
median of single operations: what an operation costs by itself, the same in every run to within an
instruction or two. "All" is the mean over all, which has in addition the operation's share of what
the kernel does beside it: timer interrupts, RCU callbacks, worker threads. "Growth" is the mean of
single operations that nothing interrupted, with the module, relative to that with ten connections.

A cycle is a whole connection over a TUN device: SYN, SYN-ACK, ACK, accept() with the address, the
balancer's FIN, close(), FIN, the last ACK. No socket is left in TIME_WAIT. Counted are the server's
system calls and the writes to the device, in which the kernel receives a segment; not the reads from
it. Every address that the kernel returns is checked.

Of rmmod, "stall" is by how much too late a thread of the highest priority ran at worst: for so long
the kernel had interrupts or preemption off, or held a spinning lock. "RCU" is the longest grace period
that another thread waited for. See watch.c. A millisecond is a million instructions. What is seen
while a program computes is what these cannot be below.
"""

import argparse
import json
import signal
import sys

sys.dont_write_bytecode = True

import guest  # noqa: E402
import rows  # noqa: E402
import scale  # noqa: E402
import where  # noqa: E402

KERNELS = ["7.3", "6.12", "7.3-arm64"]
BASELINE = guest.TOP / "tests/bench/baseline.json"
CHART = "tests/bench/cost.svg"

# How much worse than recorded is a failure. Medians repeat to within a few instructions, and differ
# with patches of the kernel and releases of the compiler. What is done beside repeats less well.
MORE_RATIO = 1.03
MORE_ADDED = 15
MORE_BESIDE = 1.1


def save(kernel, name, result):
    path = guest.BUILD / kernel / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path.relative_to(guest.TOP)


def title(result):
    return f"{result['kernel']}, {result['date']}"


def bench(kernel, module):
    result = rows.run(kernel, module)
    path = save(kernel, "bench", result)
    print("", f"{title(result)}: instructions", "", *rows.table(result["rows"]), "", path, sep="\n")


def bench_scale(kernel, module, live):
    levels = [level for level in scale.LEVELS if level < live]
    result = scale.run(kernel, module, [*levels, live])
    path = save(kernel, "scale", result)
    print("", f"{title(result)}: instructions", "", *scale.table(result), "", path, sep="\n")


def worse(row, recorded):
    """What of a row is worse than recorded, as text."""
    # 3 % of a whole connection would hide many times of what the module adds to it.
    if row["row"].startswith("cycle"):
        limits = {"added": recorded["added"] + MORE_ADDED}
    else:
        limits = {"ratio": round(recorded["ratio"] * MORE_RATIO, 4)}
    limits["added_all"] = round(max(0, recorded["added_all"]) * MORE_BESIDE + 3 * MORE_ADDED, 1)
    return [
        f"{row['row']}: {key} is {row[key]:g}, recorded {recorded[key]:g}, allowed {limit:g}"
        for key, limit in limits.items()
        if row[key] > limit
    ]


def check(kernel, module):
    """Whether nothing has become worse."""
    recorded = {row["row"]: row for row in load_baseline()["bench"][kernel]["rows"]}
    result = rows.run(kernel, module, quick=True)
    print("", f"{title(result)}: instructions", "", *rows.table(result["rows"]), "", sep="\n")
    found = []
    for row in result["rows"]:
        if row["row"] not in recorded:
            raise guest.Failure(f"{row['row']} is not in {BASELINE.name}: make bench bench-record")
        found += worse(row, recorded[row["row"]])
    for text in found:
        print(f"bench: worse: {text}", file=sys.stderr)
    if not found:
        print("nothing costs more than recorded")
    return not found


def load_baseline():
    return json.loads(BASELINE.read_text())


def measured(kernel, name):
    path = guest.BUILD / kernel / f"{name}.json"
    if not path.exists():
        raise guest.Failure(f"no {path.relative_to(guest.TOP)}: make bench bench-scale first")
    return json.loads(path.read_text())


def record():
    baseline = {
        "bench": {kernel: measured(kernel, "bench") for kernel in KERNELS},
        "scale": measured(KERNELS[0], "scale"),
    }
    BASELINE.write_text(json.dumps(baseline, indent=2) + "\n")
    baseline_path = BASELINE.relative_to(guest.TOP)
    guest.lab("host", "--root", "chart", "--", "python3", "tests/bench/chart.py",
              str(baseline_path), CHART)
    print(baseline_path, CHART, sep="\n")


def markdown(head, lines):
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""


def readme():
    baseline = load_baseline()
    first, *others = results = baseline["bench"].values()
    head = ["instructions", "without", "with", "added", "ratio"]
    head += [f"{result['kernel']}: {word}" for result in others for word in ("added", "ratio")]
    lines = []
    for row in first["rows"]:
        line = [row["row"], f"{row['stock']:,}", f"{row['loaded']:,}"]
        for result in results:
            same = next(r for r in result["rows"] if r["row"] == row["row"])
            line += [f"{same['added']:+,}", f"{same['ratio']:.3f}"]
        lines.append(line)
    print(f"Linux {title(first)}:\n", *markdown(head, lines), sep="\n")
    print(f"Linux {title(baseline['scale'])}:\n")
    print(*(f"    {line}".rstrip() for line in scale.table(baseline["scale"])), sep="\n")


def locate(operation, kind, kernel, module):
    parts = where.trace(kernel, operation, kind, module)
    for name, part in zip(("without", "with"), parts):
        path = guest.BUILD / kernel / f"{operation}-{kind}.{name}"
        path.write_text("".join(f"{line}\n" for line in where.listing(part)))
        print(path.relative_to(guest.TOP))
    print("\n".join(where.table(*parts)))


def run(options):
    """Returns whether all is well."""
    if options.where:
        locate(*options.where, (options.kernels or KERNELS)[0], options.module)
    elif options.record:
        record()
    elif options.readme:
        readme()
    elif options.check:
        return all([check(kernel, options.module) for kernel in options.kernels or KERNELS[:1]])
    elif options.scale:
        for kernel in options.kernels or KERNELS[:1]:
            bench_scale(kernel, options.module, options.live)
    else:
        for kernel in options.kernels or KERNELS:
            bench(kernel, options.module)
    return True


def main():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("--module")
    parser.add_argument("--live", type=int, default=scale.LEVELS[-1])
    parser.add_argument("--where", nargs=2)
    for name in ("scale", "check", "record", "readme"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("kernels", nargs="*")
    # Ended by a signal, still end the guest.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return 0 if run(parser.parse_args()) else 1
    except guest.Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
