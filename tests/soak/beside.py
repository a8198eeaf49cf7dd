# SPDX-License-Identifier: GPL-2.0
"""What operators do on a server with the module, while it comes and goes."""

import contextlib
import errno
import os
import random
import time

import era
import module
import tracing
from traffic import FORGER, TRUSTED, UNSELECTED_PORT, rest

# How a file says that the module is not there, has gone, is going, or is not ready.
GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO, errno.EBADF, errno.EINVAL}

# All of these believe the same senders, on all ports but one.
VALUES = {
    "trusted": (
        ",".join(f"10.77.{number}.0/24,fd7{number}::/64" for number in TRUSTED),
        "10.77.0.0/21,fd70::/13",
        "10.77.0.0/21,fd70::/14,fd74::/14,192.0.2.0/24",
    ),
    "ports": (f"1-{UNSELECTED_PORT - 1}", f"1-1023,1024-{UNSELECTED_PORT - 1},65535"),
    "kinds": ("254", "254,253", "254,28,253"),
}
WRONG = {"trusted": "10.0.0.1/8", "ports": "0", "kinds": "254,1"}
assert FORGER >= 8  # which the prefixes end before

# No counter of a soak gets near, but any that has gone below zero is beyond.
BOUND = 1 << 40
MOST_LIVE = 1000


def initial(choice):
    """Parameters to load with."""
    return {parameter: choice.choice(values) for parameter, values in VALUES.items()}


@contextlib.contextmanager
def tolerating(*errors):
    try:
        yield
    except OSError as error:
        if error.errno not in errors:
            raise


def shown():
    """How the module shows each of the values."""
    forms = {}
    for parameter, values in VALUES.items():
        for value in values:
            module.set_parameter(parameter, value)
            forms[parameter, value] = module.parameter(parameter)
    return forms


def set_parameters(clock, forms, seed):
    """Changes parameters all the time; each value is taken as a whole, or refused."""
    choice = random.Random(seed)
    taken = refused = 0
    while clock.goes_on():
        parameter, values = choice.choice(list(VALUES.items()))
        with tolerating(*(GONE - {errno.EINVAL})):
            module.set_parameter(parameter, choice.choice(values))
            taken += 1
            # It may be one that the module was loaded with just now.
            now = module.parameter(parameter)
            assert now in {forms[parameter, value] for value in values}, f"{parameter}={now}"
        with tolerating(*GONE):
            module.set_parameter(parameter, WRONG[parameter])
            raise AssertionError(f"{parameter}={WRONG[parameter]} was taken")
        refused += 1
        rest(choice)
    return {"parameters": taken, "refused": refused}


def read_files(clock, seed):
    """Reads the counters and the list of connections, at once and in pieces."""
    choice = random.Random(seed)
    before, at = None, None
    read, seen = 0, 0
    while clock.goes_on():
        since = clock.now()
        with tolerating(*GONE):
            stats, live = module.stats(), module.live()
            until = clock.now()
            check_counters(stats, before if at == since and era.loaded_throughout(since, until) else None)
            before, at = stats, until
            check_list(live)
            read, seen = read + 1, seen + len(live)
        with tolerating(*GONE):
            with open(choice.choice((module.LIST, module.PROC)), "rb", buffering=0) as file:
                while file.read(100):
                    time.sleep(choice.uniform(0, 0.02))
        rest(choice)
    return {"readings": read, "listed": seen}


def check_counters(stats, before):
    """`before` is an earlier reading while the same module was loaded."""
    for row, columns in stats.rows.items():
        assert max(columns) < BOUND, f"{row} is {columns}"
    assert stats.total("records_live") <= MOST_LIVE
    for row, change in stats.since(before).items() if before else ():
        assert row == "records_live" or change >= 0, f"{row} went back by {-change}"


def check_list(live):
    assert len({(row.local, row.balancer) for row in live}) == len(live), "a connection is listed twice"
    for row in live:
        number = int(row.balancer.split(".")[2] if row.balancer[0] == "1" else row.balancer[4])
        assert number in TRUSTED and row.balancer.startswith(("10.77.", "[fd7")), row
        assert row.client.startswith(("198.51.", "[2001:db8::")) and row.kind == "254", row


def trace(clock, seed):
    """Switches the kernel's tracers on and off, on the functions that the module hooks too."""
    choice = random.Random(seed)
    done = {tracer: 0 for tracer in TRACERS}
    while clock.goes_on():
        name = choice.choice(list(TRACERS))
        with TRACERS[name]():
            rest(choice)
        done[name] += 1
        rest(choice, 2)
    return done


@contextlib.contextmanager
def kprobes():
    functions = ("inet_getname", "tcp_child_process")
    for function in functions:
        tracing.append("kprobe_events", f"p:toasoak/{function} {function}\n")
    tracing.write("events/toasoak/enable", "1")
    try:
        yield
    finally:
        tracing.write("events/toasoak/enable", "0")
        for function in functions:
            tracing.append("kprobe_events", f"-:toasoak/{function}\n")


@contextlib.contextmanager
def own_event():
    """The module's own, which stays on when the module goes."""
    with tolerating(*GONE):
        tracing.write("events/toa/enable", "1")
    yield
    with tolerating(*GONE):
        tracing.write("events/toa/enable", "0")


@contextlib.contextmanager
def another_filter():
    """The function tracer of another buffer, with a pattern."""
    instance = f"{tracing.ROOT}/instances/toasoak"
    os.mkdir(instance)
    try:
        tracing.write("instances/toasoak/set_ftrace_filter", "inet*_getname")
        tracing.write("instances/toasoak/current_tracer", "function")
        yield
        tracing.write("instances/toasoak/current_tracer", "nop")
    finally:
        os.rmdir(instance)


TRACERS = {
    "function": tracing.FunctionTracer,
    "filter": another_filter,
    "kprobes": kprobes,
    "event": own_event,
}
