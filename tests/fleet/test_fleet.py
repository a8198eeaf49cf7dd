# SPDX-License-Identifier: GPL-2.0
"""What make fleet made, on a Debian system that can be written to; runs in a guest of tests/fleet/run."""

import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
import unittest

FLEET = pathlib.Path(os.environ.get("FLEET", ""))
RIGHT, WRONG = platform.release(), os.environ.get("WRONG")
RPM = ("rpm", "--nodeps", "--dbpath", "/tmp/rpm")


def run(*command):
    """Exit status and output of a command."""
    done = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout


class FleetTest(unittest.TestCase):
    def setUp(self):
        """Puts a layer that can be written to over the guest's root."""
        scratch = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
        self.root = scratch / "root"
        self.root.mkdir()
        # In the guest this is a file system of its own, which a layer over the root does not reach, and
        # must not even look at. That the kernel has no other modules here saves depmod a minute.
        modules = scratch / "upper/usr/lib/modules"
        (modules / RIGHT).mkdir(parents=True)
        os.setxattr(modules, "trusted.overlay.opaque", b"y")
        for name in ("modules.order", "modules.builtin"):
            shutil.copy(f"/usr/lib/modules/{RIGHT}/{name}", modules / RIGHT)
        (scratch / "work").mkdir()
        layers = f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.root], check=True)
        self.addCleanup(subprocess.run, ["umount", "--recursive", "--lazy", self.root], check=True)
        for name in ("proc", "sys", "dev"):
            subprocess.run(["mount", "--rbind", f"/{name}", self.root / name], check=True)
        self.fleet = self.root / "tmp/fleet"
        shutil.copytree(FLEET, self.fleet)
        self.target = self.root / f"lib/modules/{RIGHT}/updates/toa.ko"
        # The root has the modules of the kernel that runs, and no other's.
        self.assertEqual(self.kernels(), [RIGHT])

    def tearDown(self):
        if os.path.exists("/sys/module/toa"):
            subprocess.run(["rmmod", "toa"], check=True)

    def run_in(self, *command):
        return run("chroot", self.root, *command)

    def kernels(self):
        return sorted(path.name for path in (self.root / "usr/lib/modules").iterdir())

    def package(self, release, kind):
        return self.file(f"toa-modules-{release}[-_]*.{kind}")

    def file(self, pattern):
        [path] = self.fleet.glob(pattern)
        return f"/tmp/fleet/{path.name}"

    def assert_done(self, result, *words):
        status, output = result
        self.assertEqual(status, 0, output)
        for word in words:
            self.assertIn(word, output)

    def assert_refused(self, result, *words):
        status, output = result
        self.assertNotEqual(status, 0, output)
        for word in words:
            self.assertIn(word, output)
        self.assertFalse(self.target.exists())
        self.assertEqual(self.kernels(), [RIGHT])

    def assert_loads(self):
        self.assert_done(self.run_in("modprobe", "toa"))
        self.assertTrue(os.path.exists("/sys/module/toa"))
        self.assertIn("TOA: toa loaded", run("dmesg")[1])

    def assert_checks(self):
        """toa-check finds the module that is loaded, and shows that it works."""
        status, output = self.run_in("toa-check", "--json")
        self.assertIn(status, (0, 3), output)
        lines = {line["check"]: line["text"] for line in json.loads(output)["checks"] if line["status"] == "ok"}
        self.assertIn(f"/lib/modules/{RIGHT}/updates/toa.ko", lines["file"])
        self.assertIn("accept() saw 203.0.113.7:50001", lines["IPv4 kind 254"])
        self.assertEqual(len([*self.root.glob("usr/share/man/man[48]/toa*")]), 2)

    def assert_gone(self):
        self.assertFalse(self.target.exists())
        status, output = self.run_in("modprobe", "--dry-run", "toa")
        self.assertNotEqual(status, 0)
        self.assertIn("Module toa not found", output)

    def test_deb(self):
        deb = self.package(RIGHT, "deb")
        self.assert_done(self.run_in("dpkg", "-i", deb, self.file("toa-tools_*.deb")))
        self.assert_loads()
        self.assert_checks()
        self.assert_done(self.run_in("dpkg", "-i", deb), "stays so until: rmmod toa && modprobe toa")
        self.assert_refused_for_its_owner()
        name = pathlib.Path(deb).name.partition("_")[0]
        self.assert_done(self.run_in("dpkg", "-P", name))
        self.assert_gone()

    def assert_refused_for_its_owner(self):
        status, output = self.run_in("/tmp/fleet/install")
        self.assertNotEqual(status, 0)
        self.assertIn("belongs to a package", output)
        self.assertTrue(self.target.exists())

    def test_deb_for_another_kernel(self):
        refusal = f"for kernel {WRONG}, which is not installed here"
        deb = self.package(WRONG, "deb")
        self.assert_refused(self.run_in("dpkg", "-i", deb), refusal)
        # Headers alone make that directory too.
        (self.root / f"usr/lib/modules/{WRONG}").mkdir()
        self.assertIn(refusal, self.run_in("dpkg", "-i", deb)[1])
        self.assertEqual(list((self.root / f"usr/lib/modules/{WRONG}").iterdir()), [])

    def test_rpm(self):
        rpm = self.package(RIGHT, "rpm")
        self.assert_done(self.run_in(*RPM, "-i", rpm, self.file("toa-tools-*.rpm")))
        self.assert_loads()
        self.assert_checks()
        self.assert_done(self.run_in(*RPM, "-e", pathlib.Path(rpm).name.rsplit("-", 2)[0]))
        self.assert_gone()

    def test_rpm_for_another_kernel(self):
        rpm = self.package(WRONG, "rpm")
        self.assert_refused(
            self.run_in(*RPM, "-i", rpm), f"for kernel {WRONG}, which is not installed here"
        )

    def test_script(self):
        self.assert_done(self.run_in("/tmp/fleet/install"), "installed /lib/modules/")
        self.assert_loads()
        self.assert_done(self.run_in("/tmp/fleet/install", RIGHT), "stays so until: rmmod toa")
        self.assert_done(self.run_in("/tmp/fleet/install", "--remove"), "removed /lib/modules/")
        self.assert_gone()

    def test_script_for_another_kernel(self):
        self.assert_refused(
            self.run_in("/tmp/fleet/install", WRONG), f"kernel {WRONG} is not installed here"
        )

    def test_script_without_a_module_for_this_kernel(self):
        shutil.rmtree(self.fleet / RIGHT)
        self.assert_refused(
            self.run_in("/tmp/fleet/install"), f"no module for kernel {RIGHT} here, only for {WRONG}"
        )

    def test_script_with_a_damaged_module(self):
        with open(self.fleet / RIGHT / "toa.ko", "ab") as file:
            file.write(b"\0")
        self.assert_refused(self.run_in("/tmp/fleet/install"), "does not have its checksum")

    def test_script_with_the_module_of_another_kernel(self):
        data = (self.fleet / WRONG / "toa.ko").read_bytes()
        (self.fleet / RIGHT / "toa.ko").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (self.fleet / "SHA256SUMS").write_text(f"{digest}  {RIGHT}/toa.ko\n")
        self.assert_refused(
            self.run_in("/tmp/fleet/install"), f"is for kernel {WRONG}, not for {RIGHT}"
        )

    def test_modules_are_signed(self):
        self.assertEqual(run("modinfo", "-F", "signer", FLEET / RIGHT / "toa.ko"), (0, "fleet\n"))
