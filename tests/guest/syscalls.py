# SPDX-License-Identifier: GPL-2.0
"""System calls that Python has no function for, or whose function does more than the call."""

import ctypes
import fcntl
import mmap
import os
import platform
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)

_NUMBERS = {
    "x86_64": {"bpf": 321, "finit_module": 313, "delete_module": 176, "userfaultfd": 323},
    "aarch64": {"bpf": 280, "finit_module": 273, "delete_module": 106, "userfaultfd": 282},
}[platform.machine()]

SO_PEERNAME = 28
IPPROTO_MPTCP = 262
SOCKADDR_STORAGE = 128


def check(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _syscall(name, *arguments):
    return check(libc.syscall(ctypes.c_long(_NUMBERS[name]), *arguments))


def finit_module(fd, parameters=b""):
    _syscall("finit_module", fd, parameters, 0)


def delete_module(name):
    # O_NONBLOCK: a module in use is an error, not something to wait for.
    _syscall("delete_module", name.encode(), os.O_NONBLOCK)


def accept_without_address(listener):
    """accept() that asks for no address; Python's own always does."""
    return socket.socket(
        listener.family, listener.type, listener.proto, fileno=raw_accept(listener, False)
    )


def raw_accept(listener, with_address):
    """Accepts with exactly one system call, and returns the file descriptor.

    Python's sockets ask the kernel for their own name when they are made, which is counted.
    """
    name = ctypes.create_string_buffer(SOCKADDR_STORAGE)
    length = ctypes.c_uint32(len(name))
    where = (name, ctypes.byref(length)) if with_address else (None, None)
    return check(libc.accept4(listener.fileno(), *where, 0))


def raw_getpeername(fd):
    """The bytes of the address that the kernel gives, no more and no fewer."""
    # Not zero, so that bytes which the kernel fails to write show.
    name = ctypes.create_string_buffer(b"\xa5" * SOCKADDR_STORAGE, SOCKADDR_STORAGE)
    length = ctypes.c_uint32(len(name))
    check(libc.getpeername(fd, name, ctypes.byref(length)))
    return name.raw[: length.value]


def so_peername(connection):
    # The kernel refuses a length above that of the address.
    length = 28 if connection.family == socket.AF_INET6 else 16
    return connection.getsockopt(socket.SOL_SOCKET, SO_PEERNAME, length)


def disconnect(connection):
    """connect() to AF_UNSPEC: the socket is as new afterwards."""
    check(libc.connect(connection.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16))


class MissingPage:
    """A page of memory that is not there: the kernel waits when it reads it, until it is supplied.

    Of this process, and not of its children.
    """

    LENGTH = mmap.PAGESIZE
    _API, _REGISTER, _COPY = 0xC018AA3F, 0xC020AA00, 0xC028AA03
    _VERSION, _REGISTER_MISSING = 0xAA, 1

    def __init__(self):
        self.memory = mmap.mmap(-1, self.LENGTH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.fd = _syscall("userfaultfd", os.O_CLOEXEC)
        fcntl.ioctl(self.fd, self._API, struct.pack("=QQQ", self._VERSION, 0, 0))
        page = struct.pack("=QQQQ", self.address, self.LENGTH, self._REGISTER_MISSING, 0)
        fcntl.ioctl(self.fd, self._REGISTER, page)

    def supply(self, data):
        """Puts the page there; whoever waits for it goes on."""
        source = ctypes.create_string_buffer(data, self.LENGTH)
        page = struct.pack("=QQQQq", self.address, ctypes.addressof(source), self.LENGTH, 0, 0)
        fcntl.ioctl(self.fd, self._COPY, page)

    def send(self, connection):
        """Sends it; returns how many bytes were."""
        address, length = ctypes.c_void_p(self.address), ctypes.c_size_t(self.LENGTH)
        return check(libc.send(connection.fileno(), address, length, 0))


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _syscall("bpf", command, buffer, len(attributes))


class Sockmap:
    """A BPF map of sockets, as a proxy that splices in the kernel has."""

    _CREATE, _UPDATE, _DELETE = 0, 2, 3
    _TYPE_SOCKMAP = 15

    def __init__(self):
        self.fd = _bpf(self._CREATE, struct.pack("=IIIII", self._TYPE_SOCKMAP, 4, 4, 4, 0))

    def add(self, index, connection):
        key, value = ctypes.c_uint32(index), ctypes.c_uint32(connection.fileno())
        pointers = ctypes.addressof(key), ctypes.addressof(value)
        _bpf(self._UPDATE, struct.pack("=IIQQQ", self.fd, 0, *pointers, 0))

    def delete(self, index):
        key = ctypes.c_uint32(index)
        _bpf(self._DELETE, struct.pack("=IIQ", self.fd, 0, ctypes.addressof(key)))

    def close(self):
        os.close(self.fd)
