# SPDX-License-Identifier: GPL-2.0
"""Each allocation of memory fails in turn: what cannot be done is undone, and said; the rest goes on."""

import collections
import errno
import os
import resource
import struct
from socket import AF_INET, AF_INET6, IPPROTO_IP

import faults
import module
import net
from case import Case, Child
from net import toa

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)
TOA_SO_GET_INFO = 4097
CLONE_NEWNET = 0x40000000
ENABLED = "/sys/kernel/tracing/enabled_functions"
NO_MEMORY = (errno.ENOMEM, errno.EFAULT)


def read(path):
    with open(path) as file:
        return file.read()


def hooks():
    """The functions that something is hooked to."""
    return {line.split()[0] for line in read(ENABLED).splitlines() if line.strip()}


def unshare():
    """Makes a network namespace and moves into it."""
    os.unshare(CLONE_NEWNET)


class FaultCase(Case):
    def setUp(self):
        self.log = faults.Log()
        self.addCleanup(self.log.close)
        # Runs last, or rather before the log is closed.
        self.addCleanup(lambda: self.assertEqual(self.log.trouble(), []))
        super().setUp()

    def assert_works(self):
        """The module does what it is for."""
        for family, client in ((AF_INET, CLIENT4), (AF_INET6, CLIENT6)):
            listener = self.listen(family)
            connection = self.connect(listener, toa(*client))
            self.assert_shows(connection, *client)
            self.assert_listed(connection, client, net.TOA)
            connection.socket.close()
            connection.remote.abort()
            listener.close()


class Load(FaultCase):
    """Loading fails as a whole, and can be tried again at once."""

    PARAMETERS = dict(trusted="10.77.0.0/24,fd70::/64", ports="1-65535", syn_max=64)
    # How many are tried at the beginning of a long row of equal ones, and how far apart later ones.
    EDGE, STRIDE = 4, 600
    # How many of the last ones are tried again.
    LAST = 40

    def setUp(self):
        super().setUp()
        module.unload()
        # Others load it with other parameters.
        self.addCleanup(module.unload)
        self.before = hooks()
        self.outcomes = collections.Counter()
        # Which failures nothing was said of, and which of the others came first.
        self.silent, self.first = [], faults.MANY

    def load(self):
        module.insert(module.PATH, **self.PARAMETERS)

    def attempt(self, nth):
        """Loads with allocation `nth` failing; returns what failed for it, and how many were left."""
        self.log.lines()
        error, left = faults.fail(nth, self.load)
        ours = [line for line in self.log.lines() if line.startswith("TOA: not loaded")]
        self.assertEqual(self.log.trouble(), [])
        what = ours[0].removeprefix("TOA: not loaded: ").split(" failed")[0] if ours else ""
        if error:
            self.assertEqual(left, 0, error)
            self.assertIn(error.errno, (errno.ENOMEM, errno.EBUSY), f"{nth}: {what}")
            self.assert_unwound(f"{nth}: {what}")
            if what:
                self.first = min(self.first, nth)
            else:
                self.silent.append(nth)
        else:
            what = "loaded all the same" if not left else "loaded"
            self.assertTrue(module.loaded())
            # None may be missing, and a hook that none was selected for would be at all functions.
            self.assertEqual(hooks(), self.hooked)
            self.assert_works()
            module.unload()
            self.assert_unwound(f"{nth}: {what}")
        what = what or "a parameter"
        if not self.outcomes[what]:
            print(f"     {nth}: {what}", flush=True)
        self.outcomes[what] += 1
        return what, left

    def assert_unwound(self, message):
        self.assertFalse(module.loaded(), message)
        self.assertNotIn("\ntoa ", "\n" + read("/proc/modules"), message)
        for name in (module.PROC, module.LIST):
            self.assertFalse(os.path.exists(name), f"{message}: {name}")
        self.assertNotIn("\ntoa_", read("/proc/slabinfo"), message)
        self.assertEqual(hooks(), self.before, message)
        with self.listen() as listener, self.assertRaises(OSError) as raised:
            listener.getsockopt(IPPROTO_IP, TOA_SO_GET_INFO, 68)
        self.assertEqual(raised.exception.errno, errno.ENOPROTOOPT, message)

    def end_of_row(self, what, nth, total):
        """The first allocation behind `nth` whose failure has another consequence than `what`.

        Looks at some between, in strides that grow, and then closer.
        """
        low, stride = nth, 1
        while True:
            high = min(low + stride, total + 1)
            if high > total or self.attempt(high)[0] != what:
                break
            low, stride = high, min(2 * stride, self.STRIDE)
        while high - low > 1:
            middle = (low + high) // 2
            if self.attempt(middle)[0] == what:
                low = middle
            else:
                high = middle
        return high

    def test_each_allocation_of_loading(self):
        """Each that does something else than those beside it: a pool takes thousands, one like another."""
        total = faults.count(self.load)
        self.hooked = hooks()
        self.assert_works()
        module.unload()
        nth, row, length = 1, None, 0
        while True:
            what, left = self.attempt(nth)
            if left:
                break
            length = length + 1 if what == row else 1
            row = what
            nth += 1
            if length == self.EDGE:
                nth, length = max(nth, self.end_of_row(what, nth - 1, total) - 1), 0
        print(f"     {sum(self.outcomes.values())} of {total} allocations: {dict(self.outcomes)}")
        for what in (
            "a parameter", "allocating the table of connections", "making /proc/net/toa_stats",
            "probing tracepoint tcp_destroy_sock", "hooking inet_getname", "loaded all the same", "loaded",
        ):
            self.assertIn(what, self.outcomes)
        # The kernel itself says nothing but the error number of parameters, which come first.
        self.assertLess(max(self.silent), self.first)
        self.load()
        self.assert_works()

    def test_many_times(self):
        """Many times one that fails in the midst of hooking, which patches code, or behind it."""
        total = faults.count(self.load)
        self.hooked = hooks()
        module.unload()
        for nth in range(total - self.LAST, total + 1):
            self.attempt(nth)
        print(f"     {dict(self.outcomes)}")
        self.assertIn("adding socket options", self.outcomes)

    def test_each_per_cpu_allocation_of_loading(self):
        module.insert("/share/failpercpu.ko")
        self.addCleanup(module.remove, "failpercpu")
        self.before = hooks()  # of which that has one
        failed = 0
        while True:
            with open("/sys/module/failpercpu/parameters/nth", "w") as file:
                file.write(str(failed + 1))
            try:
                self.load()
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOMEM)
                self.assert_unwound(f"per-CPU {failed}")
                failed += 1
                continue
            break
        self.assertNotEqual(read("/sys/module/failpercpu/parameters/nth"), "0\n")
        with open("/sys/module/failpercpu/parameters/nth", "w") as file:
            file.write("0")
        # Of connections, services, MPTCP's handshakes, and counters.
        self.assertEqual(failed, 4)
        self.assert_works()


