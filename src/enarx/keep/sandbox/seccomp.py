"""The three allow-lists of system calls, and how a process puts itself under one.

1. `KEEP`: from the sandbox's start, for everything in the Keep.
2. `APP_LOADER`: what is left of it once the workload's process is forked.
   `WORKLOAD`: what is left of it in the workload's process once the module is compiled.

Filters add up: a call must pass all that a process has put itself under. What is not
allowed fails with EPERM; clone3 and openat2 with ENOSYS, so that their callers take clone and
openat, whose flags can be seen.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal

from enarx.keep.sandbox import bpf, libc
from enarx.keep.sandbox.bpf import Allow, Check

_SET_MODE_FILTER = 1
_TSYNC = 1
_CLONE_VM_THREAD = 0x00010100
_CLONE_NAMESPACES = 0x7E020000
_CLONE_TID = 0x01200000
"""CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID, by which libc's fork knows its thread id."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_TMPFILE
_FIONBIO, _FIOCLEX = 0x5421, 0x5451
_PR_SET_NAME = 15

NUMBERS = {
    "read": 0,
    "write": 1,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "ioctl": 16,
    "pread64": 17,
    "readv": 19,
    "writev": 20,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "dup2": 33,
    "nanosleep": 35,
    "setitimer": 38,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "listen": 50,
    "getsockname": 51,
    "getpeername": 52,
    "socketpair": 53,
    "setsockopt": 54,
    "getsockopt": 55,
    "clone": 56,
    "exit": 60,
    "wait4": 61,
    "fcntl": 72,
    "mkdir": 83,
    "unlink": 87,
    "gettimeofday": 96,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "sigaltstack": 131,
    "prctl": 157,
    "arch_prctl": 158,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "getdents64": 217,
    "set_tid_address": 218,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "epoll_wait": 232,
    "epoll_ctl": 233,
    "waitid": 247,
    "openat": 257,
    "newfstatat": 262,
    "readlinkat": 267,
    "ppoll": 271,
    "set_robust_list": 273,
    "epoll_pwait": 281,
    "accept4": 288,
    "eventfd2": 290,
    "epoll_create1": 291,
    "dup3": 292,
    "pipe2": 293,
    "preadv": 295,
    "prlimit64": 302,
    "seccomp": 317,
    "getrandom": 318,
    "memfd_create": 319,
    "membarrier": 324,
    "statx": 332,
    "rseq": 334,
    "pidfd_send_signal": 424,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
}
"""Numbers on x86-64 of the calls that are allowed anywhere."""

_FORK = (Check(argument=0, mask=0xFFFFFFFF ^ _CLONE_TID, value=signal.SIGCHLD),)
_COMMON = (
    Allow("read readv write writev close lseek fstat", "descriptors that it holds"),
    Allow("fcntl", "descriptor flags"),
    Allow("munmap mremap madvise brk", "memory"),
    Allow("rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack", "traps are signals"),
    Allow("futex sched_yield set_robust_list rseq membarrier", "threads of one process"),
    Allow("getpid gettid getuid geteuid getgid getegid sched_getaffinity", "who am I"),
    Allow("clock_gettime clock_getres gettimeofday clock_nanosleep nanosleep", "time"),
    Allow("getrandom", "keys, nonces, the guest's random numbers"),
    Allow("poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2", "waiting"),
    Allow("restart_syscall exit exit_group", "signals and the end"),
    Allow("seccomp", "a further filter can only take more away"),
)
_MEMORY = (Allow("mmap mprotect", "memory, not executable", (Check(argument=2, mask=4, value=0),)),)
_THREADS = (
    Allow(
        "clone",
        "threads, not processes",
        (Check(argument=0, mask=_CLONE_VM_THREAD | _CLONE_NAMESPACES, value=_CLONE_VM_THREAD),),
    ),
    Allow("set_tid_address arch_prctl", "start of a thread"),
    Allow("prctl", "a thread's name", (Check(argument=0, value=_PR_SET_NAME),)),
)
_APP_LOADER = (
    Allow("accept4 getsockname getpeername setsockopt getsockopt listen", "its listener"),
    Allow("recvfrom recvmsg sendto sendmsg shutdown socketpair", "its connections"),
    Allow("ioctl", "non-blocking mode", (Check(argument=1, value=_FIONBIO),)),
    Allow("wait4 waitid pidfd_send_signal", "ending the workload's process"),
    Allow("openat stat newfstatat unlink memfd_create", "its key goes to OpenSSL by a file"),
)

APP_LOADER = (*_COMMON, *_MEMORY, *_APP_LOADER)

WORKLOAD = (
    *_COMMON,
    *_MEMORY,
    *_THREADS,
    Allow("dup socketpair pipe2", "the runtime's event loop"),
    Allow("setitimer prlimit64", "its own processor time limit"),
    Allow("openat", "secrets, to read", (Check(argument=1 + 1, mask=_WRITING, value=0),)),
    Allow("newfstatat statx getdents64 pread64 preadv readlinkat", "secrets, to read"),
    Allow("ioctl", "non-blocking mode", (Check(argument=1, value=_FIONBIO),)),
)

KEEP = (
    *_COMMON,
    *_THREADS,
    *_APP_LOADER,
    Allow("mmap mprotect", "memory, executable too: the compiler's output"),
    Allow("clone", "fork of the workload's process", _FORK),
    Allow("dup dup2 dup3 pipe2 pidfd_open close_range", "fork of the workload's process"),
    Allow("prctl", "end with the app loader", (Check(argument=0, value=1),)),
    Allow("setitimer prlimit64", "limits of processor time and memory"),
    Allow("openat mkdir statx getdents64 pread64 preadv readlinkat", "secrets"),
)


@functools.cache
def program(rules: tuple[Allow, ...]) -> bytes:
    """The filter for `rules`; made once, in the zygote."""
    return bpf.assemble(
        rules,
        numbers=NUMBERS,
        errno=errno.EPERM,
        refused={"clone3": errno.ENOSYS, "openat2": errno.ENOSYS},
    )


def enter(rules: tuple[Allow, ...]) -> None:
    """Put all threads of this process under `rules`, for ever. Raises OSError."""
    code = program(rules)
    described = _Program(len(code) // 8, code)
    # With TSYNC, a positive result is the thread that could not be brought under it.
    if libc.syscall(libc.SECCOMP, _SET_MODE_FILTER, _TSYNC, ctypes.byref(described)):
        raise OSError(errno.EBUSY, "a thread has a seccomp filter of its own")


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
