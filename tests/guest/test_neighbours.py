# SPDX-License-Identifier: GPL-2.0
"""An operator's tools on the same functions, and those that the module cannot share with.

The modules come from modules/ beside this file.
"""

import contextlib
import errno
import mmap
from socket import AF_INET6, IPPROTO_IP

import module
import net
import tracing
from case import Case, Child, sysctl
from net import toa
from syscalls import disconnect

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)


class Tracers(Case):
    """Addresses stay right while an operator looks on."""

    def setUp(self):
        super().setUp()
        self.listener, self.listener6 = self.listen(), self.listen(AF_INET6)

    def assert_addresses(self):
        with self.assert_intake(toa=2, no_toa=1):
            self.assert_shows(self.connect(self.listener, toa(*CLIENT4)), *CLIENT4)
            self.assert_shows(self.connect(self.listener6, toa(*CLIENT6)), *CLIENT6)
            self.assert_shows_peer(self.connect(self.listener))

    def test_function_tracer(self):
        before = self.connect(self.listener, toa(*CLIENT4))
        with tracing.FunctionTracer() as tracer:
            self.assert_addresses()
            self.assert_shows(before, *CLIENT4)
            disconnect(before.socket)
            self.assertEqual(tracer.seen(), set(tracing.TCP_FUNCTIONS))
        self.assert_addresses()

    def test_function_tracer_switched_on_and_off(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        done = mmap.mmap(-1, mmap.PAGESIZE)

        def ask():
            asked = 0
            while not done[0]:
                self.assertEqual(connection.socket.getpeername(), CLIENT4)
                asked += 1
            return asked

        child = Child(ask)
        try:
            with tracing.FunctionTracer() as tracer:
                for _ in range(10):
                    self.assert_addresses()
                    tracer.off()
                    self.assert_addresses()
                    tracer.on()
        finally:
            done[0] = 1
            asked = child.result()
        self.assertGreater(asked, 10)

    def test_unload_and_load_under_the_function_tracer(self):
        with tracing.FunctionTracer():
            module.unload()
            self.assert_shows_peer(self.connect(self.listener, toa(*CLIENT4)))
            module.load()
            self.assert_addresses()
        self.assert_addresses()

    def test_kprobes(self):
        probes = ("inet_getname", "inet6_getname")
        for function in probes:
            tracing.append("kprobe_events", f"p:toatest/{function} {function}\n")
        tracing.write("trace", "")
        try:
            tracing.write("events/toatest/enable", "1")
            self.assert_addresses()
            trace = tracing.read("trace")
            for function in probes:
                self.assertIn(f" {function}: ", trace)
        finally:
            tracing.write("events/toatest/enable", "0")
            for function in probes:
                tracing.append("kprobe_events", f"-:toatest/{function}\n")
        self.assert_addresses()

    def assert_bpf_beside_us(self, bpf):
        self.assert_addresses()
        disconnect(self.connect(self.listener, toa(*CLIENT4)).socket)
        for program, runs in bpf.runs().items():
            self.assertGreater(runs, 0, program)

    def test_bpf_attached_after_us(self):
        if not tracing.BPF_SHARES:
            with self.assertRaisesRegex(tracing.Refused, "busy"), tracing.Bpf():
                pass
            self.assert_addresses()
            return
        with tracing.Bpf() as bpf:
            self.assert_bpf_beside_us(bpf)
        self.assert_addresses()

    def test_bpf_attached_before_us(self):
        module.unload()
        with tracing.Bpf() as bpf:
            if not tracing.BPF_SHARES:
                log = module.Log()
                self.addCleanup(log.close)
                with self.assertRaises(OSError):
                    module.load()
                self.assertIn("BPF program", log.ours()[0])
                return
            module.load()
            self.assert_bpf_beside_us(bpf)
            module.unload()
            self.assert_shows_peer(self.connect(self.listener, toa(*CLIENT4)))
            module.load()
        self.assert_addresses()

    def test_bpf_and_function_tracer_at_the_same_time(self):
        with tracing.FunctionTracer():
            if tracing.BPF_SHARES:
                with tracing.Bpf() as bpf:
                    self.assert_bpf_beside_us(bpf)
            self.assert_addresses()
        self.assert_addresses()

    def test_hooks_cannot_be_switched_off(self):
        with self.assertRaises(OSError) as raised:
            sysctl("kernel.ftrace_enabled", 0)
        # Linux 7.3 never switches them off, and says so with another error.
        self.assertIn(raised.exception.errno, (errno.EBUSY, errno.EOPNOTSUPP))
        self.assert_addresses()


class Refusals(Case):
    """A load that cannot be says why, in one line, and leaves nothing."""

    def setUp(self):
        super().setUp()
        module.unload()
        self.addCleanup(module.load)
        self.log = module.Log()
        self.addCleanup(self.log.close)

    @contextlib.contextmanager
    def inserted(self, name, **parameters):
        """One of the modules beside this file is loaded."""
        module.insert(f"/share/{name}.ko", **parameters)
        try:
            yield
        finally:
            module.remove(name)

    def assert_refused(self, error, *words):
        self.log.lines()
        before = tracing.hooked()
        with self.assertRaises(OSError) as raised:
            module.insert(module.PATH)
        self.assertEqual(raised.exception.errno, error)
        lines = self.log.ours()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("TOA: not loaded: "), lines)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(tracing.hooked(), before)

    def tolerate_a_warning(self):
        """The kernel warns when a name is used twice, and a guest that warns has failed."""
        self.sysctl("kernel.panic_on_warn", 0)
        # Off the console too, where whoever runs the guest looks for warnings.
        self.sysctl("kernel.printk", "1 4 1 7")

    def assert_loads_now(self):
        self.assert_nothing_left()
        module.load()
        self.assertEqual(self.log.ours()[-1:], ["TOA: toa loaded"])
        self.assert_shows(self.connect(self.listen(), toa(*CLIENT4)), *CLIENT4)

    def test_hooks_switched_off(self):
        try:
            self.sysctl("kernel.ftrace_enabled", 0)
        except OSError as refused:
            self.assertEqual(refused.errno, errno.EOPNOTSUPP)
        else:
            self.assert_refused(errno.EBUSY, "kernel.ftrace_enabled=1")
            sysctl("kernel.ftrace_enabled", 1)
        self.assert_loads_now()

    def test_somebody_else_replaces_a_function(self):
        # The second is hooked after the first, which has to be unhooked again.
        for function in ("inet_getname", "inet6_getname"):
            with self.subTest(function=function):
                with self.inserted("ipmodify", function=function):
                    self.assert_refused(errno.EBUSY, f"hooking {function} ", "livepatch")
                self.assert_nothing_left()
        self.assert_loads_now()

    def test_name_of_the_statistics_is_taken(self):
        with self.inserted("takename"):
            self.assert_refused(errno.EBUSY, "/proc/net/toa_stats", "another TOA module is loaded", "rmmod")
        self.assert_loads_now()

    def test_name_of_the_statistics_is_taken_in_another_namespace(self):
        self.tolerate_a_warning()

        def refuse():
            # What was made for the first namespace has to be undone.
            with net.namespace("toatest"), self.inserted("takename"):
                self.assert_refused(errno.EBUSY, "/proc/net/toa_stats", "another TOA module is loaded", "rmmod")

        Child(refuse).result()
        self.assert_loads_now()

    def test_socket_options_are_taken(self):
        # Ours are in two ranges: whichever meets another module's, neither stays.
        for first, count in ((1348, 1), (4097, 10), (1300, 3000)):
            with self.subTest(first=first, count=count):
                with self.inserted("takeoptions", first=first, count=count):
                    self.assert_refused(errno.EBUSY, "socket options", "another TOA module", "rmmod")
                    self.assert_nothing_left()
        self.assert_loads_now()

    def test_socket_options_beside_ours(self):
        for first, count in ((1344, 1), (1349, 4096 - 1349), (4098, 1)):
            with self.subTest(first=first):
                with self.inserted("takeoptions", first=first, count=count):
                    module.load()
                    theirs = self.connect(self.listen(), toa(*CLIENT4)).socket
                    with self.assertRaises(OSError) as raised:
                        theirs.getsockopt(IPPROTO_IP, first, 16)
                    self.assertEqual(raised.exception.errno, errno.EPROTO)
                    self.assertEqual(len(theirs.getsockopt(IPPROTO_IP, 1348, 16)), 16)
                    module.unload()
                self.assert_nothing_left()

    def test_options_that_another_module_wants_too(self):
        module.load()
        with self.assertRaises(OSError) as raised, self.inserted("takeoptions", first=1347):
            pass
        self.assertEqual(raised.exception.errno, errno.EBUSY)
        connection = self.connect(self.listen(), toa(*CLIENT4))
        self.assertEqual(len(connection.socket.getsockopt(IPPROTO_IP, 1348, 16)), 16)
