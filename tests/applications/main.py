#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs well-known servers behind the tests' load balancer, in a guest that may be broken.

usage: main.py [NAME...]

Each NAME selects the tests that have it in their title. Without any, all run, and what README.md quotes
is looked for in what the servers said. Every test runs twice: without the module, and then with it, while
the servers stay up. The exit status is 0 only if none failed.
"""

import pathlib
import re
import sys
import time
import traceback
import unittest

import case

HERE = pathlib.Path(__file__).resolve().parent


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def title(test):
    """The file, the class and the test."""
    words = test._testMethodName.removeprefix("test_").replace("_", " ")
    return f"{type(test).__module__.removeprefix('test_')}: {words}"


class Result(unittest.TestResult):
    """Prints a line a test as it ends, what the servers said, and tracebacks."""

    def __init__(self):
        super().__init__()
        self.passed = self.failed = 0
        self.said = {"without": set(), "with": set()}

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.problems = []
        case.said.clear()

    def stopTest(self, test):
        super().stopTest(test)
        seconds = time.monotonic() - self.started
        good = not self.problems
        self.passed += good
        self.failed += not good
        phase = "with" if case.module.loaded() else "without"
        print(f"{'ok  ' if good else 'FAIL'} {seconds:6.2f} s  {title(test)}, {phase} the module")
        self.said[phase] |= set(map(general, case.said))
        for line in case.said:
            print(f"                | {line}")
        for problem in self.problems:
            print("".join(traceback.format_exception(*problem)))
        sys.stdout.flush()

    def addError(self, test, problem):
        self.problems.append(problem)

    def addFailure(self, test, problem):
        self.problems.append(problem)

    def addSubTest(self, test, subtest, problem):
        if problem is not None:
            self.problems.append(problem)


def general(line):
    """A line without what is another each time: ports."""
    return re.sub(r"\d{5}", "#", line)


class Quotations(unittest.TestCase):
    """README.md says what servers write, in lines that begin with "without" or "with"."""

    __module__ = "readme"

    def __init__(self, said):
        super().__init__("test_quotations_are_what_servers_said")
        self.said = said

    def test_quotations_are_what_servers_said(self):
        quotations = re.findall(r"^    (with|without) +(.+)$", (HERE / "README.md").read_text(), re.M)
        self.assertTrue(quotations)
        for phase, line in quotations:
            found = any(general(line) in said for said in self.said[phase])
            self.assertTrue(found, f"{phase} the module nobody said: {line}")


def main():
    names = sys.argv[1:] or [""]
    suite = unittest.defaultTestLoader.discover(HERE)
    tests = [test for test in flatten(suite) if any(name in title(test) for name in names)]

    started = time.monotonic()
    result = Result()
    with case.Lab():
        for load in (lambda: None, case.module.load):
            load()
            for test in tests:
                test(result)
        if not sys.argv[1:]:
            Quotations(result.said)(result)
    print(f"in {time.monotonic() - started:.0f} s")
    print(f"{result.passed} passed, {result.failed} failed")
    return 1 if result.failed or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
