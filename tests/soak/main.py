#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Loads and unloads the module while all else goes on; runs inside a guest that may be broken.

usage: main.py [--seconds N] [--cycles N] [--seed N]

Ends after so many seconds, or so many loads and unloads. Half of it is a round: processes start, and
end, the module is unloaded, and memory is looked at. The second round has to leave as much of it as
the first. The last line is the result as JSON; the exit status is 0 only if all is well.
"""

import argparse
import errno
import json
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import beside  # noqa: E402
import memory  # noqa: E402
import module  # noqa: E402
import traffic  # noqa: E402
from case import Case, Child  # noqa: E402
from era import Era  # noqa: E402

# Seconds, once a round, without the module and with it, so that each process has met both.
CALM = 6

FATES = ("syn_used", "syn_superseded", "syn_expired", "syn_dropped")


class Round:
    """Half of a soak."""

    def __init__(self, seed):
        self.clock = Era()
        self.choice = random.Random(seed)
        self.cycles = self.busy = 0
        self.started = time.monotonic()
        self.unloads = []  # seconds
        self.loads = []
        self.load()
        self.log = module.Log()
        self.clock.step()
        work = {name: (traffic.serve, kind) for name, kind in traffic.KINDS.items()}
        if not os.path.exists("/proc/sys/net/mptcp"):
            del work["mptcp"]
        work |= {
            "local": (traffic.serve_local,),
            "namespaces": (traffic.serve_in_namespaces,),
            "parameters": (beside.set_parameters, beside.shown()),
            "files": (beside.read_files,),
            "tracers": (beside.trace,),
        }
        self.workers = {
            name: Child(function, self.clock, *arguments, seed + number)
            for number, (name, (function, *arguments)) in enumerate(work.items())
        }

    def load(self):
        started = time.monotonic()
        module.load(**beside.initial(self.choice))
        self.loads.append(time.monotonic() - started)

    def unload(self):
        """Somebody may be inside getsockopt() at this moment: again."""
        while True:
            started = time.monotonic()
            try:
                module.unload()
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                self.busy += 1
            else:
                self.unloads.append(time.monotonic() - started)
                return

    def refuse(self, error, **parameters):
        try:
            module.insert(module.PATH, **parameters)
        except OSError as refused:
            assert refused.errno == error, refused
        else:
            raise AssertionError("the module was loaded")

    def cycle(self):
        """Unloads and loads; sometimes a load fails in between."""
        self.cycles += 1
        self.clock.step()
        self.unload()
        if self.cycles % 5 == 0:
            self.refuse(errno.EINVAL, trusted=beside.WRONG["trusted"])
        time.sleep(CALM if self.cycles == 1 else self.choice.uniform(0, 0.2))
        self.load()
        self.clock.step()
        if self.cycles % 5 == 0:
            self.refuse(errno.EEXIST)
        lines = self.log.ours()
        for line in ("TOA: toa unloaded", "TOA: toa loaded"):
            assert lines.count(line) == 1, lines
        # Time for connections that live and die with the module loaded.
        time.sleep(self.choice.uniform(0.1, 1))

    def run(self, until, cycles):
        """Returns what the processes have done."""
        try:
            while time.monotonic() < until and self.cycles < cycles:
                self.cycle()
                if self.cycles % 10 == 0:
                    print(f"{time.monotonic() - self.started:.0f} s: {self.cycles} loads and unloads", flush=True)
                if not all(worker.is_alive() for worker in self.workers.values()):
                    break
            time.sleep(CALM)
        finally:
            self.clock.stop()
            done = {name: self.result(name) for name in self.workers}
        assert all(done.values()), "not all processes came to a good end (above)"
        self.end()
        return done

    def result(self, name):
        """What a process has done; None if it failed, which is printed."""
        try:
            return self.workers[name].result()
        except AssertionError as failure:
            print(f"{name}: {failure}", flush=True)
            return None

    def end(self):
        """Nothing of a connection is left, nor then of the module."""
        deadline = time.monotonic() + traffic.PATIENCE
        while (stats := module.stats()).total("records_live") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert stats.total("records_live") == 0, stats.rows
        assert module.live() == [], module.live()
        assert stats.total("ip6_address_alloc") == stats.total("ip6_address_free"), stats.rows
        assert stats.total("syn_kept") == sum(map(stats.total, FATES)), stats.rows
        for row in ("record_lost", "malformed"):
            assert stats.total(row) == 0, stats.rows
        with open("/sys/module/toa/refcnt") as file:
            assert file.read().strip() == "0"
        self.unload()
        Case().assert_nothing_left()
        self.log.close()


def check_work(done, cycles):
    """Whether there was something to see: whatever passes with nothing done proves nothing."""
    for name, kind in traffic.KINDS.items():
        shown = done.get(name)
        if shown is None:
            continue
        assert shown["passed"] > 0 and shown["peer"] > 0, f"{name}: {shown}"
        assert (shown["client"] > 0) == kind.believed, f"{name}: {shown}"
    for name, row in (("local", "peer"), ("namespaces", "client"), ("files", "listed"),
                      ("parameters", "parameters"), ("parameters", "refused")):
        assert done[name][row] > 0, f"{name}: {done[name]}"
    assert min(done["tracers"].values()) > 0 or cycles < 50, done["tracers"]


def connections(done):
    """How many there were."""
    return sum(work.get("client", 0) + work.get("peer", 0) for work in done.values())


def added(*results):
    """Numbers by name, added up."""
    return {key: sum(result[key] for result in results) for key in results[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=86400)
    parser.add_argument("--cycles", type=int, default=1 << 30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    started = time.monotonic()
    module.unload()
    rounds, memories = [], []
    for number in (1, 2):
        this = Round(options.seed * 1000 + number * 100)
        done = this.run(started + number * options.seconds / 2, options.cycles // 2)
        check_work(done, this.cycles)
        memories.append(memory.Memory())
        rounds.append((this, done))
        print(f"round {number}: {this.cycles} loads and unloads, {done}", flush=True)

    first, second = (this for this, _ in rounds)
    cycles = first.cycles + second.cycles
    unloads = first.unloads + second.unloads
    grown = memories[1].since(memories[0])
    print(f"more memory after the second round than after the first: {grown}")
    leaks = memory.leaks(grown, second.cycles)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
        "seconds": round(time.monotonic() - started),
        "cycles": cycles,
        "connections": sum(connections(done) for _, done in rounds),
        "busy": first.busy + second.busy,
        "unload_longest": round(max(unloads), 2),
        "unload_mean": round(sum(unloads) / len(unloads), 2),
        "work": {name: added(*(done[name] for _, done in rounds)) for name in rounds[0][1]},
        "grown": grown,
    }
    print(json.dumps(result))
    if leaks:
        print(f"soak: memory leaks: {leaks}", file=sys.stderr)
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
