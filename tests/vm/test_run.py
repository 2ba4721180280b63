"""Keeps that are machines, with a real QEMU, a real firmware, a real kernel and a real swtpm."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from enarx.client.agent import AsyncClient
from enarx.client.appraisal import Expected
from enarx.client.identity import load_identity
from enarx.client.image import ImageValues
from enarx.client.private_host import private_host
from enarx.errors import VerificationError
from enarx.image.installation import measure_installation
from enarx.image.manifest import Disk
from enarx.image.vm import layout
from enarx.image.vm.build import Built
from enarx.verifier.policy import Policy

from .conftest import EXAMPLES, RUN_SECONDS, machines

pytestmark = [pytest.mark.vm, pytest.mark.slow]

Start = Callable[..., "subprocess.Popen[bytes]"]
HELLO = EXAMPLES / "hello" / "hello.wasm"


def test_the_payload_of_a_machine_is_that_of_a_process(built: Built) -> None:
    assert built.image.payload == measure_installation(Disk()).payload_digest.hex()


def test_a_program_runs_in_a_machine_that_proved_what_it_booted(enarx: Start) -> None:
    process = enarx("run", "--backend", "tpm", "--json", HELLO)
    out, error = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, error.decode()
    assert out.startswith(b"Hello from a Keep!")
    report = json.loads(error.decode().strip().splitlines()[-1])
    assert "seccomp" in json.dumps(report)


@pytest.mark.parametrize("victim", ["qemu-system-x86_64", "swtpm"])
def test_a_machine_that_is_killed_is_a_named_error(enarx: Start, victim: str) -> None:
    before = {pid for pid, _ in machines()}
    process = enarx("run", "--backend", "tpm", HELLO)
    pid = _wait_for(victim, before, process)
    os.kill(pid, signal.SIGKILL)
    _, error = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 125
    expected = b"TPM of this machine is gone" if victim == "swtpm" else b"died"
    assert expected in error
    assert b"Traceback" not in error


def test_a_client_that_is_killed_leaves_no_machine(enarx: Start) -> None:
    before = {pid for pid, _ in machines()}
    process = enarx("run", "--backend", "tpm", HELLO)
    _wait_for("qemu-system-x86_64", before, process)
    process.kill()
    process.communicate(timeout=RUN_SECONDS)
    deadline = time.monotonic() + 30
    while [pid for pid, _ in machines() if pid not in before]:
        assert time.monotonic() < deadline, "its machine still runs"
        time.sleep(0.1)


@pytest.mark.parametrize("layer", ["initrd", "command_line"])
def test_a_host_that_boots_something_else_is_found_out_and_the_layer_is_named(
    home: Path, copy_of_image: Path, layer: str
) -> None:
    _change(copy_of_image, layer)
    failed = asyncio.run(_attest(home, copy_of_image))
    assert f"reference.{layer}" in failed
    layers = {"firmware", "kernel", "command_line", "initrd"}
    assert not {f"reference.{other}" for other in layers - {layer}} & set(failed)


def _wait_for(program: str, before: set[int], process: subprocess.Popen[bytes]) -> int:
    """The process of a program, once the machine's firmware has written to its console."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        new = [(pid, line) for pid, line in machines() if pid not in before]
        consoles = [found[1] for _, line in new if (found := re.search(_CONSOLE, line))]
        if any(os.path.exists(path) and os.path.getsize(path) for path in consoles):
            return next(pid for pid, line in new if program in line.split(" ")[0])
        time.sleep(0.05)
    raise AssertionError(f"no {program} was started")


_CONSOLE = r"path=(\S+/console\.log)"


def _change(image: Path, layer: str) -> None:
    """What a dishonest host would do: change a layer, and its own description of it."""
    path = image / layout.DESCRIPTION
    description = json.loads(path.read_bytes())
    if layer == "command_line":
        description["command_line"] += " "
    else:
        # A zero byte after the archive: it still boots.
        data = (image / layout.INITRD).read_bytes() + b"\0"
        (image / layout.INITRD).write_bytes(data)
        description["files"][layout.INITRD] = {
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    path.write_text(json.dumps(description))


async def _attest(home: Path, image: Path) -> list[str]:
    """Attest to a machine of a host with this image; the names of the links that failed."""
    values = ImageValues.load(built_from=None, directory=home / "cache" / "image")
    async with (
        private_host(image=image) as endpoint,
        AsyncClient(endpoint, identity=load_identity(home / "identity.pem")) as client,
    ):
        keep = await client.create(backend="tpm")
        async with keep:
            attestation = await keep.attest(
                policy=Policy.builtin("development"), expected=Expected.of_image(values)
            )
    with pytest.raises(VerificationError):
        attestation.verdict.require()
    return [link.name for link in attestation.verdict.failed]
