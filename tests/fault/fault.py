#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the tests of what toa.ko does when there is no memory, in a guest whose kernel can play that.

usage: fault.py [NAME...]

Each NAME selects the tests that have it in their name. The exit status is 0 only if none failed.
"""

import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "guest"))

import leaks  # noqa: E402
import module  # noqa: E402
from main import Result, flatten, title  # noqa: E402

import faults  # noqa: E402


def main():
    names = sys.argv[1:] or [""]
    faults.prepare()
    module.unload()
    leaks.forget()
    suite = unittest.defaultTestLoader.discover(HERE)
    started = time.monotonic()
    result = Result()
    for test in flatten(suite):
        if any(name in title(test) for name in names):
            test(result)
    module.unload()
    report = leaks.found()
    good = not report
    print(f"{'ok  ' if good else 'FAIL'} nothing has leaked\n{report}", flush=True)
    result.passed += good
    result.failed += not good
    print(f"in {time.monotonic() - started:.0f} s")
    print(f"{result.passed} passed, {result.failed} failed")
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
