# SPDX-License-Identifier: GPL-2.0
"""A guest in which a nanosecond is an instruction, and the program in it that measures."""

import contextlib
import lzma
import pathlib
import shutil
import socket
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
LAB = TOP / "scripts/lab"
BUILD = TOP / "build/bench"

# Everything else is as the distribution has it: mitigations, watchdogs, the timer tick.
COMMAND_LINE = "panic=-1 oops=panic panic_on_warn=1"


def emulator(kernel):
    """QEMU, where a nanosecond is an instruction. The counter of the CPU "max" runs at 1 GHz."""
    if kernel.endswith("-arm64"):
        machine, console = ["qemu-system-aarch64", "-machine", "virt"], "ttyAMA0"
    else:
        machine, console = ["qemu-system-x86_64"], "ttyS0"
    return [
        *(*machine, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", "max", "-smp", "1"),
        *("-append", f"console={console} {COMMAND_LINE}"),
    ]


SOURCES = [f"tests/bench/{name}.c" for name in ("bench", "connections", "watch", "wire")]
COMPILE = "${CROSS_COMPILE:-}gcc -static -pthread -no-pie -O2 -Wall -Wextra -Werror"


class Failure(Exception):
    """The benchmark has no result; the message says why."""


def lab(*words, **options):
    """Runs the lab and returns what it prints."""
    done = subprocess.run(
        [LAB, *words], stdout=subprocess.PIPE, text=True, check=False, **options
    )
    if done.returncode:
        raise Failure(f"lab {' '.join(words[:3])} failed (above)")
    return done.stdout


def tun_modules(modules):
    """The files of the module that makes TUN devices, in the order to load them."""
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        if pathlib.Path(file).name.split(".")[0] == "tun":
            return [modules / name for name in [*reversed(needs.split()), file]]
    return []


class Guest:
    """A stock kernel of the lab, with the module, or another file in its place."""

    def __init__(self, kernel, module=None, memory="1G"):
        self.kernel = kernel
        self.memory = memory
        self.directory = BUILD / kernel
        vmlinuz, modules = (pathlib.Path(path) for path in lab("path", kernel).split())
        self.image = f"/kernel/boot/{vmlinuz.name}"
        self.release = modules.name
        self.module = pathlib.Path(module or lab("build", kernel).splitlines()[-1])
        self.modules = modules

    def prepare(self, script):
        """Makes the initramfs: the program as init, its script, and the modules."""
        root = self.directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        for name in ("dev", "proc", "sys"):
            (root / name).mkdir(parents=True)
        shutil.copyfile(self.module, root / "toa.ko")
        names = []
        for file in tun_modules(self.modules):
            data = file.read_bytes()
            names.append("/" + file.name.removesuffix(".xz"))
            (root / names[-1][1:]).write_bytes(
                lzma.decompress(data) if file.suffix == ".xz" else data
            )
        (root / "modules").write_text("".join(f"{name}\n" for name in names))
        (root / "script").write_text("".join(f"{line}\n" for line in script))
        place = root.relative_to(TOP)
        lab("host", "--kernel", self.kernel, "--", "sh", "-euc",
            f"{COMPILE} -o {place}/init {' '.join(SOURCES)}; nm {place}/init >{place}/../symbols; "
            f"cd {place}; find . | cpio -o -H newc --quiet >../initrd")

    def run(self, script, rendezvous=None):
        """Runs the script and yields the words of each line that the program reports.

        `rendezvous(line, monitor)` is called when the program waits, and returns when it may go on.
        """
        self.prepare(script)
        place = f"/toa/{self.directory.relative_to(TOP)}"
        socket_path = self.directory / "monitor"
        socket_path.unlink(missing_ok=True)
        command = [
            *(LAB, "host", "--root", "guest", "--kernel", self.kernel, "--", *emulator(self.kernel)),
            *("-m", self.memory, "-kernel", self.image, "-initrd", f"{place}/initrd"),
            *("-serial", f"file:{place}/console", "-serial", "stdio", "-D", f"{place}/trace"),
            *("-chardev", f"socket,id=monitor,path={place}/monitor,server=on,wait=off"),
            *("-mon", "chardev=monitor"),
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        last = "nothing"
        try:
            for line in process.stdout:
                words = line.decode(errors="replace").split()
                if not words:
                    continue
                last = " ".join(words)
                if words[0] == "fail":
                    raise Failure(f"{self.kernel}: in the guest: {' '.join(words[1:])}")
                if words[0] in ("trace", "traced"):
                    rendezvous(words[0], Monitor(socket_path))
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                yield words
                if words[0] == "done":
                    return
        finally:
            process.kill()
            process.wait()
        console = (self.directory / "console").relative_to(TOP)
        raise Failure(f"{self.kernel}: the guest ended early, after: {last}; see {console}")


class Monitor:
    """The emulator's monitor."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        with contextlib.chdir(path.parent):  # the whole path may be too long for a socket address
            self.socket.connect(path.name)
        self.prompt()

    def prompt(self):
        data = b""
        while not data.endswith(b"(qemu) "):
            more = self.socket.recv(4096)
            if not more:
                raise Failure("the emulator's monitor is gone")
            data += more

    def say(self, command):
        self.socket.sendall(command.encode() + b"\n")
        self.prompt()

    def close(self):
        self.socket.close()
