"""What is in the root of a VM: which files of the packages, under which paths.

The rules for the runtime are those of process Keeps (`image.runtime`): interpreter, standard
library as source, extension modules, libraries. What no Keep imports is left out by name, so
that a new module of a new Python is in, not out.
"""

from __future__ import annotations

import lzma
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from enarx.errors import HostError
from enarx.image.vm.deb import Content
from enarx.image.vm.newc import Entry

INTERPRETER: Final = "/usr/bin/python3.11"
STANDARD: Final = "/usr/lib/python3.11"
EXTENSIONS: Final = STANDARD + "/lib-dynload"
LOADER: Final = "/lib64/ld-linux-x86-64.so.2"
PAYLOAD: Final = "/payload"
MODULES: Final = "/modules"
_LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu"
_LIBRARY_PLACES: Final = ("/lib/x86_64-linux-gnu", _LIBRARIES)

LIBRARIES: Final = (
    "libc.so.6",
    "libcrypto.so.3",
    "libdl.so.2",
    "libexpat.so.1",
    "libffi.so.8",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libssl.so.3",
    "libutil.so.1",
    "libz.so.1",
)
"""All that the interpreter, its modules below and the payload map."""
EXTENSION_MODULES: Final = (
    "_asyncio",
    "_contextvars",
    "_ctypes",
    "_decimal",
    "_hashlib",
    "_json",
    "_queue",
    "_ssl",
    "_typing",
    "_uuid",
    "mmap",
    "resource",
)
"""Those that Debian does not build into the interpreter and a Keep imports."""
LEFT_OUT: Final = frozenset(
    """__pycache__ config-3.11-x86_64-linux-gnu curses dbm dist-packages distutils ensurepip
    idlelib lib-dynload lib2to3 msilib multiprocessing pydoc_data site-packages sqlite3 test
    tkinter turtledemo unittest venv wsgiref xml xmlrpc zoneinfo
    _aix_support.py _bootsubprocess.py _osx_support.py _pydecimal.py _pyio.py
    _sysconfigdata__linux_x86_64-linux-gnu.py _sysconfigdata__x86_64-linux-gnu.py
    aifc.py antigravity.py asynchat.py asyncore.py binhex.py cProfile.py cgi.py cgitb.py chunk.py
    cmd.py code.py codeop.py crypt.py doctest.py filecmp.py fileinput.py ftplib.py imaplib.py
    imghdr.py mailbox.py mailcap.py modulefinder.py netrc.py nntplib.py nturl2path.py
    optparse.py pdb.py pickletools.py plistlib.py poplib.py profile.py pstats.py pty.py
    pyclbr.py pydoc.py rlcompleter.py sched.py shelve.py sitecustomize.py smtpd.py smtplib.py
    sndhdr.py statistics.py sunau.py symtable.py tabnanny.py telnetlib.py this.py timeit.py
    trace.py tracemalloc.py turtle.py uu.py wave.py webbrowser.py xdrlib.py zipapp.py""".split()  # noqa: SIM905 - a list of quoted names is three times as long
)
"""Of the standard library, at its top: what a Keep has no use for."""
CODECS: Final = frozenset(
    "__init__ aliases ascii cp437 idna latin_1 punycode utf_16 utf_16_le utf_8 utf_8_sig".split()  # noqa: SIM905
)
"""Of the standard library's codecs: those that a Keep, or Python itself, uses."""
KERNEL_MODULES: Final = (
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/char/hw_random/virtio-rng",
)
"""In the order in which they are loaded: network and entropy; the rest is built in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The kernel. image: the file that boots. release: its version as it calls itself."""

    image: bytes
    release: str
    modules: tuple[tuple[str, bytes], ...]


def runtime_entries(packages: Iterable[Content]) -> list[Entry]:
    """Interpreter, standard library and libraries, out of the packages of the runtime.

    Raises:
        HostError: a file is not in any of them (`image.tree`).
    """
    files: dict[str, bytes] = {}
    found = _Packages(tuple(packages))
    files[INTERPRETER] = found.read(INTERPRETER)
    files[LOADER] = found.read(LOADER, _LIBRARY_PLACES[0] + "/ld-linux-x86-64.so.2")
    for name in LIBRARIES:
        files[f"{_LIBRARIES}/{name}"] = found.read(
            *(f"{place}/{name}" for place in _LIBRARY_PLACES)
        )
    for name in EXTENSION_MODULES:
        path = f"{EXTENSIONS}/{name}.cpython-311-x86_64-linux-gnu.so"
        files[path] = found.read(path)
    for content in found.packages:
        for path, data in content.files.items():
            if path.startswith(STANDARD + "/") and path.endswith(".py") and _is_wanted(path):
                files[path] = data
    return [
        Entry(path=path, data=data, executable=path in (INTERPRETER, LOADER))
        for path, data in files.items()
    ]


def kernel(package: Content) -> Kernel:
    """The kernel and its modules, unpacked; their signatures stay.

    Raises:
        HostError: the package is none of a kernel's (`image.tree`).
    """
    images = [path for path in package.files if path.startswith("/boot/vmlinuz-")]
    if len(images) != 1:
        raise _missing("/boot/vmlinuz-*")
    release = images[0].removeprefix("/boot/vmlinuz-")
    modules = []
    for name in KERNEL_MODULES:
        base = f"lib/modules/{release}/kernel/{name}.ko.xz"
        packed = package.files.get(f"/{base}") or package.files.get(f"/usr/{base}")
        if packed is None:
            raise _missing(base)
        modules.append((posixpath.basename(name), lzma.decompress(packed)))
    return Kernel(image=package.files[images[0]], release=release, modules=tuple(modules))


def kernel_prefixes() -> tuple[str, ...]:
    """Which paths of the kernel's package are of interest."""
    return ("/boot/vmlinuz-", "/lib/modules/", "/usr/lib/modules/", "/usr/share/doc/")


def _is_wanted(path: str) -> bool:
    parts = path.removeprefix(STANDARD + "/").split("/")
    if parts[0] in LEFT_OUT or "__pycache__" in parts:
        return False
    return parts[0] != "encodings" or parts[1].removesuffix(".py") in CODECS


class _Packages:
    def __init__(self, packages: tuple[Content, ...]) -> None:
        self.packages = packages

    def read(self, *paths: str) -> bytes:
        """The first of these paths that some package has."""
        for path in paths:
            for content in self.packages:
                try:
                    return content.read(path)
                except KeyError:
                    continue
        raise _missing(paths[0])


def _missing(path: str) -> HostError:
    return HostError(
        f"no locked package has {path}",
        hint="is the lock file that of this version of enarx?",
        code="image.tree",
    )
