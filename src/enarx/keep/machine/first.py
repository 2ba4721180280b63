"""PID 1 of a VM: the machine's start, then a relay, then its end.

1. File systems, modules, network (`system`). 2. The zygote, forked: it has everything that
a Keep needs in memory and none of the descriptors below. 3. The attester and the control
port; the machine is closed. 4. `Boot` comes: the init data are bound, and the zygote forks
the Keep. 5. Control socket and report channel are served until the Keep has ended. 6. The
machine powers itself off. What fails is told to the keep loader and ends the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import sys
import time
from typing import Any, NoReturn

import msgspec

from enarx.errors import EnarxError, HostError, KeepLostError, ProtocolError
from enarx.keep import zygote as nursery
from enarx.keep.machine import system
from enarx.keep.machine.attester import Attester
from enarx.keep.machine.ports import CONTROL, Port
from enarx.keep.tpm import TpmAttester
from enarx.wire import problem, zygote
from enarx.wire.attestation import InitData
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.limits import MESSAGE
from enarx.wire.loader import Activate, Activated, Boot, BootFailed, ToKeep
from enarx.wire.silicon import PACKET, GetReport, LaunchRecord

RECORD = "/launch.cbor"
"""What is in this machine, as its builder wrote it; measured like every other file of it."""
UID = 61_000
"""The Keep's user id: nobody else has one here."""
ZYGOTE_SECONDS = 120.0
"""How long the zygote may take to be ready; one second, thirty where the processor is emulated
and busy."""
BOOT_SECONDS = 120.0
"""How long the keep loader may take to say Boot; it says so at once."""

_FROM_ZYGOTE: Any = zygote.FromZygote


def main() -> NoReturn:
    """Be PID 1. The machine ends with this."""
    control: Port | None = None
    try:
        system.mount()
        system.load_modules()
        listener = system.listen()
        _note("network")
        channel = _start_zygote(listener)
        control = Port.open(CONTROL, limit=MESSAGE)
        control.greet()
        attester = TpmAttester.open()
        _note("TPM")
        system.close()
        _Machine(control=control, zygote=channel, attester=attester).run(listener)
    except (EnarxError, OSError) as error:
        sys.stderr.write(f"enarx machine: {error}\n")
        refusal = (
            error
            if isinstance(error, EnarxError)
            else HostError(f"the machine cannot go on: {error}", code="machine.os")
        )
        if control is not None:
            with contextlib.suppress(EnarxError):
                control.send(BootFailed(problem=problem.from_error(refusal)))
    finally:
        system.power_off()
    raise SystemExit(os.EX_UNAVAILABLE)  # PID 1 must not end: the kernel panics, and so it ends


def _note(what: str) -> None:
    """Tell the console, which whoever launched this machine reads, how far it has come."""
    sys.stderr.write(f"enarx machine: {what}, {time.clock_gettime(time.CLOCK_BOOTTIME):.1f} s\n")


