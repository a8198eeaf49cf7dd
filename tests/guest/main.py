#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the tests of toa.ko inside a guest that may be broken.

usage: main.py [--without-module] [--locks] [--leaks] [--races] [NAME...]

Each NAME selects a file (test_NAME.py), or the tests that have it in their name, which is printed as
"file: class: test". Without any, all run. The exit status is 0 only if none failed.

--without-module shows that the tests can fail: the module is not loaded, and a test that passes all
the same counts as a failure. Tests that load the module themselves are left out.

On kernels that look for mistakes, each adds a test at the end: --locks, that lockdep still does, for it
stops at its first complaint; --leaks, that nothing has leaked by kmemleak's account, neither with the
module still loaded nor after it is gone; --races, that KCSAN saw none that the module takes part in.
"""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import time
import traceback
import unittest

import leaks
import module
import races
from syscalls import IPPROTO_MPTCP

HERE = pathlib.Path(__file__).resolve().parent


def mptcp_has_fast_open():
    try:
        with socket.socket(proto=IPPROTO_MPTCP) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    except OSError:
        return False
    return True


# What not every stock kernel has: words of test titles, and whether it is there.
FEATURES = {
    "mptcp": lambda: os.path.exists("/proc/sys/net/mptcp"),
    "mptcp fast open": mptcp_has_fast_open,
    "livepatch": lambda: os.path.exists("/sys/kernel/livepatch"),
    "signature": lambda: os.path.exists("/sys/module/module/parameters/sig_enforce"),
    "kernel tls": lambda: subprocess.run(["modprobe", "-q", "tls"], check=False).returncode == 0,
}

# Their subject is the loading itself.
LOADING = ("blocked", "check", "lifecycle", "neighbours", "policy")


def theme(test):
    """The name of its file, without what all of them have."""
    return type(test).__module__.removeprefix("test_")


def title(test):
    words = test._testMethodName.removeprefix("test_").replace("_", " ")
    return f"{theme(test)}: {type(test).__name__}: {words}"


def selected(test, names):
    """Whether it is of a file among `names`, or has one of them in its title."""
    return theme(test) in names or any(name in title(test) for name in names)


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


class Result(unittest.TestResult):
    """Prints a line a test as it ends, and keeps the tracebacks for the end of the run."""

    def __init__(self):
        super().__init__()
        self.failed = 0
        self.passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.problems = []

    def stopTest(self, test):
        super().stopTest(test)
        seconds = time.monotonic() - self.started
        good = not self.problems
        if module.absent:
            # A test that needs the module fails by what it asserts, not by an accident.
            good = any(issubclass(problem[0], AssertionError) for problem in self.problems)
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {seconds:6.2f} s  {title(test)}", flush=True)
        if not good:
            for problem in self.problems:
                print("".join(traceback.format_exception(*problem)), flush=True)
            if not self.problems:
                print("passed without the module\n", flush=True)

    def addError(self, test, problem):
        self.problems.append(problem)

    def addFailure(self, test, problem):
        self.problems.append(problem)

    def addSubTest(self, test, subtest, problem):
        if problem is not None:
            self.problems.append(problem)


class Afterwards(unittest.TestCase):
    """What a kernel that looks for mistakes has to say when all is over."""

    def test_locks_are_still_watched(self):
        with open("/proc/lockdep_stats") as file:
            self.assertRegex(file.read(), r"debug_locks: +1\n")

    def test_nothing_has_leaked(self):
        report = leaks.found()
        module.unload()
        self.assertEqual(report + leaks.found(), "")

    def test_no_data_races(self):
        ours, others = races.found()
        print(f"     KCSAN's reports: {len(ours)} of the module, {others} of the kernel alone")
        self.assertEqual(ours, [])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--without-module", action="store_true")
    parser.add_argument("--locks", action="store_true")
    parser.add_argument("--leaks", action="store_true")
    parser.add_argument("--races", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    module.absent = arguments.without_module
    if module.absent:
        module.unload()

    suite = unittest.defaultTestLoader.discover(HERE)
    tests = [
        test
        for test in flatten(suite)
        if selected(test, arguments.names or [""]) and not (module.absent and theme(test) in LOADING)
    ]

    for feature, there in FEATURES.items():
        if not there():
            about = [test for test in tests if feature in title(test).lower()]
            tests = [test for test in tests if test not in about]
            print(f"This kernel has no {feature}, which leaves out {len(about)} tests of it.")

    if arguments.locks:
        tests.append(Afterwards("test_locks_are_still_watched"))
    if arguments.leaks:
        tests.append(Afterwards("test_nothing_has_leaked"))
    if arguments.races:
        races.watch()
        tests.append(Afterwards("test_no_data_races"))

    started = time.monotonic()
    result = Result()
    for test in tests:
        test(result)
    print(f"in {time.monotonic() - started:.0f} s")
    print(f"{result.passed} passed, {result.failed} failed")
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
