# SPDX-License-Identifier: GPL-2.0
"""Where the instructions of one operation go: functions and single instructions.

The emulator logs each instruction while the guest does a few operations. Of these the shortest
counts, which no interrupt prolonged. What counts of an operation is the kernel's part of its timed
system calls, as in the measured rows.
"""

import bisect
import collections
import re

import guest

EXECUTED = re.compile(rb"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")
DECODED = re.compile(rb"^0x([0-9a-f]+):\s+(?:(?:[0-9a-f]{2} )+\s*|[0-9a-f]{8}\s+)?(\S.*)$")
USER_END = 1 << 63
SHOWN = 60


class Symbols:
    """Functions by address."""

    def __init__(self, entries):
        entries = sorted(entries)
        self.addresses = [address for address, _ in entries]
        self.names = [name for _, name in entries]

    def find(self, address):
        """The name of the function that an address is in, and where in it."""
        index = bisect.bisect_right(self.addresses, address) - 1
        if index < 0:
            return "?", 0
        return self.names[index], address - self.addresses[index]


def demangled(names):
    """Names of functions as the source spells them."""
    text = guest.lab("host", "--", "c++filt", input="".join(f"{name}\n" for name in names))
    # Rust adds a hash to the name of each crate.
    lines = re.sub(r"(?<=\w)\[[0-9a-f]+\]", "", text).splitlines()
    return dict(zip(names, lines, strict=True))


class Tracer:
    """Starts and stops the emulator's log as the program in the guest asks for it."""

    def __init__(self, log):
        self.log = log
        self.ends = []
        self.monitor = None

    def __call__(self, line, monitor):
        if line == "trace":
            monitor.say("one-insn-per-tb on")
            monitor.say("log in_asm,exec,nochain")
        else:
            monitor.say("log none")
            monitor.say("one-insn-per-tb off")
            self.ends.append(self.log.stat().st_size)
        monitor.close()


def read_log(data):
    """The addresses that were executed, in order, and the text of each instruction."""
    executed, text = [], {}
    for line in data.splitlines():
        if match := EXECUTED.match(line):
            executed.append(int(match[1], 16))
        elif match := DECODED.match(line):
            text[int(match[1], 16)] = match[2].decode()
    return executed, text


def operations(executed, user):
    """The kernel's instructions of each traced operation."""
    found, current, timed = [], None, False
    for address in executed:
        if address >= USER_END:
            if current is not None and timed:
                current.append(address)
            continue
        name, offset = user.find(address)
        timed = name == "timed"
        if name == "operation_begins" and not offset:
            current = []
        elif name == "operation_ends" and not offset and current is not None:
            found.append(current)
            current = None
    return found


def symbols_of_program(path):
    entries = (line.split() for line in path.read_text().splitlines())
    return Symbols((int(words[0], 16), words[2]) for words in entries if words[1] in "tT")


def trace(kernel, operation, kind, module=None):
    """Returns the instructions of one operation without and with the module, as lists of address,
    function, offset and text."""
    machine = guest.Guest(kernel, module)
    prepare = [f"open {kind} 10", f"trace {operation} {kind}", f"close {kind}"]
    script = ["idle 8", *prepare, "symbols", "load", *prepare, "symbols"]
    log = machine.directory / "trace"
    log.unlink(missing_ok=True)
    tracer = Tracer(log)
    tables = [[]]
    for words in machine.run(script, tracer):
        if words[0] == "symbol":
            tables[-1].append((int(words[1], 16), " ".join(words[3:])))
        elif words[0] == "symbols":
            tables.append([])
    user = symbols_of_program(machine.directory / "symbols")
    data = log.read_bytes()
    # Code that has not changed is not translated again, so the text of both is one.
    _, text = read_log(data)
    result, start = [], 0
    for end, table in zip(tracer.ends, tables):
        found = operations(read_log(data[start:end])[0], user)
        start = end
        if not found:
            raise guest.Failure("the log has no operation")
        kernel_symbols = Symbols(table)
        shortest = min(found, key=len)
        result.append([(a, *kernel_symbols.find(a), text.get(a, "")) for a in shortest])
    names = demangled(sorted({name for part in result for _, name, _, _ in part}))
    return [[(a, names[name], offset, code) for a, name, offset, code in part] for part in result]


def calls(instructions):
    """How many instructions each function executed, and how often it was entered."""
    count, entered = collections.Counter(), collections.Counter()
    for _, name, offset, _ in instructions:
        count[name] += 1
        entered[name] += offset == 0
    return count, entered


def table(without, with_module):
    """Functions by how many instructions the module adds, as lines of text."""
    (before, _), (after, entered) = calls(without), calls(with_module)
    yield f"{'without':>8} {'with':>8} {'added':>7} {'entered':>7}  function"
    yield f"{len(without):8} {len(with_module):8} {len(with_module) - len(without):+7} {'':7}  all"
    names = sorted(before | after, key=lambda n: (-abs(after[n] - before[n]), -after[n]))
    changed = [name for name in names if after[name] != before[name]]
    rest = [name for name in names if after[name] == before[name]]
    for name in (changed + rest)[:SHOWN]:
        yield (f"{before[name]:8} {after[name]:8} {after[name] - before[name]:+7} {entered[name]:7}"
               f"  {name}")


def listing(instructions):
    """One line an instruction."""
    for address, name, offset, text in instructions:
        yield f"{address:016x} {name}+{offset:#x}  {text}"
