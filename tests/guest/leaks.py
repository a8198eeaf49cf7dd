#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Memory that nobody points to any more, as the kernel's kmemleak sees it.

usage: leaks.py CMD...    run it; print what has leaked meanwhile, and fail if anything has
"""

import os
import subprocess
import sys
import time

FILE = "/sys/kernel/debug/kmemleak"
# In how many scans on end an object has to be found before it is reported; of later kernels.
SCANS = "/sys/module/kmemleak/parameters/min_unref_scans"
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
    scans = 1
    if os.path.exists(SCANS):
        with open(SCANS) as file:
            scans = int(file.read())
    time.sleep(AGE)
    # The first does not count: an object that has changed since the scan before may have an owner.
    for _ in range(scans + 2):
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
