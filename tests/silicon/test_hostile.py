"""What comes to the silicon is untrusted, whoever sends it: it answers, and goes on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.silicon.rig import (
    SECONDS,
    Keep,
    Silicon,
    children,
    puppet_payload,
    read_reply,
    running,
)

from enarx.errors import EnarxError, HostError, KeepLostError, ProtocolError, RefusedError
from enarx.silicon import keeps, server
from enarx.wire import silicon
from enarx.wire.codec import pack


@pytest.fixture
def keep(shared: Silicon) -> Iterator[Keep]:
    keep = shared.launch()
    yield keep
    keep.close()


def _still_serves(running_silicon: Silicon) -> bool:
    keep = running_silicon.launch()
    evidence = keep.report().evidence
    keep.close()
    return bool(evidence)


@pytest.mark.parametrize(
    "packet",
    [b"garbage", b"\0", b"\xff" * 1000, b"\xa0", pack(silicon.GetReport(report_data=bytes(64)))],
    ids=["text", "zero", "ones", "empty-map", "a-keeps-request"],
)
def test_a_packet_that_is_no_request_gets_a_problem(shared: Silicon, packet: bytes) -> None:
    with shared.connect() as connection:
        reply, _ = connection.exchange(packet)
        with pytest.raises(ProtocolError):
            read_reply(reply, silicon.SiliconStatus)
        assert connection.ask(silicon.SiliconInfo(), silicon.SiliconStatus).backends


def test_random_packets_do_no_harm(shared: Silicon) -> None:
    with shared.connect() as connection:
        for size in (1, 2, 3, 10, 100, 1000, 100_000):
            reply, _ = connection.exchange(secrets.token_bytes(size))
            with pytest.raises(EnarxError):
                read_reply(reply, silicon.SiliconStatus)
    assert _still_serves(shared)


def test_an_unknown_back_end_is_named(shared: Silicon) -> None:
    with pytest.raises(EnarxError, match="no back end 'sgx'") as caught:
        shared.launch(backend="sgx")
    assert caught.value.code == "usage.backend"
    with pytest.raises(EnarxError, match="no back end 'xyz'"):
        shared.ask(silicon.GetEndorsements(backend="xyz"), silicon.EndorsementsReply)


def _descriptors(kind: str) -> list[int]:
    """Descriptors that do not belong to a launch; the caller closes them."""
    with contextlib.ExitStack() as stack:
        stream, other = (stack.enter_context(end) for end in socket.socketpair())
        packet = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        chosen = {
            "none": [],
            "one": [packet.fileno()],
            "files": [null, null],
            "stream-as-control": [stream.fileno(), listener.fileno()],
            "not-listening": [packet.fileno(), other.fileno()],
            "swapped": [listener.fileno(), packet.fileno()],
            "three": [packet.fileno(), listener.fileno(), null],
            "many": [null] * 40,
        }[kind]
        return [os.dup(descriptor) for descriptor in chosen]


@pytest.mark.parametrize(
    "kind",
    ["none", "one", "files", "stream-as-control", "not-listening", "swapped", "three", "many"],
)
def test_a_launch_with_wrong_descriptors_is_refused(shared: Silicon, kind: str) -> None:
    request = pack(
        silicon.Launch(backend="sim-sgx", kuuid=secrets.token_bytes(16), host_data=bytes(32))
    )
    descriptors = _descriptors(kind)
    try:
        with shared.connect() as connection:
            reply, received = connection.exchange(request, descriptors)
            with pytest.raises(ProtocolError):
                read_reply(reply, silicon.Launched)
            assert not received
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_no_descriptor_stays_behind_in_the_silicon(shared: Silicon) -> None:
    def count() -> int:
        return len(os.listdir(f"/proc/{shared.process.pid}/fd"))

    test_a_launch_with_wrong_descriptors_is_refused(shared, "three")
    assert _still_serves(shared)
    before = count()
    for kind in ("files", "three", "many"):
        test_a_launch_with_wrong_descriptors_is_refused(shared, kind)
    assert _still_serves(shared)
    assert _soon(lambda: count() <= before), (before, count())


def _soon(condition: object) -> bool:
    """Whether it holds within the bound of every wait."""
    assert callable(condition)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_descriptors_beside_a_question_are_refused(shared: Silicon) -> None:
    with shared.connect() as connection, open(os.devnull) as null:
        reply, _ = connection.exchange(pack(silicon.SiliconInfo()), [null.fileno()])
        with pytest.raises(ProtocolError, match="no descriptors"):
            read_reply(reply, silicon.SiliconStatus)


def test_a_second_keep_of_the_same_kuuid_is_refused(shared: Silicon, keep: Keep) -> None:
    with pytest.raises(RefusedError) as caught:
        shared.launch(kuuid=keep.kuuid)
    assert caught.value.code == "silicon.kuuid-taken"
    assert keep.report().evidence


def test_a_keep_that_talks_garbage_gets_problems_and_its_reports(keep: Keep) -> None:
    for packet in (b"garbage", b"\xff" * 3000, pack(silicon.SiliconInfo())):
        with pytest.raises(ProtocolError):
            read_reply(keep.say(packet), silicon.ReportReply)
    with pytest.raises(ProtocolError, match="more than"):
        read_reply(keep.say(b"x" * 100_000), silicon.ReportReply)
    assert keep.report().evidence


def test_a_keep_that_floods_does_not_keep_others_waiting(shared: Silicon, keep: Keep) -> None:
    assert keep.record
    flooder = shared.launch()
    assert flooder.record
    request = pack(silicon.GetReport(report_data=bytes(64)))
    flooder.control.settimeout(0.2)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 100_000:
            flooder.control.send(request)
            sent += 1
    # Its packets wait in its own socket, and it stands still.
    assert sent < 100_000
    started = time.monotonic()
    assert keep.report().evidence
    assert time.monotonic() - started < SECONDS / 10
    assert shared.status().backends
    flooder.close()


def test_a_keep_gets_as_many_reports_as_its_allowance_at_once(keep: Keep) -> None:
    started = time.monotonic()
    for _ in range(keeps.REPORT_BURST):
        assert keep.report().evidence
    burst = time.monotonic() - started
    for _ in range(keeps.REPORT_BURST):
        assert keep.report().evidence
    # The second burst has to be earned: it takes a second, less what the first one earned.
    assert time.monotonic() - started + burst > 0.5


def test_a_peer_that_never_reads_is_dropped(shared: Silicon) -> None:
    with shared.connect() as connection:
        request = pack(silicon.GetEndorsements(backend="sim-sgx"))
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                connection.sock.send(request)
        with pytest.raises(OSError):
            connection.sock.send(request)
    assert _still_serves(shared)


def test_connections_beyond_the_limit_are_told_so(shared: Silicon) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(server.CONNECTIONS):
            stack.enter_context(shared.connect())
        with shared.connect() as one_more, pytest.raises(RefusedError, match="connections"):
            read_reply(one_more.sock.recv(silicon.PACKET), silicon.SiliconStatus)
    assert _soon(lambda: _serves(shared))


def _serves(shared: Silicon) -> bool:
    try:
        return bool(shared.status())
    except (EnarxError, OSError):
        return False


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused(shared: Silicon) -> None:
    os.chmod(shared.socket, 0o666)
    for parent in [shared.socket.parent, shared.socket.parent.parent]:
        os.chmod(parent, 0o755)
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
        "os.chdir(sys.argv[1]); os.setuid(65534); s.connect('silicon.sock'); "
        "sys.stdout.buffer.write(s.recv(4096))"
    )
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", code, str(shared.socket.parent)],
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    with pytest.raises(RefusedError, match="own user"):
        read_reply(done.stdout, silicon.SiliconStatus)


def test_a_killed_zygote_is_started_again_and_its_keeps_are_lost(
    tmp_path: Path, puppet: Path
) -> None:
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        keep = own.launch()
        assert keep.report().evidence
        measured = own.status()
        (zygote,) = children(own.process.pid)
        os.kill(zygote, signal.SIGKILL)
        assert keep.ended()
        keep.close()
        assert _soon(lambda: _launches(own))
        assert own.status() == measured
        assert "the zygote ended (signal 9)" in own.said()


def _launches(own: Silicon) -> bool:
    try:
        own.launch().close()
    except (KeepLostError, HostError):
        return False
    return True


def test_a_zygote_that_always_dies_ends_the_silicon_with_a_reason(
    tmp_path: Path, puppet: Path
) -> None:
    with running(tmp_path / "run", "--payload", str(puppet)) as own:
        end = time.monotonic() + SECONDS
        while own.process.poll() is None and time.monotonic() < end:
            for zygote in children(own.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(zygote, signal.SIGKILL)
            time.sleep(0.05)
        assert own.process.wait(SECONDS) == 1
        assert "no Keep can be launched" in own.said()
        assert not own.socket.exists()


def test_a_zygote_that_talks_garbage_is_replaced(tmp_path: Path) -> None:
    payload = puppet_payload(tmp_path / "payload")
    zygote = payload / "enarx" / "keep" / "zygote.py"
    zygote.write_text(
        zygote.read_text()
        .replace("pack(zygote.Forked(", "repr((")
        .replace("kuuid=fork.kuuid, pid=pid))", "fork.kuuid, pid)).encode()")
    )
    with running(tmp_path / "run", "--payload", str(payload)) as own:
        with pytest.raises(KeepLostError, match="broke the protocol"):
            own.launch()
        assert _soon(lambda: _serves(own))
        assert "broke the protocol" in own.said()
