#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Hostile senders against servers, in a guest: no segment does harm or gets an address believed.

usage: main.py [segments=N] [seed=N]

N is how many segments are sent in all, 20,000 unless told otherwise. The same seed sends the same
segments, as far as that depends on the senders. Prints `N passed, N failed`.
"""

import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "guest"))

import module  # noqa: E402
import net  # noqa: E402
from case import sysctl  # noqa: E402

SENDERS = 2
SYN_MAX = 64
KINDS = "254,253,252,250,249,202,201,200,28"
# Fast Open without its cookie, SYN cookies for who has no room, and an early end of what is left half done.
SYSCTLS = {
    "net.core.somaxconn": 4096,
    "net.ipv4.tcp_fastopen": 0x203,
    "net.ipv4.tcp_fin_timeout": 2,
    "net.ipv4.tcp_invalid_ratelimit": 0,
    "net.ipv4.tcp_max_syn_backlog": 4096,
    "net.ipv4.tcp_max_tw_buckets": 2048,
    "net.ipv4.tcp_orphan_retries": 1,
    "net.ipv4.tcp_rto_max_ms": 1000,
    "net.ipv4.tcp_synack_retries": 0,
    "net.ipv4.tcp_syncookies": 1,
    "net.mptcp.close_timeout": 2,
}
# What happens to a client that was kept.
FATES = ("syn_used", "syn_superseded", "syn_expired", "syn_dropped")
# Of memory that may be in use for other reasons: lists of the CPUs, processes.
MARGIN = 64 << 20
# How often to look at memory while they send.
LOOK_SECONDS = 3
SYN_SECONDS = 2
# For what is still on its way when the senders have ended.
PATIENCE = 120


def memory_rows():
    """The rows of /proc/meminfo, in bytes."""
    with open("/proc/meminfo") as file:
        rows = [line.split() for line in file]
    return {name.rstrip(":"): int(number) << 10 for name, number, *_ in rows}


def memory(field):
    return memory_rows()[field]


def differences(before):
    """What of the machine's memory is otherwise than it was by more than a MiB, in MiB."""
    changes = {name: (now - before[name]) >> 20 for name, now in memory_rows().items()}
    return [f"{name} {change:+}" for name, change in changes.items() if change not in (0, -1)]


def snmp(name):
    """A counter of TCP."""
    with open("/proc/net/snmp") as file:
        names, values = [line.split() for line in file if line.startswith("Tcp:")]
    return int(values[names.index(name)])


def trusted():
    return [
        address
        for number in range(SENDERS)
        for address in (f"10.77.{number}.2", f"fd7{number}::2")
    ]


