"""Keys of simulated silicon: written once, whole, private; anything else is an error."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from tests.silicon.rig import read_reply, running

from enarx.errors import HostError
from enarx.silicon import keys
from enarx.silicon.keys import AmdKeys, ChipKeys
from enarx.wire import silicon
from enarx.wire.codec import pack


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = keys.make_chip_keys()
    keys.write(tmp_path / "keys", made)
    assert keys.read(tmp_path / "keys", ChipKeys) == made


def test_no_file_is_no_keys(tmp_path: Path) -> None:
    assert keys.read(tmp_path / "keys", ChipKeys) is None


def test_two_first_starts_agree_on_one_set_of_keys(tmp_path: Path) -> None:
    found: list[ChipKeys] = []
    starts = [
        threading.Thread(target=lambda: found.append(keys.chip_keys(tmp_path))) for _ in range(8)
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(found) == 8
    assert len({pack(one) for one in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [keys.CHIP_FILE]


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(1000), b"x" * (keys.KEYS_MAX + 1)])
def test_what_is_no_key_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(HostError) as caught:
        keys.read(path, ChipKeys)
    assert caught.value.code == "silicon.keys"
    assert "move the file away" in caught.value.hint


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys.write(path, keys.make_chip_keys())
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(HostError):
            keys.read(path, ChipKeys)


def test_keys_of_another_kind_are_an_error(tmp_path: Path) -> None:
    keys.write(tmp_path / "keys", keys.make_chip_keys())
    with pytest.raises(HostError):
        keys.read(tmp_path / "keys", AmdKeys)


@pytest.mark.parametrize("load", [keys.load_ec, keys.load_rsa])
def test_a_key_that_cannot_be_read_is_an_error(load: object) -> None:
    assert callable(load)
    with pytest.raises(HostError):
        load(b"no key")


def test_a_directory_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(HostError) as caught:
        keys.chip_keys(Path("/proc/nowhere"))
    assert caught.value.code == "silicon.state"


def test_the_rsa_keys_are_made_when_they_are_wanted_and_kept(tmp_path: Path, puppet: Path) -> None:
    state = tmp_path / "state"
    request = silicon.GetEndorsements(backend="sim-snp")
    arks = set()
    for _ in range(2):
        with (
            running(tmp_path / "run", "--payload", str(puppet), "--state", str(state)) as own,
            contextlib.ExitStack() as stack,
        ):
            asked = [stack.enter_context(own.connect()) for _ in range(3)]
            for connection in asked:
                connection.sock.send(pack(request))
            # Nobody else waits for them: this is answered on the way.
            assert own.status().backends
            for connection in asked:
                reply = read_reply(connection.sock.recv(silicon.PACKET), silicon.EndorsementsReply)
                arks.add(_spki(next(e.data for e in reply.endorsements if e.role == "ark")))
    assert len(arks) == 1
    assert sorted(os.listdir(state)) == [keys.AMD_FILE, keys.CHIP_FILE]
    assert (state / keys.AMD_FILE).stat().st_mode & 0o777 == 0o600


def _spki(der: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_sgx_never_makes_rsa_keys(tmp_path: Path, puppet: Path) -> None:
    state = tmp_path / "state"
    with running(tmp_path / "run", "--payload", str(puppet), "--state", str(state)) as own:
        keep = own.launch(backend="sim-sgx")
        assert keep.report().evidence
        keep.close()
        own.ask(silicon.GetEndorsements(backend="sim-sgx"), silicon.EndorsementsReply)
    assert os.listdir(state) == [keys.CHIP_FILE]


def test_a_damaged_file_of_rsa_keys_is_told_to_who_asks(tmp_path: Path, puppet: Path) -> None:
    path = tmp_path / keys.AMD_FILE
    path.write_bytes(b"damaged")
    path.chmod(0o600)
    with running(tmp_path / "run", "--payload", str(puppet), "--state", str(tmp_path)) as own:
        with pytest.raises(HostError, match=r"silicon-amd\.keys"):
            own.ask(silicon.GetEndorsements(backend="sim-snp"), silicon.EndorsementsReply)
        assert own.status().backends
