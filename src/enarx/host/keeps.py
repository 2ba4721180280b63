"""Steps 1 to 4 as the manager does them: Keeps created, found again, asked, ended, buried."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import socket
import time
import uuid
from pathlib import Path

from enarx.errors import EnarxError, HostError, KeepLostError, UnreachableError
from enarx.host import backends, limits
from enarx.host.cgroup import KeepGroup
from enarx.host.launcher import Launcher
from enarx.host.machine import keep as machines
from enarx.host.machine.tpm import AUTHORITY
from enarx.host.order import (
    CGROUP,
    LOADER_SOCKET,
    Order,
    directory_name,
    read_order,
    write_order,
)
from enarx.host.process import Process, peer
from enarx.host.registry import Keep, Registry
from enarx.host.rundir import RunDir
from enarx.host.siliconprocess import SiliconProcess
from enarx.wire.endpoint import Endpoint
from enarx.wire.http_client import Connection
from enarx.wire.limits import MESSAGE
from enarx.wire.manager import Contract, CreateKeep, KeepStatus, State

log = logging.getLogger("enarx.host")

_NOTICE_SECONDS = 1.0
"""Between a loader's death and its notice; in fact milliseconds."""


class Keeps:
    """The Keeps of one host. `listen` is the address of their ports; empty: Unix sockets only."""

    def __init__(
        self, run: RunDir, *, launcher: Launcher, silicon: SiliconProcess, listen: str,
        image: Path | None = None, state: Path | None = None,
    ) -> None:  # fmt: skip
        """image: directory of the VM image. state: where the TPMs' authority is kept."""
        self._run, self._launcher, self._silicon = run, launcher, silicon
        self._listen = listen
        self._image, self._authority = image, (state or run.root) / AUTHORITY
        self._launches = asyncio.Semaphore(limits.LAUNCHES)
        self._burials: set[asyncio.Task[None]] = set()
        self._uids = _uids_to_be_had()
        self._hardware = backends.on_hardware()
        self.registry = Registry()

    def contracts(self) -> tuple[Contract, ...]:
        """The back ends of this host."""
        simulated = backends.simulated(self._silicon.status, self._silicon.trouble)
        return (*simulated, machines.contract(self._image), *self._hardware)

    async def create(self, request: CreateKeep, principal: str) -> KeepStatus:
        """Step 1: a Keep for `principal`; step 2: its loader."""
        with contextlib.suppress(HostError):
            await self._silicon.ensure()
        backends.require(request.backend, self.contracts())
        _require_memory(request.limits.memory)
        self.registry.admit(principal)
        order = self._order(request, principal)
        keep = Keep(order=order, directory=self._directory(order.kuuid), status=_created(order))
        self.registry.add(keep)
        try:
            write_order(keep.directory, order)
            # 2.
            async with self._launches:
                keep.process = await self._launcher.launch(order.kuuid, keep.directory)
        except BaseException:
            self.registry.forget(keep)
            shutil.rmtree(keep.directory, ignore_errors=True)
            raise
        self._watch(keep, keep.process)
        log.info("Keep %s on %s for %s", keep.directory.name, order.backend, principal)
        return keep.refresh()

    async def ask(
        self, keep: Keep, method: str, path: str, body: bytes = b"", *, limit: int, timeout: float
    ) -> bytes:
        """Steps 3 and 4: pass a request on to the Keep's loader, and its answer back, unread."""
        if keep.ended:
            raise _ended(keep)
        try:
            connection = await Connection.open(
                Endpoint(path=str(keep.directory / LOADER_SOCKET)), timeout=limits.CONTROL_SECONDS
            )
            try:
                return await connection.request(method, path, body, limit=limit, timeout=timeout)
            finally:
                await connection.close()
        except UnreachableError as error:
            await self._gone(keep)
            if keep.ended:
                raise _ended(keep) from None
            raise KeepLostError(
                f"the keep loader does not answer: {error.message}",
                hint="End this Keep and create another.",
                code="keep.loader",
            ) from None

    async def end(self, keep: Keep) -> KeepStatus:
        """End a Keep, and its loader with it, whatever they do."""
        if not keep.ended:
            try:
                await self.ask(
                    keep, "DELETE", "/v1/keep", limit=MESSAGE, timeout=limits.CONTROL_SECONDS
                )
            except EnarxError as error:
                log.info("Keep %s is killed: %s", keep.directory.name, error.message)
                if keep.process is not None:
                    await self._launcher.end(keep.order.kuuid, keep.process)
            await self._gone(keep)
        return keep.refresh()

    async def end_all(self) -> None:
        """End every Keep of this host."""
        await asyncio.gather(*(self.end(keep) for keep in self.registry.living()))
        while self._burials:
            await asyncio.wait(set(self._burials))

    async def adopt(self) -> int:
        """Find the Keeps that a manager before this one left running; bury what is dead."""
        found = await asyncio.gather(
            *(self._adopt(entry) for entry in sorted(self._run.keeps.iterdir()))
        )
        return sum(found)

    async def _adopt(self, directory: Path) -> bool:
        try:
            order = read_order(directory)
        except HostError:
            shutil.rmtree(directory, ignore_errors=True)
            return False
        keep = Keep(order=order, directory=directory, status=_created(order))
        process = _loader_of(directory)
        if process is None:
            keep.end("its loader died while no keep manager ran")
            self.registry.add(keep)
            await self._bury(keep)
            return False
        keep.process = process
        self.registry.add(keep)
        self._watch(keep, process)
        try:
            raw = await self.ask(
                keep, "GET", "/v1/keep", limit=MESSAGE, timeout=limits.CONTROL_SECONDS
            )
        except EnarxError:
            await self._launcher.end(order.kuuid, process)
            return False
        log.info("found Keep %s running (%d bytes of status)", directory.name, len(raw))
        return True

    def _watch(self, keep: Keep, process: Process) -> None:
        process.on_end(lambda: self._loader_gone(keep))

    def _loader_gone(self, keep: Keep) -> None:
        keep.end("the keep loader died, and its Keep ended with it")
        level = logging.INFO if keep.status.state is State.SHUTDOWN else logging.WARNING
        log.log(
            level, "Keep %s: %s (%s)", keep.directory.name, keep.status.state.value,
            keep.status.detail,
        )  # fmt: skip
        task = asyncio.create_task(self._bury(keep))
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    async def _bury(self, keep: Keep) -> None:
        """Nothing stays behind: the Keep's groups with whatever is in them, its directory."""
        with contextlib.suppress(OSError):
            lines = (keep.directory / CGROUP).read_text().splitlines()
            await asyncio.to_thread(KeepGroup(paths=tuple(map(Path, lines))).remove)
        shutil.rmtree(keep.directory, ignore_errors=True)
        if keep.process is not None:
            keep.process.close()
        self.registry.trim()

    async def _gone(self, keep: Keep) -> None:
        """Wait for the notice of a loader's death that is about to come."""
        if keep.process is not None:
            await keep.process.wait(_NOTICE_SECONDS)
            await asyncio.sleep(0)

    def _directory(self, kuuid: bytes) -> Path:
        return self._run.keeps / directory_name(kuuid)

    def _order(self, request: CreateKeep, principal: str) -> Order:
        kuuid = uuid.uuid4().bytes
        kind, _, name = principal.partition(":")
        return Order(
            kuuid=kuuid,
            backend=request.backend,
            nonce=request.nonce,
            owner=request.owner,
            limits=request.limits,
            created=int(time.time()),
            principal=principal,
            silicon=str(self._run.silicon),
            listen=self._listen if kind == "cert" else "",
            uid=self._uid(kuuid),
            reader=int(name) if kind == "uid" else os.geteuid(),
            image=str(self._image) if request.backend == machines.BACKEND else "",
            authority=str(self._authority) if request.backend == machines.BACKEND else "",
        )

    def _uid(self, kuuid: bytes) -> int:
        """A user id that no other Keep of this host has; 0 where there are none to give."""
        if not self._uids:
            return 0
        taken = set(self.registry.uids())
        offset = int.from_bytes(kuuid[:4], "big")
        while (uid := limits.KEEP_UIDS + offset % limits.KEEP_UID_COUNT) in taken:
            offset += 1
        return uid


