# SPDX-License-Identifier: GPL-2.0
"""A stock kernel in QEMU whose file system is a root, shared by virtiofs: no disk image."""

import contextlib
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

from store import environment, in_root, say, scratch, temporary_directory

# Any of it makes the guest panic, and -no-reboot makes that the end of the emulator. An emulated
# CPU that another guest or a compiler pushed aside is slow, not locked up: hence the watchdog's
# longer patience.
STRICT = (
    "panic=-1 panic_on_warn=1 oops=panic softlockup_panic=1 hung_task_panic=1 "
    "sysctl.kernel.panic_on_rcu_stall=1 watchdog_thresh=20"
)

# The crypto self-tests take half a second of every boot and concern nothing here.
BOOT = "rootfstype=virtiofs root=root ro init=/lab/init cryptomgr.notests"


@dataclass(frozen=True)
class Machine:
    """What the emulator is for an architecture."""

    emulator: str
    board: str
    console: str  # the kernel's name for -serial


MACHINES = {
    "amd64": Machine("qemu-system-x86_64", "pc", "ttyS0"),
    "arm64": Machine("qemu-system-aarch64", "virt", "ttyAMA0"),
}

# What a kernel says when something is wrong, whether or not it goes on.
TROUBLE = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|Call Trace|Kernel panic|general protection fault|rcu: INFO|"
    r"INFO: task .* blocked|INFO: .*(stall|circular|inconsistent)|unregister_netdevice: waiting|"
    r"refcount_t:|list_(add|del) corruption|UBSAN|sleeping function called"
)
SHOWN_LINES, SHOWN_AT_MOST = 60, 200

# Tag, directory as the server sees it, flags. Only the root's files may be cached for good: nobody
# changes those, and it halves the time of a boot.
SHARES = (
    ("root", "/mnt", "--readonly --cache=always"),
    ("checkout", "/toa", "--readonly"),
    ("share", "/share", ""),
)


# A boot takes some seconds. On a busy machine the emulator sometimes never gets through one: that
# is no fault of what the guest is for, so it gets another try. guest-init writes the mark.
BOOT_PATIENCE = 90
BOOT_TRIES = 3
INIT_RUNS = "lab: init runs"


class StuckBoot(Exception):
    """The kernel did not reach init."""


class GuestFailure(Exception):
    """The guest did not live to report the status of the command."""


def prepare(directory, guest_init, options):
    """Lay out what the guest finds in /lab and /share; return the share."""
    lab = directory / "lab"
    lab.mkdir()
    shutil.copyfile(guest_init, lab / "init")
    (lab / "init").chmod(0o755)
    size = shutil.get_terminal_size()
    settings = {
        "MODULE": "/share/toa.ko" if options.module else "",
        "TERM": os.environ.get("TERM", "linux"),
        "ROWS": str(size.lines),
        "COLUMNS": str(size.columns),
    }
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    (lab / "settings").write_text(text)
    if options.command:
        (lab / "command").write_bytes(os.fsencode(f"exec {shlex.join(options.command)}\n"))
    share = Path(options.share).absolute() if options.share else directory / "share"
    share.mkdir(parents=True, exist_ok=True)
    if options.module:
        shutil.copyfile(options.module, share / "toa.ko")
    return share


def listen(path):
    """A listening socket, made before its server runs, so nobody has to wait for the server."""
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(path.parent):  # the whole path may be too long for a socket address
        listener.bind(path.name)
    listener.listen()
    return listener


def servers(listeners):
    """The shell command that starts a file server for every share."""
    server = "/usr/libexec/virtiofsd --log-level=error --sandbox=none --inode-file-handles=prefer"
    return "".join(
        f"{server} --fd={listener.fileno()} --shared-dir={directory} {flags} >&2 & "
        for (_, directory, flags), listener in zip(SHARES, listeners, strict=True)
    )


def esp(directory, home, release, root, options):
    """Lay out a disk that boots like a server's: firmware, shim, GRUB, kernel, each checks the next."""
    debian = directory / "esp/EFI/debian"
    removable = directory / "esp/EFI/BOOT"
    for folder in (debian, removable):
        folder.mkdir(parents=True)
    shutil.copyfile(root / "usr/lib/shim/shimx64.efi.signed", removable / "BOOTX64.EFI")
    grub = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
    shutil.copyfile(root / grub, removable / "grubx64.efi")
    shutil.copyfile(home / f"boot/vmlinuz-{release}", directory / "esp/vmlinuz")
    words = parameters(MACHINES["amd64"], options).split()
    commands = [f"linux /vmlinuz {shlex.join(words)}"]
    if (home / f"boot/initrd-{release}").exists():
        shutil.copyfile(home / f"boot/initrd-{release}", directory / "esp/initrd")
        commands.append("initrd /initrd")
    (debian / "grub.cfg").write_text("\n".join([*commands, "boot", ""]))
    shutil.copyfile(options.efi_vars, directory / "efi-vars")


def parameters(machine, options):
    return f"console={machine.console} {BOOT} {STRICT} {' '.join(options.append)}"


def firmware():
    """UEFI firmware, whose variables only the firmware itself can write, and the disk of esp()."""
    return [
        *("-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"),
        *("-drive", "if=pflash,format=raw,file=/run/efi-vars"),
        *("-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-drive", "if=none,id=esp,format=raw,readonly=on,file=fat:/run/esp"),
        *("-device", "virtio-blk-pci,drive=esp"),
    ]


def loader(home, release, machine, options):
    """The emulator itself loads the kernel."""
    words = ["-kernel", f"/kernel/boot/vmlinuz-{release}", "-append", parameters(machine, options)]
    if (home / f"boot/initrd-{release}").exists():
        words += ["-initrd", f"/kernel/boot/initrd-{release}"]
    return words


