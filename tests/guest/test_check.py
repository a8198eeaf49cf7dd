# SPDX-License-Identifier: GPL-2.0
"""toa-check, which an operator runs on a server: what it sees, what it proves, and that it leaves nothing."""

import contextlib
import gzip
import importlib.machinery
import importlib.util
import json
import lzma
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from socket import AF_INET, AF_INET6
from unittest import mock

import module
import tracing
from case import Case, sysctl
from net import toa

CHECK = "/toa/scripts/toa-check"
RELEASE = os.uname().release
CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)

# Whom toa-check plays: its clients, and the port of them.
SHOWN4, SHOWN6 = "203.0.113.7:50001", "[2001:db8:203::7]:50001"

# A network namespace whose counters nobody else moves.
FRESH = ("unshare", "--net")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def mounted(script):
    """The command line that runs a command after a script, whose mounts nobody else sees."""
    return ("unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh")


class Outcome:
    """What toa-check --json found."""

    def __init__(self, done):
        self.status = done.returncode
        self.document = json.loads(done.stdout)
        self.checks = self.document["checks"]

    def lines(self, name):
        return [check for check in self.checks if check["check"] == name]

    def names(self):
        return [check["check"] for check in self.checks]

    def not_ok(self):
        return [(check["status"], check["check"]) for check in self.checks if check["status"] != "ok"]