def _start_zygote(listener: socket.socket) -> socket.socket:
    """Fork the zygote; our end of its socket pair."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        status = os.EX_SOFTWARE
        try:
            spare = [os.dup(theirs.fileno()) for _ in range(zygote.DESCRIPTOR + 1)][-1]
            os.dup2(spare, zygote.DESCRIPTOR)
            os.closerange(zygote.DESCRIPTOR + 1, os.sysconf("SC_OPEN_MAX"))
            for sock in (ours, theirs, listener):
                sock.detach()
            nursery.main()
            status = os.EX_OK
        finally:
            os._exit(status)
    theirs.close()
    return ours


class _Machine:
    def __init__(self, *, control: Port, zygote: socket.socket, attester: Attester) -> None:
        self._port, self._zygote, self._attester = control, zygote, attester
        self._control, self._keeps_control = _pair()
        self._report, self._keeps_report = _pair()
        with open(RECORD, "rb") as file:
            record = unpack(file.read(PACKET), LaunchRecord, limit=PACKET)
        self._record = msgspec.structs.replace(record, backend=attester.backend)

    def run(self, listener: socket.socket) -> None:
        """Steps 4 and 5."""
        _expect(self._zygote, zygote.ZygoteReady, ZYGOTE_SECONDS)
        _note("zygote")
        boot = self._await_boot()
        init = unpack(boot.init_data, InitData)
        _note("Boot")
        self._attester.bind(hashlib.sha256(boot.init_data).digest())
        _note("init data bound")
        self._report.send(pack(self._record))
        fork = zygote.Fork(
            kuuid=init.kuuid,
            uid=UID,
            backend=self._record.backend,
            payload=self._record.payload,
            runtime=self._record.runtime,
        )
        theirs = (self._keeps_report, self._keeps_control, listener)
        socket.send_fds(self._zygote, [pack(fork)], [sock.fileno() for sock in theirs])
        _expect(self._zygote, zygote.Forked, ZYGOTE_SECONDS)
        for sock in theirs:
            sock.close()
        self._control.send(pack(boot))
        _note("Keep")
        self._serve()
        _note("end")

    def _await_boot(self) -> Boot:
        deadline = time.monotonic() + BOOT_SECONDS
        while not (messages := self._receive(deadline - time.monotonic())):
            if time.monotonic() > deadline:
                raise KeepLostError(
                    f"the keep loader did not boot this Keep within {BOOT_SECONDS:g} s",
                    code="keep.boot",
                )
        if len(messages) > 1:
            raise ProtocolError("more than Boot was said before there is a Keep")
        return unpack(messages[0], Boot)

    def _receive(self, seconds: float) -> list[bytes]:
        waiting = select.poll()
        waiting.register(self._port, select.POLLIN)
        return self._port.receive() if waiting.poll(max(0.0, seconds) * 1000) else []

    def _serve(self) -> None:
        """Until the Keep has ended: relay, and answer what it asks of its silicon."""
        waiting = select.poll()
        for source in (self._port, self._control, self._report, self._zygote):
            waiting.register(source, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if self._report.fileno() in ready and not self._answer():
                waiting.unregister(self._report)
            if self._control.fileno() in ready and not self._tell_loader():
                waiting.unregister(self._control)
            if self._zygote.fileno() in ready:
                # Its last word comes before its end.
                while self._tell_loader():
                    continue
                return
            if self._port.fileno() in ready and not self._tell_keep():
                waiting.unregister(self._port)

    def _answer(self) -> bool:
        """One request on the report channel; False when the Keep has closed it."""
        packet = self._report.recv(PACKET)
        if not packet:
            return False
        reply: Message
        try:
            request = unpack(packet, GetReport, limit=PACKET)
            reply = self._attester.report(request.report_data)
        except EnarxError as error:
            reply = problem.from_error(error)
        except OSError as error:
            reply = problem.from_error(
                HostError(f"this machine gives no evidence: {error}", code="machine.attester")
            )
        self._report.send(pack(reply))
        return True

    def _tell_loader(self) -> bool:
        """One packet from the Keep to its loader; False when there is none any more."""
        try:
            packet = self._control.recv(MESSAGE, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            return False
        if packet:
            # A loader that is gone is noticed where it is read from.
            with contextlib.suppress(KeepLostError):
                self._port.send_packed(packet)
        return bool(packet)

    def _activate(self, message: bytes) -> bool:
        """Answer a credential here, where the TPM is; False where the message is something else."""
        order: ToKeep = unpack(message, ToKeep)  # type: ignore[arg-type]
        if not isinstance(order, Activate):
            return False
        answer: Message
        try:
            proof = self._attester.activate(credential=order.credential, encrypted_seed=order.seed)
            answer = Activated(proof=proof)
        except EnarxError as error:
            answer = BootFailed(problem=problem.from_error(error))
        self._port.send(answer)
        return True

    def _tell_keep(self) -> bool:
        """What the loader says; False when it is gone, and the Keep then sees that, too."""
        try:
            for message in self._port.receive():
                if not self._activate(message):
                    self._control.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except (KeepLostError, ProtocolError):
            self._control.shutdown(socket.SHUT_WR)
            return False
        return True


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _expect(
    channel: socket.socket, kind: type[zygote.ZygoteReady | zygote.Forked], seconds: float
) -> None:
    """The zygote's next packet must be of this kind."""
    channel.settimeout(seconds)
    try:
        packet, descriptors, _, _ = socket.recv_fds(channel, zygote.PACKET, 1)
    except TimeoutError:
        raise HostError(
            f"the zygote did not answer within {seconds:g} s", code="machine.zygote"
        ) from None
    for descriptor in descriptors:
        os.close(descriptor)
    if not packet:
        raise HostError("the zygote ended", code="machine.zygote")
    message: zygote.FromZygote = unpack(packet, _FROM_ZYGOTE, limit=zygote.PACKET)
    if isinstance(message, zygote.ForkFailed):
        raise problem.to_error(message.problem)
    if not isinstance(message, kind):
        raise ProtocolError("the zygote said something else than was due")
