"""The keep loader: one process that makes one Keep, watches over it, and says how it ended.

    python -m enarx.host.loader DIRECTORY

It serves the manager on DIRECTORY/loader.sock (`wire.manager`: /v1/keep), and does what
DIRECTORY/order.cbor says: on the attest request (steps 3 and 4) it makes the Keep (step 5)
and passes on what the Keep answers (steps 6 and 7). The Keep ends when the loader does,
because its control socket ends. When the Keep is gone, the loader stores its last status
and ends, too. It never sees anything of a workload.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from enarx.errors import EnarxError, HostError, KeepLostError, RefusedError, UsageError
from enarx.host import cgroup, limits, order, require_linux
from enarx.host.chip import Chip
from enarx.host.keepprocess import KeepProcess
from enarx.host.machine.keep import MachineKeep
from enarx.host.notify import notify_systemd
from enarx.wire import http
from enarx.wire.attestation import (
    ActivateRequest,
    ActivateResponse,
    AttestRequest,
    AttestResponse,
)
from enarx.wire.codec import pack, unpack
from enarx.wire.limits import MESSAGE
from enarx.wire.manager import KeepStatus, State

log = logging.getLogger("enarx.loader")

_ENDED = (State.SHUTDOWN, State.ERROR)


class Loader:
    """One Keep's loader. `unit`: it is a systemd unit with a control group of its own."""

    def __init__(self, directory: Path, *, unit: bool) -> None:
        self._directory = directory
        self._unit = unit
        self._order = order.read_order(directory)
        self._keep: KeepProcess | None = None
        self._machine: MachineKeep | None = None
        self._answer: asyncio.Task[bytes] | None = None
        self._making = False
        self._watchers: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self._status = KeepStatus(
            kuuid=self._order.kuuid,
            backend=self._order.backend,
            state=State.INDETERMINATE,
            owner=hashlib.sha256(self._order.owner).digest(),
            created=self._order.created,
        )

    async def run(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until the Keep is gone, or will never be."""
        server = await http.serve(self._handle, listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, State.SHUTDOWN, "its loader was ended")
        unattested = loop.call_later(
            limits.UNATTESTED_SECONDS, self._end, State.SHUTDOWN, "nobody asked for its attestation"
        )
        self._store()
        ready()
        try:
            await self._ending.wait()
            unattested.cancel()
            await self._bury()
        finally:
            self._ended.set()
            # Whoever asked for the end still gets its answer, and hangs up then.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.FAREWELL_SECONDS):
                    await server.wait_closed()
            server.close()
            await server.wait_closed()

    async def _handle(self, request: http.Request) -> http.Response:
        if request.peer.uid not in (os.geteuid(), 0):
            raise RefusedError("only the keep manager may ask this", code="loader.not-manager")
        match request.method, request.path:
            case "GET", "/v1/keep":
                return http.reply(self._status)
            case "POST", "/v1/keep/attest":
                asked = unpack(await request.read(MESSAGE), AttestRequest)
                return http.Response(body=await self._attest(asked))
            case "POST", "/v1/keep/activate":
                activate = unpack(await request.read(MESSAGE), ActivateRequest)
                return http.reply(await self._activate(activate))
            case "GET", "/v1/keep/manifests" if self._order.image:
                raise RefusedError(
                    "a Keep that is a machine has no list of files but that of its image",
                    hint="Build the image again and compare: enarx image reproduce DIR.",
                    code="keep.manifests",
                )
            case "GET", "/v1/keep/manifests":
                with contextlib.closing(Chip.connect(Path(self._order.silicon))) as chip:
                    return http.Response(body=await chip.manifests())
            case "DELETE", "/v1/keep":
                self._end(State.SHUTDOWN, "its host ended it")
                await self._ended.wait()
                return http.reply(self._status)
        raise UsageError(f"there is no {request.method} {request.path} here", code="protocol.path")

    async def _attest(self, asked: AttestRequest) -> bytes:
        """Steps 3 and 4. Asked again, it gives the same answer."""
        self._check_nonce(asked.nonce)
        if self._ending.is_set():
            raise KeepLostError(f"the Keep has ended: {self._status.detail}", code="keep.ended")
        if self._answer is None:
            self._answer = asyncio.create_task(self._make_keep())
        # One caller that goes away must not end what another waits for.
        return await asyncio.shield(self._answer)

    async def _activate(self, asked: ActivateRequest) -> ActivateResponse:
        """Steps 3 and 4 once more: the Keep, if its silicon is a TPM, proves which one."""
        self._check_nonce(asked.nonce)
        if self._keep is None or self._making:
            raise RefusedError(
                "there is no evidence yet that this could be about", code="keep.not-attested"
            )
        proof = await self._keep.activate(credential=asked.credential, seed=asked.seed)
        return ActivateResponse(proof=proof)

    def _check_nonce(self, nonce: bytes) -> None:
        if nonce != self._order.nonce:
            raise RefusedError(
                "this nonce is not the one that the Keep was created with",
                hint="Create another Keep: each has one nonce, which is in its evidence.",
                code="keep.wrong-nonce",
            )

    async def _make_keep(self) -> bytes:
        self._making = True
        try:
            if self._order.image:
                keep, answer = await self._launch_machine()
            else:
                with contextlib.closing(await self._find_silicon()) as chip:
                    keep, answer = await self._launch(chip)
        except EnarxError as error:
            self._end(State.ERROR, f"the Keep could not be made: {error.message}")
            raise
        except (OSError, asyncio.CancelledError) as error:
            self._end(State.ERROR, f"the Keep could not be made: {error}")
            raise KeepLostError(
                f"the Keep ended while it was made: {self._status.detail or error}",
                code="keep.lost",
            ) from None
        finally:
            self._making = False
        self._watchers.append(asyncio.create_task(self._follow(keep)))
        self._keep_changed()
        if not keep.process.alive():
            self._keep_gone()
        return pack(answer)

    async def _find_silicon(self) -> Chip:
        """The manager starts a silicon that died again: that is waited for."""
        deadline = time.monotonic() + limits.SILICON_START_SECONDS
        while True:
            try:
                return Chip.connect(Path(self._order.silicon))
            except HostError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(limits.SILICON_POLL)

    async def _launch(self, chip: Chip) -> tuple[KeepProcess, AttestResponse]:
        """Steps 5 to 7. Nobody is told where the Keep listens before it is confined."""
        anticipated = asyncio.create_task(asyncio.to_thread(cgroup.anticipate))
        # 5.
        self._keep = keep = await KeepProcess.launch(self._order, self._directory, chip)
        keep.process.on_end(self._keep_gone)
        chip.process().on_end(self._silicon_gone)
        confined = asyncio.create_task(
            asyncio.to_thread(keep.confine, self._order, self._directory, unit=self._unit)
        )
        # 6. and 7. are the Keep's; what helps to verify it is fetched meanwhile.
        endorsed = asyncio.create_task(chip.endorsements(self._order.backend))
        booted = asyncio.create_task(self._boot(keep))
        try:
            certificate, endorsements, _ = await asyncio.gather(booted, endorsed, confined)
        finally:
            booted.cancel()
            endorsed.cancel()
            # Threads cannot be cancelled; what they made must be known to be removed again.
            await asyncio.wait({booted, endorsed, confined, anticipated})
        return keep, AttestResponse(
            certificate=certificate, endorsements=endorsements, address=keep.address
        )

    async def _launch_machine(self) -> tuple[KeepProcess, AttestResponse]:
        """Steps 5 to 7 where the Keep is a machine: it brings its silicon, a TPM, with it."""
        # 5.
        self._machine = machine = await MachineKeep.launch(self._order, self._directory)
        self._keep = keep = machine.keep
        keep.process.on_end(self._keep_gone)
        await asyncio.to_thread(keep.confine, self._order, self._directory, unit=self._unit)
        # 6. and 7.
        try:
            certificate = await self._boot(keep)
        except KeepLostError as error:
            raise KeepLostError(
                f"{machine.trouble or error.message}; its console says: {machine.last_words()}",
                hint=error.hint,
                code=error.code,
            ) from None
        keep.detail = keep.detail or machine.detail
        await machine.serve()
        endorsements = machine.endorsements(Path(self._order.authority))
        return keep, AttestResponse(
            certificate=certificate, endorsements=endorsements, address=keep.address
        )

    async def _boot(self, keep: KeepProcess) -> bytes:
        try:
            return await keep.boot(self._order)
        except KeepLostError as error:
            if error.code != "peer.gone":
                raise
            raise KeepLostError(
                "the Keep died before it was ready",
                hint="The host's log and kernel log tell more; create another Keep.",
                code="keep.died",
            ) from None

    async def _follow(self, keep: KeepProcess) -> None:
        try:
            await keep.follow(self._keep_changed)
        except EnarxError as error:
            self._end(State.ERROR, f"the Keep broke the protocol: {error.message}")

    def _keep_changed(self) -> None:
        keep = self._keep
        if keep is None or self._ending.is_set():
            return
        if keep.state not in _ENDED:
            missing = "; ".join(keep.group.missing)
            detail = keep.detail or (f"without {missing}" if missing else "")
            self._set(keep.state, detail, address=keep.address)

    def _keep_gone(self) -> None:
        """The Keep's process has ended; its own last word says whether in good order."""
        if self._making:
            # Whoever waits for it finds out, and knows more.
            return
        keep = self._keep
        if keep is not None and keep.state in _ENDED:
            self._end(keep.state, keep.detail)
        else:
            # Its last word may still be on the way: it lies in the control socket already.
            asyncio.get_running_loop().call_later(0.02, self._keep_died)

    def _keep_died(self) -> None:
        keep = self._keep
        if keep is not None and keep.state in _ENDED:
            self._end(keep.state, keep.detail)
        else:
            trouble = self._machine.trouble if self._machine is not None else ""
            self._end(State.ERROR, trouble or "the Keep died")

    def _silicon_gone(self) -> None:
        self._end(State.ERROR, "the silicon that vouched for this Keep is gone")

    def _end(self, state: State, detail: str) -> None:
        """The first reason counts; what follows is its consequence."""
        if not self._ending.is_set():
            self._status = msgspec.structs.replace(self._status, state=state, detail=detail)
            self._ending.set()

    async def _bury(self) -> None:
        """No process, socket or group stays behind; then the status is stored for good."""
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
            await asyncio.wait([self._answer])
        keep = self._keep
        if keep is not None:
            if self._status.state is State.SHUTDOWN:
                await keep.halt()
            else:
                await keep.process.wait(limits.LOST_SECONDS)
            kills = await keep.bury()
            if kills and self._status.state is State.ERROR:
                detail = f"{self._status.detail}: the host's memory limit killed {kills} of it"
                self._status = msgspec.structs.replace(self._status, detail=detail)
        if self._machine is not None:
            await self._machine.close()
        for task in self._watchers:
            task.cancel()
        self._store()

    def _set(self, state: State, detail: str, *, address: str) -> None:
        self._status = msgspec.structs.replace(
            self._status, state=state, detail=detail, address=address
        )
        self._store()

    def _store(self) -> None:
        try:
            order.write_status(self._directory, self._status)
        except OSError as error:
            log.warning("cannot store the status of %s: %s", self._directory.name, error.strerror)


def run(directory: Path, *, unit: bool, ready: Callable[[], None]) -> int:
    """Be the loader of the Keep in `directory`; `ready` is called once it listens."""
    path = directory / order.LOADER_SOCKET
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(limits.KEEP_PIDS)
        asyncio.run(Loader(directory, unit=unit).run(listener, ready))
    except EnarxError as error:
        log.error("loader of %s: %s", directory.name, error.message)
        return 125
    except OSError as error:
        log.error("loader of %s: %s", directory.name, error)
        return 125
    finally:
        path.unlink(missing_ok=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The loader as a program: how a systemd unit starts it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    try:
        require_linux()
        if len(arguments) != 1:
            raise UsageError("usage: python -m enarx.host.loader DIRECTORY")
    except EnarxError as error:
        print(error, file=sys.stderr)
        return 125
    return run(Path(arguments[0]), unit="NOTIFY_SOCKET" in os.environ, ready=notify_systemd)


if __name__ == "__main__":
    sys.exit(main())
