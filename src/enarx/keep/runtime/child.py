"""The workload's process: compiles the module, runs it, says how it ended, and ends.

It is forked before the Keep has a key, so there is none in its memory, and it is the
process that a hostile module would have to break out of. It reads one `Workload` message
from one pipe until its end, and writes events as frames to another: `Started` and then one
of `Exit`, `Trap`, `Killed`; or `Failed`. When a limit of its own ends it, the app loader
sees by which signal.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
from dataclasses import dataclass

from enarx.errors import EnarxError, RefusedError
from enarx.keep.runtime import guest, module
from enarx.keep.runtime.engine import make_engine, make_store
from enarx.keep.runtime.memory import MemoryBudget
from enarx.keep.sandbox import credentials, seccomp
from enarx.wire import framing, limits, problem
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.fields import Limits
from enarx.wire.session import Config, Failed, Started, Workload

SECRETS = "/run/secrets"
COMPILE_MEMORY = 1024 * limits.MIB
"""Memory of the process beside the guest's: the compiler takes up to about 600 times the
module's size where a module is made to hurt it, and about 30 times where it is not."""
THREADS = 4
"""Most threads of the compiler; more gain little on modules of a few megabytes."""
LIMIT_SIGNAL = signal.SIGPROF
"""What ends this process when its processor time is used up (ITIMER_PROF, setitimer(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the app loader gives the workload's process.

    request, report: descriptors of the two pipes. own_files: whether there is a place for
    secrets as files. filtered: whether seccomp is to be had.
    """

    request: int
    report: int
    limits: Limits
    own_files: bool
    filtered: bool


def main(around: Surroundings) -> None:
    """Run the one workload. Returns when it has ended, and the process must then end."""
    credentials.end_with_parent(signal.SIGKILL)
    _limit(memory=COMPILE_MEMORY, milliseconds=around.limits.compile)
    # Read by the compiler's thread pool and the runtime's event loop when they start.
    os.environ["RAYON_NUM_THREADS"] = str(min(THREADS, len(os.sched_getaffinity(0))))
    os.environ["TOKIO_WORKER_THREADS"] = "1"
    budget = MemoryBudget(limit=around.limits.memory)
    engine = make_engine(budget)
    linker = guest.make_linker(engine)
    with open(around.request, "rb") as pipe:
        request = pipe.read(limits.WORKLOAD + 1)
    if not request:
        return
    try:
        workload = unpack(request, Workload, limit=limits.WORKLOAD)
        module.check_header(workload.module)
        compiled = module.compile_module(engine, workload.module)
        store = make_store(engine)
        module.check_interface(compiled, linker, store)
        directory = _write_secrets(workload, own_files=around.own_files)
        guest.set_wasi(
            store,
            argv=(workload.name, *workload.config.args),
            env=_environment(workload),
            inherit=_standard_streams(workload.config),
            directory=directory,
        )
        _limit(memory=COMPILE_MEMORY + around.limits.memory, milliseconds=around.limits.cpu)
        if around.filtered:
            seccomp.enter(seccomp.WORKLOAD)
        _tell(around.report, Started(module=hashlib.sha256(workload.module).digest()))
        _tell(around.report, guest.run(linker, store, compiled, budget))
    except EnarxError as error:
        _tell(around.report, Failed(problem=problem.from_error(error)))


def _limit(*, memory: int, milliseconds: int | None) -> None:
    """Bound memory, and processor time from now on; None is no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
    signal.signal(LIMIT_SIGNAL, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, (milliseconds or 0) / 1000)


def _tell(report: int, message: Message) -> None:
    # The app loader is gone: this process is about to be, too.
    with contextlib.suppress(BrokenPipeError):
        os.write(report, framing.frame(pack(message)))


def _environment(workload: Workload) -> dict[str, str]:
    """The configured variables, and each secret that is text; of one name, the secret."""
    env = dict(workload.config.env)
    for text in (workload.name, *workload.config.args, *env.values()):
        if "\0" in text:
            raise RefusedError(
                "an argument or a variable holds a zero character, which WASI cannot pass on",
                code="workload.zero-character",
            )
    env.update(
        (name, secret.decode()) for name, secret in workload.secrets.items() if _is_text(secret)
    )
    return env


def _is_text(secret: bytes) -> bool:
    try:
        return "\0" not in secret.decode()
    except UnicodeDecodeError:
        return False


def _write_secrets(workload: Workload, *, own_files: bool) -> str | None:
    """Write the secrets for the guest to read; where to, None where there are none."""
    if not workload.secrets:
        return None
    if sum(map(len, workload.secrets.values())) > limits.SECRETS:
        raise RefusedError(
            f"the secrets have more than {limits.SECRETS} bytes together",
            code="workload.secrets-too-large",
        )
    if not own_files:
        binary = [name for name, secret in workload.secrets.items() if not _is_text(secret)]
        if binary:
            raise RefusedError(
                f"this Keep has no files, and the secret {binary[0]} is no text for a variable",
                hint="The host gives no mount namespace; encode the secret, or use another host.",
                code="keep.no-secret-files",
            )
        return None
    os.mkdir(SECRETS, 0o700)
    for name, secret in workload.secrets.items():
        with open(f"{SECRETS}/{name}", "xb") as file:
            file.write(secret)
    return SECRETS


def _standard_streams(config: Config) -> list[bool]:
    """Put what the configuration lists behind descriptors 0, 1, 2; whether each is given."""
    if len(config.files) > len(_FITTING):
        raise RefusedError(
            f"descriptor {len(_FITTING)} cannot be given: there are only 0, 1 and 2 so far",
            code="workload.files",
        )
    kinds = (*config.files, *("null",) * (len(_FITTING) - len(config.files)))
    for descriptor, (kind, fitting) in enumerate(zip(kinds, _FITTING, strict=True)):
        if kind not in fitting:
            raise RefusedError(
                f"descriptor {descriptor} cannot be {kind}, only one of {', '.join(fitting)}",
                code="workload.files",
            )
    sources = {"stdout": os.dup(1), "stderr": os.dup(2)}
    for descriptor in (1, 2):
        if kinds[descriptor] in sources:
            os.dup2(sources[kinds[descriptor]], descriptor)
    for source in sources.values():
        os.close(source)
    return [kind != "null" for kind in kinds]


_FITTING = (("null", "stdin"), ("null", "stdout", "stderr"), ("null", "stdout", "stderr"))
"""What can be behind descriptors 0, 1 and 2."""
