"""The app loader: PID 1 of a Keep. It boots, proves what it is, and takes one workload.

1. Sandbox (`sandbox.confine`). 2. Waits for `Boot` from the keep loader. 3. Checks that the
init data and the owner fit each other and this launch. 4. Forks the workload's process, which
so never holds a key. 5. Key, evidence, certificate (`identity`). 6. Serves the owner over TLS
(`session`).

It ends when its work is done, when nobody used it in time, when the keep loader or the
silicon is gone, or when it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import select
import socket
import ssl
import time
from typing import Any

from enarx.errors import EnarxError, HostError, KeepLostError, ProtocolError, RefusedError
from enarx.evidence import cmw
from enarx.keep import attester
from enarx.keep.identity import Identity
from enarx.keep.sandbox import Levels, confine, root, seccomp
from enarx.keep.sandbox.descriptors import keep_only
from enarx.keep.session import Session
from enarx.keep.workload import WorkloadProcess
from enarx.wire import limits, problem
from enarx.wire.attestation import InitData
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.fields import Limits
from enarx.wire.http import Request, Response, serve
from enarx.wire.loader import Boot, BootFailed, Halt, Progress, Ready, ToKeep
from enarx.wire.manager import State
from enarx.wire.silicon import LaunchRecord, ReportReply
from enarx.wire.zygote import Fork

BOOT_SECONDS = 30.0
"""How long the keep loader may take to boot the Keep; it does so at once."""
GOODBYE_SECONDS = 300.0
"""How long the owner may take to read the last of what was said, and to close: the end of
the output may wait in a pager."""
HASTY_SECONDS = 1.0
"""The same where the keep loader or the silicon is gone or says Halt."""
WARM_ROUNDS = 20
"""Python rewrites its code in place until it has seen it run a few times: before the fork."""
_TO_KEEP: Any = ToKeep
_PACKET = 2 * limits.CERTIFICATE
"""Most bytes of one packet on the control socket: init data and a certificate."""


def main(request: Fork, descriptors: list[int], levels: Levels) -> int:
    """Be a Keep until its end; returns the exit status of the process.

    Args:
        request: what the silicon asked the zygote for.
        descriptors: report channel, control socket, listener.
        levels: of the sandbox, those entered before the fork.
    """
    report, control, listener = (socket.socket(fileno=number) for number in keep_only(descriptors))
    try:
        confine(levels, uid=request.uid)
        gc.enable()
        boot = _await_boot(report, control)
        keep = _Keep(report=report, control=control, listener=listener, levels=levels)
        return keep.run(boot, request)
    except EnarxError as error:
        _say(control, BootFailed(problem=problem.from_error(error)))
    except OSError as error:
        refusal = HostError(f"this Keep cannot go on: {error}", code="keep.os")
        _say(control, BootFailed(problem=problem.from_error(refusal)))
    return os.EX_UNAVAILABLE


class _Keep:
    def __init__(
        self,
        *,
        report: socket.socket,
        control: socket.socket,
        listener: socket.socket,
        levels: Levels,
    ) -> None:
        self._report, self._control, self._listener = report, control, listener
        self._levels = levels
        self._own_files = root.RUN if "empty-root" in levels.in_force else None
        self._filtered = "seccomp" in levels.in_force

    def run(self, boot: Boot, request: Fork) -> int:
        record = attester.read_launch_record(self._report)
        init = _check(boot, record, request)
        process = WorkloadProcess.fork(
            bounds=init.limits,
            own_files=self._own_files is not None,
            filtered=self._filtered,
            not_inherited=tuple(s.fileno() for s in (self._report, self._control, self._listener)),
        )
        try:
            if self._filtered:
                seccomp.enter(seccomp.APP_LOADER)
            deadline = time.monotonic() + limits.CERTIFICATE_SECONDS
            identity = Identity.make(
                init=init,
                init_digest=hashlib.sha256(boot.init_data).digest(),
                record=record,
                levels=tuple(self._levels.in_force),
                get_report=lambda data: attester.get_report(self._report, report_data=data),
            )
            return asyncio.run(self._serve(identity, boot.owner, process, deadline))
        finally:
            process.close()

    async def _serve(
        self, identity: Identity, owner: bytes, process: WorkloadProcess, deadline: float
    ) -> int:
        # asyncio would write refused handshakes to a standard error that nobody reads.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        session = Session(
            owner=owner,
            process=process,
            deadline=deadline,
            progress=lambda state, detail: _say(
                self._control, Progress(state=state, detail=detail)
            ),
        )
        context = identity.tls_context(owner=owner, own_files=self._own_files)
        server = await serve(session.handle, self._listener, tls=context)
        watchers = [
            asyncio.create_task(self._watch_control(session)),
            asyncio.create_task(self._watch_report(session)),
        ]
        _say(self._control, Ready(certificate=identity.certificate))
        missing = ", ".join(f"{name} ({why})" for name, why in self._levels.missing.items())
        detail = f"this machine does not give: {missing}" if missing else ""
        _say(self._control, Progress(state=State.READY, detail=detail))
        await session.finished()
        _say(self._control, Progress(state=session.state, detail=session.detail))
        closed = asyncio.create_task(server.wait_closed())
        # A watcher that has ended, or ends now, heard that there is nobody to stay for.
        await asyncio.wait(
            {closed, *watchers}, timeout=GOODBYE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        await asyncio.wait({closed}, timeout=HASTY_SECONDS)
        server.close()
        await closed
        return os.EX_OK if session.state is State.SHUTDOWN else os.EX_UNAVAILABLE

    async def _watch_control(self, session: Session) -> None:
        """Follow the keep loader's word until it is gone."""
        while packet := await _receive(self._control):
            try:
                order: ToKeep = unpack(packet, _TO_KEEP, limit=_PACKET)
            except ProtocolError as error:
                _say(self._control, BootFailed(problem=problem.from_error(error)))
                continue
            if isinstance(order, Halt):
                session.end(State.SHUTDOWN, "ended by its host")
                return
            refusal = RefusedError("this Keep's nonce is spent", code="keep.nonce-spent")
            _say(self._control, BootFailed(problem=problem.from_error(refusal)))
        session.end(State.ERROR, "the keep loader is gone")

    async def _watch_report(self, session: Session) -> None:
        """Nothing is expected of the silicon any more but that it stays."""
        while await _receive(self._report):
            continue
        session.end(State.ERROR, attester.gone().message)


