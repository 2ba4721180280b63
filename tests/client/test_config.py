"""Enarx.toml: what is understood, and how each mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.client.config import CONFIG_BYTES, Config
from enarx.client.toml_positions import positions
from enarx.errors import ConfigError
from enarx.wire import limits

FULL = """
steward = "https://steward.example"
args = ["--one", 'two']

[env]
LANG = "C"
"with space" = "kept"

[[files]]
kind = "null"

[[files]]
kind = "stdout"
"""


def test_every_key_is_understood() -> None:
    config = Config.from_toml(FULL)
    assert config.args == ("--one", "two")
    assert config.env == {"LANG": "C", "with space": "kept"}
    assert config.files == ("null", "stdout")
    assert config.steward == "https://steward.example"
    assert config.message().files == ("null", "stdout")


def test_no_config_means_stdin_stdout_stderr() -> None:
    assert Config().files == ("stdin", "stdout", "stderr")


def test_config_without_files_gives_no_descriptor() -> None:
    assert Config.from_toml("args = []").files == ()


WRONG = {
    "unknown key": ("args = []\nargz = []", 2, 1, "config.unknown-key", "argz"),
    "unknown key of a file": (
        '[[files]]\nkind = "stdin"\n[[files]]\nkind = "stdout"\n  path = "/x"',
        5, 3, "config.unknown-key", "files[1].path",
    ),
    "file without kind": ('[[files]]\nkind = "null"\n\n[[files]]', 4, 1, "config.value", "no kind"),
    "unknown kind": ('[[files]]\nkind = "disk"', 2, 1, "config.value", "'disk'"),
    "kind of another type": ("[[files]]\nkind = 1", 2, 1, "config.type", "not an integer"),
    "listen": ('[[files]]\nkind = "listen"\nport = 1', 2, 1, "config.sockets", "socket"),
    "connect": ('[[files]]\nkind = "connect"', 2, 1, "config.sockets", "socket"),
    "args not an array": ('args = "x"', 1, 1, "config.type", "an array of strings, not a string"),
    "argument not a string": ('args = ["a",\n  "b", 3.5]', 2, 8, "config.type", "args[2]"),
    "zero byte": ('args = ["a\\u0000"]', 1, 9, "config.value", "zero byte"),
    "env not a table": ("env = 3", 1, 1, "config.type", "a table of strings, not an integer"),
    "env value not a string": ("[env]\nA = true", 2, 1, "config.type", "env.A"),
    "env value a table": ("[env]\n[env.A]\nB = 1", 2, 1, "config.type", "not a table"),
    "env name with =": ('[env]\n"A=B" = ""', 2, 1, "config.value", "'A=B'"),
    "inline env": ('env = { A = "1", B = 2 }', 1, 18, "config.type", "env.B"),
    "files not tables": ('files = ["stdin"]', 1, 10, "config.type", "files[0]"),
    "too many files": ("files = [" + "{kind='null'}," * 17 + "]", 1, 1, "config.value", "17"),
    "steward not https": ('steward = "http://x"', 1, 1, "config.value", "https://"),
    "not TOML": ("args = [\n  1,,\n]", 2, 5, "config.syntax", "not TOML"),
    "ends too early": ("args = [1,\n", 2, 1, "config.syntax", "not TOML"),
    "key twice": ("args = []\nargs = []", 2, 10, "config.syntax", "overwrite"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_mistake_is_named_with_line_and_column(name: str) -> None:
    text, line, column, code, words = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(text, name="Enarx.toml")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"Enarx.toml:{line}:{column}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 5000, "args = " + "[" * 5000, "a." * 3000 + "b = 1"])
def test_deep_nesting_is_refused_and_does_not_crash(text: str) -> None:
    with pytest.raises(ConfigError):
        Config.from_toml(text)


def test_too_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Enarx.toml"
    path.write_bytes(b"#" * (CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="more than"):
        Config.from_file(path)


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Config.from_file(tmp_path / "none.toml")
    path = tmp_path / "Enarx.toml"
    path.write_bytes(b"# one line\nargs = ['\xc3\xbc\xff']")
    with pytest.raises(ConfigError, match=r"Enarx\.toml:2:11: not UTF-8 text: byte 0xff"):
        Config.from_file(path)


def test_argument_of_the_kernel_limit_is_taken_and_one_byte_more_is_not() -> None:
    Config.from_toml(f'args = ["{"x" * limits.ARGUMENT}"]')
    with pytest.raises(ConfigError, match="longer than"):
        Config.from_toml(f'args = ["{"x" * (limits.ARGUMENT + 1)}"]')


def test_positions_of_every_form_of_key() -> None:
    text = (
        'a = """x\n]=["""  # [not.a.table]\n'
        "b.c = 'y'\n"
        '"d e".\'f\' = { g = [1, [2, 3], { h = "}" }], }\n'
        "[t.u]\n"
        "v = 1979-05-27T07:32:00Z\n"
        "[[w]]\n"
        "[[w.x]]\n"
        "y = +inf\n"
        "[[w]]\n"
        "z = '''q'''\n"
    ).replace(", }", " }")
    found = positions(text)
    assert found[("a",)] == (1, 1)
    assert found[("b", "c")] == (3, 1)
    assert found[("d e", "f", "g")] == (4, 15)
    assert found[("d e", "f", "g", 1, 1)] == (4, 27)
    assert found[("d e", "f", "g", 2, "h")] == (4, 33)
    assert found[("t", "u", "v")] == (6, 1)
    assert found[("w", 0, "x", 0, "y")] == (9, 1)
    assert found[("w", 1, "z")] == (11, 1)


_STRINGS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@given(st.lists(_STRINGS, max_size=6), st.dictionaries(_STRINGS, _STRINGS, max_size=6))
def test_positions_are_found_whatever_strings_contain(args: list[str], env: dict[str, str]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["args = [" + ", ".join(map(quoted, args)) + "]", "[env]"]
    lines += [f"{quoted(key)} = {quoted(value)}" for key, value in env.items()]
    found = positions("\n".join(lines))
    for number, key in enumerate(env):
        assert found[("env", key)] == (3 + number, 1)
    for index in range(len(args)):
        assert found[("args", index)][0] == 1