class Checks:
    """Counts what is as it has to be, and shows the rest."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, good, *seen):
        self.passed += bool(good)
        self.failed += not good
        print("ok  " if good else "FAIL", what, *seen, flush=True)


class Peaks:
    """The most, or the least, that was seen of something at any time."""

    def __init__(self):
        self.records = self.kept = self.slabs = self.per_cpu = self.vmalloc = self.live = 0
        self.available = float("inf")
        self.listed, self.believed = 0, True

    def take(self, before):
        """Looks at all of it now."""
        changes = collections.Counter(module.stats().since(before))
        # The file has what was kept above of what became of it, so that this is never too much.
        kept = changes["syn_kept"] - sum(changes[row] for row in FATES)
        self.kept = max(self.kept, kept)
        self.live = max(self.live, changes["records_live"])
        self.records = max(self.records, module.slab_objects())
        self.slabs = max(self.slabs, memory("SUnreclaim"))
        self.per_cpu = max(self.per_cpu, memory("Percpu"))
        self.vmalloc = max(self.vmalloc, memory("VmallocUsed"))
        self.available = min(self.available, memory("MemAvailable"))
        for live in module.live():
            self.listed += 1
            balancer, _, _ = live.balancer.rpartition(":")
            port = int(live.local.rpartition(":")[2])
            # A connection that was reset has no local port any more.
            self.believed &= balancer.strip("[]") in trusted() and (port == 0 or 2000 <= port < 3000)
        return changes


class Senders:
    """The processes that send, each with servers and a device of its own."""

    def __init__(self, segments, seed):
        self.tuns = [net.Tun(number) for number in range(SENDERS)]
        self.outputs = [open(f"/tmp/sender-{number}", "w+") for number in range(SENDERS)]
        self.processes = []
        for number, (tun, output) in enumerate(zip(self.tuns, self.outputs)):
            command = ["/share/hostile", tun.fd, number, segments // SENDERS, seed + number]
            process = subprocess.Popen(
                [str(word) for word in command], stdout=output, pass_fds=[tun.fd]
            )
            self.processes.append(process)
            # It stops when its servers listen: some security modules ask for the names of those.
            os.waitpid(process.pid, os.WUNTRACED)

    def go(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def are_at_work(self):
        return any(process.poll() is None for process in self.processes)

    def are_half_way(self):
        """Whether all that are still at work have stopped."""
        stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return all(os.waitid(os.P_PID, process.pid, stopped) for process in self.processes if process.poll() is None)

    def sent(self):
        """How many segments the devices have had so far, and how many of those were dropped there."""
        names = ("rx_packets", "rx_dropped")
        return [
            sum(
                int(pathlib.Path(f"/sys/class/net/toa{number}/statistics/{name}").read_text())
                for number in range(SENDERS)
            )
            for name in names
        ]

    def said(self):
        """The sum of what they say, and whether all found everything right; prints what was wrong."""
        sums, right = collections.Counter(), True
        for process, output in zip(self.processes, self.outputs):
            output.seek(0)
            for line in output:
                name, _, number = line.rstrip().partition(" ")
                if number.isdigit():
                    sums[name] += int(number)
                else:
                    print(line.rstrip())
            right &= process.returncode == 0
        return sums, right

    def close(self):
        for file in (*self.tuns, *self.outputs):
            file.close()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def main():
    arguments = dict(word.split("=") for word in sys.argv[1:])
    segments = int(arguments.pop("segments", 20_000))
    seed = int(arguments.pop("seed", 1))
    if arguments or segments < SENDERS:
        sys.exit(__doc__)

    for variable, value in SYSCTLS.items():
        # Some are of later kernels.
        with contextlib.suppress(FileNotFoundError):
            sysctl(variable, value)
    module.unload()
    empty = memory_rows()
    module.insert(
        module.PATH, kinds=KINDS, trusted=",".join(trusted()), ports="2000-2999",
        syn_max=SYN_MAX, syn_seconds=SYN_SECONDS,
    )
    senders = Senders(segments, seed)
    # The first look takes memory of its own.
    peaks = Peaks()
    peaks.take(module.stats())
    before, opened = module.stats(), snmp("PassiveOpens")
    start = memory_rows()
    objects = module.slab_objects()
    print(f"{segments} segments, seed {seed}, Linux {os.uname().release}", flush=True)

    began = said_at = time.monotonic()
    senders.go()
    while senders.are_at_work():
        changes = peaks.take(before)
        if time.monotonic() - said_at > 120:
            said_at = time.monotonic()
            sent, dropped = senders.sent()
            print(f"after {said_at - began:.0f} s: {sent} segments, {dropped} dropped,",
                  f"{memory('MemAvailable') >> 20} MiB available,",
                  f"{memory('SUnreclaim') >> 20} of slabs, load {os.getloadavg()[0]:.1f},",
                  dict(changes), flush=True)
        if senders.are_half_way():
            time.sleep(SYN_SECONDS + 1)
            senders.go()
        time.sleep(LOOK_SECONDS)
    said, right = senders.said()
    seconds = time.monotonic() - began
    print(f"{said['segments'] / seconds:.0f} segments a second, {seconds:.0f} s")
    print("senders:", ", ".join(f"{name} {count}" for name, count in said.items()))

    checks = Checks()
    check = checks.check
    check("all addresses were right", right, said["wrong"])
    check("all segments were sent", said["segments"] == segments // SENDERS * SENDERS)
    gone = wait_until(lambda: module.stats().since(before).get("records_live", 0) == 0)
    check("no record is left when all connections are closed", gone, *module.live())
    changes = collections.Counter(module.stats().since(before))
    print("counters:", ", ".join(f"{row} {count}" for row, count in changes.items()))

    # Each kind of event did happen.
    for name in ("own", "own_untrusted", "from_syn", "bypassed", "accepted_mptcp"):
        check(f"senders saw: {name}", said[name] > 0, said[name])
    for row in (*FATES, "syn_cookie", "not_trusted", "port_not_selected", "malformed"):
        check(f"the module counted: {row}", changes[row] > 0, changes[row])
    for kind in KINDS.split(","):
        check(f"the module counted: option_{kind}", changes[f"option_{kind}"] > 0)

    # Nothing is counted twice, and nothing is forgotten.
    opens = snmp("PassiveOpens") - opened
    intake = changes["syn_recv_sock_toa"] + changes["syn_recv_sock_no_toa"]
    check("each connection was counted", intake == said["accepted"] + said["aborted"], intake)
    # The kernel may give one up that it has counted, before anybody could accept it.
    check("hardly any passive open came to nothing", 0 <= opens - intake <= 1 + opens // 100_000, opens)
    names = sum(changes[f"getname_toa_{row}"] for row in ("ok", "mismatch", "bypass", "empty"))
    check("each question for a name was counted", names == said["asked_names"], names)
    options = changes["sockopt_ok"], changes["sockopt_empty"]
    told = said["answered_options"], said["asked_options"] - said["answered_options"]
    check("each getsockopt() was counted", options == told, options, told)
    kept = changes["syn_kept"] - sum(changes[row] for row in FATES)
    check("all SYNs' clients are accounted for", 0 <= kept <= SYN_MAX, kept)
    allocated, freed = changes["ip6_address_alloc"], changes["ip6_address_free"]
    check("IPv6 clients were freed as often as made", allocated == freed > 0, allocated, freed)
    check("no record was lost", changes["record_lost"] == 0, changes["record_lost"])
    late = said["late"]
    check("which segment made a connection was known", late * 1000 <= said["accepted"], late)

    # Memory, at any time and afterwards.
    # One is counted before another makes room for it.
    check("no more SYNs' clients than syn_max at any time", peaks.kept <= SYN_MAX + os.cpu_count(), peaks.kept)
    check("records in the allocator were bounded", peaks.records <= objects + 4 * peaks.live + 16384,
          peaks.records)
    check("/proc/net/toa had believed balancers alone", peaks.believed and peaks.listed, peaks.listed)
    check("VmallocUsed was bounded", peaks.vmalloc - start["VmallocUsed"] < MARGIN)
    check("Percpu was bounded", peaks.per_cpu - start["Percpu"] < MARGIN)
    print(f"at most {(peaks.slabs - start['SUnreclaim']) >> 20} MiB of slabs more,",
          f"{(start['MemAvailable'] - peaks.available) / (1 << 20):.0f} MiB less available,",
          f"{peaks.live} records, {peaks.records} objects")

    senders.close()
    settled = wait_until(lambda: memory("MemAvailable") > start["MemAvailable"] - MARGIN
                         and memory("SUnreclaim") < start["SUnreclaim"] + MARGIN
                         and memory("Percpu") < start["Percpu"] + (1 << 20))
    check("memory came back", settled, *differences(start))
    module.unload()
    with open("/proc/slabinfo") as file:
        left = [line for line in file if line.startswith("toa_")]
    check("no slab of the module's is left", not left, *left)
    settled = wait_until(lambda: memory("MemAvailable") > empty["MemAvailable"] - MARGIN)
    check("memory is as before the module", settled, *differences(empty))

    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
