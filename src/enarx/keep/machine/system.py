"""Brings the machine up, and closes it: nothing can be added to it after that.

The kernel's command line is measured, and nothing here reads it: what is done is the same
in every machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator

from enarx.errors import HostError
from enarx.keep.sandbox import libc

MODULES = "/modules"
PORT = 4433
"""Where the Keep listens, inside; the loader forwards to it."""
ADDRESS, NETMASK = "10.0.2.15", "255.255.255.0"
"""The guest's address in QEMU's user network (QEMU, -netdev user)."""
INTERFACE_SECONDS = 10.0
"""How long the network card may take to appear after its module is there; it takes 0.1 s."""
BACKLOG = 16

_MOUNTS = (
    (b"proc", b"/proc", b"proc"),
    (b"sysfs", b"/sys", b"sysfs"),
    (b"devtmpfs", b"/dev", b"devtmpfs"),
    (b"securityfs", b"/sys/kernel/security", b"securityfs"),
)
_NOSUID, _NODEV, _NOEXEC, _RDONLY, _REMOUNT = 2, 4, 8, 1, 32
_FINIT_MODULE, _REBOOT = 313, 169
_REBOOT_MAGIC = (0xFEE1DEAD, 0x28121969)
_POWER_OFF = 0x4321FEDC
_SETTINGS = {
    "kernel/kexec_load_disabled": "1",
    "kernel/sysrq": "0",
    "kernel/dmesg_restrict": "1",
    "kernel/kptr_restrict": "2",
    "kernel/yama/ptrace_scope": "3",
    "kernel/unprivileged_bpf_disabled": "1",
    "kernel/panic_on_oops": "1",
    "net/ipv4/icmp_echo_ignore_all": "1",
    "kernel/modules_disabled": "1",
}
"""The last one: from then on the kernel is what it is."""
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS = 0x8916, 0x891C, 0x8914
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


def mount() -> None:
    """The kernel's own file systems. Raises HostError."""
    for source, target, kind in _MOUNTS:
        flags = _NOSUID | _NOEXEC | (0 if kind == b"devtmpfs" else _NODEV)
        with _named(f"mount {target.decode()}"):
            libc.syscall(libc.MOUNT, source, target, kind, flags, None)


def load_modules() -> None:
    """The image's modules, in the order of their names. Raises HostError."""
    for name in sorted(os.listdir(MODULES)) if os.path.isdir(MODULES) else ():
        with _named(f"load {name}"), open(f"{MODULES}/{name}", "rb") as file:
            libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0)


def listen() -> socket.socket:
    """Bring the one network card up and listen on it. Raises HostError."""
    deadline = time.monotonic() + INTERFACE_SECONDS
    while not os.path.exists("/sys/class/net/eth0"):
        if time.monotonic() > deadline:
            raise HostError("this machine has no network card", code="machine.network")
        time.sleep(0.005)
    with (
        _named("configure the network"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
    ):
        flags = struct.pack("<H", _IFF_UP | _IFF_RUNNING)
        for request, value in (
            (_SIOCSIFADDR, _address(ADDRESS)),
            (_SIOCSIFNETMASK, _address(NETMASK)),
            (_SIOCSIFFLAGS, flags),
        ):
            fcntl.ioctl(any_socket, request, struct.pack("16s24s", b"eth0", value))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with _named("listen"):
        listener.bind((ADDRESS, PORT))
        listener.listen(BACKLOG)
    return listener


def close() -> None:
    """No modules, no other kernel, no writing to the root from now on. Raises HostError."""
    for name, value in _SETTINGS.items():
        with _named(f"set {name}"), open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
            file.write(value)
    with _named("make the root read-only"):
        libc.syscall(libc.MOUNT, None, b"/", None, _REMOUNT | _RDONLY, None)


def power_off() -> None:
    """End the machine. Returns only where that is not possible."""
    with contextlib.suppress(OSError):
        libc.syscall(_REBOOT, *_REBOOT_MAGIC, _POWER_OFF, None)


def _address(text: str) -> bytes:
    """struct sockaddr_in of an address, port 0."""
    return struct.pack("<HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"this machine cannot {what}: {error.strerror}", code="machine.start"
        ) from None
