"""Which shared libraries a set of programs maps, found without running any of them.

The rules are those of ld.so(8), as far as they hold in a Keep's root, which has neither
LD_LIBRARY_PATH of the user nor a cache: RPATH of the object and of the main program (when
the object has no RUNPATH), RUNPATH of the object, then what this machine's loader knows
(/etc/ld.so.cache) and the usual directories. Libraries of the last two kinds come from
directories that a Keep's root need not search by itself; `Libraries.search` lists them.
A library that is nowhere is left out: whatever needs it cannot be loaded here either.
"""

from __future__ import annotations

import os
import platform
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from enarx.errors import LimitError
from enarx.image.elf import Dynamic
from enarx.image.manifest import Files, Source

CACHE: Final = "/etc/ld.so.cache"
CACHE_MAX: Final = 8 * 1024 * 1024
"""Bytes of the loader's cache; a desktop's has 200 KB."""
LIBRARIES_MAX: Final = 2048
"""Shared libraries that are followed; a Python with all its modules maps about 30."""
DIRECTORIES: Final = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
)
"""Where loaders look by default: Debian's, Fedora's and musl's, in this order."""

_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = struct.Struct("<20sII5I")
_CACHE_ENTRY = struct.Struct("<iIIIQ")
_CACHE_X86_64 = 0x0303  # FLAG_X8664_LIB64 | FLAG_ELF_LIBC6 (glibc, sysdeps/generic/ldconfig.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The libraries, each under the path at which it is loaded.

    search: directories that the loader of a Keep's root must be told to search, in order.
    """

    sources: tuple[Source, ...]
    search: tuple[str, ...]


def find_libraries(objects: Iterable[str], files: Files, *, program: str) -> Libraries:
    """All libraries that the objects need, and those that these need, and so on.

    Args:
        objects: files that are mapped; those that are not ELF are passed over.
        program: the main program; its RPATH counts for all, its loader is among the result.

    Raises:
        HostError: an object cannot be read (`image.unreadable`).
        ParseError: an object or the loader's cache is broken.
        LimitError: more than LIBRARIES_MAX libraries (`limit.libraries`).
    """
    main = files.dynamic(program) or Dynamic()
    search = _Search(_read_cache(), main_rpath=_expand(main.rpath, program))
    found: dict[str, None] = {}
    if main.interpreter:
        found[main.interpreter] = None
    loader = os.path.basename(main.interpreter)
    queue = deque([program, *objects])
    seen = set(queue)
    while queue:
        origin = queue.popleft()
        dynamic = files.dynamic(origin)
        if dynamic is None:
            continue
        for name in dynamic.needed:
            path = None if name == loader else search.find(name, dynamic, origin)
            if path is None or path in seen:
                continue
            seen.add(path)
            found[path] = None
            queue.append(path)
            if len(found) > LIBRARIES_MAX:
                raise LimitError(
                    f"{program} maps more than {LIBRARIES_MAX} libraries", code="limit.libraries"
                )
    return Libraries(
        sources=tuple(Source(path=path, origin=path) for path in found),
        search=tuple(search.used),
    )


class _Search:
    """Finds one library as ld.so would, and remembers which directories it had to know."""

    def __init__(self, cache: Mapping[str, str], *, main_rpath: tuple[str, ...]) -> None:
        self._cache = cache
        self._main_rpath = main_rpath
        self._known: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self.used: dict[str, None] = {}

    def find(self, name: str, dynamic: Dynamic, origin: str) -> str | None:
        if "/" in name:
            path = os.path.normpath(_expand((name,), origin)[0])
            return path if os.path.isabs(path) and os.path.isfile(path) else None
        if dynamic.runpath:
            own = _expand(dynamic.runpath, origin)
        else:
            own = _expand(dynamic.rpath, origin) + self._main_rpath
        key = (name, own)
        if key not in self._known:
            self._known[key] = self._look(name, own)
        return self._known[key]

    def _look(self, name: str, own: tuple[str, ...]) -> str | None:
        for directory in own:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                return path
        cached = self._cache.get(name)
        candidates = [cached] if cached is not None else []
        candidates += [os.path.join(directory, name) for directory in DIRECTORIES]
        for path in candidates:
            if os.path.isfile(path):
                self.used[os.path.dirname(path)] = None
                return path
        return None


def _expand(paths: tuple[str, ...], origin: str) -> tuple[str, ...]:
    """Replace the tokens of ld.so(8); relative entries are left out, as they mean nothing here."""
    directory = os.path.dirname(os.path.realpath(origin))
    tokens = {"ORIGIN": directory, "LIB": "lib64", "PLATFORM": platform.machine()}
    out = []
    for path in paths:
        for token, value in tokens.items():
            path = path.replace("${" + token + "}", value).replace("$" + token, value)
        if os.path.isabs(path):
            out.append(os.path.normpath(path))
    return tuple(out)


def _read_cache() -> dict[str, str]:
    """Names and paths in the loader's cache, plain x86-64 ones only; empty where there is none.

    Source: glibc, sysdeps/generic/dl-cache.h (struct cache_file_new). A cache that cannot be
    read is passed over, as the loader does; the usual directories are still searched.
    """
    try:
        with open(CACHE, "rb") as file:
            data = file.read(CACHE_MAX + 1)
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) > CACHE_MAX or len(data) - start < _CACHE_HEADER.size:
        return {}
    data = data[start:]
    count = _CACHE_HEADER.unpack_from(data)[1]
    end = _CACHE_HEADER.size + count * _CACHE_ENTRY.size
    if end > len(data):
        return {}
    found: dict[str, str] = {}
    for flags, key, value, _, hwcap in _CACHE_ENTRY.iter_unpack(data[_CACHE_HEADER.size : end]):
        # Variants for newer processors (hwcap) are left out: a Keep's root has no use for them.
        if flags == _CACHE_X86_64 and hwcap == 0:
            found.setdefault(_string(data, key), _string(data, value))
    return found


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    return os.fsdecode(data[offset:end]) if 0 <= offset < len(data) and end >= 0 else ""
