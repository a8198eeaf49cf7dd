# SPDX-License-Identifier: GPL-2.0
"""What a kernel that enforces signatures does with the module; runs in a guest of tests/signing/run."""

import errno
import json
import os
import pathlib
import subprocess
import unittest

CASE = os.environ.get("CASE")
MODULES = pathlib.Path(os.environ.get("MODULES", ""))


def output(*command):
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr


def insmod(name):
    """The exit status of insmod, and what it says."""
    done = subprocess.run(
        ["insmod", MODULES / f"{name}.ko"], text=True, capture_output=True, check=False
    )
    return done.returncode, done.stderr


def loaded():
    return os.path.exists("/sys/module/toa")


class SigningTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for kind, target in (("efivarfs", "/sys/firmware/efi/efivars"), ("securityfs", "/sys/kernel/security")):
            subprocess.run(["mount", "-t", kind, kind, target], check=True)

    def tearDown(self):
        if loaded():
            subprocess.run(["rmmod", "toa"], check=True)

    def assert_refused(self, name):
        status, words = insmod(name)
        self.assertEqual(status, 1)
        self.assertIn(os.strerror(errno.EKEYREJECTED), words)
        self.assertIn("Key was rejected by service", words)
        self.assertFalse(loaded())

    def test_signatures_are_enforced(self):
        with open("/sys/module/module/parameters/sig_enforce", encoding="ascii") as file:
            self.assertEqual(file.read(), "Y\n")

    def test_secure_boot(self):
        state = "disabled" if CASE == "db" else "enabled"
        self.assertIn(f"SecureBoot {state}", output("mokutil", "--sb-state"))

    def test_lockdown(self):
        mode = "confidentiality" if CASE == "db" else "integrity"
        lockdown = pathlib.Path("/sys/kernel/security/lockdown").read_text(encoding="ascii")
        self.assertIn(f"[{mode}]", lockdown)

    def test_keyring(self):
        """The kernel has our certificate from where it was enrolled."""
        keys = output("keyctl", "list", "%:.platform") + output("keyctl", "list", "%:.machine")
        self.assertEqual("asymmetric: ours:" in keys, CASE != "stranger", keys)

    def test_unsigned_is_refused(self):
        self.assert_refused("unsigned")
        self.assertIn("Loading of unsigned module is rejected", output("dmesg"))

    def test_signed_with_another_key_is_refused(self):
        """Another key than the enrolled one: for the stranger that is ours."""
        self.assert_refused("ours" if CASE == "stranger" else "other")
        self.assertIn("Loading of module with unavailable key is rejected", output("dmesg"))

    def test_damaged_is_refused(self):
        """One changed byte, and the signature no longer fits."""
        name = "other" if CASE == "stranger" else "ours"
        data = bytearray((MODULES / f"{name}.ko").read_bytes())
        data[len(data) // 2] ^= 1
        damaged = pathlib.Path("/tmp/damaged.ko")
        damaged.write_bytes(data)
        words = output("insmod", damaged)
        self.assertIn("Key was rejected by service", words)
        self.assertFalse(loaded())

    def test_signed_loads(self):
        """... and its hooks are in place, whatever lockdown says."""
        name = "other" if CASE == "stranger" else "ours"
        self.assertEqual(insmod(name), (0, ""))
        self.assertIn("TOA: toa loaded", output("dmesg"))
        self.assertIn("syn_recv_sock_toa", pathlib.Path("/proc/net/toa_stats").read_text(encoding="ascii"))
        self.assertIn(name, output("modinfo", "-F", "signer", MODULES / f"{name}.ko"))

    def test_trace_event(self):
        """Lockdown leaves tracefs empty only when it is for confidentiality."""
        self.assertEqual(insmod("other" if CASE == "stranger" else "ours"), (0, ""))
        if CASE == "db":
            self.assertEqual(os.listdir("/sys/kernel/tracing"), [])
        else:
            event = pathlib.Path("/sys/kernel/tracing/events/toa/enable")
            self.assertEqual(event.read_text(encoding="ascii"), "0\n")

    def test_toa_check(self):
        """toa-check proves that the module works, and says what lockdown keeps from it."""
        self.assertEqual(insmod("other" if CASE == "stranger" else "ours"), (0, ""))
        checks = json.loads(output("/toa/scripts/toa-check", "--json"))["checks"]
        found = {check["check"]: (check["status"], check["text"]) for check in checks}
        self.assertNotIn("FAIL", [status for status, _ in found.values()], found)
        self.assertEqual(found["IPv4 kind 254"][0], "ok")
        if CASE == "db":
            self.assertEqual(found["hooks"], ("warn", "cannot tell: kernel lockdown has emptied the kernel's tracing"))
        else:
            self.assertEqual(found["hooks"][0], "ok")
