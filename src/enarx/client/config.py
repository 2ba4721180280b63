"""Enarx.toml: arguments, environment and descriptors of a workload.

    args = ["--verbose"]
    [env]
    LANG = "C"
    [[files]]
    kind = "stdin"          # null, stdin, stdout, stderr

Without a file the workload has stdin, stdout and stderr; a file without [[files]] gives it
no descriptor at all. Every key is checked; what is not known is refused with its line and
column, never ignored.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final
from urllib.parse import urlsplit

from enarx.client.toml_positions import Path, positions
from enarx.errors import ConfigError
from enarx.wire import limits
from enarx.wire import session as wire

CONFIG_BYTES: Final = 1024 * 1024
"""Most bytes of an Enarx.toml: room for the largest environment that a person would write."""
FILES: Final = 16
"""Descriptors of a workload (`enarx.wire.session.Config`)."""

STDIO_KINDS: Final = ("null", "stdin", "stdout", "stderr")
_SOCKET_KINDS: Final = ("listen", "connect")
_KEYS: Final = ("args", "env", "files", "steward")
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A workload's configuration, checked.

    Attributes:
        args: arguments behind the program's name.
        env: environment variables.
        files: kinds of descriptors 0, 1, 2, ... in this order.
        steward: URL of the steward, who certifies Keeps; this version asks none.
    """

    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ("stdin", "stdout", "stderr")
    steward: str | None = None

    @classmethod
    def from_file(cls, path: FilePath) -> Config:
        """Read an Enarx.toml. Raises ConfigError, which names line and column."""
        try:
            with path.open("rb") as file:
                content = file.read(CONFIG_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"cannot read the configuration: {error.strerror}",
                path=str(path),
                code="config.unreadable",
            ) from None
        if len(content) > CONFIG_BYTES:
            raise ConfigError(f"more than {CONFIG_BYTES} bytes", path=str(path), code="config.size")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            before = content[: error.start].decode("utf-8").split("\n")
            raise ConfigError(
                f"not UTF-8 text: byte 0x{content[error.start]:02x}",
                path=str(path),
                line=len(before),
                column=len(before[-1]) + 1,
                code="config.syntax",
            ) from None
        return cls.from_toml(text, name=str(path))

    @classmethod
    def from_toml(cls, text: str, *, name: str = "Enarx.toml") -> Config:
        """Read the text of an Enarx.toml; `name` is what errors call it. Raises ConfigError."""
        reader = _Reader(text, name)
        return cls(
            args=reader.args(), env=reader.env(), files=reader.files(), steward=reader.steward()
        )

    def with_args(self, args: tuple[str, ...]) -> Config:
        """The same with other arguments."""
        return Config(args=args, env=self.env, files=self.files, steward=self.steward)

    def message(self) -> wire.Config:
        """What is sent to the Keep."""
        return wire.Config(args=self.args, env=self.env, files=self.files)


def _load(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _POSITION.search(message)
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        if match and match[1]:
            line, column = int(match[1]), int(match[2])
        raise ConfigError(
            f"not TOML: {message[: match.start()] if match else message}",
            path=name, line=line, column=column, code="config.syntax",
        ) from None  # fmt: skip
    except RecursionError:
        raise ConfigError(
            "arrays or tables are nested too deeply", path=name, code="config.syntax"
        ) from None


class _Reader:
    """Takes one document apart; every complaint says where."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        self._document = _load(text, name)
        for key in self._document:
            if key not in _KEYS:
                raise self._unknown((key,), known=_KEYS)

    def args(self) -> tuple[str, ...]:
        return tuple(
            self._text_value(("args", index), value)
            for index, value in enumerate(self._list("args", "strings", limits.ARGUMENTS))
        )

    def env(self) -> dict[str, str]:
        table = self._document.get("env", {})
        if not isinstance(table, dict):
            raise self._wrong_type(("env",), "a table of strings", table)
        if len(table) > limits.ARGUMENTS:
            raise self._error(
                ("env",), f"{len(table)} variables, at most {limits.ARGUMENTS} are allowed"
            )
        for key, value in table.items():
            if not key or "=" in key or "\0" in key or len(key) > limits.NAME:
                raise self._error(("env", key), f"{key!r} cannot be the name of a variable")
            self._text_value(("env", key), value)
        return dict(table)

    def steward(self) -> str | None:
        value = self._document.get("steward")
        if value is None:
            return None
        text = self._text_value(("steward",), value)
        if not _is_https(text):
            raise self._error(("steward",), f"{text!r} is not an https:// URL")
        return text

    def files(self) -> tuple[str, ...]:
        tables = self._list("files", "tables, written [[files]]", FILES)
        return tuple(self._file(index, table) for index, table in enumerate(tables))

    def _file(self, index: int, table: object) -> str:
        here: Path = ("files", index)
        if not isinstance(table, dict):
            raise self._wrong_type(here, "a table with a kind", table)
        if "kind" not in table:
            raise self._error(
                here, "this file has no kind", hint=f"kinds: {', '.join(STDIO_KINDS)}"
            )
        kind = self._text_value((*here, "kind"), table["kind"])
        if kind in _SOCKET_KINDS:
            raise self._error(
                (*here, "kind"),
                f"kind {kind!r} needs a socket, and Keeps of this version have none",
                hint="pass data over stdin and stdout instead",
                code="config.sockets",
            )
        if kind not in STDIO_KINDS:
            raise self._error(
                (*here, "kind"), f"unknown kind {kind!r}", hint=f"kinds: {', '.join(STDIO_KINDS)}"
            )
        for key in table:
            if key != "kind":
                raise self._unknown((*here, key), known=("kind",))
        return kind

    def _list(self, key: str, of: str, most: int) -> list[Any]:
        value = self._document.get(key, [])
        if not isinstance(value, list):
            raise self._wrong_type((key,), f"an array of {of}", value)
        if len(value) > most:
            raise self._error((key,), f"{len(value)} entries, at most {most} are allowed")
        return value

    def _text_value(self, path: Path, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(path, "a string", value)
        if "\0" in value:
            raise self._error(path, "a string must not contain a zero byte")
        if len(value.encode()) > limits.ARGUMENT:
            raise self._error(path, f"longer than {limits.ARGUMENT} bytes")
        return value

    def _wrong_type(self, path: Path, expected: str, found: object) -> ConfigError:
        return self._error(
            path, f"{_dotted(path)} must be {expected}, not {_type_name(found)}", code="config.type"
        )

    def _unknown(self, path: Path, *, known: tuple[str, ...]) -> ConfigError:
        return self._error(
            path,
            f"unknown key {_dotted(path)}",
            hint=f"known here: {', '.join(known)}",
            code="config.unknown-key",
        )

    def _error(
        self, path: Path, message: str, *, hint: str = "", code: str = "config.value"
    ) -> ConfigError:
        found = positions(self._text)
        while path and path not in found:
            path = path[:-1]
        line, column = found.get(path, (1, 1))
        return ConfigError(message, path=self._name, line=line, column=column, hint=hint, code=code)


def _is_https(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme == "https" and bool(url.hostname)


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
)


def _type_name(value: object) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "a date or time")
