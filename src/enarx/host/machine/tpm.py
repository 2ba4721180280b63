"""swtpm: a TPM 2.0 of its own for each machine, in software.

Its manufacturing is `swtpm_setup`: an endorsement key and a certificate for it, by a
certificate authority that this host keeps in its state directory. That authority is this
host's own word and no TPM vendor's; a verifier that accepts it accepts a simulated TPM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from enarx.errors import HostError
from enarx.host.machine import child
from enarx.host.machine.child import Child

PROGRAM, SETUP, CERTIFIER = "swtpm", "swtpm_setup", "swtpm_localca"
SETUP_SECONDS: Final = 60.0
"""For a TPM to be made, with its certificates; it takes one second."""
START_SECONDS: Final = 10.0
"""For swtpm to listen; it takes milliseconds."""
AUTHORITY: Final = "tpm-authority"
ROOT: Final = "swtpm-localca-rootca-cert.pem"
ISSUER: Final = "issuercert.pem"
_POLL_SECONDS: Final = 0.01


async def make(state: Path, *, authority: Path) -> None:
    """Make a TPM's state, with endorsement key and certificate. Raises HostError.

    Args:
        state: directory for it, which exists.
        authority: directory of the certificate authority, made where there is none.
    """
    try:
        authority.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = _configure(authority)
    except OSError as error:
        raise HostError(f"cannot write {authority}: {error.strerror}", code="host.tpm") from None
    await _run(
        [
            SETUP, "--tpm2", "--tpmstate", str(state), "--config", str(configuration),
            "--create-ek-cert", "--create-platform-cert", "--lock-nvram",
            "--pcr-banks", "sha256", "--not-overwrite",
        ]
    )  # fmt: skip


async def start(state: Path, socket: Path, log: Path) -> Child:
    """Start the TPM; it ends when QEMU hangs up. Raises HostError."""
    process = await child.start(
        [
            PROGRAM, "socket", "--tpm2", "--tpmstate", f"dir={state}",
            "--ctrl", f"type=unixio,path={socket}", "--terminate",
            "--flags", "startup-clear", "--log", f"file={log},level=1",
        ]
    )  # fmt: skip
    try:
        async with asyncio.timeout(START_SECONDS):
            while not socket.exists():
                if process.status is not None:
                    raise _failed(f"{PROGRAM} ended (exit {process.status})", log)
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        process.kill()
        raise _failed(f"{PROGRAM} did not listen within {START_SECONDS:g} s", log) from None
    return process


def authority_certificates(authority: Path) -> tuple[bytes, ...]:
    """The authority's certificates, PEM: the issuer's and the root's. Raises HostError."""
    try:
        return tuple((authority / name).read_bytes() for name in (ISSUER, ROOT))
    except OSError as error:
        raise HostError(
            f"the TPM's certificate authority cannot be read: {error.strerror}", code="host.tpm"
        ) from None


def _configure(authority: Path) -> Path:
    """The configuration files of swtpm_setup and swtpm_localca (their man pages)."""
    options = authority / "localca.options"
    _put(
        options,
        "--platform-manufacturer enarx\n--platform-version 1\n--platform-model simulated\n",
    )
    certifier = authority / "localca.conf"
    _put(
        certifier,
        f"statedir = {authority}\n"
        f"signingkey = {authority / 'signkey.pem'}\n"
        f"issuercert = {authority / ISSUER}\n"
        f"certserial = {authority / 'certserial'}\n",
    )
    configuration = authority / "setup.conf"
    _put(
        configuration,
        f"create_certs_tool = {CERTIFIER}\n"
        f"create_certs_tool_config = {certifier}\n"
        f"create_certs_tool_options = {options}\n",
    )
    return configuration


def _put(path: Path, text: str) -> None:
    """Write a file all at once: another Keep's TPM may be made meanwhile, with the same text."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


async def _run(command: Sequence[str]) -> None:
    process = await child.start(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            out, _ = await process.communicate()
    except TimeoutError:
        raise HostError(
            f"{command[0]} took longer than {SETUP_SECONDS:g} s", code="host.tpm"
        ) from None
    finally:
        process.kill()
        await process.wait()
    if process.status:
        lines = out.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise HostError(
            f"{command[0]} made no TPM (exit {process.status}): {lines[-1][:300]}",
            hint="Is the package swtpm-tools whole? `enarx platform info` tells more.",
            code="host.tpm",
        )


def _failed(what: str, log: Path) -> HostError:
    tail = ""
    with contextlib.suppress(OSError):
        tail = log.read_text(errors="replace").strip()[-300:]
    return HostError(f"{what}{': ' * bool(tail)}{tail}", code="host.tpm")
