"""Loaders as transient systemd units over D-Bus: `enarx-keep-<kuuid>.service`.

systemd then limits what a loader may do, and ends the Keep with its unit: the loader moves
the Keep into a control group below the unit's own (Delegate=yes), so that KillMode's
control group has both. org.freedesktop.systemd1(5), systemd.exec(5), systemd.kill(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from enarx.errors import HostError
from enarx.host import limits
from enarx.host.order import LOADER_SOCKET, directory_name
from enarx.host.process import Process

_BUS = "org.freedesktop.DBus"
_SYSTEMD = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_MATCH = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"
_GONE = f"{_SYSTEMD}.NoSuchUnit"


def unavailable() -> str:
    """Why systemd cannot launch loaders here; empty where it can be asked.

    A user's own systemd is not used: it ignores MemoryMax without saying so on hosts with
    cgroups of version 1, and has no right to most of the sandbox.
    """
    if not Path("/run/systemd/system").is_dir():
        return "systemd is not the init of this machine"
    if os.geteuid() != 0:
        return "only root may start system units"
    return ""


def unit_name(kuuid: bytes) -> str:
    """The unit of a Keep's loader."""
    return f"enarx-keep-{directory_name(kuuid)}.service"


class SystemdLauncher:
    """Loaders as transient units of the system's systemd."""

    name = "systemd"

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._results: dict[str, str] = {}
        self._asking = 0

    @classmethod
    async def connect(cls) -> SystemdLauncher:
        """Connect to the system bus and to systemd on it. Raises HostError."""
        try:
            async with asyncio.timeout(limits.CONTROL_SECONDS):
                bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
                launcher = cls(bus)
                bus.add_message_handler(launcher._hear)
                await launcher._call(
                    "AddMatch",
                    "s",
                    [_MATCH],
                    to=_BUS,
                    path="/" + _BUS.replace(".", "/"),
                    interface=_BUS,
                )
                await launcher._call("Subscribe")
        except (OSError, TimeoutError, DBusError, EOFError) as error:
            raise HostError(
                f"systemd does not answer on the system bus: {error}", code="host.launcher"
            ) from None
        return launcher

    async def launch(self, kuuid: bytes, directory: Path) -> Process:
        """Start the unit and wait until the loader has said that it is ready."""
        name = unit_name(kuuid)
        try:
            async with asyncio.timeout(limits.LAUNCH_SECONDS):
                result = await self._job(
                    "StartTransientUnit", "ssa(sv)a(sa(sv))",
                    [name, "fail", properties(directory), []],
                )  # fmt: skip
        except TimeoutError:
            await self._stop(name)
            result = "timeout"
        if result != "done":
            raise HostError(
                f"the unit {name} did not start: {result}",
                hint=f"journalctl -u {name} tells why.",
                code="host.loader",
            )
        return _listening(directory)

    async def end(self, kuuid: bytes, process: Process) -> None:
        """Stop the unit: its whole control group is killed."""
        await self._stop(unit_name(kuuid))
        process.kill()

    async def close(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()

    async def _stop(self, name: str) -> None:
        with contextlib.suppress(HostError, TimeoutError):
            async with asyncio.timeout(limits.CONTROL_SECONDS):
                await self._job("StopUnit", "ss", [name, "replace"])

    async def _job(self, member: str, signature: str, body: list[Any]) -> str:
        """Call a method that starts a job, and wait for the job's result."""
        self._asking += 1
        try:
            (path,) = await self._call(member, signature, body)
            if path in self._results:
                return self._results.pop(path)
            waiter = asyncio.get_running_loop().create_future()
            self._jobs[path] = waiter
        finally:
            self._asking -= 1
            if not self._asking:
                self._results.clear()
        try:
            return str(await waiter)
        finally:
            self._jobs.pop(path, None)

    def _hear(self, message: Message) -> None:
        """JobRemoved; it may come before the reply that names the job."""
        if message.member != "JobRemoved" or message.interface != _MANAGER:
            return
        _, path, _, result = message.body
        waiter = self._jobs.get(path)
        if waiter is not None and not waiter.done():
            waiter.set_result(result)
        elif self._asking:
            self._results[path] = result

    async def _call(
        self,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        *,
        to: str = _SYSTEMD,
        path: str = _PATH,
        interface: str = _MANAGER,
    ) -> list[Any]:
        reply = await self._bus.call(
            Message(
                destination=to, path=path, interface=interface, member=member,
                signature=signature, body=list(body),
            )
        )  # fmt: skip
        if reply is None or reply.message_type is MessageType.ERROR:
            text = reply.body[0] if reply is not None and reply.body else "no answer"
            raise HostError(f"systemd refused {member}: {text}", code="host.launcher")
        return list(reply.body)


def properties(directory: Path) -> list[list[Any]]:
    """What the unit of a loader may do: little more than look after its Keep.

    SystemCallArchitectures=native is not only stricter: without it systemd compiles the
    filter for each architecture, which takes longer than everything else together.
    """
    command = [sys.executable, "-I", "-m", "enarx.host.loader", str(directory)]
    run_dir = str(directory.parent.parent)
    return [
        ["Description", Variant("s", f"enarx keep loader {directory.name}")],
        ["Type", Variant("s", "notify")],
        ["NotifyAccess", Variant("s", "main")],
        ["ExecStart", Variant("a(sasb)", [[command[0], command, False]])],
        ["CollectMode", Variant("s", "inactive-or-failed")],
        ["Delegate", Variant("b", True)],
        ["KillMode", Variant("s", "control-group")],
        ["TimeoutStopUSec", Variant("t", int(limits.HALT_SECONDS * 2e6))],
        ["TimeoutStartUSec", Variant("t", int(limits.LAUNCH_SECONDS * 1e6))],
        ["UMask", Variant("u", 0o077)],
        ["NoNewPrivileges", Variant("b", True)],
        # Placing and ending a process of another user, handing it its socket.
        ["CapabilityBoundingSet", Variant("t", _capabilities("CHOWN", "DAC_OVERRIDE", "KILL"))],
        ["ProtectSystem", Variant("s", "strict")],
        ["ReadWritePaths", Variant("as", [run_dir])],
        ["ProtectHome", Variant("s", "read-only")],
        ["ProtectClock", Variant("b", True)],
        ["ProtectKernelTunables", Variant("b", False)],
        ["ProtectKernelModules", Variant("b", True)],
        ["ProtectKernelLogs", Variant("b", True)],
        ["ProtectHostname", Variant("b", True)],
        ["LockPersonality", Variant("b", True)],
        ["RestrictRealtime", Variant("b", True)],
        ["RestrictSUIDSGID", Variant("b", True)],
        ["RestrictNamespaces", Variant("t", 0)],
        ["RestrictAddressFamilies", Variant("(bas)", [True, ["AF_UNIX", "AF_INET", "AF_INET6"]])],
        ["SystemCallArchitectures", Variant("as", ["native"])],
        ["SystemCallFilter", Variant("(bas)", [True, ["@system-service"]])],
    ]  # fmt: skip


def _capabilities(*names: str) -> int:
    """A set of capabilities as a bit mask (linux/capability.h)."""
    numbers = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5}
    return sum(1 << numbers[name] for name in names)


def _listening(directory: Path) -> Process:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(directory / LOADER_SOCKET))
            return Process.listening_on(sock)
        except OSError as error:
            raise HostError(
                f"the loader in {directory} ended at once: {error.strerror}", code="host.loader"
            ) from None
