"""Where each key and array element of a TOML document stands, which tomllib does not tell.

For text that tomllib has accepted: nothing is validated here, and no value is decoded but
keys. A path is made of keys and indices, as ``("files", 1, "kind")``.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

Path = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


def positions(text: str) -> dict[Path, tuple[int, int]]:
    """Line and column, from 1, of every key and every array element of a valid document."""
    scanner = _Scanner(text)
    scanner.document()
    return {path: _line_column(text, offset) for path, offset in scanner.found.items()}


def _line_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}
        """Of each array of tables, the index of its last table."""

    def document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        start, double = self.at, self.text.startswith("[[", self.at)
        self.at += 1 + double
        keys = self._keys()
        self.at += 1 + double
        table: Path = ()
        for position, key in enumerate(keys):
            table += (key,)
            if double and position == len(keys) - 1:
                self.arrays[table] = self.arrays.get(table, -1) + 1
                self.found.setdefault(table, start)
            if table in self.arrays:
                table += (self.arrays[table],)
        self.found[table] = start
        return table

    def _pair(self, table: Path) -> None:
        start = self.at
        path = table + self._keys()
        self.found[path] = start
        self.at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> tuple[str, ...]:
        keys = []
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                token = self._match(_STRING)
                keys.append(str(tomllib.loads(f"k = {token}")["k"]))
            else:
                keys.append(self._match(_BARE))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return tuple(keys)
            self.at += 1

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        first = self.text[self.at]
        if first == "[":
            self._items(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._match(_STRING)
        else:
            self._match(_SCALAR)

    def _items(self, path: Path) -> None:
        self.at += 1
        index = 0
        while not self._closed("]"):
            self.found[(*path, index)] = self.at
            self._value((*path, index))
            index += 1
            self._comma()

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while not self._closed("}"):
            self._pair(path)
            self._comma()

    def _closed(self, bracket: str) -> bool:
        self._skip(_BLANK)
        if self.text[self.at] == bracket:
            self.at += 1
            return True
        return False

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None or not match[0]:
            raise ValueError(f"not valid TOML at offset {self.at}")
        self.at = match.end()
        return match[0]