def import_all() -> None:
    """Import in the zygote what is imported at its first use: a Keep has no files to do it."""
    _warm_identity()
    asyncio.run(asyncio.sleep(0))


def warm_up(own_files: str | None) -> None:
    """Do in the zygote what each Keep would do for the first time.

    What is looked up or set up at its first use, a Keep pays for in time and in memory of
    its own. The identity made here is thrown away; its evidence is empty.

    Args:
        own_files: a directory in memory, None where there is none.
    """
    for _ in range(WARM_ROUNDS):
        identity = _warm_identity()
        with contextlib.suppress(OSError):
            # Without files and without /proc, the first use is the Keep's own.
            context = identity.tls_context(owner=identity.certificate, own_files=own_files)
            asyncio.run(_serve_nobody(context))


def _warm_identity() -> Identity:
    zero = bytes(32)
    init = InitData(kuuid=bytes(16), backend="none", nonce=zero, owner=zero, limits=Limits())
    return Identity.make(
        init=unpack(pack(init), InitData),
        init_digest=zero,
        record=LaunchRecord(backend="none", payload=zero, runtime=zero),
        levels=(),
        get_report=lambda _: ReportReply(media_type=cmw.MEDIA_TYPES["sgx"], evidence=b""),
    )


async def _serve_nobody(context: ssl.SSLContext) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name that the kernel chooses, and no file
        listener.listen()
        server = await serve(_refuse, listener, tls=context)
        await asyncio.sleep(0)
        server.close()
        await server.wait_closed()


async def _refuse(_: Request) -> Response:
    raise RefusedError("nobody is served here", code="keep.not-owner")


def _await_boot(report: socket.socket, control: socket.socket) -> Boot:
    """The first packet on the control socket."""
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    waiting.register(report, 0)  # an end of file is always told
    ready = dict(waiting.poll(BOOT_SECONDS * 1000))
    if report.fileno() in ready:
        raise attester.gone()
    if not ready:
        raise KeepLostError(
            f"the keep loader did not boot this Keep within {BOOT_SECONDS:g} s", code="keep.boot"
        )
    packet = control.recv(_PACKET)
    if not packet:
        raise KeepLostError("the keep loader is gone", code="keep.loader-gone")
    return unpack(packet, Boot, limit=_PACKET)


def _check(boot: Boot, record: LaunchRecord, request: Fork) -> InitData:
    """The init data, if they fit the owner that came with them and this launch."""
    init = unpack(boot.init_data, InitData)
    if hashlib.sha256(boot.owner).digest() != init.owner:
        raise RefusedError(
            "the owner's certificate is not the one in the init data", code="keep.owner-mismatch"
        )
    if (record.payload, record.runtime) != (request.payload, request.runtime):
        raise HostError("zygote and silicon disagree on what was launched", code="keep.launch")
    if (init.backend, init.kuuid) != (record.backend, request.kuuid):
        raise RefusedError(
            f"the init data are for Keep {init.kuuid.hex()} on {init.backend}, this is"
            f" {request.kuuid.hex()} on {record.backend}",
            code="keep.init-data",
        )
    return init


async def _receive(sock: socket.socket) -> bytes:
    """The next packet; empty when the other side is gone."""
    sock.setblocking(False)
    try:
        return await asyncio.get_running_loop().sock_recv(sock, _PACKET)
    except OSError:
        return b""


def _say(control: socket.socket, message: Message) -> None:
    """Tell the keep loader; when it is gone, that is noticed elsewhere."""
    with contextlib.suppress(OSError):
        control.send(pack(message))
