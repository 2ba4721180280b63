"""Which host, which policy, which back end: what is chosen when the caller does not say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from enarx.client import localhost
from enarx.client.agent import _choose
from enarx.client.attestation import keep_endpoint
from enarx.client.localhost import find_local_host
from enarx.client.registry import DeployedKeep, Registry
from enarx.client.start import Where, choose_policy, load_policy
from enarx.errors import ConfigError, HostError, PolicyError, ProtocolError, UsageError
from enarx.verifier.policy import Policy
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.manager import Contract


def contract(name: str, *, simulated: bool = True, missing: tuple[str, ...] = ()) -> Contract:
    return Contract(
        backend=name, substrate="process", evidence="x", simulated=simulated, missing=missing
    )


OFFER = (
    contract("sim-sgx"),
    contract("sim-snp"),
    contract("snp", simulated=False, missing=("no /dev/sev-guest",)),
)


def test_simulated_sgx_is_the_choice_where_nothing_real_is() -> None:
    assert _choose(OFFER, None) == "sim-sgx"


def test_real_silicon_is_the_choice_where_it_is() -> None:
    assert _choose((*OFFER, contract("tdx", simulated=False)), None) == "tdx"


def test_unknown_back_end_lists_those_that_can_be_had() -> None:
    with pytest.raises(UsageError) as caught:
        _choose(OFFER, "sgx-9")
    assert caught.value.hint == "it has: sim-sgx, sim-snp"


def test_back_end_that_lacks_something_says_what() -> None:
    with pytest.raises(HostError, match="no /dev/sev-guest"):
        _choose(OFFER, "snp")


@pytest.mark.parametrize("where", [Where.LOCAL, Where.PRIVATE])
def test_own_machine_on_simulated_silicon_is_development(where: Where) -> None:
    assert choose_policy(None, where=where, backend="sim-sgx").name == "development"


def test_named_host_or_real_silicon_is_default() -> None:
    assert choose_policy(None, where=Where.NAMED, backend="sim-sgx").name == "default"
    assert choose_policy(None, where=Where.PRIVATE, backend="snp").name == "default"


def test_named_policy_is_used_everywhere() -> None:
    default = Policy.builtin("default")
    assert choose_policy(default, where=Where.PRIVATE, backend="sim-sgx") is default


def test_policies_by_name_and_by_file(tmp_path: Path) -> None:
    assert load_policy("default").name == "default"
    with pytest.raises(PolicyError):
        load_policy("no-such-policy")
    broken = tmp_path / "policy.toml"
    broken.write_text("version = 1\nnonsense = 2\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(str(broken))
    assert caught.value.line == 2
    broken.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_policy(str(broken))
    with pytest.raises(ConfigError, match="cannot read"):
        load_policy(str(tmp_path))


def test_address_of_a_keep_is_on_the_machine_of_its_host() -> None:
    local, remote = Endpoint.parse("unix:/run/x/m.sock"), Endpoint.parse("https://h.example:1")
    assert keep_endpoint("unix:/run/x/k.sock", local).path == "/run/x/k.sock"
    keep = keep_endpoint("tcp:7", remote)
    assert (keep.host, keep.port) == ("h.example", 7)
    for address, host in (
        ("unix:/var/run/docker.sock", remote),
        ("tcp:7", local),
        ("https://evil.example:1", remote),
        ("tcp:99999", remote),
        ("", local),
    ):
        with pytest.raises(ProtocolError):
            keep_endpoint(address, host)


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o711)
    monkeypatch.setattr(localhost, "_run_dirs", lambda: [directory])
    return directory


def listen(directory: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(directory / "manager.sock"))
    return listener


def test_running_host_is_found(run_dir: Path) -> None:
    assert find_local_host() is None
    with listen(run_dir) as listener:
        listener.listen()
        assert find_local_host() == Endpoint(path=str(run_dir / "manager.sock"))


def test_socket_of_a_killed_host_is_passed_over(run_dir: Path) -> None:
    with listen(run_dir):
        pass
    assert find_local_host() is None


def test_host_in_a_directory_that_others_can_write_is_passed_over(run_dir: Path) -> None:
    run_dir.chmod(0o777)
    with listen(run_dir) as listener:
        listener.listen()
        assert find_local_host() is None


def test_file_in_place_of_the_socket_is_passed_over(run_dir: Path) -> None:
    (run_dir / "manager.sock").write_text("")
    assert find_local_host() is None


def entry(number: int) -> DeployedKeep:
    import uuid

    return DeployedKeep(
        kuuid=uuid.UUID(int=number << 96), host="unix:/x", address="unix:/y", backend="sim-sgx",
        certificate=b"\x30\x00", owner="00", name="a.wasm", module="11", policy="development",
        simulated=True, created=number, limits=Limits(wall=5),
    )  # fmt: skip


def test_registry_remembers_and_forgets(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "keeps")
    assert registry.all() == []
    for number in (2, 1):
        registry.add(entry(number))
    assert [keep.created for keep in registry.all()] == [1, 2]
    assert registry.get("00000001") == entry(1)
    assert (tmp_path / "keeps").stat().st_mode & 0o777 == 0o700
    registry.remove(entry(1).kuuid)
    registry.remove(entry(1).kuuid)
    assert registry.all() == [entry(2)]


def test_registry_names_what_is_unknown_ambiguous_or_damaged(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(entry(1))
    registry.add(entry(2))
    for wrong in ("ffff", "", "0000000", "../../etc/passwd"):
        with pytest.raises(UsageError):
            registry.get(wrong)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        registry.all()
    assert caught.value.code == "registry.damaged"
