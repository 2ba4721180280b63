"""Run a module in a Keep and have all of its output: one call, all ten steps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.config import Config
from enarx.client.identity import Identity
from enarx.client.module import Module
from enarx.client.result import Result, error_of, exit_code
from enarx.client.start import choose_policy, load_policy, open_client
from enarx.errors import EnarxError, LimitError, UsageError
from enarx.wire import limits as bounds
from enarx.wire.codec import pack, unpack
from enarx.wire.fields import Limits
from enarx.wire.session import Stderr, Stdout, Workload

if TYPE_CHECKING:
    from enarx.client.appraisal import Expected
    from enarx.verifier.policy import Policy

OUTPUT_BYTES: Final = 256 * bounds.MIB
"""Most bytes of output that one call collects in memory; `Session.run` streams any amount."""


async def run_async(
    module: str | os.PathLike[str] | bytes,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    secrets: Mapping[str, bytes] | None = None,
    config: Config | None = None,
    limits: Limits | None = None,
    host: str | None = None,
    backend: str | None = None,
    policy: str | Policy | None = None,
    expected: Expected | None = None,
    accept_warning: bool = False,
    identity: Identity | None = None,
    timeouts: Timeouts = DEFAULT,
) -> Result:
    """Run a WebAssembly module in an attested Keep.

    Args:
        module: path of a .wasm file, or the module itself.
        args: its arguments (instead of the configuration's).
        env: more environment variables.
        stdin: what it reads.
        secrets: each an environment variable and the file /run/secrets/NAME, in the guest only.
        config: its Enarx.toml.
        limits: what it may use.
        host: endpoint of a keep manager; the one on this machine, or a private one, when None.
        backend: which back end; chosen from those the host has when None.
        policy: a `Policy`, the name of a built-in one, or a policy file.
        expected: payload and runtime that must run there; this installation's own when None.
        accept_warning: go on with a verdict that warns.
        identity: the owner; the user's own when None.
        timeouts: how long to wait for what.

    Raises:
        VerificationError: the verdict does not allow it; nothing was sent.
        EnarxError: any other reason for which the workload did not run.
    """
    loaded = _module(module)
    chosen = load_policy(policy) if isinstance(policy, str) else policy
    workload = _workload(loaded, args, env, secrets, config or Config())
    async with contextlib.AsyncExitStack() as stack:
        client, where = await stack.enter_async_context(
            open_client(host, identity=identity, timeouts=timeouts)
        )
        keep = await client.create(backend=backend, limits=limits)
        await stack.enter_async_context(keep)
        attestation = await keep.attest(
            policy=choose_policy(chosen, where=where, backend=keep.backend), expected=expected
        )
        session = attestation.session(accept_warning=accept_warning)
        output: dict[type, list[bytes]] = {Stdout: [], Stderr: []}
        size = 0
        began = time.monotonic()
        async with session.run(workload, stdin=_pieces(stdin)) as run:
            async for event in run:
                if isinstance(event, Stdout | Stderr):
                    size += len(event.data)
                    _check_size(size)
                    output[type(event)].append(event.data)
        ended = run.ended
        if ended is None:
            raise AssertionError("a run whose events are exhausted has ended")
        error_of(ended)  # raises where the workload could not be started
        return Result(
            exit_code=exit_code(ended),
            stdout=b"".join(output[Stdout]),
            stderr=b"".join(output[Stderr]),
            ended=ended,
            seconds=time.monotonic() - began,
            attestation=attestation,
        )


def run(
    module: str | os.PathLike[str] | bytes,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    secrets: Mapping[str, bytes] | None = None,
    config: Config | None = None,
    limits: Limits | None = None,
    host: str | None = None,
    backend: str | None = None,
    policy: str | Policy | None = None,
    expected: Expected | None = None,
    accept_warning: bool = False,
    identity: Identity | None = None,
    timeouts: Timeouts = DEFAULT,
) -> Result:
    """`run_async` for code that is not asynchronous; the same arguments and errors."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise UsageError(
            "enarx.run was called inside a running event loop",
            hint="await enarx.run_async(...) there",
            code="usage.event-loop",
        )
    return asyncio.run(
        run_async(
            module, args=args, env=env, stdin=stdin, secrets=secrets, config=config,
            limits=limits, host=host, backend=backend, policy=policy, expected=expected,
            accept_warning=accept_warning, identity=identity, timeouts=timeouts,
        )
    )  # fmt: skip


def _module(module: str | os.PathLike[str] | bytes) -> Module:
    if isinstance(module, bytes):
        return Module.from_bytes(module, name="module.wasm")
    return Module.from_file(Path(module))


def _workload(
    module: Module,
    args: Sequence[str],
    env: Mapping[str, str] | None,
    secrets: Mapping[str, bytes] | None,
    config: Config,
) -> Workload:
    full = Config(
        args=tuple(args) or config.args, env=config.env | dict(env or {}), files=config.files
    )
    return checked_workload(module, full, secrets=dict(secrets or {}))


def checked_workload(
    module: Module, config: Config, *, secrets: Mapping[str, bytes], detach: bool = False
) -> Workload:
    """The workload as a message within all its bounds. Raises UsageError that names what is not."""
    workload = Workload(
        name=module.name, module=b"", config=config.message(), secrets=dict(secrets), detach=detach
    )
    try:
        unpack(pack(workload), Workload, limit=bounds.WORKLOAD)
    except UnicodeEncodeError:
        raise UsageError(
            "this workload cannot be sent: its name, arguments and variables must be UTF-8 text",
            hint="give other bytes on standard input or as a secret",
            code="usage.workload",
        ) from None
    except (EnarxError, TypeError) as error:
        raise UsageError(f"this workload cannot be sent: {error}", code="usage.workload") from None
    if sum(map(len, secrets.values())) > bounds.SECRETS:
        raise UsageError(
            f"secrets of more than {bounds.SECRETS} bytes together", code="usage.secret"
        )
    return msgspec.structs.replace(workload, module=module.code)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


def _check_size(size: int) -> None:
    if size > OUTPUT_BYTES:
        raise LimitError(
            f"the workload wrote more than {OUTPUT_BYTES} bytes",
            hint="stream it: see Session.run",
            code="limit.output",
        )