class CheckCase(Case):
    def run_check(self, *options, before=()):
        done = subprocess.run(
            [*before, CHECK, *options], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        self.assertNotIn("Traceback", done.stderr)
        return done

    def check(self, *options, before=FRESH):
        return Outcome(self.run_check("--json", *options, before=before))

    def look(self, before=FRESH):
        return self.check("--no-connection", before=before)

    def assert_line(self, outcome, status, name, *words):
        """There is one line of this name, with this status, and the words are in its text or remedy."""
        lines = outcome.lines(name)
        self.assertEqual(len(lines), 1, lines or outcome.names())
        self.assertEqual(lines[0]["status"], status, lines[0])
        for word in words:
            self.assertIn(word, lines[0]["text"] + " -> " + lines[0].get("remedy", ""))

    def assert_one_of(self, outcome, status, name, *words):
        """One of several lines of this name has all of the words."""
        lines = [check["text"] + " -> " + check.get("remedy", "") for check in outcome.lines(name)
                 if check["status"] == status]
        self.assertTrue([line for line in lines if all(word in line for word in words)], outcome.lines(name))

    def assert_proven(self, outcome, name, shown, **step):
        """A connection was made with what is in `step`, and accept() saw `shown`."""
        self.assert_line(outcome, "ok", name)
        line = outcome.lines(name)[0]
        self.assertEqual({key: line["step"][key] for key in step}, step)
        self.assertEqual(line["seen"]["accept"], shown)
        self.assertEqual(line["seen"]["getpeername"], shown)
        return line

    def assert_believed(self, outcome, name, shown, **step):
        line = self.assert_proven(outcome, name, shown, believed=True, **step)
        self.assertEqual(line["seen"]["info"]["client"], shown)
        self.assertEqual(line["seen"]["info"]["kind"], line["step"]["kind"])

    def assert_not_believed(self, outcome, name, sender, **step):
        line = self.assert_proven(outcome, name, outcome.lines(name)[0]["expected"]["accept"], **step)
        self.assertEqual(line["step"]["sender"], sender)
        self.assertIn(sender, line["seen"]["accept"])
        self.assertIsNone(line["seen"]["info"])

    def install(self, name="toa.ko", home=RELEASE, place="updates", listed=True, data=None):
        """The command line that runs a command where this toa.ko, and no other, is installed."""
        directory = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
        self.addCleanup(shutil.rmtree, directory)
        path = directory / home / place / name
        path.parent.mkdir(parents=True)
        path.write_bytes(pathlib.Path(module.PATH).read_bytes() if data is None else data)
        (directory / home / "modules.dep").write_text(f"{place}/{name}:\n" if listed else "")
        return mounted(f"mount --bind {directory} /usr/lib/modules")

    def file(self, text):
        """A file with this text; its path."""
        handle, path = tempfile.mkstemp(dir="/tmp")
        with open(handle, "w") as file:
            file.write(text)
        self.addCleanup(os.unlink, path)
        return path

    def load_at_boot(self):
        path = pathlib.Path("/run/modules-load.d/toa.conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text("# as the package does\ntoa\n")
        self.addCleanup(path.unlink)


class Connections(CheckCase):
    """What is proven end to end."""

    def test_all_is_well(self):
        self.load_at_boot()
        # What earlier tests left in the kernel's log is before this.
        self.reload(trusted="10.0.0.0/8,fd00::/8")
        before = (*FRESH, *self.install())
        outcome = self.check(before=before)
        self.assertEqual(outcome.not_ok(), [])
        self.assertEqual(outcome.status, 0)
        self.assertEqual(outcome.document["status"], "ok")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4, sender="10.0.0.1", segment="ACK")
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6, sender="fd00::1", segment="ACK")
        self.assert_believed(outcome, "IPv4 SYN", SHOWN4, segment="SYN")
        self.assert_believed(outcome, "IPv6 SYN", SHOWN6, segment="SYN")
        self.assert_not_believed(outcome, "IPv4 no option", "10.0.0.1", kind=None)
        self.assert_not_believed(outcome, "IPv6 no option", "fd00::1", kind=None)
        self.assert_not_believed(outcome, "IPv4 not trusted", "192.0.2.66", kind=254)
        self.assert_not_believed(outcome, "IPv6 not trusted", "2001:db8:66::66", kind=254)

        done = self.run_check(before=before)
        self.assertEqual(done.returncode, 0)
        *lines, summary = done.stdout.splitlines()
        self.assertEqual({line.split()[0] for line in lines}, {"ok"})
        self.assertIn(f"accept() saw {SHOWN4}", done.stdout)
        self.assertIn(f"accept() saw {SHOWN6}", done.stdout)
        self.assertEqual(summary, "toa works here")

    def test_devices(self):
        self.assert_believed(outcome := self.check(), "IPv4 kind 254", SHOWN4)
        self.assertEqual(outcome.lines("IPv4 kind 254")[0]["device"], "Tun")
        outcome = self.check(before=(*FRESH, *mounted("mount -t tmpfs tmpfs /dev/net")))
        for name in ("IPv4 kind 254", "IPv4 SYN", "IPv4 no option"):
            self.assertEqual(outcome.lines(name)[0]["device"], "Veth")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6)
        self.assert_believed(outcome, "IPv6 SYN", SHOWN6)
        self.assert_not_believed(outcome, "IPv6 no option", "2001:db8:18::2", kind=None)

    def test_nobody_is_trusted_in_particular(self):
        outcome = self.check()
        self.assertEqual(outcome.status, 3)
        self.assert_line(outcome, "warn", "trusted", "empty", "echo", "/etc/modprobe.d")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6)
        self.assertFalse([name for name in outcome.names() if "not trusted" in name])

    def test_trusted_of_one_family(self):
        for trusted, family, other, sender, stranger in (
            ("10.1.2.3/32", "IPv4", "IPv6", "10.1.2.3", "2001:db8:66::66"),
            ("fd12::/16", "IPv6", "IPv4", "fd12::1", "192.0.2.66"),
        ):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                outcome = self.check()
                self.assert_line(outcome, "ok", "trusted", trusted)
                shown = SHOWN4 if family == "IPv4" else SHOWN6
                self.assert_believed(outcome, f"{family} kind 254", shown, sender=sender)
                self.assert_line(outcome, "ok", other, f"trusted has no {other} address")
                self.assert_not_believed(outcome, f"{other} not trusted", stranger, kind=254)
                self.assertNotIn(f"{other} kind 254", outcome.names())

    def test_trusted_has_the_addresses_for_examples(self):
        self.parameter("trusted", "192.0.2.0/24,2001:db8::/32,198.18.0.1,203.0.113.7")
        outcome = self.check()
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6)
        self.assert_not_believed(outcome, "IPv4 not trusted", "198.51.100.66", kind=254)
        self.assert_not_believed(outcome, "IPv6 not trusted", "fd66::66", kind=254)
        # Those of its own server.
        self.parameter("trusted", "198.18.0.1,2001:db8:18::1")
        outcome = self.check()
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4, sender="198.18.0.1")
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6, sender="2001:db8:18::1")

    def test_everyone_is_trusted(self):
        self.parameter("trusted", "0.0.0.0/0,::/0")
        outcome = self.check()
        self.assert_line(outcome, "warn", "trusted", "everyone")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assert_believed(outcome, "IPv6 kind 254", SHOWN6)
        self.assertFalse([name for name in outcome.names() if "not trusted" in name])

    def test_trusted_that_nobody_can_send_from(self):
        self.parameter("trusted", "127.0.0.0/8,fe80::/10")
        outcome = self.check()
        self.assert_line(outcome, "ok", "IPv4", "127.0.0.0/8")
        self.assert_line(outcome, "ok", "IPv6", "fe80::/10")
        self.assert_line(outcome, "warn", "connection", "cannot be shown")
        self.assert_not_believed(outcome, "IPv4 not trusted", "192.0.2.66", kind=254)

    def test_ports(self):
        for ports, port in (("8443-8450", 8443), ("22,80", 22), ("65535", 65535)):
            with self.subTest(ports=ports):
                self.parameter("ports", ports)
                outcome = self.check()
                self.assert_line(outcome, "ok", "parameters", f"ports: {ports}")
                self.assert_believed(outcome, "IPv4 kind 254", SHOWN4, port=port)
                self.assert_believed(outcome, "IPv6 kind 254", SHOWN6, port=port)

    def test_kinds(self):
        self.parameter("kinds", "254,253,252,250,249,202,201,200,28")
        outcome = self.check()
        for kind in (254, 253):
            self.assert_believed(outcome, f"IPv4 kind {kind}", SHOWN4, kind=kind)
            self.assert_believed(outcome, f"IPv6 kind {kind}", SHOWN6, kind=kind)
        for kind in (252, 200):
            self.assert_believed(outcome, f"IPv4 kind {kind}", SHOWN4, kind=kind)
            self.assert_believed(outcome, f"IPv6 kind {kind}", SHOWN4, kind=kind)
        self.assert_believed(outcome, "IPv4 kind 249", SHOWN6, kind=249)
        self.assert_believed(outcome, "IPv6 kind 249", SHOWN6, kind=249)
        for family, address in (("IPv4", r"203\.0\.113\.7"), ("IPv6", r"\[2001:db8:203::7\]")):
            # Without a port, so that it is the balancer's.
            line = outcome.lines(f"{family} kind 28")[0]
            self.assertEqual(line["status"], "ok")
            port = line["seen"]["info"]["balancer"].rpartition(":")[2]
            self.assertRegex(line["seen"]["accept"], rf"^{address}:{port}$")

    def test_kinds_without_the_usual_one(self):
        self.parameter("kinds", "200")
        outcome = self.check()
        self.assert_believed(outcome, "IPv4 kind 200", SHOWN4, kind=200)
        self.assert_believed(outcome, "IPv4 SYN", SHOWN4, kind=200)
        self.assertNotIn("IPv4 kind 254", outcome.names())

    def test_syns_are_not_read(self):
        self.reload(syn_max="0")
        outcome = self.check()
        self.assert_line(outcome, "ok", "parameters", "SYNs are not read")
        self.assert_line(outcome, "ok", "hooks")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assertFalse([name for name in outcome.names() if "SYN" in name])

    def test_a_hook_that_does_nothing_is_seen(self):
        # As nothing breaks the module, a parameter changes between being read and being proven: a file
        # that says something else than the module.
        self.parameter("kinds", "253")
        lie = self.file("254\n")
        outcome = self.check(before=(*FRESH, *mounted(f"mount --bind {lie} {module.PARAMETERS}/kinds")))
        self.assertEqual(outcome.status, 1)
        self.assert_line(outcome, "FAIL", "IPv4 kind 254", f"instead of {SHOWN4}", "rmmod toa")
        self.assert_line(outcome, "FAIL", "IPv6 SYN", f"instead of {SHOWN6}")
        self.assert_line(outcome, "ok", "IPv4 no option")

    def test_an_option_that_should_not_be_believed_is_seen(self):
        lie = self.file("10.0.0.0/8\n")
        outcome = self.check(before=(*FRESH, *mounted(f"mount --bind {lie} {module.PARAMETERS}/trusted")))
        self.assert_line(outcome, "ok", "IPv4 kind 254")
        self.assert_line(outcome, "FAIL", "IPv4 not trusted", f"accept: {SHOWN4} instead of 192.0.2.66:")

    def test_only_looking(self):
        outcome = self.look()
        self.assertFalse([name for name in outcome.names() if "IPv" in name or name == "connection"])
        self.assert_line(outcome, "ok", "module")


