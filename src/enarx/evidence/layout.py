"""Fixed binary layouts: one declaration, from which a structure is parsed and packed.

A structure is a frozen dataclass whose fields say how many bytes they take, in order::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Point:
        x: int = u16()
        y: int = u16()
        label: bytes = octets(12)

    POINT = Layout(Point, size=16)
    POINT.pack(POINT.parse(data, offset=0))  == data[:16]

Reserved ranges are fields like all others, so that what was signed can be packed again bit by
bit. Numbers are unsigned, little endian unless the layout says otherwise. ``size`` repeats the
specification's total, so that a slip in the declaration is caught when the module is imported.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Generic, Literal, TypeVar

from enarx.errors import ParseError, UsageError

_T = TypeVar("_T")
_FORMAT = "enarx.layout.format"


def u8() -> Any:
    """A field of one byte, an unsigned number."""
    return dataclasses.field(default=0, metadata={_FORMAT: "B"})


def u16() -> Any:
    """A field of two bytes, an unsigned number."""
    return dataclasses.field(default=0, metadata={_FORMAT: "H"})


def u32() -> Any:
    """A field of four bytes, an unsigned number."""
    return dataclasses.field(default=0, metadata={_FORMAT: "I"})


def u64() -> Any:
    """A field of eight bytes, an unsigned number."""
    return dataclasses.field(default=0, metadata={_FORMAT: "Q"})


def octets(size: int) -> Any:
    """A field of ``size`` bytes, kept as they are; zeros by default."""
    return dataclasses.field(default=bytes(size), metadata={_FORMAT: f"{size}s"})


def later_octets(size: int) -> Any:
    """As :func:`octets`, for a field that only later versions of a structure have (else None)."""
    return dataclasses.field(default=None, metadata={_FORMAT: f"{size}s"})


class Layout(Generic[_T]):
    """The binary form of a structure.

    Args:
        kind: a dataclass whose fields were made by :func:`octets`, :func:`u8` and so on.
        size: bytes it takes in all, as the specification says.
        without: fields that this version of the structure does not have.
        byte_order: of its numbers.

    Raises:
        TypeError: the fields do not add up to ``size`` (a mistake in the declaration).
    """

    def __init__(
        self,
        kind: type[_T],
        *,
        size: int,
        without: tuple[str, ...] = (),
        byte_order: Literal["little", "big"] = "little",
    ) -> None:
        formats = {
            item.name: item.metadata[_FORMAT]
            for item in dataclasses.fields(kind)  # type: ignore[arg-type]
            if item.name not in without
        }
        self._struct = struct.Struct(
            ("<" if byte_order == "little" else ">") + "".join(formats.values())
        )
        self._names = tuple(formats)
        self._lengths = tuple(
            (name, int(form[:-1])) for name, form in formats.items() if form.endswith("s")
        )
        self._kind = kind
        self.size = size
        if self._struct.size != size:
            raise TypeError(f"{kind.__name__} declares {self._struct.size} bytes, not {size}")

    def parse(self, data: bytes, *, offset: int = 0) -> _T:
        """Read the structure at ``offset``.

        Raises:
            ParseError: it does not fit (``parse.truncated``).
        """
        if offset + self.size > len(data):
            raise ParseError(
                f"{self._kind.__name__} needs {self.size} bytes, "
                f"{max(len(data) - offset, 0)} are left",
                offset=offset,
                code="parse.truncated",
            )
        values = self._struct.unpack_from(data, offset)
        return self._kind(**dict(zip(self._names, values, strict=True)))

    def pack(self, value: _T) -> bytes:
        """Write the structure.

        Raises:
            UsageError: a value does not have its field's size or range.
        """
        for name, length in self._lengths:
            found = len(getattr(value, name))
            if found != length:
                raise UsageError(
                    f"{self._kind.__name__}.{name} has {found} bytes, it must have {length}"
                )
        try:
            return self._struct.pack(*[getattr(value, name) for name in self._names])
        except struct.error as error:
            raise UsageError(f"{self._kind.__name__} cannot be packed: {error}") from None
