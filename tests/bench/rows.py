# SPDX-License-Identifier: GPL-2.0
"""The rows of the benchmark: what is measured, in one boot of a kernel, and what is asked of it."""

import dataclasses
import datetime

import guest

COUNT = 3000
LIVE = 10
MANY = 10_000
REST = "idle 8"


@dataclasses.dataclass(frozen=True)
class Row:
    """An operation with a kind of connection. What is asked of it: that a value is at most so much."""

    operation: str
    kind: str
    target: tuple = ()
    live: int = LIVE  # tagged connections
    prefixes: int = 0  # in the parameter trusted; 0: not given

    @property
    def name(self):
        conditions = [f"{self.live:,} live"] if self.live != LIVE else []
        if self.prefixes:
            conditions.append(f"trusted {self.prefixes}")
        return ", ".join([f"{self.operation} {self.kind}", *conditions])

    def expected(self, loaded):
        """The one answer that is right."""
        if loaded and not self.kind.endswith("-untagged"):
            return "client"
        return "refused" if self.operation == "getsockopt" else "peer"

    @property
    def command(self):
        return f"row {self.operation} {self.kind} {COUNT}"


PLAIN = [
    Row("getpeername", "ipv4-tagged", ("ratio", 0.93)),
    Row("getpeername", "ipv4-untagged", ("ratio", 1.06)),
    Row("getpeername", "ipv6-tagged", ("ratio", 0.95)),
    Row("getpeername", "ipv6-untagged", ("ratio", 1.06)),
    Row("getpeername", "mapped-tagged", ("ratio", 0.95)),
    Row("getpeername", "mapped-untagged", ("ratio", 1.06)),
    Row("cycle", "ipv4-tagged", ("added", 60)),
    Row("cycle", "ipv4-untagged", ("added", 125)),
    Row("cycle", "ipv6-tagged", ("added", 60)),
    Row("cycle", "ipv6-untagged", ("added", 125)),
    Row("cycle", "mapped-tagged", ("added", 60)),
    Row("cycle", "mapped-untagged", ("added", 125)),
    Row("cycle", "ipv4-syn"),
    Row("getsockopt", "ipv4-tagged"),
]


def policy(prefixes):
    return [Row("cycle", kind, prefixes=prefixes) for kind in ("ipv4-tagged", "ipv4-untagged")]


def growing(live):
    """Those that must not cost more when there are many connections."""
    kinds = [("getpeername", "ipv4-tagged"), ("cycle", "ipv4-tagged"), ("cycle", "ipv4-untagged")]
    return [Row(*kind, ("growth", 1.05), live=live) for kind in kinds]


def trusted(prefixes):
    """So many prefixes that do not touch, with that of the balancer amid them."""
    others = (f"{6 + number // 128}.{number * 2 % 256}.0.0/16" for number in range(prefixes - 1))
    return "trusted=" + ",".join(["10.77.0.0/16", *others])


@dataclasses.dataclass
class Value:
    """What the program in the guest reports of a row."""

    answer: str
    one: int
    mean: float
    all: float


class Script:
    """What the program in the guest is told to do, and what it reports."""

    def __init__(self):
        self.commands = [REST]
        self.order = []  # row and phase, of each report to come
        self.values = {}

    def add(self, *commands):
        self.commands += commands

    def measure(self, phase, rows):
        for row in rows:
            self.order.append((row, phase))
            self.add(row.command)

    def take(self, words):
        """Takes a report, if it is one of a row."""
        if words[0] == "row":
            row, phase = self.order[len(self.values)]
            value = Value(words[3], int(words[4]), float(words[5]), float(words[6]))
            right = row.expected(phase != "stock" and phase != "again")
            if value.answer != right:
                raise guest.Failure(f"{row.name}, {phase}: the answer is {value.answer}, not {right}")
            self.values[row, phase] = value


def all_rows(script, phase, many):
    """Measures all rows in a phase, which has connections of its own: the module knows those that
    begin while it is loaded."""
    kinds = dict.fromkeys(row.kind for row in PLAIN)
    script.add(*(f"open {kind} {LIVE}" for kind in kinds))
    script.measure(phase, PLAIN)
    if many:
        script.add(f"open ipv4-tagged {MANY}")
        script.measure(phase, growing(MANY))
    script.add(*(f"close {kind}" for kind in kinds))


def policy_rows(script, prefixes):
    script.add(f"load {trusted(prefixes)}")
    # As where they are compared with: without any, the kernel itself does more for each connection.
    script.add(f"open ipv4-tagged {LIVE}", f"open ipv4-untagged {LIVE}")
    script.measure("loaded", policy(prefixes))
    script.add("close ipv4-tagged", "close ipv4-untagged", "unload")


def full_script(quick):
    """Everything; or what is quick, and enough to see whether something has become worse."""
    script = Script()
    all_rows(script, "stock", not quick)
    script.add("load")
    all_rows(script, "loaded", not quick)
    script.add("unload")
    if not quick:
        all_rows(script, "again", False)
    for prefixes in (1000,) if quick else (1, 1000):
        policy_rows(script, prefixes)
    return script


def results(values):
    """Rows as they are recorded."""
    for row in (row for row, phase in values if phase == "loaded"):
        plain = dataclasses.replace(row, prefixes=0)
        stock = next(v for (r, p), v in values.items() if p == "stock" and same(r, plain))
        first = next(v for (r, p), v in values.items() if p == "loaded" and same(r, row, LIVE))
        loaded = values[row, "loaded"]
        again = values.get((row, "again"))
        result = {
            "row": row.name,
            "stock": stock.one,
            "loaded": loaded.one,
            "unloaded": again and again.one,
            "ratio": round(loaded.one / stock.one, 4),
            "added": loaded.one - stock.one,
            "added_all": round(loaded.all - stock.all, 1),
            "growth": round(loaded.mean / first.mean, 4),
        }
        if row.target:
            key, limit = row.target
            result["target"] = f"{key} <= {limit}"
            result["met"] = result[key] <= limit
        yield result


def same(one, other, live=None):
    """Whether two rows are of the same operation under the same conditions."""
    return (one.operation, one.kind, one.live, one.prefixes) == (
        other.operation, other.kind, live or other.live, other.prefixes
    )


def heading(machine):
    return {
        "kernel": machine.release,
        "date": datetime.date.today().isoformat(),
        "emulator": " ".join(guest.emulator(machine.kernel)),
    }


def run(kernel, module, quick=False):
    """Measures all rows."""
    machine = guest.Guest(kernel, module)
    script = full_script(quick)
    for words in machine.run(script.commands):
        script.take(words)
    return heading(machine) | {"rows": list(results(script.values))}


def table(rows):
    """Rows as lines of text."""
    yield (f"{'row':38} {'stock':>7} {'with':>7} {'again':>7} {'ratio':>7} {'added':>6} {'all':>8} "
           f"{'growth':>7}")
    for row in rows:
        again = row["unloaded"] or ""
        verdict = ("met" if row["met"] else "MISSED") if "target" in row else ""
        yield (
            f"{row['row']:38} {row['stock']:7} {row['loaded']:7} {again:7} {row['ratio']:7.4f} "
            f"{row['added']:+6} {row['added_all']:+8.1f} {row['growth']:7.4f}  "
            f"{row.get('target', ''):15} {verdict}"
        ).rstrip()
