"""What is said when the code of a Keep is not the expected one."""

from __future__ import annotations

import hashlib

from enarx.client.appraisal import _explain_component
from enarx.image.manifest import digest
from enarx.wire.attestation import File, Manifest


def manifest(component: str, **files: bytes) -> Manifest:
    return Manifest(
        component=component,
        files=tuple(
            File(path=path, size=len(data), sha256=hashlib.sha256(data).digest())
            for path, data in sorted(files.items())
        ),
    )


def interpreter(path: str) -> Manifest:
    return manifest("runtime", **{path: b"ELF", f"{path}-lib/os.py": path.encode()})


def test_differing_file_is_named() -> None:
    expected, found = manifest("payload", a=b"1", b=b"2"), manifest("payload", a=b"1", b=b"3")
    (line,) = _explain_component("payload", found, digest(found), expected)
    assert line.startswith("payload: b differs")


def test_another_interpreter_is_said_in_one_sentence() -> None:
    expected, found = interpreter("/usr/bin/python3.11"), interpreter("/opt/bin/python3.13")
    first, second = _explain_component("runtime", found, digest(found), expected)
    assert first == (
        "the host runs another interpreter: expected /usr/bin/python3.11, found /opt/bin/python3.13"
    )
    assert "--refs" in second


def test_same_interpreter_with_another_library_is_named_by_the_file() -> None:
    expected = manifest("runtime", **{"/usr/bin/python3": b"p", "/lib/libc.so.6": b"1"})
    found = manifest("runtime", **{"/usr/bin/python3": b"p", "/lib/libc.so.6": b"2"})
    (line,) = _explain_component("runtime", found, digest(found), expected)
    assert line.startswith("runtime: /lib/libc.so.6 differs")


def test_manifest_that_is_not_in_the_evidence_is_not_believed() -> None:
    expected, found = manifest("payload", a=b"1"), manifest("payload", a=b"2")
    (line,) = _explain_component("payload", found, digest(expected), expected)
    assert "not what was measured" in line
    swapped = manifest("runtime", a=b"2")
    (line,) = _explain_component("payload", swapped, digest(swapped), expected)
    assert "not what was measured" in line


def test_references_without_files_say_so() -> None:
    found = manifest("payload", a=b"2")
    (line,) = _explain_component("payload", found, digest(found), None)
    assert "no files to compare" in line
