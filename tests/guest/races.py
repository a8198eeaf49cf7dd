# SPDX-License-Identifier: GPL-2.0
"""Data races, as the kernel's KCSAN sees them (Documentation/dev-tools/kcsan.rst).

The kernel has some of its own, also while it boots, so that it is built to look for none until it is told to.
"""

import re
import subprocess

from case import sysctl

FILE = "/sys/kernel/debug/kcsan"
RULE = "=" * 66 + "\n"
REPORT = re.compile(f"{RULE}(BUG: KCSAN: .*?){RULE}", re.S)
# How a function of it is named on a stack.
OURS = re.compile(r"\[toa\]")
# All else that the lab would take for trouble.
TROUBLE = re.compile(r"WARNING:|\bBUG\b|\bOops\b|Call Trace|INFO: ")


def watch():
    """Begins to look for them."""
    # The lab takes reports on the console for trouble, and makes the kernel panic with the first.
    sysctl("kernel.printk", "3 4 1 7")
    sysctl("kernel.panic_on_warn", 0)
    with open(FILE, "w") as file:
        file.write("on")


def found():
    """The reports that have the module on a stack, and how many others there were."""
    log = subprocess.run(["dmesg", "--notime"], capture_output=True, text=True, check=True).stdout
    reports = REPORT.findall(log)
    ours = [report for report in reports if OURS.search(report)]
    trouble = [line for line in REPORT.sub("", log).splitlines() if TROUBLE.search(line)]
    return ours + trouble, len(reports) - len(ours)
