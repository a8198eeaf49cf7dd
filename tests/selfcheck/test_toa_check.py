# SPDX-License-Identifier: GPL-2.0
"""What toa-check concludes from what it reads, without a kernel; tests/guest/test_check.py has the rest."""

import importlib.machinery
import importlib.util
import ipaddress
import itertools
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

TOP = pathlib.Path(__file__).resolve().parents[2]


def load():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("toa_check", str(TOP / "scripts/toa-check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("toa_check", loader))
    loader.exec_module(module)
    return module


check = load()


class Plan(unittest.TestCase):
    def believed(self, kinds="254", trusted="", ports="", syn_max="4096"):
        steps, impossible = check.plan([int(kind) for kind in kinds.split(",")], trusted, ports, syn_max)
        self.assertEqual(len({step.name for step in steps}), len(steps))
        return steps, impossible

    def test_every_combination_is_sound(self):
        prefixes = (
            "", "10.0.0.0/8", "fd00::/8", "10.0.0.0/8,fd00::/8", "0.0.0.0/0", "::/0", "0.0.0.0/0,::/0", "0.0.0.0/1",
            "127.0.0.0/8", "224.0.0.0/3", "fe80::/10", "ff00::/8", "::/1", "192.0.2.66/32,198.51.100.66/32",
            "203.0.113.7/32", "203.0.113.0/24", "198.18.0.0/15", "198.18.0.1/32", "2001:db8::/32",
            "2001:db8:18::1/128", "169.254.0.0/16,10.0.0.1/32", "255.255.255.255/32", "0.0.0.0/32", "::1/128",
        )
        kinds = ("254", "249", "200", "28", "254,253,252,250,249,202,201,200,28")
        for trusted, kind, ports, syns in itertools.product(prefixes, kinds, ("", "22,80", "8000-8999"), ("0", "9")):
            with self.subTest(trusted=trusted, kinds=kind, ports=ports, syns=syns):
                steps, _ = self.believed(kind, trusted, ports, syns)
                networks = [ipaddress.ip_network(prefix) for prefix in trusted.split(",") if prefix]
                for step in steps:
                    sender = ipaddress.ip_address(step.sender)
                    self.assertEqual(sender.version, step.version)
                    self.assertTrue(check.sends(sender))
                    self.assertNotEqual(step.sender, step.client)
                    inside = not networks or any(sender in network for network in networks)
                    self.assertEqual(inside, "not trusted" not in step.name)
                    self.assertEqual(step.believed, inside and step.kind is not None)
                    self.assertIn(step.port, {"": [443], "22,80": [22]}.get(ports, [8000]))
                    self.assertFalse(syns == "0" and step.segment == "SYN")
                    if step.kind:
                        self.assertIn(step.kind, [int(number) for number in kind.split(",")])
                        client = ipaddress.ip_address(step.client)
                        self.assertIsNotNone(getattr(check.OPTIONS[step.kind], f"v{client.version}"))

    def test_what_cannot_be_shown(self):
        for trusted, missing in (
            ("", []), ("10.0.0.0/8", ["IPv6"]), ("fd00::/8", ["IPv4"]), ("127.0.0.0/8", ["IPv4", "IPv6"]),
            ("127.0.0.0/8,10.0.0.1/32,fe80::/10", ["IPv6"]), ("224.0.0.0/3,fd00::/8", ["IPv4"]),
        ):
            steps, impossible = self.believed(trusted=trusted)
            self.assertEqual([name for name, _ in impossible], missing, trusted)
            shown = {step.name.split()[0] for step in steps if step.believed}
            self.assertEqual(shown, {"IPv4", "IPv6"}.difference(missing), trusted)


class Hints(unittest.TestCase):
    def hints(self, kinds=(254,), ports="", **counters):
        return [text for text, remedy in check.hints(counters, list(kinds), ports) if self.assertTrue(remedy) is None]

    def test_nothing_to_say(self):
        self.assertEqual(self.hints(), [])
        self.assertEqual(self.hints(syn_recv_sock_toa=5, syn_recv_sock_no_toa=7, option_254=5, syn_kept=1), [])
        self.assertEqual(self.hints(syn_recv_sock_toa=5, port_not_selected=7, option_254=5), [])
        self.assertEqual(self.hints((254, 200), option_200=3, syn_recv_sock_toa=3), [])
        # Those that accompany others name nobody.
        self.assertEqual(self.hints(option_250=3, syn_recv_sock_toa=3), [])

    def test_each(self):
        for counter, words in (
            ("option_200", "options of kind 200 arrive (3), and kinds=254"),
            ("option_28", "options of kind 28 arrive"),
            ("not_trusted", "3 options were ignored for who sent them"),
            ("port_not_selected", "3 options were ignored for ports=80"),
            ("malformed", "3 segments had malformed"),
            ("syn_recv_sock_no_toa", "3 connections came, and none had an option"),
            ("getname_toa_bypass", "3 times a client's IPv6 address"),
            ("syn_dropped", "3 clients that SYNs named were dropped"),
            ("syn_cookie", "3 clients that SYNs named were lost to SYN cookies"),
            ("record_lost", "3 clients were lost for want of memory"),
        ):
            found = self.hints(ports="80", **{counter: 3})
            self.assertEqual(len(found), 1, counter)
            self.assertIn(words, found[0])

    def test_counters(self):
        text = " " * 34 + "CPU0       CPU3       \n" + f"{'option_254':25}:{7:10} {8:10} \n" + f"{'malformed':25}:{0:10} {1:10} \n"
        self.assertEqual(check.read_counters(text), {"option_254": 15, "malformed": 1})
        self.assertEqual(check.read_counters(""), {})


class Log(unittest.TestCase):
    def test_since_the_last_load(self):
        bad = 'TOA: trusted not changed: "10.0.0.1/8" has bits set behind its prefix'
        everyone = "TOA: any sender of options is believed: set trusted= to the load balancers' addresses"
        self.assertEqual(check.troubles([bad, "TOA: toa loaded", "eth0: link is up", everyone], True), [])
        self.assertEqual(check.troubles([everyone, "TOA: toa loaded", bad], True), [bad])
        self.assertEqual(check.troubles([bad, "TOA: toa unloaded"], False), [])

    def test_own_connections(self):
        for sender, ours in (("192.0.2.66:40008", True), ("[2001:db8:66::66]:40017", True),
                             ("192.0.2.67:40008", False), ("192.0.2.6:40008", False), ("10.0.0.1:1", False),
                             ("[2001:db8:66::666]:40017", False), ("[2001:db8:66::6]:40017", False)):
            line = f"TOA: options from {sender} are ignored: add it to trusted= if it is a load balancer, else it forges"
            self.assertEqual(check.troubles([line], True), [] if ours else [line])

    def test_the_kernel_refuses_the_file(self):
        line = "toa: version magic '6.1.0-55-amd64 SMP' should be '6.1.0-56-amd64 SMP'"
        taint = "toa: loading out-of-tree module taints kernel."
        self.assertEqual(check.troubles([taint, line], False), [line])
        self.assertEqual(check.troubles([line, "TOA: toa loaded"], True), [])


class EnabledFunctions(unittest.TestCase):
    def test_lines_of_several_kernels(self):
        text = (
            # Linux 5.10, 6.1 and 7.3, the names of the callbacks shortened.
            "inet_getname (1) R I  \ttramp: 0xffffffffc02c5000 (callback+0x0/0x12e [toa]) ->callback+0x0/0x12e [toa]\n"
            "tcp_child_process (1)      \ttramp: 0xffffffffc0509000 (callback+0x0/0xfd [toa]) ->callback+0x0/0xfd [toa]\n"
            "inet6_getname (1)   I     M \ttramp: 0xffffffffc0612000 (hook+0x0/0x1a0 [ipmodify]) ->hook+0x0/0x1a0 [ipmodify]\n"
            "tcp_disconnect (2)           \ttramp: ftrace_regs_caller+0x0/0x65 ->arch_ftrace_ops_list_func+0x0/0x1f0\n"
            "tcp_v4_send_synack (1)  \ttramp: sev_hardware_setup+0x4d0/0x4e0 [kvm_amd] (callback+0x0/0xfb [toa]) ->callback+0x0/0xfb [toa]\n"
            "of_a_module [tun] (1)    D   \n"
            "\tdirect-->bpf_trampoline_6442500000+0x0/0x1000\n"
        )
        functions = check.enabled_functions(text)
        self.assertEqual(functions["inet_getname"], check.Enabled(1, {"R", "I"}, {"toa"}))
        self.assertEqual(functions["tcp_child_process"], check.Enabled(1, set(), {"toa"}))
        self.assertEqual(functions["inet6_getname"], check.Enabled(1, {"I", "M"}, {"ipmodify"}))
        self.assertEqual(functions["tcp_disconnect"], check.Enabled(2, set(), set()))
        self.assertEqual(functions["tcp_v4_send_synack"], check.Enabled(1, set(), {"toa"}))
        self.assertEqual(functions["of_a_module"], check.Enabled(1, {"D"}, set()))
        self.assertEqual(len(functions), 6)
        self.assertEqual(check.enabled_functions(""), {})


class Hooks(unittest.TestCase):
    """What is said of a list that changes while it is read."""

    NAMES = check.ANSWERED + check.WATCHED + check.WATCHED_SYN + check.WATCHED_MPTCP
    WHOLE = "".join(f"{name} (1)   I  \ttramp: 0 (f+0x0/0x1 [toa]) ->f+0x0/0x1 [toa]\n" for name in NAMES)
    TORN = WHOLE.replace("tcp_child_process (1)", "of_another (1)")

    def look(self, *readings, loaded=True):
        """The check's only line; the last reading is what is there from then on."""
        report = check.Report(quiet=True)
        texts = itertools.chain(readings, itertools.repeat(readings[-1]))
        with mock.patch.object(check, "read_tracefs", lambda name: next(texts) if name == "enabled_functions" else ""), \
             mock.patch.object(check, "READINGS_PAUSE", 0):
            check.check_hooks(report, types.SimpleNamespace(loaded=loaded, release="6.12.0"))
        [line] = report.checks
        return line

    def test_what_stays(self):
        self.assertEqual(self.look(self.WHOLE)["status"], "ok")
        line = self.look(self.TORN)
        self.assertEqual(line["status"], "FAIL")
        self.assertIn("no hook on tcp_child_process", line["text"])
        self.assertIn("mount", self.look(None)["remedy"])

    def test_a_reading_that_was_disturbed(self):
        other = self.WHOLE.replace("tcp_disconnect (1)", "of_another (1)")
        for readings in ((self.TORN, self.WHOLE), (self.TORN, other, self.WHOLE), (self.TORN, "", self.TORN, self.WHOLE)):
            self.assertEqual(self.look(*readings)["status"], "ok", len(readings))
        self.assertEqual(self.look(self.WHOLE, self.TORN)["status"], "FAIL")

    def test_readings_that_never_agree(self):
        for loaded in (True, False):
            line = self.look(*(f"{self.TORN}{number}" for number in range(1000)), loaded=loaded)
            self.assertEqual(line["status"], "warn")
            self.assertIn("changes while it is read", line["text"])
            self.assertIn("tracing or BPF programs", line["remedy"])


class Files(unittest.TestCase):
    def test_short_files(self):
        whole = pathlib.Path(sys.executable).resolve().read_bytes()
        small = bytearray(whole[:100])
        # Headers of ten bytes, the last of which the file has.
        struct.pack_into("<Q", small, 0x28, 90)
        struct.pack_into("<HHH", small, 0x3A, 10, 1, 0)
        for data in (b"", whole[:4], whole[:5], whole[:41], whole[:63], bytes(small)):
            with self.assertRaisesRegex(ValueError, "no kernel module"):
                check.elf_sections(data)

    def test_broken_files_are_no_accident(self):
        # The interpreter itself is as good an ELF file as any.
        whole = pathlib.Path(sys.executable).resolve().read_bytes()
        self.assertIn(".text", check.elf_sections(whole))
        generator = random.Random(7)
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "toa.ko")
            for _ in range(300):
                data = bytearray(whole[:generator.choice((70, 4000, len(whole)))])
                for _ in range(generator.randrange(1, 9)):
                    data[generator.randrange(16, 64)] = generator.randrange(256)
                path.write_bytes(data)
                file = check.ModuleFile(str(path), "6.1.0", True)
                self.assertFalse(file.signed)


class Packets(unittest.TestCase):
    def test_answers(self):
        remote, server = ((ipaddress.ip_address(address), port) for address, port in (("10.0.0.1", 40001), ("198.18.0.1", 443)))
        answer = check.packet(server, remote, 2**32 - 1, 8, check.SYN | check.ACK)
        self.assertEqual(check.sequence_of_answer(answer, server, remote), 2**32 - 1)
        for other in (
            check.packet(server, remote, 5, 8, check.ACK), check.packet(remote, server, 5, 8, check.SYN | check.ACK),
            check.packet(server, (remote[0], 40002), 5, 8, check.SYN | check.ACK),
            check.packet(server, (remote[0] + 1, 40001), 5, 8, check.SYN | check.ACK),
            check.packet((server[0] + 1, 443), remote, 5, 8, check.SYN | check.ACK), b"", b"\x45" * 39, b"\x60" * 59,
        ):
            self.assertIsNone(check.sequence_of_answer(other, server, remote))


class Usage(unittest.TestCase):
    def test_exit_status_of_wrong_usage(self):
        done = subprocess.run([sys.executable, "-B", TOP / "scripts/toa-check", "--nonsense"], capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, b""))


if __name__ == "__main__":
    unittest.main()
