"""Wrong inputs: each ends with 125 and says what is wrong, and none shows a traceback."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import wasmtime

from .command import COMMAND, SECONDS, enarx, example, on


def refused(done: subprocess.CompletedProcess[bytes], *words: str) -> None:
    message = done.stderr.decode()
    assert done.returncode == 125, message
    assert done.stdout == b""
    for word in words:
        assert word in message
    assert "Traceback" not in message


FILES = {
    "empty": (b"", "empty"),
    "not wasm": (b"#!/bin/sh\necho hello\n", "not a WebAssembly module"),
    "text": (b"(module)", ".wat"),
    "component": (b"\0asm\x0d\0\1\0", "component"),
    "native": (b"\x7fELF\2\1\1\0", "native code"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_module(tmp_path: Path, name: str) -> None:
    """Found on this machine: no host is asked, none is started."""
    content, word = FILES[name]
    module = tmp_path / "app.wasm"
    module.write_bytes(content)
    refused(enarx("run", module), word, "app.wasm")


def test_no_such_file() -> None:
    refused(enarx("run", "none.wasm"), "none.wasm: no such file")


def test_module_that_is_too_large(tmp_path: Path) -> None:
    module = tmp_path / "app.wasm"
    with module.open("wb") as file:
        file.write(b"\0asm\1\0\0\0")
        file.truncate((64 << 20) + 1)
    refused(enarx("run", module), "64 MiB")


def wat(path: Path, text: str) -> Path:
    path.write_bytes(wasmtime.wat2wasm(text))
    return path


def test_module_without_start(host: str, tmp_path: Path) -> None:
    module = wat(tmp_path / "app.wasm", '(module (memory (export "memory") 1))')
    refused(enarx("run", *on(host), module), "_start")


def test_unknown_imports_are_named(host: str, tmp_path: Path) -> None:
    module = wat(
        tmp_path / "app.wasm",
        '(module (import "env" "launch_missiles" (func)) (memory (export "memory") 1)'
        ' (func (export "_start")))',
    )
    refused(enarx("run", *on(host), module), "launch_missiles")


def test_damaged_module(host: str, tmp_path: Path) -> None:
    module = tmp_path / "app.wasm"
    code = bytearray(example("hello").read_bytes())
    code[20:60] = b"\xff" * 40
    module.write_bytes(bytes(code))
    refused(enarx("run", *on(host), module))


def test_module_that_takes_for_ever_to_compile(host: str, tmp_path: Path) -> None:
    # Many locals, all alive around one loop: hard work for a register allocator.
    local_count, blocks = 1000, 12000
    body = "".join(
        f"(block (br_if 0 (local.get {n % local_count}))"
        f" (local.set {n * 7 % local_count}"
        f" (i32.add (local.get {n % local_count}) (i32.const {n}))))"
        for n in range(blocks)
    )
    module = wat(
        tmp_path / "app.wasm",
        '(module (memory (export "memory") 1) (func (export "_start") '
        f"(local {'i32 ' * local_count}) (loop {body} (br_if 0 (local.get 0)))))",
    )
    done = enarx("run", *on(host), "--compile-time", "500ms", module)
    refused(done, "compil")
    assert "no such option" not in done.stderr.decode().lower()


def test_unknown_back_end_lists_those_there_are(host: str) -> None:
    refused(enarx("run", *on(host), "--backend", "sev-9", example("hello")), "sev-9", "sim-sgx")


def test_back_end_that_this_machine_lacks_says_what_is_missing(host: str) -> None:
    done = enarx("run", *on(host), "--backend", "snp", example("hello"))
    refused(done, "cannot run snp")


def test_broken_enarx_toml_names_line_and_column(tmp_path: Path) -> None:
    config = tmp_path / "Enarx.toml"
    config.write_text("args = []\nfoo = 1\n")
    refused(enarx("run", "--config", config, example("hello")), "Enarx.toml:2:1", "foo")
    config.write_text("args = [\n  'x',\n  3\n]\n")
    refused(enarx("run", "--config", config, example("hello")), "Enarx.toml:3:3", "args[1]")


def test_unreachable_hosts(tmp_path: Path) -> None:
    refused(
        enarx("run", "--host", f"unix:{tmp_path}/none.sock", example("hello")), "nobody answers"
    )
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    refused(enarx("run", "--host", f"https://127.0.0.1:{port}", example("hello")), "nobody answers")


def test_stale_socket_of_a_killed_host(tmp_path: Path) -> None:
    path = tmp_path / "manager.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    refused(enarx("run", "--host", f"unix:{path}", example("hello")), "nobody answers")


def test_wrong_tls_pin(tls_host: str) -> None:
    address = tls_host.partition("#")[0] + "#sha256=" + "11" * 32
    refused(enarx("run", "--host", address, example("hello")), "another certificate", "11" * 32)


def test_host_that_speaks_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        refused(enarx("run", "--host", f"https://127.0.0.1:{port}", example("hello")), "TLS")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--host", "ftp://x"), "ftp://x"),
        (("--host", "https://x#sha256=zz"), "sha256="),
        (("--policy", "nonsense"), "nonsense"),
        (("--memory", "lots"), "lots"),
        (("--wall-time", "-1s"), "-1s"),
        (("--secret", "NAMEONLY"), "NAME=FILE"),
        (("--secret", "X=/does/not/exist"), "/does/not/exist"),
        (("--stdin", "/does/not/exist"), "/does/not/exist"),
        (("--refs", "/does/not/exist"), "/does/not/exist"),
        (("--config", "/does/not/exist"), "/does/not/exist"),
        (("--quiet", "--json"), "exclude"),
        (("--frobnicate",), "frobnicate"),
    ],
)
def test_wrong_option(arguments: tuple[str, ...], word: str) -> None:
    refused(enarx("run", *arguments, example("hello")), word)


def test_secret_given_instead_of_a_file_is_not_repeated() -> None:
    done = enarx("run", "--secret", "hunter2", example("hello"))
    refused(done)
    assert b"hunter2" not in done.stderr


def test_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = enarx("run", example("hello"), env={"ENARX_HOME": str(tmp_path / "file" / "home")})
    refused(done, "cannot make the directory")


def test_damaged_identity(tmp_path: Path) -> None:
    (tmp_path / "owner.pem").write_text("nonsense")
    (tmp_path / "owner.pem").chmod(0o600)
    refused(enarx("run", example("hello"), env={"ENARX_HOME": str(tmp_path)}), "damaged")


def test_output_that_cannot_be_written(host: str) -> None:
    """Disk full: the exit code says so, whatever the workload's was."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "run", *on(host), str(example("hello"))],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 125
    assert "No space left" in done.stderr.decode()


def test_input_that_cannot_be_read_ends_the_run(host: str, tmp_path: Path) -> None:
    """Reading a directory fails at the first byte, before the Keep has answered."""
    refused(
        enarx("run", *on(host), "--stdin", tmp_path, example("cat")),
        "standard input cannot be read: Is a directory",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are UTF-16 there")
def test_argument_that_is_not_text(host: str) -> None:
    done = subprocess.run(
        [*COMMAND, "run", *on(host), str(example("hello")), "--", b"\xff"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    refused(done, "must be UTF-8 text")


def test_error_output_that_was_closed_from_the_start(host: str) -> None:
    """There is nowhere for the report; the exit code is the workload's all the same."""
    command = shlex.join([*COMMAND, "run", "--host", host, "--policy", "development"])
    done = subprocess.run(
        ["sh", "-c", f"{command} {shlex.quote(str(example('hello')))} 2>&-"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith(b"Hello from a Keep!")
