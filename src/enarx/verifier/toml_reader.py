"""TOML read with types and places: every complaint names line and column."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, NoReturn

from enarx.errors import ConfigError

MAX_TOML_CHARACTERS: Final = 1024 * 1024
"""Policies are a page; a list of some ten thousand chips still fits."""

MAX_DOTS: Final = 128
"""Dots in one line: a dotted key of n names takes the TOML library n * n steps."""

Path = tuple[str, ...]

_SYNTAX: Final = re.compile(r"^(.*) \(at line (\d+), column (\d+)\)$")
_HEADER: Final = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?")
_DURATION: Final = re.compile(r"^(\d{1,6})([smhd])$")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class TomlReader:
    """One TOML document, and where its keys stand.

    Args:
        text: the document.
        name: where it came from, for error messages.

    Raises:
        ConfigError: too long, or not TOML.
    """

    def __init__(self, text: str, *, name: str) -> None:
        self._name = name
        self._text = text
        if len(text) > MAX_TOML_CHARACTERS:
            raise ConfigError(
                f"file has {len(text)} characters, more than {MAX_TOML_CHARACTERS}", path=name
            )
        for number, written in enumerate(text.splitlines(), start=1):
            if written.count(".") > MAX_DOTS:
                raise ConfigError(
                    f"line has more than {MAX_DOTS} dots",
                    path=name,
                    line=number,
                    column=1,
                    hint="write long lists one value a line",
                    code="config.toml",
                )
        try:
            self.document: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _SYNTAX.match(str(error))
            message = found[1] if found else str(error)
            line, column = (int(found[2]), int(found[3])) if found else self._end()
            raise ConfigError(
                message, path=name, line=line, column=column, code="config.toml"
            ) from error
        except RecursionError as error:
            raise ConfigError("file nests too deep", path=name, code="config.toml") from error

    def _end(self) -> tuple[int, int]:
        lines = self._text.splitlines() or [""]
        return len(lines), len(lines[-1]) + 1

    def fail(self, path: Path, message: str, *, hint: str = "") -> NoReturn:
        """Complain about the value at ``path``."""
        line, column = self._place(path)
        raise ConfigError(
            f"{'.'.join(path)}: {message}" if path else message,
            path=self._name,
            line=line,
            column=column,
            hint=hint,
            code="config.value",
        )

    def _place(self, path: Path) -> tuple[int, int]:
        """Line and column of a key, from 1; of its table where the key cannot be told apart."""
        names = [part for part in path if not part.isdigit()]
        wanted, best = names[-1:] or [""], (1, 1)
        table: list[str] = []
        for number, line in enumerate(self._text.splitlines(), start=1):
            header = _HEADER.match(line)
            if header:
                table = [part.strip(" \"'") for part in header[1].split(".")]
                if table == names or (table and table == names[: len(table)]):
                    best = (number, line.index("[") + 1)
                continue
            found = re.search(rf"(?:^|[\s{{,.])([\"']?{re.escape(wanted[0])}[\"']?)\s*[=.]", line)
            if found and table == names[: len(table)]:
                return number, found.start(1) + 1
        return best

    def only(self, table: dict[str, Any], known: Iterable[str], path: Path) -> None:
        """Refuse keys that are not known."""
        names = sorted(known)
        for key in table:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                self.fail(
                    (*path, key),
                    "unknown key",
                    hint=f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}",
                )

    def table(self, value: Any, path: Path) -> dict[str, Any]:
        """A table that is not empty."""
        if not isinstance(value, dict):
            self.fail(path, f"expected a table, found {_kind(value)}")
        if not value:
            self.fail(path, "an empty table says nothing", hint="drop it or fill it")
        return value

    def tables(self, value: Any, path: Path) -> list[dict[str, Any]]:
        """A list of tables that is not empty."""
        if not isinstance(value, list) or not value:
            self.fail(path, f"expected a list of tables ([[...]]), found {_kind(value)}")
        return [self.table(one, (*path, str(number))) for number, one in enumerate(value)]

    def boolean(self, value: Any, path: Path) -> bool:
        """true or false."""
        if not isinstance(value, bool):
            self.fail(path, f"expected true or false, found {_kind(value)}")
        return value

    def number(self, value: Any, path: Path, *, most: int) -> int:
        """A whole number from 0 to ``most``."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.fail(path, f"expected a number from 0 to {most}, found {value!r}")
        return value

    def numbers(self, value: Any, path: Path, *, most: int) -> tuple[int, ...]:
        """A list of whole numbers that is not empty."""
        return tuple(self.number(one, path, most=most) for one in self._list(value, path))

    def text(self, value: Any, path: Path, *, among: Iterable[str] = ()) -> str:
        """A string, of a given set where one is given."""
        if not isinstance(value, str) or not value:
            self.fail(path, f"expected text, found {_kind(value)}")
        choices = sorted(among)
        if choices and value not in choices:
            close = difflib.get_close_matches(value, choices, n=1)
            self.fail(
                path,
                f"{value!r} is not known",
                hint=f"did you mean '{close[0]}'?" if close else f"known: {', '.join(choices)}",
            )
        return value

    def texts(self, value: Any, path: Path, *, among: Iterable[str] = ()) -> tuple[str, ...]:
        """A list of strings that is not empty."""
        choices = tuple(among)
        return tuple(self.text(one, path, among=choices) for one in self._list(value, path))

    def hexes(self, value: Any, path: Path, *, sizes: tuple[int, ...]) -> tuple[bytes, ...]:
        """A list of byte strings in hex, each of one of these sizes, that is not empty."""
        return tuple(self._hex(one, path, sizes) for one in self._list(value, path))

    def _hex(self, value: Any, path: Path, sizes: tuple[int, ...]) -> bytes:
        text = self.text(value, path)
        try:
            found = bytes.fromhex(text)
        except ValueError:
            self.fail(path, f"{text[:32]!r} is not hex")
        if len(found) not in sizes:
            self.fail(path, f"expected {' or '.join(map(str, sizes))} bytes, found {len(found)}")
        return found

    def duration(self, value: Any, path: Path) -> timedelta:
        """A duration such as ``"30d"``, ``"12h"``, ``"10m"``, ``"90s"``."""
        found = _DURATION.match(value) if isinstance(value, str) else None
        if found is None:
            self.fail(path, f'expected a duration such as "30d" or "12h", found {value!r}')
        return timedelta(**{_UNITS[found[2]]: int(found[1])})

    def _list(self, value: Any, path: Path) -> list[Any]:
        if not isinstance(value, list):
            self.fail(path, f"expected a list, found {_kind(value)}")
        if not value:
            self.fail(path, "an empty list would accept nothing", hint="drop the key or fill it")
        return value


def _kind(value: object) -> str:
    names = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a number"}
    return names.get(type(value), type(value).__name__)
