# SPDX-License-Identifier: GPL-2.0
"""What the lab keeps and how it runs things: the cache, roots, and commands in them."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("TOA_LAB_CACHE") or "/var/cache/toa-lab").absolute()
SCRIPTS = Path(__file__).resolve().parent
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG_TAIL = 40


class LabError(Exception):
    """Something the lab could not do; the message says what and what helps."""


class Gone(LabError):
    """The registry does not have it any more."""


@dataclass(frozen=True)
class Root:
    """A Debian userland made by mmdebstrap."""

    name: str
    suite: str
    packages: str
    more_suites: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignRoot(Root):
    """A userland of another architecture, whose programs this machine cannot run.

    Its packages are unpacked and no more, and those that are essential have to be asked for.
    """

    arch: str = ""


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what):
    """Announce what takes longer than a glance, and how long it took."""
    start = time.monotonic()
    announcement = threading.Timer(3, say, [f"{what} ..."])
    announcement.daemon = True
    announcement.start()
    try:
        yield
    finally:
        announcement.cancel()
    seconds = time.monotonic() - start
    if seconds > 3:
        say(f"{what}: {seconds:.0f} s")


@contextlib.contextmanager
def lock(name):
    """Keep other lab processes from making the same thing."""
    directory = CACHE / "lock"
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / name, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another lab that is busy with {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def temporary_directory():
    """A directory in the cache, named by its owner so that leftovers of the killed are found."""
    parent = CACHE / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.iterdir():
        if not Path("/proc", leftover.name.split("-")[0]).exists():
            shutil.rmtree(leftover, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def need_root():
    if os.geteuid() != 0:
        raise LabError("mounting and chroot need root: run it as root, such as with sudo")


def cached(path, make):
    """Return path, which make(directory) fills at first use: it is there whole or not at all."""
    if path.exists():
        return path
    need_root()
    with lock(path.name):
        if not path.exists():
            with temporary_directory() as directory:
                make(directory / "new")
                path.parent.mkdir(parents=True, exist_ok=True)
                (directory / "new").rename(path)
    return path


def digest(*recipe):
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def isolated(*argv):
    """A command line whose processes die with this process, and whose mounts with them."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, *argv]


def in_root(root, mounts, argv, cwd="/"):
    """The command line that runs argv in a root; mounts are (ro|rw|tmpfs|layer, source, target)."""
    flat = [str(word) for mount in mounts for word in mount]
    return isolated(SCRIPTS / "enter-root", root, *flat, "--", "env", "-C", cwd, *argv)


def new_layer(directory, root):
    """Make directory a copy of a root that keeps what is changed in it; enter-root knows it."""
    for name in ("upper", "work", "whole"):
        (directory / name).mkdir(parents=True)
    (directory / "lower").symlink_to(root)
    return directory


def scratch(*targets):
    return [("tmpfs", "-", target) for target in targets]


def network():
    """Mounts that give a root this machine's name servers and certificate authorities."""
    files = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt")
    return [("ro", file, file) for file in files if Path(file).exists()]


def environment(keep=r"(?i:.*_proxy)", **more):
    """A clean environment, with those of the caller's variables that match."""
    kept = {name: value for name, value in os.environ.items() if re.fullmatch(keep, name)}
    terminal = os.environ.get("TERM", "dumb")
    return (
        {"HOME": "/root", "LANG": "C.UTF-8", "TERM": terminal} | kept | {"PATH": SYSTEM_PATH} | more
    )


def logged(argv, failure, gone=None, text="", **variables):
    """Run a long command quietly, with a text to read, and show the end of what it said when it fails.

    If it says what matches `gone`, then it failed because the registry lacks something for good.
    """
    result = subprocess.run(
        argv,
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(**variables),
    )
    if result.returncode:
        text = result.stdout.decode(errors="replace")
        if gone and re.search(gone, text):
            raise Gone(
                f"{failure.partition(' (above)')[0]}: the registry does not have it any more"
            )
        lines = text.splitlines(keepends=True)
        sys.stderr.writelines(lines[-LOG_TAIL:])
        raise LabError(failure)


def need_mmdebstrap():
    if shutil.which("mmdebstrap", path=SYSTEM_PATH):
        return
    if not shutil.which("apt-get", path=SYSTEM_PATH):
        raise LabError(
            "no mmdebstrap, and no apt-get to install it: the lab needs a Debian machine"
        )
    packages = ["mmdebstrap", "debian-archive-keyring"]
    failure = "apt-get could not install mmdebstrap (above): install it by hand"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step("installing mmdebstrap"):
        logged(["apt-get", "-q", "update"], failure, **quiet)
        logged(
            ["apt-get", "-qy", "--no-install-recommends", "install", *packages], failure, **quiet
        )


# Makes what maintainer scripts would have made.
UNPACKED = 'cd "$1" && for n in passwd group; do cp usr/share/base-passwd/$n.master etc/$n; done && ln -s mawk usr/bin/awk'


def variant(root):
    """The words for mmdebstrap that tell a foreign root from others, up to where hooks are named."""
    if isinstance(root, ForeignRoot):
        return ["--variant=extract", f"--architectures={root.arch}", f"--extract-hook={UNPACKED}", "--extract-hook"]
    return ["--variant=apt", "--customize-hook"]


def root_path(root):
    hook = (SCRIPTS / "root-hook").read_text()
    return CACHE / "roots" / f"{root.name}-{digest(root, hook)}"


def ensure_root(root):
    """Return the path of a root, made if it is not there yet."""

    def make(directory):
        need_mmdebstrap()
        mmdebstrap = [
            "mmdebstrap",
            '--aptopt=APT::Install-Recommends "false"',
            # Mirrors of development suites lag, by more than the suite's index is said to be valid.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            "--include=" + ",".join(root.packages.split()),
            *variant(root),
            SCRIPTS / "root-hook",
            root.suite,
            directory,
        ]
        failure = f"mmdebstrap could not make the root {root.name} (above): check the network"
        variables = {"BASE_SUITE": root.suite, "MORE_SUITES": " ".join(root.more_suites)}
        with step(f"making the root {root.name}"):
            logged(
                isolated(*mmdebstrap), failure, gone=r"does not have a Release file", **variables
            )

    return cached(root_path(root), make)
