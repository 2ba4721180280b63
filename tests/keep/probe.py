"""Stands where the app loader stands in a real Keep, and tells what it can and cannot do.

Runs inside the Keep: only what the zygote has imported is there.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import traceback
from collections.abc import Callable
from typing import Any

from enarx.keep.sandbox import Levels, confine, credentials, landlock, libc, seccomp
from enarx.keep.sandbox.descriptors import keep_only

_SYSTEM_CALLS: dict[str, tuple[int, ...]] = {
    "ptrace": (101, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, 0),
    "unshare-user": (272, 0x10000000),
    "setns": (308, 0, 0),
    "clone-user-namespace": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": (435, 0, 0),
    "setuid": (105, 0),
    "capset": (126, 0, 0),
    "kill": (62, 1, 0),
    "bpf": (321, 0, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "open_by_handle_at": (304, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "personality": (135, 0),
    "swapon": (167, 0, 0),
    "settimeofday": (164, 0, 0),
    "bind": (49, 5, 0, 0),
    "connect": (42, 5, 0, 0),
}


def main(request: Any, descriptors: list[int], levels: Levels) -> int:
    descriptors = keep_only(descriptors)
    sockets = [socket.socket(fileno=number) for number in descriptors]
    control = sockets[1]
    try:
        facts = _facts(request, levels)
    except BaseException:
        control.send(json.dumps({"error": traceback.format_exc()}).encode())
        raise
    control.send(json.dumps(facts).encode())
    control.recv(1)
    return 0


def _facts(request: Any, levels: Levels) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    enter_landlock = landlock.enter

    def before_landlock(**arguments: Any) -> None:
        facts["before"] = {
            "root": os.listdir("/"),
            "write": _try(lambda: os.mkdir("/x")),
            "interfaces": [name for _, name in socket.if_nameindex()],
            "bounding": [c for c in range(41) if libc.prctl(23, c)],
            "capabilities": credentials.capabilities(),
            "hostname": os.uname().nodename,
            "connect": _try(lambda: socket.socket().connect(("127.0.0.1", 9))),
        }
        enter_landlock(**arguments)

    landlock.enter = before_landlock
    try:
        confine(levels, uid=request.uid)
    finally:
        landlock.enter = enter_landlock
    facts["levels"], facts["missing"] = levels.in_force, levels.missing
    facts["pid"], facts["uids"], facts["gids"] = os.getpid(), os.getuid(), os.getgid()
    facts["limits"] = {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        for name in ("CORE", "NOFILE", "NPROC", "MEMLOCK")
    }
    facts["keep"] = _attempts()
    facts["children"] = {
        "x32": _child_status(lambda: libc.syscall(0x40000000 | 39)),
        "WORKLOAD": _from_child(seccomp.WORKLOAD),
    }
    seccomp.enter(seccomp.APP_LOADER)
    facts["app_loader"] = _attempts()
    return facts


def _attempts() -> dict[str, str]:
    """What each of these does: an errno's name, or `allowed`."""
    results = {
        name: _try(lambda n=number: libc.syscall(*n)) for name, number in _SYSTEM_CALLS.items()
    }
    results |= {
        f"socket-{family.name}": _try(lambda f=family: socket.socket(f))
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
    }
    results["execve"] = _try(lambda: os.execv("/bin/true", ["true"]))
    results["fork"] = _try(_fork)
    results["read-/"] = _try(lambda: os.listdir("/"))
    results["read-/etc/passwd"] = _try(lambda: open("/etc/passwd").close())
    results["write-/run"] = _try(lambda: _write("/run/probe"))
    results["executable-memory"] = _try(
        lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    )
    results["make-executable"] = _try(_make_executable)
    results["descriptors"] = ",".join(
        str(number) for number in range(1024) if _try(lambda n=number: os.fstat(n)) == "allowed"
    )
    return results


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _write(path: str) -> None:
    with open(path, "xb") as file:
        file.write(b"x")
    os.unlink(path)


def _make_executable() -> None:
    area = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc.syscall(10, address, 4096, 5)


def _from_child(rules: Any) -> dict[str, str]:
    """The same attempts in a forked process that is under `rules`, too."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            seccomp.enter(rules)
            os.write(writer, json.dumps(_attempts()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return dict(json.loads(told))


def _child_status(action: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _try(action: Callable[[], object]) -> str:
    try:
        result = action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    if hasattr(result, "close"):
        result.close()
    return "allowed"