def emulator(home, release, arch, options):
    """The command line of QEMU.

    thread=single: with several threads QEMU mis-executes code that another CPU is patching, and
    ftrace patches code.
    """
    machine = MACHINES[arch]
    devices = []
    for tag, _, _ in SHARES:
        devices += ["-chardev", f"socket,id={tag},path=/run/{tag}.sock"]
        devices += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
    if options.command:
        devices += ["-chardev", "file,id=output,path=/dev/stdout"]
        devices += ["-device", "virtserialport,chardev=output,name=output,nr=1"]
    else:
        devices += ["-chardev", "stdio,id=output,signal=off"]
        devices += ["-device", "virtconsole,chardev=output,nr=0"]
    board, start = machine.board, loader(home, release, machine, options)
    if options.efi_vars:
        board, start = "q35,smm=on", firmware()
    return [
        *(machine.emulator, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-accel", "tcg,thread=single", "-cpu", "max", "-smp", str(options.cpus)),
        *("-machine", f"{board},memory-backend=memory", "-m", options.memory),
        *("-object", f"memory-backend-memfd,id=memory,size={options.memory},share=on"),
        *start,
        *("-serial", "file:/run/console"),
        *("-device", "virtio-serial-pci", *devices),
        *("-chardev", "file,id=status,path=/run/status"),
        *("-device", "virtserialport,chardev=status,name=status,nr=2"),
    ]


def follow(process, options, console):
    """Copy the command's output to stdout until the guest ends; false if it takes too long."""
    start = time.monotonic()
    deadlines = [start + options.timeout]
    if options.timeout > options.patience:
        deadlines.append(start + options.patience)
    source = process.stdout.fileno()
    while deadlines:
        left = max(0, deadlines[-1] - time.monotonic())
        if not select.select([source], [], [], left)[0]:
            deadlines.pop()
            if deadlines and not any(INIT_RUNS in line for line in read_lines(console)):
                raise StuckBoot
            continue
        data = os.read(source, 65536)
        if not data:
            process.wait()
            return True
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return False


def attend_shell(argv, **streams):
    """Give the guest this terminal, which QEMU sets raw, and get it back whatever happens."""
    saved = termios.tcgetattr(sys.stdin)
    try:
        subprocess.run(argv, **streams)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def attend_command(argv, options, console, **streams):
    """Run the emulator to its end; false if it takes too long."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **streams)
    try:
        return follow(process, options, console)
    finally:
        process.kill()
        process.wait()


def read_lines(path):
    if not path.exists():
        return []
    return path.read_text(errors="replace").replace("\r", "").splitlines(keepends=True)


def failure(status, console, in_time, timeout):
    """What is wrong with the guest, or nothing."""
    complaint = next((line.strip() for line in console if TROUBLE.search(line)), None)
    if complaint:
        return f"the guest's kernel complained: {complaint}"
    if not in_time:
        return f"the guest was not done after {timeout:g} s (--timeout)"
    if status == "module":
        return "toa.ko does not load (above)"
    if not status:
        return "the guest ended without a word (above)"
    return None


def show(console, log):
    """The end of the kernel's log, from the first complaint on; the emulator's if there is none."""
    if not console:
        sys.stderr.writelines(log)
        return
    first = next(
        (number for number, line in enumerate(console) if TROUBLE.search(line)), len(console)
    )
    start = max(0, min(first - 5, len(console) - SHOWN_LINES))
    sys.stderr.writelines(console[start : start + SHOWN_AT_MOST])


def boot(home, release, arch, host, root, checkout, options):
    """Boot the kernel unpacked in home, run the command or a shell, and return its exit status.

    The emulator is in the root `host`, the guest's files are those of `root`. The options are those of
    the command line, and `patience`, in which the kernel is to reach init.
    """
    for _ in range(BOOT_TRIES):
        try:
            return boot_once(home, release, arch, host, root, checkout, options)
        except StuckBoot:
            say(f"the emulator did not boot the guest within {options.patience} s")
    raise GuestFailure(f"the guest did not boot in {BOOT_TRIES} tries")


def boot_once(home, release, arch, host, root, checkout, options):
    """Boot, once: see boot()."""
    with temporary_directory() as directory, contextlib.ExitStack() as stack:
        share = prepare(directory, checkout / "scripts/guest-init", options)
        if options.efi_vars:
            esp(directory, home, release, host, options)
        listeners = [stack.enter_context(listen(directory / f"{tag}.sock")) for tag, _, _ in SHARES]
        log = stack.enter_context(open(directory / "log", "wb"))
        mounts = [
            ("ro", root, "/mnt"),
            ("ro", directory / "lab", "/mnt/lab"),
            ("ro", home / "usr/lib/modules", "/mnt/usr/lib/modules"),
            ("ro", checkout, "/toa"),
            ("rw", share, "/share"),
            ("ro", home, "/kernel"),
            ("rw", directory, "/run"),
            *scratch("/tmp"),
        ]
        start = [
            "sh",
            "-c",
            servers(listeners) + 'exec "$@"',
            "lab",
            *emulator(home, release, arch, options),
        ]
        argv = in_root(host, mounts, start)
        streams = {
            "stderr": log,
            "env": environment(),
            "pass_fds": [listener.fileno() for listener in listeners],
        }
        in_time = True
        if options.command:
            in_time = attend_command(argv, options, directory / "console", **streams)
        else:
            attend_shell(argv, **streams)
        console = read_lines(directory / "console")
        status = "".join(read_lines(directory / "status")).strip()
        wrong = failure(status, console, in_time, options.timeout)
        if wrong:
            show(console, read_lines(directory / "log"))
            raise GuestFailure(wrong)
        return int(status)
