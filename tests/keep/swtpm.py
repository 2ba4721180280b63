"""A real TPM 2.0 in software for tests: swtpm, with a certificate authority of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.keep.tpm import Stream, Tpm

SETUP_SECONDS = 120
START_SECONDS = 60

needs_swtpm = pytest.mark.skipif(
    not all(shutil.which(program) for program in ("swtpm", "swtpm_setup", "swtpm_localca")),
    reason="swtpm and swtpm-tools are not installed",
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of swtpm_localca."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "setup.conf"

    @property
    def chain(self) -> bytes:
        """Issuer and root, PEM."""
        names = ("issuercert.pem", "swtpm-localca-rootca-cert.pem")
        return b"".join((self.directory / name).read_bytes() for name in names)

    @classmethod
    def make(cls, directory: Path) -> Authority:
        directory.mkdir(mode=0o700)
        (directory / "options").write_text(
            "--platform-manufacturer test\n--platform-version 1\n--platform-model test\n"
        )
        (directory / "localca.conf").write_text(
            f"statedir = {directory}\nsigningkey = {directory}/signkey.pem\n"
            f"issuercert = {directory}/issuercert.pem\ncertserial = {directory}/certserial\n"
        )
        (directory / "setup.conf").write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
            f"create_certs_tool_config = {directory}/localca.conf\n"
            f"create_certs_tool_options = {directory}/options\n"
        )
        return cls(directory)


def manufacture(state: Path, authority: Authority) -> Path:
    """Make a TPM's state, with an endorsement key and its certificate."""
    state.mkdir()
    subprocess.run(
        [
            "swtpm_setup", "--tpm2", "--tpmstate", str(state), "--create-ek-cert",
            "--config", str(authority.configuration), "--pcr-banks", "sha256",
            "--lock-nvram", "--not-overwrite",
        ],
        check=True, capture_output=True, timeout=SETUP_SECONDS,
    )  # fmt: skip
    return state


def _connect(path: Path) -> Stream | None:
    """The file is there before anybody listens on it."""
    try:
        return Stream.connect(str(path))
    except HostError:
        return None


@contextlib.contextmanager
def running(state: Path) -> Iterator[Tpm]:
    """A TPM that was just powered on; powered off at the end."""
    path = state / "server"
    process = subprocess.Popen(
        [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init",
            "--server", f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={state / 'ctrl'}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while (stream := _connect(path)) is None:
            assert process.poll() is None, "swtpm ended"
            assert time.monotonic() < deadline, "swtpm does not listen"
            time.sleep(0.01)
        tpm = Tpm(stream)
        tpm.start_up()
        yield tpm
        tpm.close()
    finally:
        process.kill()
        process.wait(START_SECONDS)
        path.unlink(missing_ok=True)