class Parameters(FaultCase):
    """A value that there is no memory for leaves the one before."""

    def test_each_allocation_of_a_new_value(self):
        many = ",".join(f"10.{i}.0.0/16" for i in range(1, 200))
        for name, old, new in (
            ("trusted", "10.77.0.0/24,fd70::/64", "192.0.2.0/24,2001:db8::/32"),
            ("trusted", "10.77.0.0/24,fd70::/64", many),
            ("trusted", "10.77.0.0/24,fd70::/64", ""),
            ("ports", "1-65535", "80,443,8000-8999"),
            ("kinds", "254,200", "254,28"),
        ):
            with self.subTest(name=name, new=new[:20]):
                self.parameter(name, old)
                refused = 0
                for nth, error in faults.each(lambda: module.set_parameter(name, new)):
                    if error:
                        self.assertEqual(error.errno, errno.ENOMEM, nth)
                        self.assertEqual(module.parameter(name).strip(), old, nth)
                        self.assert_works()
                        refused += 1
                    else:
                        self.assertEqual(module.parameter(name).strip(), new)
                        module.set_parameter(name, old)
                print(f"     {name}={new[:20]}: refused {refused} times")
                self.assertEqual(refused > 0, name != "kinds" and bool(new))


class Questions(FaultCase):
    """Whoever asks is told that there was no memory, and nothing else changes."""

    def test_each_failure_of_getsockopt(self):
        connection = self.connect(self.listen(), toa(*CLIENT4))
        refused = 0
        whole = connection.socket.getsockopt(IPPROTO_IP, TOA_SO_GET_INFO, 68)
        for option, length in ((TOA_SO_GET_INFO, 68), (1348, 28)):
            ask = lambda: connection.socket.getsockopt(IPPROTO_IP, option, length)  # noqa: E731
            before = module.stats()
            asked = 0
            for nth, error in faults.each(ask):
                asked += 1
                if error:
                    self.assertIn(error.errno, NO_MEMORY, nth)
                    refused += 1
            changes = module.stats().since(before)
            self.assertEqual(changes.get("sockopt_ok", 0) + changes.get("sockopt_empty", 0), asked)
        self.assertGreater(refused, 0)
        self.assertEqual(connection.socket.getsockopt(IPPROTO_IP, TOA_SO_GET_INFO, 68), whole)
        self.assert_shows(connection, *CLIENT4)

    def test_each_allocation_of_reading_proc(self):
        connections = [self.connect(self.listen(), toa(*CLIENT4)) for _ in range(3)]
        for path in (module.LIST, module.PROC):
            whole = read(path)

            def look():
                fd = os.open(path, os.O_RDONLY)
                try:
                    text = b"".join(iter(lambda: os.read(fd, 65536), b"")).decode()
                finally:
                    os.close(fd)
                self.assertEqual(text, whole)

            refused = 0
            with faults.anybodys():
                for nth, error in faults.each(look):
                    if error:
                        self.assertIn(error.errno, NO_MEMORY, f"{path} {nth}")
                        refused += 1
            print(f"     {path}: refused {refused} times")
            self.assertGreater(refused, 1)
            self.assertEqual(read(path), whole)
        for connection in connections:
            self.assert_shows(connection, *CLIENT4)


