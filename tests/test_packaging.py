"""What is shipped: locks, tracked files, examples, and where the package can be imported."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.import_graph import closure, executed, imports, modules_under

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
LOCKS = ("lock.txt", "dev.txt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)(?: ;.*)?$")

# Rooms that a tenant uses from any system.
EVERYWHERE = (
    "enarx",
    "enarx.errors",
    "enarx.wire",
    "enarx.evidence",
    "enarx.verifier",
    "enarx.endorsements",
    "enarx.client",
    "enarx.cli",
)
LINUX_ONLY = tomllib.loads((ROOT / "tests" / "linux_only.toml").read_text())


def tracked_files() -> list[Path]:
    """Every file that git tracks, or the test is skipped where there is no checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is tracked is not known")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def requirements(lock: str) -> dict[str, tuple[str, list[str]]]:
    """Name -> (version, hashes) of every requirement in a lock file."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        requirement, *options = re.split(r"\s+--", line)
        match = PIN.match(requirement.strip())
        assert match, f"{lock}: not pinned to one version: {line[:80]}"
        hashes = [option.strip().removeprefix("hash=sha256:") for option in options]
        found[match[1].lower().replace("_", "-")] = (match[2], hashes)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_sha256_digests(lock: str) -> None:
    found = requirements(lock)
    assert len(found) > 10
    for name, (_, hashes) in found.items():
        assert hashes, f"{name} has no digest"
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes), name


def test_platform_dependent_packages_are_locked_for_every_platform() -> None:
    """Wheels for three systems and three Python versions at least, so more than a handful."""
    locked = requirements("lock.txt")
    for name in ("cbor2", "cffi", "msgspec"):
        assert len(locked[name][1]) > 20, f"{name}: digests of one platform only"


def test_both_locks_agree_on_every_version() -> None:
    runtime, dev = (requirements(lock) for lock in LOCKS)
    for name in runtime.keys() & dev.keys():
        assert runtime[name][0] == dev[name][0], name


def test_lock_covers_every_dependency_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "lock.txt": project["project"]["dependencies"],
        "dev.txt": project["dependency-groups"]["dev"],
    }
    for lock, dependencies in wanted.items():
        names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in dependencies}
        assert names <= requirements(lock).keys(), lock


def test_payload_dependencies_are_locked_to_the_measured_versions() -> None:
    locked = requirements("lock.txt")
    lines = (ROOT / "requirements" / "payload.in").read_text().splitlines()
    pins = [match for line in lines if (match := PIN.match(line))]
    assert {"wasmtime", "cbor2", "msgspec", "h11", "cryptography"} <= {pin[1] for pin in pins}
    for pin in pins:
        assert locked[pin[1]][0] == pin[2], pin[1]


def test_locks_name_no_index_and_no_path() -> None:
    for lock in (ROOT / "requirements").iterdir():
        text = lock.read_text()
        assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", text), lock
        assert " /" not in text, lock


def test_tracked_files_name_no_machine_and_no_package_index() -> None:
    # In pieces, so that this file does not contain what it looks for.
    needles = [
        "/".join(["", "work", room]).encode() for room in ("main", "shared", "brief", "probe")
    ]
    needles += [b"/" + b"root/.", b"/opt/" + b"pypi", b"/opt/" + b"wheels"]
    needles += [b"pypi" + b".org", b"python" + b"hosted", b"deb.debian" + b".org"]
    found = [
        f"{path.relative_to(ROOT)}: {needle.decode()}"
        for path in tracked_files()
        for needle in needles
        if needle in path.read_bytes()
    ]
    assert found == []


def linux_only_uses(tree: ast.Module, module: str) -> Iterator[str]:
    """What a module executes at import time that does not exist on every system."""
    for name in imports(module, tree):
        top, _, attribute = name.partition(".")
        if top in LINUX_ONLY["modules"] or attribute in LINUX_ONLY["attributes"].get(top, ()):
            yield f"{module}: import {name}"
    for node in executed(tree.body):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.attr in LINUX_ONLY["attributes"].get(node.value.id, ())
        ):
            yield f"{module}:{node.lineno}: {node.value.id}.{node.attr}"


@pytest.mark.parametrize("room", EVERYWHERE)
def test_importing_what_a_tenant_uses_needs_nothing_of_linux(room: str) -> None:
    trees = closure(modules_under(room) if room != "enarx" else ["enarx"])
    assert room in trees
    uses = [use for module, tree in trees.items() for use in linux_only_uses(tree, module)]
    assert uses == []


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "import wasmtime.loader",
        "try:\n    from os import fork\nexcept ImportError:\n    pass",
        "import os\nFLAGS = os.O_CLOEXEC | 1",
        "import signal\ndef stop(number=signal.SIGKILL): ...",
        "import ctypes\nclass C:\n    libc = ctypes.CDLL(None)",
        "import socket\ncheck = lambda kind=socket.AF_UNIX: kind",
    ],
)
def test_import_analysis_finds_what_only_linux_has(source: str) -> None:
    assert list(linux_only_uses(ast.parse(source), "enarx.example"))


@pytest.mark.parametrize(
    "source",
    [
        "def lock():\n    import fcntl",
        "import os\ndef fork():\n    return os.fork()",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wasmtime",
        "import sys\nif sys.platform == 'linux':\n    import fcntl\nelse:\n    fcntl = None",
        "import os\nSEPARATOR = os.sep",
    ],
)
def test_import_analysis_passes_what_runs_later_or_is_guarded(source: str) -> None:
    assert list(linux_only_uses(ast.parse(source), "enarx.example")) == []


def example_digests() -> dict[str, str]:
    lines = (EXAMPLES / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}


def test_example_modules_are_the_ones_in_sha256sums() -> None:
    found = {
        path.relative_to(EXAMPLES).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in EXAMPLES.rglob("*.wasm")
    }
    assert found == example_digests()


@pytest.mark.parametrize("name", sorted(example_digests()))
def test_example_module_has_its_source_and_imports_only_wasi(name: str) -> None:
    assert (EXAMPLES / name).with_suffix(".rs").is_file()
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime is for Linux on x86-64")
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(EXAMPLES / name))
    assert {each.module for each in module.imports} == {"wasi_snapshot_preview1"}
    assert "_start" in {each.name for each in module.exports}


def test_example_patients_are_what_their_generator_makes() -> None:
    made = subprocess.run(
        [sys.executable, "-I", str(EXAMPLES / "patients" / "make_patients.py")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert made.stdout == (EXAMPLES / "patients" / "patients.csv").read_bytes()


def test_wheel_carries_types_protocol_and_licence_and_no_tests(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    build = [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", tmp_path, copy]
    subprocess.run(build, check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("enarx-*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert b"enarx = enarx.cli.main:main" in wheel.read(entry_points)
    sources = {each.relative_to(copy / "src").as_posix() for each in (copy / "src").rglob("*.py")}
    assert {*sources, "enarx/py.typed", "enarx/wire/protocol.cddl"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.split("/")[0] in ("tests", "tools", "bench")]


def test_what_runs_in_a_keep_is_pinned_alike_for_every_way_to_install() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {
        line.strip()
        for line in (ROOT / "requirements" / "payload.in").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    named = {entry.partition(";")[0].strip() for entry in declared}
    assert {entry for entry in named if "==" in entry} == wanted
