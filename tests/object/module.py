# SPDX-License-Identifier: GPL-2.0
"""The toa.ko in the folder $OBJECT, which tests/object/run fills, and what is known of it."""

import os
import pathlib
import re
import subprocess
import unittest

OBJECT = pathlib.Path(os.environ["OBJECT"])
MODULE = OBJECT / "toa.ko"
LOG = (OBJECT / "log").read_text()
CONFIG = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", (OBJECT / "config").read_text(), re.M))


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def has(*options):
    """Whether the kernel has one of the options: they were renamed over the years."""
    return any(CONFIG.get(option) == "y" for option in options)


def relocations(module=MODULE):
    """The kinds of relocations."""
    return set(re.findall(r"\bR_(?:X86_64|AARCH64)_\w+", output("readelf", "-rW", module)))


def instructions(module=MODULE):
    """(function, instruction with its operands, relocation's symbol or "") of all code, in order."""
    function = None
    found = []
    objdump = os.environ.get("CROSS_COMPILE", "") + "objdump"
    for line in output(objdump, "-dr", "--no-show-raw-insn", module).splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = head[1]
        elif relocation := re.match(r"\s+[0-9a-f]+: R_\w+\s+(\S+)", line):
            found[-1] = (*found[-1][:2], relocation[1])
        elif code := re.match(r"\s+[0-9a-f]+:\s+(.*\S)", line):
            found.append((function, code[1], ""))
    return found


def first_instructions(code):
    """The first instruction of each function."""
    first = {}
    for function, instruction, _ in code:
        first.setdefault(function, instruction)
    return first


def entries(first):
    """Functions that are called through pointers: Rust's hooks, and what the loader calls."""
    return [
        name
        for name in first
        if ("callback" in name or name in ("init_module", "cleanup_module"))
        and not name.startswith("__pfx_")  # padding before a function
    ]


def only_on(option):
    """load_tests() for tests of one architecture."""
    return lambda _loader, tests, _pattern: tests if has(option) else unittest.TestSuite()