class Sights(CheckCase):
    """What is seen by looking, with the module loaded."""

    def test_file(self):
        self.assert_line(self.look(), "warn", "file", "after a reboot", "make install")
        whole = pathlib.Path(module.PATH).read_bytes()
        for name, data in (
            ("toa.ko", whole), ("toa.ko.xz", lzma.compress(whole, preset=0)), ("toa.ko.gz", gzip.compress(whole, 1)),
        ):
            with self.subTest(name=name):
                outcome = self.look((*FRESH, *self.install(name, data=data)))
                self.assert_line(outcome, "ok", "file", name)
                self.assert_line(outcome, "warn", "boot", "modules-load.d")
        self.load_at_boot()
        self.assert_line(self.look((*FRESH, *self.install())), "ok", "boot", "/run/modules-load.d/toa.conf")

    def test_another_build_is_installed(self):
        data = pathlib.Path(module.PATH).read_bytes()
        with open(f"{module.PARAMETERS}/../notes/.note.gnu.build-id", "rb") as file:
            note = file.read()
        self.assertEqual(data.count(note), 1)
        other = data.replace(note, note[:-1] + bytes([note[-1] ^ 1]))
        outcome = self.look((*FRESH, *self.install(data=other)))
        self.assert_line(outcome, "warn", "file", "another build", "rmmod toa && modprobe toa")

    def test_file_for_another_kernel(self):
        outcome = self.look((*FRESH, *self.install(home="6.6.6-other")))
        self.assert_line(outcome, "warn", "file", "6.6.6-other", "make install")
        other = RELEASE[:-1] + "_"
        data = pathlib.Path(module.PATH).read_bytes()
        data = data.replace(f"vermagic={RELEASE}".encode(), f"vermagic={other}".encode())
        outcome = self.look((*FRESH, *self.install(data=data)))
        self.assert_line(outcome, "warn", "file", "another kernel", other)

    def test_file_that_is_none(self):
        for name, data in (
            ("toa.ko", b""), ("toa.ko", b"\x7fELF\x02\x01" + bytes(70)), ("toa.ko", b"text"),
            ("toa.ko.xz", b"text"), ("toa.ko.gz", b"text"), ("toa.ko.zst", b"text"),
            ("toa.ko", pathlib.Path(module.PATH).read_bytes()[:5000]),
        ):
            with self.subTest(name=name, length=len(data)):
                self.assert_line(self.look((*FRESH, *self.install(name, data=data))), "warn", "file", "cannot tell")

    def test_file_that_modprobe_does_not_know(self):
        outcome = self.look((*FRESH, *self.install(listed=False)))
        self.assert_line(outcome, "warn", "file", "depmod")

    def test_hooks(self):
        count = len(tracing.FUNCTIONS)
        self.assert_line(self.look(), "ok", "hooks", f"{count} functions")
        with tracing.FunctionTracer():
            self.assert_line(self.look(), "ok", "hooks", f"{count} functions", f"{count} of them by others")
        self.assert_line(self.look(), "ok", "hooks", f"{count} functions")

    def test_hooks_while_others_let_go_of_theirs(self):
        """The kernel gives a long list in pieces, and each that leaves the first hides one of the second."""
        loader = importlib.machinery.SourceFileLoader("toa_check", CHECK)
        check = importlib.util.module_from_spec(importlib.util.spec_from_loader("toa_check", loader))
        loader.exec_module(check)
        read, torn = check.read, []

        def disturbed(path):
            if torn or not str(path).endswith("/enabled_functions"):
                return read(path)
            with open(path, "rb", buffering=0) as file:
                piece = file.read(1 << 20)
                tracing.write("current_tracer", "nop")
                torn.append((piece + file.read()).decode())
            return torn[0]

        self.addCleanup(tracing.write, "set_ftrace_filter", "")
        self.addCleanup(tracing.write, "current_tracer", "nop")
        # Functions that lie lower in memory than the network's, and so come first; more than fill a piece,
        # which is as long as a page, that of arm64 too.
        tracing.write("set_ftrace_filter", "vfs_* do_* file_* path_* inode_* page_* sched_*")
        tracing.write("current_tracer", "function")
        report = check.Report(quiet=True)
        with mock.patch.object(check, "read", disturbed):
            check.check_hooks(report, check.Host())
        self.assertNotIn("inet_getname", torn[0])
        self.assertEqual(tracing.hooked(), sorted(tracing.FUNCTIONS))
        self.assertEqual([line["status"] for line in report.checks], ["ok"], report.checks)

    def test_hooks_that_are_absent(self):
        real = tracing.read("enabled_functions").splitlines()
        self.assertTrue(real)
        # The last one is of MPTCP, where there is that.
        for function in ("inet_getname", "tcp_child_process", "tcp_v6_send_synack", tracing.FUNCTIONS[-1]):
            with self.subTest(function=function):
                path = self.file("\n".join(line for line in real if line.split()[0] != function))
                before = mounted(f"mount --bind {path} {tracing.ROOT}/enabled_functions")
                self.assert_line(self.look((*FRESH, *before)), "FAIL", "hooks", f"no hook on {function}", "rmmod")
        for change in (lambda line: line.replace(" I ", "   "), lambda line: line.replace("[toa]", "[other]")):
            text = "\n".join(change(line) if line.startswith("inet6_getname ") else line for line in real)
            before = mounted(f"mount --bind {self.file(text)} {tracing.ROOT}/enabled_functions")
            self.assert_line(self.look((*FRESH, *before)), "FAIL", "hooks", "no hook on inet6_getname")

    def test_tracing_is_not_mounted(self):
        before = mounted("umount /sys/kernel/tracing; umount -l /sys/kernel/debug")
        outcome = self.look((*FRESH, *before))
        self.assert_line(outcome, "warn", "hooks", "cannot tell", "mount -t tracefs tracefs /sys/kernel/tracing")

    def test_signatures(self):
        enforce = f"mount --bind {self.file('Y')} /sys/module/module/parameters/sig_enforce"
        self.assert_line(self.look(), "ok", "signature", "not asked for")
        unsigned = self.install()
        outcome = self.look((*FRESH, *unsigned, *mounted(enforce)))
        self.assert_line(outcome, "warn", "signature", "has none", "mokutil")
        data = pathlib.Path(module.PATH).read_bytes() + b"~Module signature appended~\n"
        outcome = self.look((*FRESH, *self.install(data=data), *mounted(enforce)))
        self.assert_line(outcome, "ok", "signature", "has one")
        lockdown = self.file("none [integrity] confidentiality")
        before = mounted(f"mount -t tmpfs tmpfs /sys/kernel/security && cp {lockdown} /sys/kernel/security/lockdown")
        outcome = self.look((*FRESH, *unsigned, *before))
        self.assert_line(outcome, "warn", "signature", "lockdown: integrity", "has none")

    def test_secure_boot(self):
        self.assert_line(self.look(), "ok", "signature", "no EFI")
        for value, word in ((b"\6\0\0\0\1", "Secure Boot: on"), (b"\6\0\0\0\0", "Secure Boot: off")):
            path = pathlib.Path(self.file(""))
            path.write_bytes(value)
            before = mounted("mount -t tmpfs tmpfs /sys/firmware && mkdir -p /sys/firmware/efi/efivars && "
                             f"cp {path} /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
            self.assert_line(self.look((*FRESH, *before)), "ok", "signature", word)

    def test_options_of_another_kind_arrive(self):
        here = self.check(before=())
        listener = self.listen()
        self.connect(listener, toa(*CLIENT4, kind=200))
        outcome = self.check(before=())
        self.assert_one_of(outcome, "warn", "counters", "options of kind 200 arrive", "kinds=254",
                           f"echo 254,200 > {module.PARAMETERS}/kinds")
        self.assertEqual(outcome.status, 3)
        self.parameter("kinds", "254,200")
        outcome = self.look(())
        self.assertFalse([line for line in outcome.lines("counters") if "kind 200" in line["text"]])
        self.assert_line(self.look(), "ok", "counters", "in this network namespace")
        self.assertNotIn("namespace", here.lines("counters")[0]["text"])

    def test_other_hints(self):
        self.connect(self.listen(), toa(*CLIENT6)).socket.getpeername()
        self.connect(self.listen(), b"\xfe\x03\x00\x00")
        self.parameter("trusted", "203.0.113.0/24")
        self.connect(self.listen(), toa(*CLIENT4))
        outcome = self.look(())
        for words in (("client's IPv6 address", "[::]"), ("malformed", "tcpdump"), ("who sent them", "trusted")):
            self.assert_one_of(outcome, "warn", "counters", *words)

    def test_ports_that_leave_everything_out(self):
        self.reload()
        self.parameter("ports", "1")
        self.connect(self.listen(), toa(*CLIENT4))
        self.assert_one_of(self.look(()), "warn", "counters", "ports=1", f"{module.PARAMETERS}/ports")

    def test_nothing_has_an_option(self):
        self.reload()
        self.connect(self.listen())
        self.assert_one_of(self.look(()), "warn", "counters", "none had an option", "tcpdump")

    def test_log(self):
        self.reload()
        self.assert_line(self.look(), "ok", "log")
        with self.assertRaises(OSError):
            module.set_parameter("trusted", "10.0.0.1/8")
        self.assert_line(self.look(), "warn", "log", 'TOA: trusted not changed: "10.0.0.1/8"')
        module.reload()
        self.assert_line(self.look(), "ok", "log")

    def test_its_own_connections_are_no_trouble(self):
        self.reload(trusted="10.0.0.0/8,fd00::/8")
        log = module.Log()
        self.addCleanup(log.close)
        self.assertEqual(self.check().status, 3)
        self.assert_line(self.look(), "ok", "log")
        for line in log.ours():
            self.assertRegex(line, r"options from (192\.0\.2\.66|\[2001:db8:66::66\]):\d+ are ignored")

    def test_not_root(self):
        self.parameter("trusted", "10.0.0.0/8,fd00::/8")
        self.sysctl("kernel.dmesg_restrict", 1)
        outcome = self.check(before=(*FRESH, *NOBODY))
        self.assert_line(outcome, "warn", "hooks", "run it as root")
        self.assert_line(outcome, "warn", "log", "run it as root")
        self.assert_line(outcome, "ok", "module")
        self.assert_line(outcome, "ok", "trusted")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        self.assert_not_believed(outcome, "IPv6 not trusted", "2001:db8:66::66")
        self.assertEqual(outcome.status, 3)
        self.sysctl("user.max_user_namespaces", 0)
        outcome = self.check(before=(*FRESH, *NOBODY))
        self.assert_line(outcome, "warn", "connection", "cannot make a network namespace", "run it as root")

    def test_container(self):
        container = ("unshare", "--pid", "--net", "--fork", "--mount-proc")
        outcome = self.check(before=container)
        self.assert_line(outcome, "warn", "place", "belongs to the node")
        self.assert_line(outcome, "ok", "module")
        self.assert_line(outcome, "ok", "counters", "this container")
        self.assert_believed(outcome, "IPv4 kind 254", SHOWN4)
        for name in ("file", "boot", "hooks", "signature", "log"):
            self.assertNotIn(name, outcome.names())
        self.sysctl("user.max_user_namespaces", 0)
        outcome = self.check(before=(*container, "setpriv", "--bounding-set", "-sys_admin"))
        self.assert_line(outcome, "warn", "connection", "cannot make a network namespace", "on the node")
        module.unload()
        outcome = self.check(before=container)
        self.assert_line(outcome, "FAIL", "module", "not loaded", "on the node")

    def test_usage(self):
        done = self.run_check("--help")
        self.assertEqual(done.returncode, 0)
        for word in ("--json", "--no-connection", "--version", "Exit", "exit status"):
            self.assertIn(word.lower(), done.stdout.lower())
        done = self.run_check("--version")
        self.assertEqual((done.returncode, done.stdout.split()[0]), (0, "toa-check"))
        source = pathlib.Path("/toa/src/linux/param.c").read_text()
        of_module = re.search(r'^MODULE_VERSION\("(.*)"\);$', source, re.M)
        if of_module:
            self.assertEqual(done.stdout.split()[1], of_module[1])
        for wrong in (("--nonsense",), ("more",), ("--json=1",), ("--js",)):
            done = self.run_check(*wrong)
            self.assertEqual((done.returncode, done.stdout), (2, ""), wrong)
            self.assertEqual(len(done.stderr.splitlines()), 1)


class Absence(CheckCase):
    """Without the module: why it is not there, and whether it could be."""

    def setUp(self):
        super().setUp()
        module.unload()
        self.addCleanup(module.load)

    @contextlib.contextmanager
    def inserted(self, name, **parameters):
        module.insert(f"/share/{name}.ko", **parameters)
        try:
            yield
        finally:
            module.remove(name)

    def test_not_loaded(self):
        outcome = self.check()
        self.assertEqual(outcome.status, 1)
        self.assertEqual(outcome.document["status"], "FAIL")
        self.assert_line(outcome, "FAIL", "module", "not loaded", "package toa-dkms")
        for name in ("hooks", "ftrace", "livepatch", "other modules", "kernel"):
            self.assert_line(outcome, "ok", name)
        for name in ("trusted", "counters", "IPv4 kind 254", "connection"):
            self.assertNotIn(name, outcome.names())
        self.assertIn("toa does not work here", self.run_check().stdout)

    def test_installed(self):
        outcome = self.look((*FRESH, *self.install()))
        self.assert_line(outcome, "FAIL", "module", "not loaded -> modprobe toa")
        self.assert_line(outcome, "ok", "file")
        outcome = self.look((*FRESH, *self.install(listed=False)))
        self.assert_line(outcome, "FAIL", "module", "depmod && modprobe toa")
        outcome = self.look((*FRESH, *self.install(home="6.6.6-other")))
        self.assert_line(outcome, "FAIL", "file", "6.6.6-other", "headers")

    def test_signature_is_missing(self):
        enforce = mounted(f"mount --bind {self.file('Y')} /sys/module/module/parameters/sig_enforce")
        outcome = self.look((*FRESH, *self.install(), *enforce))
        self.assert_line(outcome, "FAIL", "signature", "will not load", "mokutil")

    def test_kernel_without_what_it_takes(self):
        home = "/usr/lib/modules"
        for config, status, words in (
            ("CONFIG_MODULES=y\nCONFIG_DYNAMIC_FTRACE_WITH_ARGS=y\n", "ok", ["can hook"]),
            ("CONFIG_MODULES=y\nCONFIG_DYNAMIC_FTRACE_WITH_REGS=y\n", "ok", ["can hook"]),
            ("CONFIG_MODULES=y\n# CONFIG_DYNAMIC_FTRACE_WITH_ARGS is not set\n", "FAIL", ["CONFIG_DYNAMIC_FTRACE"]),
            ("CONFIG_DYNAMIC_FTRACE_WITH_ARGS=y\n", "FAIL", ["CONFIG_MODULES"]),
        ):
            with self.subTest(config=config):
                before = mounted(f"mount -t tmpfs tmpfs {home}; mkdir {home}/{RELEASE}; "
                                 f"cp {self.file(config)} {home}/{RELEASE}/config")
                self.assert_line(self.look((*FRESH, *before)), status, "kernel", *words)

    def test_somebody_else_replaces_a_function(self):
        with self.inserted("ipmodify", function="inet6_getname"):
            self.assert_line(self.look(), "FAIL", "hooks", "inet6_getname", "ipmodify", "disable")
        self.assert_line(self.look(), "ok", "hooks")

    def test_livepatch(self):
        path = pathlib.Path("/sys/kernel/livepatch/livepatch")
        module.insert("/share/livepatch.ko")
        try:
            outcome = self.look()
        finally:
            self.settle(path)
            path.joinpath("enabled").write_text("0")
            self.wait(lambda: not path.exists())
            module.remove("livepatch")
        self.assert_line(outcome, "FAIL", "livepatch", "livepatch replaces inet6_getname", "echo 0 >")
        self.assert_line(self.look(), "ok", "livepatch", "none")

    def settle(self, path):
        """Waits until all tasks have what the patch changes."""
        self.wait(lambda: path.joinpath("transition").read_text().strip() == "0")

    def wait(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_bpf_program_has_a_function(self):
        with tracing.Bpf():
            outcome = self.look()
        if tracing.BPF_SHARES:
            self.assert_line(outcome, "ok", "hooks")
        else:
            self.assert_line(outcome, "FAIL", "hooks", "replaced already", "BPF")

    def test_hooks_are_switched_off(self):
        try:
            self.sysctl("kernel.ftrace_enabled", 0)
        except OSError:
            path = self.file("0\n")
            before = mounted(f"mount --bind {path} /proc/sys/kernel/ftrace_enabled")
        else:
            before = ()
        self.assert_line(self.look(before), "FAIL", "ftrace", "sysctl kernel.ftrace_enabled=1")
        if not before:
            sysctl("kernel.ftrace_enabled", 1)
        self.assert_line(self.look(), "ok", "ftrace")

    def test_another_module_of_this_kind(self):
        with self.inserted("takename"):
            self.assert_line(self.look(()), "FAIL", "other modules", "/proc/net/toa_stats", "unload")
        for first in (1345, 4097):
            with self.inserted("takeoptions", first=first):
                self.assert_line(self.look(), "FAIL", "other modules", f"socket option {first}")
        self.assert_line(self.look(), "ok", "other modules")

    def test_another_module_of_this_name(self):
        before = mounted("mount -t tmpfs tmpfs /sys/module; mkdir /sys/module/toa /sys/module/vtoa")
        outcome = self.look((*FRESH, *before))
        self.assert_line(outcome, "FAIL", "module", "not this one")
        self.assert_line(outcome, "FAIL", "other modules", "vtoa")

    def test_why_it_did_not_load(self):
        with self.inserted("ipmodify", function="inet_getname"):
            with self.assertRaises(OSError):
                module.insert(module.PATH)
            outcome = self.look()
        self.assert_line(outcome, "FAIL", "log", "TOA: not loaded: hooking inet_getname failed")


class Traces(CheckCase):
    """It leaves none."""

    def namespaces(self):
        """The network namespaces that processes are in."""
        found = set()
        for path in pathlib.Path("/proc").glob("[0-9]*/ns/net"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(path))
        return found

    def kept_namespaces(self):
        """How many the kernel keeps, used or not."""
        return module.slab_counts()["net_namespace"]

    def state(self):
        """Of the server, what a check could disturb."""
        def output(*command):
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {
            "links": output("ip", "-o", "-s", "link"),
            "addresses": output("ip", "-o", "address"),
            "routes": output("ip", "route", "show", "table", "all") + output("ip", "-6", "route"),
            "listeners": output("ss", "-Hanutp"),
            "mounts": pathlib.Path("/proc/self/mounts").read_text(),
            "modules": sorted(line.split()[0] for line in open("/proc/modules")),
            "parameters": [module.parameter(name) for name in sorted(os.listdir(module.PARAMETERS))],
            "connections": module.live(),
            "hooks": tracing.read("enabled_functions"),
            "namespaces": self.namespaces(),
            "files": sorted(os.listdir("/tmp")),
        }

    def settles(self, condition):
        deadline = time.monotonic() + 30
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertTrue(condition())

    def test_the_server_stays_as_it_is(self):
        self.parameter("trusted", "10.0.0.0/8,fd00::/8")
        listener = self.listen(AF_INET6)
        connection = self.connect(listener, toa(*CLIENT4), AF_INET)
        self.parameter("trusted", f"10.0.0.0/8,fd00::/8,{self.tun.balancer4}")
        self.check(before=())  # Loads what modules it needs.
        state, kept = self.state(), self.kept_namespaces()
        with self.assert_counts():
            self.assertEqual(self.check(before=()).document["failed"], 0)
        self.assertEqual(self.state(), state)
        self.settles(lambda: self.kept_namespaces() <= kept)
        self.assert_named(connection.socket, *CLIENT4)

    def test_interrupted(self):
        here, state, kept = self.namespaces(), self.state(), self.kept_namespaces()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number):
                process = subprocess.Popen([CHECK], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                while self.namespaces() == here and process.poll() is None:
                    pass
                self.assertIsNone(process.poll(), "it ended before it could be interrupted")
                process.send_signal(number)
                self.assertNotIn("Traceback", process.communicate()[1])
                self.assertNotEqual(process.returncode, 0)
                self.settles(lambda: self.namespaces() == here)
                self.settles(lambda: self.kept_namespaces() <= kept)
                self.assertEqual(self.state(), state)
