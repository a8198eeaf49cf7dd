#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Memory that nobody points to any more, as the kernel's kmemleak sees it.

usage: leaks.py CMD...    run it; print what has leaked meanwhile, and fail if anything has
"""

import subprocess
import sys
import time

FILE = "/sys/kernel/debug/kmemleak"
# kmemleak leaves younger objects alone (MSECS_MIN_AGE).
AGE = 6


def _tell(word):
    with open(FILE, "w") as file:
        file.write(word)


def forget():
    """Whatever has leaked so far counts no more."""
    _tell("scan")
    _tell("clear")


def found():
    """What has leaked since: kmemleak's report, empty if nothing has."""
    time.sleep(AGE)
    # An object is reported when a later scan finds it as an earlier one did.
    for _ in range(3):
        _tell("scan")
    with open(FILE) as file:
        return file.read()


def main():
    forget()
    subprocess.run(sys.argv[1:], check=True)
    report = found()
    print(report, end="")
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
