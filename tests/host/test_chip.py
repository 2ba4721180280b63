"""What the host believes of a silicon: its own user's, in its protocol, within its bounds."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enarx.errors import EnarxError, HostError, KeepLostError, LimitError, ProtocolError
from enarx.host import limits
from enarx.host.chip import Chip
from enarx.wire import silicon
from enarx.wire.codec import pack
from enarx.wire.limits import MANIFEST
from enarx.wire.problem import from_error

Answer = Callable[[socket.socket], None]
STATUS = pack(
    silicon.SiliconStatus(backends=("a",), payload=bytes(32), runtime=bytes(32), root=bytes(32))
)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Path]]:
    """Serve one connection: read a packet, and answer as the test says."""
    with tempfile.TemporaryDirectory(prefix="echip", dir="/tmp") as directory:
        path = Path(directory) / "silicon.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        listener.listen(4)
        threads = []

        def start(answer: Answer) -> Path:
            def run() -> None:
                with listener.accept()[0] as connection:
                    _, descriptors, _, _ = socket.recv_fds(connection, silicon.PACKET, 4)
                    for descriptor in descriptors:
                        os.close(descriptor)
                    answer(connection)

            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()
            return path

        yield start
        for thread in threads:
            thread.join(10)
        listener.close()


def ask(path: Path, question: str) -> object:
    async def run() -> object:
        chip = Chip.connect(path)
        try:
            if question == "launch":
                request = silicon.Launch(backend="a", kuuid=bytes(16), host_data=bytes(32))
                with socket.socket() as one, socket.socket() as two:
                    return await chip.launch(request, control=one.fileno(), listener=two.fileno())
            return await getattr(chip, question)()
        finally:
            chip.close()

    before = set(os.listdir("/proc/self/fd"))
    try:
        return asyncio.run(run())
    finally:
        assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, "descriptors leak"


def refused(path: Path, question: str) -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        ask(path, question)
    return caught.value


def memfd(content: bytes, seals: int = 0xF) -> int:
    descriptor = os.memfd_create("manifests", os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def with_descriptors(packet: bytes, descriptors: list[int]) -> Answer:
    def answer(connection: socket.socket) -> None:
        socket.send_fds(connection, [packet], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    return answer


def test_an_answer_is_read(serve: Callable[[Answer], Path]) -> None:
    status = ask(serve(lambda c: c.sendall(STATUS)), "status")
    assert isinstance(status, silicon.SiliconStatus)
    assert status.backends == ("a",)


def test_nobody_there_is_named() -> None:
    error = refused(Path("/tmp/there-is-no-such-silicon"), "status")
    assert isinstance(error, HostError)
    assert error.code == "host.silicon"


def test_its_own_refusal_is_passed_on(serve: Callable[[Answer], Path]) -> None:
    problem = pack(from_error(LimitError("too many", code="silicon.busy")))
    assert refused(serve(lambda c: c.sendall(problem)), "launch").code == "silicon.busy"


@pytest.mark.parametrize("packet", [b"\xff", b"\xa0", pack(silicon.Launched(pid=1)), b"\x01"])
def test_what_is_no_status_is_refused(serve: Callable[[Answer], Path], packet: bytes) -> None:
    assert isinstance(refused(serve(lambda c: c.sendall(packet)), "status"), ProtocolError)


def test_silence_ends(serve: Callable[[Answer], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SILICON_SECONDS", 0.2)
    done = threading.Event()
    path = serve(lambda c: bool(done.wait(10)) and None)
    error = refused(path, "status")
    done.set()
    assert "did not answer" in error.message


def test_hanging_up_is_noticed(serve: Callable[[Answer], Path]) -> None:
    assert isinstance(refused(serve(lambda c: None), "status"), KeepLostError)


def test_a_launch_without_a_pidfd_is_refused(serve: Callable[[Answer], Path]) -> None:
    packet = pack(silicon.Launched(pid=1))
    assert refused(serve(lambda c: c.sendall(packet)), "launch").code == "protocol.descriptors"


def test_a_launch_with_another_descriptor_is_refused(serve: Callable[[Answer], Path]) -> None:
    answer = with_descriptors(pack(silicon.Launched(pid=1)), [memfd(b"x")])
    assert refused(serve(answer), "launch").code == "protocol.descriptors"


def test_more_descriptors_than_expected_are_refused_and_closed(
    serve: Callable[[Answer], Path],
) -> None:
    answer = with_descriptors(STATUS, [memfd(b"x"), memfd(b"y")])
    assert refused(serve(answer), "status").code == "protocol.descriptors"


def test_manifests_are_read_from_a_sealed_file(serve: Callable[[Answer], Path]) -> None:
    reply = pack(silicon.ManifestsReply(size=3))
    assert ask(serve(with_descriptors(reply, [memfd(b"abc")])), "manifests") == b"abc"


def test_manifests_that_could_still_change_are_refused(serve: Callable[[Answer], Path]) -> None:
    reply = pack(silicon.ManifestsReply(size=3))
    answer = with_descriptors(reply, [memfd(b"abc", seals=fcntl.F_SEAL_GROW)])
    assert refused(serve(answer), "manifests").code == "protocol.seal"


def test_manifests_in_a_plain_file_are_refused(
    serve: Callable[[Answer], Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    reply = pack(silicon.ManifestsReply(size=3))
    answer = with_descriptors(reply, [os.open(tmp_path / "file", os.O_RDONLY)])
    assert refused(serve(answer), "manifests").code == "protocol.seal"


def test_manifests_above_the_limit_are_refused(serve: Callable[[Answer], Path]) -> None:
    reply = pack(silicon.ManifestsReply(size=MANIFEST + 1))
    answer = with_descriptors(reply, [memfd(b"abc")])
    assert refused(serve(answer), "manifests").code == "limit.size"
