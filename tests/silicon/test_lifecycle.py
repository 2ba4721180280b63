"""Start, end, and what must not be left behind or taken for good."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.silicon.rig import (
    SECONDS,
    Silicon,
    children,
    puppet_payload,
    refuses_to_start,
    running,
)

from enarx.image import manifest
from enarx.image.manifest import differences
from enarx.silicon import keys
from enarx.wire import silicon
from enarx.wire.attestation import Manifests
from enarx.wire.codec import pack, unpack
from enarx.wire.limits import MANIFEST


def _gone(pid: int) -> bool:
    """Whether a process ends within the bound of every wait (a zombie has ended)."""
    import select

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with open(pidfd):
        return bool(select.select([pidfd], [], [], SECONDS)[0])


def _manifests(own: Silicon) -> Manifests:
    with own.connect() as connection:
        reply, (descriptor,) = connection.exchange(pack(silicon.GetManifests()))
        size = unpack(reply, silicon.ManifestsReply).size
        with open(descriptor, "rb") as file:
            return unpack(file.read(size), Manifests, limit=MANIFEST)


def test_sigterm_leaves_no_process_and_no_socket(tmp_path: Path, puppet: Path) -> None:
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        keep = own.launch()
        (zygote,) = children(own.process.pid)
        assert own.end() == 0
        assert keep.ended()
        keep.close()
        assert _gone(zygote)
        assert [path.name for path in own.socket.parent.iterdir()] == ["silicon.log"]
        assert own.said() == ""


def test_kill_9_takes_the_zygote_and_its_keeps_along(tmp_path: Path, puppet: Path) -> None:
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        keep = own.launch()
        (zygote,) = children(own.process.pid)
        own.process.send_signal(signal.SIGKILL)
        own.process.wait(SECONDS)
        assert _gone(zygote)
        assert keep.ended()
        keep.close()
        left = {path.name for path in own.socket.parent.iterdir()}
        assert left <= {"silicon.log", "silicon.sock", "silicon-root"}
        assert "enarx" not in Path("/proc/self/mounts").read_text()
    # The next one starts over what a killed one leaves.
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        assert own.status().backends


def test_a_second_silicon_on_one_socket_is_refused(shared: Silicon) -> None:
    code, said = refuses_to_start(shared.socket.parent)
    assert code == 1
    assert "serves" in said
    assert said.count("\n") == 1
    assert shared.status().backends


def test_keys_are_kept_in_the_state_directory(tmp_path: Path, puppet: Path) -> None:
    roots, reports = [], []
    for _ in range(2):
        with running(
            tmp_path / "run", "--payload", str(puppet), "--state", str(tmp_path / "state")
        ) as own:
            roots.append(own.status().root)
            keep = own.launch(backend="sim-snp")
            reports.append(keep.report().evidence[0x1A0:0x1E0])
            keep.close()
    assert roots[0] == roots[1]
    assert reports[0] == reports[1], "the chip id is the same"
    key_file = tmp_path / "state" / keys.CHIP_FILE
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_without_a_state_directory_each_start_is_another_chip(tmp_path: Path, puppet: Path) -> None:
    roots = set()
    for _ in range(2):
        with running(tmp_path / "run", "--payload", str(puppet)) as own:
            roots.add(own.status().root)
    assert len(roots) == 2


def test_damaged_keys_are_an_error_and_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / keys.CHIP_FILE
    keys.write(path, keys.make_chip_keys())
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    code, said = refuses_to_start(tmp_path, "--state", str(tmp_path))
    assert code == 1
    assert "damaged" in said
    assert "Traceback" not in said
    assert path.read_bytes() == damaged
    assert not (tmp_path / "silicon.sock").exists()


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / keys.CHIP_FILE
    keys.write(path, keys.make_chip_keys())
    path.chmod(0o640)
    code, said = refuses_to_start(tmp_path, "--state", str(tmp_path))
    assert code == 1
    assert "readable by nobody else" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--payload", "/nonexistent"), "holds no payload"),
        (("--state", "/proc/nowhere"), "/proc/nowhere"),
    ],
    ids=["payload", "state"],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, said = refuses_to_start(tmp_path, *arguments)
    assert code == 1
    assert words in said
    assert said.startswith("enarx silicon: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "silicon.sock").exists()


def test_a_socket_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    code, said = refuses_to_start(tmp_path / ("x" * 120))
    assert code == 1
    assert "cannot listen" in said


def test_a_payload_that_cannot_be_imported_ends_it_with_the_reason(tmp_path: Path) -> None:
    payload = puppet_payload(tmp_path / "payload")
    (payload / "enarx" / "keep" / "zygote.py").write_text("import nothing_of_this_name\n")
    code, said = refuses_to_start(tmp_path, "--payload", str(payload))
    assert code == 1
    assert "nothing_of_this_name" in said
    assert "enarx silicon: no Keep can be launched: the zygote ended (exit 1)" in said


def test_a_changed_byte_is_another_payload_and_is_named(tmp_path: Path, puppet: Path) -> None:
    altered = Path(shutil.copytree(puppet, tmp_path / "payload"))
    with (altered / "enarx" / "errors.py").open("a") as file:
        file.write("#")
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        before, good = own.status(), _manifests(own)
    with running(tmp_path / "run", "--payload", str(altered)) as own:
        after, bad = own.status(), _manifests(own)
    assert before.payload != after.payload
    assert before.runtime == after.runtime
    (difference,) = differences(good.payload, bad.payload)
    assert difference.startswith("enarx/errors.py differs: expected SHA-256 ")


def test_a_file_that_changes_after_the_start_changes_no_keep(tmp_path: Path) -> None:
    payload = puppet_payload(tmp_path / "payload")
    with running(tmp_path / "run", "--payload", str(payload)) as own:
        before = own.status()
        errors = payload / "enarx" / "errors.py"
        errors.write_text("raise SystemExit('changed')\n")
        (zygote,) = children(own.process.pid)
        os.kill(zygote, signal.SIGKILL)
        assert _gone(zygote)
        while not (children(own.process.pid)):
            assert own.process.poll() is None
        keep = own.launch()
        assert keep.record.payload == before.payload
        keep.close()


def test_the_manifests_are_those_of_the_digests_and_cannot_be_changed(shared: Silicon) -> None:
    found = _manifests(shared)
    assert manifest.digest(found.payload) == shared.status().payload
    assert manifest.digest(found.runtime) == shared.status().runtime
    with shared.connect() as connection:
        _, (descriptor,) = connection.exchange(pack(silicon.GetManifests()))
        with open(descriptor, "rb"), pytest.raises(OSError):
            os.truncate(descriptor, 0)


def test_the_real_payload_starts_and_says_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "run") as own:
        assert own.status().backends == ("sim-sgx", "sim-snp", "sim-tdx")
        assert own.end() == 0
        assert own.said() == ""


def test_help_says_that_it_protects_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "enarx.silicon", "--help"],
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert b"protects nothing" in done.stdout