def _require_memory(wanted: int) -> None:
    """Raise HostError where no Keep of this host can ever have so much."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted + limits.KEEP_OVERHEAD > there:
        raise HostError(
            f"a Keep with {wanted} bytes of memory and {limits.KEEP_OVERHEAD} for itself does not "
            f"fit into this host, which has {there}",
            hint="Ask for less memory, or another host.",
            code="host.memory",
        )


def _created(order: Order) -> KeepStatus:
    return KeepStatus(
        kuuid=order.kuuid,
        backend=order.backend,
        state=State.INDETERMINATE,
        owner=hashlib.sha256(order.owner).digest(),
        created=order.created,
    )


def _ended(keep: Keep) -> KeepLostError:
    return KeepLostError(
        f"the Keep has ended: {keep.status.state.value}, {keep.status.detail}",
        hint="Create another Keep.",
        code="keep.ended",
    )


def _loader_of(directory: Path) -> Process | None:
    """The process that listens in a Keep's directory, if it is of our own user."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(directory / LOADER_SOCKET))
            if peer(sock)[1] != os.geteuid():
                return None
            return Process.listening_on(sock)
        except OSError:
            return None


def _uids_to_be_had() -> bool:
    """Whether we may become any of the user ids for Keeps (user_namespaces(7))."""
    if os.geteuid() != 0:
        return False
    last = limits.KEEP_UIDS + limits.KEEP_UID_COUNT - 1
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, count = map(int, line.split())
        if inside <= limits.KEEP_UIDS and last < inside + count:
            return True
    return False
