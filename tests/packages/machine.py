# SPDX-License-Identifier: GPL-2.0
"""A Debian machine to install packages on, and to boot as it then is, with its own kernel and systemd."""

import contextlib
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True


def load_lab():
    """scripts/lab as a module: it knows the roots."""
    loader = importlib.machinery.SourceFileLoader("lab", str(TOP / "scripts/lab"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab", loader))
    sys.modules["lab"] = module
    loader.exec_module(module)
    return module


lab = load_lab()

import guest  # noqa: E402    of scripts/lab.d, which the lab has put on the path
import store  # noqa: E402

# The file system of the machine comes from the host, which Debian's initramfs does not know of. Of
# modules it gets what it needs for that and no more, which halves the time of a boot.
INITRAMFS = {
    "etc/initramfs-tools/conf.d/machine": "MODULES=list\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtiofs\n",
    "etc/initramfs-tools/scripts/machine": (
        "mountroot() { modprobe -a virtio_pci virtiofs; mount -t virtiofs root $rootmnt; }\n"
        "mount_top() { :; }\nmount_premount() { :; }\nmount_bottom() { :; }\n"
    ),
    # Nobody minds if a machine that lasts for minutes is not on disk.
    "etc/dpkg/dpkg.cfg.d/machine": "force-unsafe-io\n",
}

# Runs the command when the boot is done, and ends the machine.
UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /check/command >/check/output 2>&1; echo $? >/check/status; sync; \
echo b >/proc/sysrq-trigger'
"""

KERNEL_PARAMETERS = (
    "console=ttyS0 boot=machine rw systemd.firstboot=no systemd.wants=check.service "
    f"cryptomgr.notests {guest.STRICT}"
)


class Failure(Exception):
    """A command failed that the rest builds upon."""


class Machine:
    """A copy of a clean root. Commands run in it as root, with the network, or in it when booted."""

    def __init__(self, directory, root):
        self.layer = store.new_layer(directory, lab.ensure_root(root))
        for name, text in INITRAMFS.items():
            self.write(name, text)

    def write(self, name, text):
        """Writes a file from outside; the machine has to be off."""
        path = self.layer / "upper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def changed(self, name):
        """The path of a file that was written since the machine was clean."""
        return self.layer / "upper" / name

    def run(self, script, files=None, **variables):
        """Runs a shell script in the machine, which is off; returns what it says.

        files is a folder that is /mnt there. DKMS and the packages cannot tell from the host's kernel,
        which `uname` names, what kernel to build for: that of the machine is another.
        """
        mounts = [*store.network(), *store.scratch("/tmp")]
        if files:
            mounts.append(("ro", files, "/mnt"))
        done = subprocess.run(
            store.in_root(self.layer, mounts, ["sh", "-euc", script]),
            env=store.environment(DEBIAN_FRONTEND="noninteractive", **variables),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )
        if done.returncode:
            raise Failure(f"{script}\n{done.stdout[-6000:]}\nstatus {done.returncode}")
        return done.stdout

    def boot(self, release, script, seconds=900):
        """Boots a kernel of the machine, runs a shell script when it is up, returns what that says."""
        self.write("etc/systemd/system/check.service", UNIT)
        self.write("check/command", f"set -eu\n{script}\n")
        with store.temporary_directory() as directory, contextlib.ExitStack() as stack:
            listener = stack.enter_context(guest.listen(directory / "root.sock"))
            log = stack.enter_context(open(directory / "log", "wb"))
            try:
                subprocess.run(
                    self.emulator(release, listener.fileno(), directory), env=store.environment(),
                    pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    timeout=seconds, check=False,
                )
                late = ""
            except subprocess.TimeoutExpired:
                late = f"not done after {seconds} s"
            console = guest.read_lines(directory / "console")
            trouble = late or next((line for line in console if guest.TROUBLE.search(line)), "")
            status = self.take("check/status").strip()
            output = self.take("check/output")
            self.take("etc/systemd/system/check.service")
            if trouble or status != "0":
                end = "".join(console[-60:] or guest.read_lines(directory / "log"))
                raise Failure(f"{end}\n{script}\n{output}\nstatus {status or 'none'} {trouble}")
        return output

    def take(self, name):
        """The text of a file of the machine, which is then gone."""
        path = self.changed(name)
        text = path.read_text(errors="replace") if path.exists() else ""
        path.unlink(missing_ok=True)
        return text

    def emulator(self, release, socket, directory):
        """The command line that boots the machine, in the lab's root that has the emulator."""
        server = (
            "/usr/libexec/virtiofsd --log-level=error --sandbox=none --inode-file-handles=never "
            f"--fd={socket} --shared-dir=/mnt & "
        )
        qemu = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2"),
            *("-machine", "pc,memory-backend=memory", "-m", "2G"),
            *("-object", "memory-backend-memfd,id=memory,size=2G,share=on"),
            *("-kernel", f"/mnt/boot/vmlinuz-{release}", "-initrd", f"/mnt/boot/initrd.img-{release}"),
            *("-append", KERNEL_PARAMETERS, "-serial", "file:/run/console"),
            *("-chardev", "socket,id=root,path=/run/root.sock"),
            *("-device", "vhost-user-fs-pci,chardev=root,tag=root"),
        ]
        mounts = [("layer", self.layer, "/mnt"), ("rw", directory, "/run"), *store.scratch("/tmp")]
        start = ["sh", "-c", server + 'exec "$@"', "machine", *qemu]
        return store.in_root(lab.ensure_root(lab.GUEST), mounts, start)
