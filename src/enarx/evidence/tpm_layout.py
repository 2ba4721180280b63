"""Structures as a TPM marshals them: one declaration, from which they are read and written.

As :mod:`enarx.evidence.layout`, but big endian and with fields of varying size: a TPM2B is a
u16 length and that many bytes, a TPML a u32 count and that many structures.

Source: TCG *TPM 2.0 Library*, part 1, section 5.4 (canonicalisation); part 2, chapters 5 to 12.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, Generic, TypeVar

from enarx.errors import ParseError, UsageError

_T = TypeVar("_T")
_FORM = "enarx.tpm.form"


class Reader:
    """Takes fields from the front of some bytes; never past their end."""

    __slots__ = ("_data", "_what", "offset")

    def __init__(self, data: bytes, *, what: str) -> None:
        self._data = data
        self._what = what
        self.offset = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises:
            ParseError: fewer are left (``tpm.truncated``).
        """
        end = self.offset + size
        if end > len(self._data):
            raise ParseError(
                f"{self._what} is cut off: {size} bytes wanted, {len(self._data) - self.offset} "
                f"are left",
                offset=self.offset,
                code="tpm.truncated",
            )
        taken = self._data[self.offset : end]
        self.offset = end
        return taken

    def number(self, form: str) -> int:
        """The next unsigned number: ``B``, ``H``, ``I`` or ``Q`` as in :mod:`struct`."""
        value: int = struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}")))[0]
        return value

    def sized(self, form: str, most: int) -> bytes:
        """Bytes with their length before them.

        Raises:
            ParseError: more than ``most`` (``tpm.size``), or cut off.
        """
        size = self.number(form)
        if size > most:
            raise ParseError(
                f"{self._what} has a field of {size} bytes, at most {most} are allowed",
                offset=self.offset,
                code="tpm.size",
            )
        return self.take(size)

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            ParseError: something is (``tpm.trailing``).
        """
        if self.offset != len(self._data):
            raise ParseError(
                f"{len(self._data) - self.offset} bytes follow the {self._what}",
                offset=self.offset,
                code="tpm.trailing",
            )


def number(form: str) -> Any:
    """A field that is an unsigned number: ``B``, ``H``, ``I`` or ``Q``."""
    return dataclasses.field(default=0, metadata={_FORM: form})


def sized(most: int, *, length: str = "H") -> Any:
    """A field of at most ``most`` bytes with their length before them (a TPM2B)."""
    return dataclasses.field(default=b"", metadata={_FORM: (length, most)})


def listed(structure: Structure[Any], most: int) -> Any:
    """A field of at most ``most`` structures with their count before them (a TPML)."""
    return dataclasses.field(default=(), metadata={_FORM: (structure, most)})


class Structure(Generic[_T]):
    """The marshalled form of a dataclass whose fields were made by the functions above."""

    def __init__(self, kind: type[_T], *, name: str) -> None:
        self._kind = kind
        self._name = name
        self._forms: tuple[tuple[str, Any], ...] = tuple(
            (item.name, item.metadata[_FORM])
            for item in dataclasses.fields(kind)  # type: ignore[arg-type]
        )

    def parse(self, data: bytes) -> _T:
        """Read exactly one.

        Raises:
            ParseError: cut off, followed by something, or larger than declared.
        """
        reader = Reader(data, what=self._name)
        value = self.read(reader)
        reader.end()
        return value

    def read(self, reader: Reader) -> _T:
        """Read one from the front of ``reader``.

        Raises:
            ParseError: as :meth:`parse`, but something may follow.
        """
        return self._kind(**{name: _read(form, reader, self._name) for name, form in self._forms})

    def pack(self, value: _T) -> bytes:
        """Write one; the inverse of :meth:`parse`.

        Raises:
            UsageError: a value does not fit its field.
        """
        try:
            return b"".join(_write(form, getattr(value, name)) for name, form in self._forms)
        except struct.error as error:
            raise UsageError(f"{self._name} cannot be packed: {error}", code="tpm.pack") from None


def _read(form: Any, reader: Reader, name: str) -> Any:
    if isinstance(form, str):
        return reader.number(form)
    first, most = form
    if isinstance(first, str):
        return reader.sized(first, most)
    count = reader.number("I")
    if count > most:
        raise ParseError(
            f"{name} has a list of {count}, at most {most} are allowed",
            offset=reader.offset,
            code="tpm.count",
        )
    return tuple(first.read(reader) for _ in range(count))


def _write(form: Any, value: Any) -> bytes:
    if isinstance(form, str):
        return struct.pack(f">{form}", value)
    first, most = form
    if len(value) > most:
        raise UsageError(f"field holds {len(value)}, at most {most} fit", code="tpm.pack")
    if isinstance(first, str):
        return struct.pack(f">{first}", len(value)) + bytes(value)
    return struct.pack(">I", len(value)) + b"".join(first.pack(one) for one in value)


def tpm2b(content: bytes) -> bytes:
    """A TPM2B: a u16 length and the bytes."""
    return struct.pack(">H", len(content)) + content
