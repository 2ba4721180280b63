"""What a zygote can reach, seen from inside, wherever this machine lets the silicon live."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.silicon.rig import Keep, Silicon, running, without_mounts, without_namespaces

from enarx.wire import silicon

_CONFINEMENTS: dict[str, Callable[[], None] | None] = {
    "as-we-are": None,
    "user-namespace": without_mounts,
    "nothing": without_namespaces,
}


@pytest.fixture(scope="module", params=list(_CONFINEMENTS))
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, puppet: Path
) -> Iterator[tuple[str, Silicon, Keep]]:
    confine = _CONFINEMENTS[request.param]
    if confine is not None and not _can(confine):
        pytest.skip(f"this machine does not let a test be confined to {request.param}")
    directory = tmp_path_factory.mktemp("place")
    with running(directory, "--payload", str(puppet), confine=confine) as own:
        keep = own.launch()
        yield request.param, own, keep
        keep.close()


def _can(confine: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            confine()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _own_root(own: Silicon) -> bool:
    return not any("private root" in missing for missing in own.status().sandbox)


def test_evidence_is_to_be_had_everywhere(place: tuple[str, Silicon, Keep]) -> None:
    _, _, keep = place
    assert keep.report().evidence


def test_no_file_of_the_host_is_in_the_root(place: tuple[str, Silicon, Keep]) -> None:
    _, own, keep = place
    if not _own_root(own):
        pytest.skip("there is no root of its own here, and the silicon says so")
    there = set(keep.eval("os.listdir('/')"))
    assert {"payload", "proc", "run", "lib64"} <= there
    assert not there & {"etc", "sys", "tmp", "boot", "dev"}
    assert keep.eval("os.listdir('/proc') + os.listdir('/run')") == []
    assert not keep.eval("os.path.exists('/../etc/passwd')")


def test_the_measured_tree_cannot_be_changed(place: tuple[str, Silicon, Keep]) -> None:
    _, own, keep = place
    if not _own_root(own):
        pytest.skip("there is no root of its own here, and the silicon says so")
    # EROFS, whatever the user id is.
    assert keep.eval("os.access('/payload/enarx/errors.py', os.W_OK)") is False
    assert keep.eval("os.statvfs('/').f_flag & os.ST_RDONLY") == os.ST_RDONLY


def test_only_measured_code_is_imported(place: tuple[str, Silicon, Keep]) -> None:
    _, own, keep = place
    path = keep.eval("__import__('sys').path")
    prefix = "" if _own_root(own) else str(own.socket.parent / "silicon-root")
    assert path[-1] == prefix + "/payload"
    assert all(entry.startswith(prefix) for entry in path)
    flags = keep.eval("list(__import__('sys').flags)")
    assert flags
    assert keep.eval("__import__('sys').flags.isolated") == 1
    assert keep.eval("__import__('sys').flags.dont_write_bytecode") == 1
    files = keep.eval(
        "sorted({str(m.__cached__ or '') for m in __import__('sys').modules.values()"
        " if getattr(m, '__cached__', None)})"
    )
    assert all(file.startswith("/nonexistent") for file in files)


def test_nothing_but_measured_files_is_mapped(place: tuple[str, Silicon, Keep]) -> None:
    _, own, keep = place
    if _own_root(own):
        pytest.skip("where the tree is the root there are no other files to map")
    maps = Path(f"/proc/{keep.pid}/maps").read_text().splitlines()
    mapped = {line.split(maxsplit=5)[5] for line in maps if "/" in line}
    prefix = str(own.socket.parent / "silicon-root")
    assert [path for path in mapped if not path.startswith(prefix)] == []


def test_missing_levels_are_named_with_their_reason(place: tuple[str, Silicon, Keep]) -> None:
    kind, own, _ = place
    missing = own.ask(silicon.SiliconInfo(), silicon.SiliconStatus).sandbox
    if kind == "nothing":
        assert any(line.startswith("private root (") for line in missing)
    elif kind == "user-namespace":
        assert any(line.startswith("own user id for each Keep") for line in missing)
    elif os.geteuid() == 0:
        assert missing == ()


def test_the_tree_leaves_nothing_behind(place: tuple[str, Silicon, Keep]) -> None:
    _, own, _ = place
    inside = {path.name for path in own.socket.parent.iterdir()}
    assert inside == {"silicon.sock", "silicon.log"} | (
        set() if _own_root(own) else {"silicon-root"}
    )


@pytest.mark.skipif(not _can(without_namespaces), reason="needs a user namespace to take away")
def test_a_plain_directory_is_removed_at_the_end(tmp_path: Path, puppet: Path) -> None:
    with running(tmp_path / "run", "--payload", str(puppet), confine=without_namespaces) as own:
        assert (own.socket.parent / "silicon-root").is_dir()
        assert own.end() == 0
        assert [path.name for path in own.socket.parent.iterdir()] == ["silicon.log"]