class Namespaces(FaultCase):
    """A namespace that there is no memory for is not made, and the others do not notice."""

    def make(self):
        """Makes one, and is at home in it."""
        unshare()
        self.assertEqual(set(map(module.stats().total, module.stats().rows)), {0})
        case = Case()
        case.tun = net.Tun(1)
        case.assert_shows(case.connect(case.listen(), toa(*CLIENT4)), *CLIENT4)
        case.doCleanups()
        case.tun.close()

    def attempts(self):
        refused = 0
        for nth, error in faults.each(unshare):
            if error:
                self.assertIn(error.errno, (errno.ENOMEM, errno.EBUSY), nth)
                refused += 1
        return refused

    def test_each_allocation(self):
        connection = self.connect(self.listen(), toa(*CLIENT4))
        refused = Child(self.attempts).result()
        print(f"     refused {refused} times")
        self.assertGreater(refused, 1)
        self.assert_shows(connection, *CLIENT4)
        Child(self.make).result()
        self.assert_works()

    def test_per_cpu_allocation(self):
        module.insert("/share/failpercpu.ko")
        self.addCleanup(module.remove, "failpercpu")
        with open("/sys/module/failpercpu/parameters/nth", "w") as file:
            file.write("1")

        def refuse():
            with self.assertRaises(OSError) as raised:
                unshare()
            self.assertEqual(raised.exception.errno, errno.ENOMEM)
            self.make()

        Child(refuse).result()
        self.assert_works()


class Connections(FaultCase):
    """Connections live on when there is no memory for their clients, and say the balancer."""

    # More than what lies ready for a time without memory: in the depot, and at each CPU.
    CONNECTIONS = 2048 + 64 * 4

    def setUp(self):
        super().setUp()
        module.reload(kinds="254,252")
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20), hard))

    def open(self, listener, options, number):
        remote = self.remote(listener)
        remote.connect(options)
        connection = self.accept(listener, remote)
        # One object after another, so that the memory that comes back is not at hand for the next.
        return connection

    def test_records(self):
        listener = self.listen()
        before = module.stats()
        clients, balancers = [], []
        with faults.all_fail():
            for number in range(self.CONNECTIONS):
                client = ("192.0.2.1", 1 + number)
                connection = self.open(listener, toa(*client), number)
                if connection.accepted == connection.remote.name:
                    balancers.append(connection)
                else:
                    self.assertEqual(connection.accepted, client)
                    clients.append(connection)
            changes = module.stats().since(before)
            self.assertEqual(changes["syn_recv_sock_toa"], self.CONNECTIONS)
            self.assertGreater(len(balancers), 10)
            self.assertEqual(changes["record_lost"], len(balancers))
            self.assertEqual(changes["records_live"], len(clients))
            # They are alive.
            for connection in balancers[:5]:
                self.assert_shows_peer(connection)
                self.assert_not_listed(connection)
                connection.socket.sendall(b"alive")
                self.assertEqual(connection.remote.read(5), b"alive")
        print(f"     {len(clients)} with a client, {len(balancers)} without")
        lines = [line for line in self.log.ours() if "no memory for clients" in line]
        self.assertEqual(len(lines), 1)
        # Memory is there again: for the next, or when the kernel thread had its turn for one after it.
        connection = self.open(listener, toa(*CLIENT4), 0)
        self.assert_shows(connection, *CLIENT4)
        for connection in balancers:
            self.assertEqual(connection.socket.getpeername(), connection.remote.name)

    def test_services(self):
        listener = self.listen()
        lost = 0
        with faults.all_fail("toa_service"):
            for number in range(self.CONNECTIONS):
                client = ("192.0.2.1", 1 + number)
                value = struct.pack("!H4sI4sH2x", client[1], net.packed(client[0]), 7, net.packed("10.9.8.7"), 80)
                connection = self.open(listener, bytes([252, 20]) + value, number)
                self.assertEqual(connection.accepted, client)
                info = connection.socket.getsockopt(IPPROTO_IP, TOA_SO_GET_INFO, 68)
                lost += not info[6] & 1
        print(f"     {lost} without their service")
        self.assertGreater(lost, 10)
        self.assertEqual(module.stats().total("record_lost"), 0)


