# SPDX-License-Identifier: GPL-2.0
"""System calls that Python has no function for, or whose function does more than the call."""

import ctypes
import os
import platform
import socket
import struct

libc = ctypes.CDLL(None, use_errno=True)

_NUMBERS = {
    "x86_64": {"bpf": 321, "finit_module": 313, "delete_module": 176},
    "aarch64": {"bpf": 280, "finit_module": 273, "delete_module": 106},
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
