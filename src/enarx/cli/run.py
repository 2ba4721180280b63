"""`enarx run`: one workload, attached: its streams and its exit code are the command's own."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx.cli.asynchronous import run_to_end
from enarx.cli.options import (
    PATH,
    limit_options,
    make_limits,
    trust_options,
    workload_options,
)
from enarx.cli.streams import Output, read_descriptor
from enarx.cli.workload import Prepared, prepare
from enarx.client.result import EXIT_REFUSED, error_of, exit_code
from enarx.client.start import choose_policy, open_client
from enarx.client.text import printable
from enarx.errors import EnarxError, HostError, UsageError, VerificationError
from enarx.wire.fields import Limits
from enarx.wire.session import Ended, Stderr, Stdout

if TYPE_CHECKING:
    from enarx.client.agent import AsyncKeep
    from enarx.client.attestation import Attestation

EXIT_PIPE = 141


@click.command(
    epilog="""\b
Examples:
  enarx run hello.wasm -- --name world
  enarx run stats.wasm --stdin patients.csv > statistics.txt
  enarx run app.wasm --secret API_KEY=key.txt --memory 64M --wall-time 30s
  enarx run app.wasm --host https://host.example:9443#sha256=... --policy mine.toml

\b
Exit code: the workload's own; 134 when it trapped; 125 for everything that enarx
refuses or that fails, limits included; 130 and 143 after Ctrl-C and SIGTERM."""
)
@click.argument("module", type=PATH)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@workload_options
@trust_options
@limit_options
@click.option("--stdin", "stdin_file", type=PATH, metavar="FILE", help="Standard input.")
@click.option("--quiet", "-q", is_flag=True, help="No trust report.")
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON, on stderr.")
def run(
    module: Path,
    args: tuple[str, ...],
    config: Path | None,
    secrets: tuple[str, ...],
    host: str | None,
    backend: str | None,
    policy: str | None,
    refs: Path | None,
    memory: int | None,
    cpu_time: int | None,
    wall_time: int | None,
    compile_time: int | None,
    stdin_file: Path | None,
    *,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run MODULE, a WebAssembly program, in an attested Keep.

    Standard input, output and error are the program's own. Without --host the host that
    runs on this machine is used, or a private one that ends with the command. The trust
    report goes to stderr at the end.
    """
    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other", code="usage.options")
    limits = make_limits(
        memory=memory, cpu_time=cpu_time, wall_time=wall_time, compile_time=compile_time
    )
    try:
        prepared = prepare(
            module, args, config=config, secrets=secrets, policy=policy, refs=refs, detach=False
        )
        with _open_stdin(stdin_file) as stdin:
            job = _Job(prepared, host=host, backend=backend, limits=limits, stdin=stdin)
            code = run_to_end(job.main())
    except EnarxError as error:
        if not as_json:
            raise
        from enarx.client.report import Report

        click.echo(Report.json_line(None, error=error), err=True)
        return EXIT_REFUSED
    job.tell(quiet=quiet, as_json=as_json)
    return code


class _Job:
    """One run, and what is to be told of it afterwards."""

    def __init__(
        self, prepared: Prepared, *, host: str | None, backend: str | None, limits: Limits,
        stdin: int,
    ) -> None:  # fmt: skip
        self._prepared, self._host, self._backend = prepared, host, backend
        self._limits, self._stdin = limits, stdin
        self._attestation: Attestation | None = None
        self._ended: Ended | None = None
        self._error: EnarxError | None = None
        self._seconds = 0.0

    async def main(self) -> int:
        """All ten steps; the exit code."""
        try:
            async with open_client(self._host) as (client, where):
                keep = await client.create(backend=self._backend, limits=self._limits)
                async with keep:
                    policy = choose_policy(self._prepared.policy, where=where, backend=keep.backend)
                    self._attestation = await keep.attest(
                        policy=policy, expected=self._prepared.expected
                    )
                    await self._run(keep)
            if self._ended is None:
                raise AssertionError("a run without an error has an end")
            self._error = error_of(self._ended)
            return exit_code(self._ended)
        except EnarxError as error:
            self._error = error
        except BrokenPipeError:
            return EXIT_PIPE
        return EXIT_REFUSED

    async def _run(self, keep: AsyncKeep) -> None:
        if self._attestation is None:
            raise AssertionError("attested before it runs")
        session = self._attestation.session()
        outputs = {Stdout: Output(1), Stderr: Output(2)}
        began = time.monotonic()
        async with session.run(self._prepared.workload, stdin=self._input()) as run:
            async for event in run:
                if isinstance(event, Stdout | Stderr):
                    await _write(outputs[type(event)], event.data)
        self._seconds = time.monotonic() - began
        self._ended = run.ended

    def _input(self) -> AsyncIterator[bytes] | None:
        # Without a descriptor for it nothing is read: the terminal's input stays the shell's.
        return read_descriptor(self._stdin) if "stdin" in self._prepared.files else None

    def tell(self, *, quiet: bool, as_json: bool) -> None:
        """The report and the error, on stderr; nothing after a signal or a closed pipe."""
        if self._ended is None and self._error is None:
            return
        from enarx.client.report import Report

        report = None
        if self._attestation is not None:
            report = Report.of(
                self._attestation,
                ended=self._ended,
                seconds=self._seconds,
                broken=self._ended is None,
            )
        with contextlib.suppress(OSError):
            if as_json:
                click.echo(Report.json_line(report, error=self._error), err=True)
                return
            if report is not None and not quiet:
                click.echo(report.text_for(sys.stderr), err=True)
                if report.refused and isinstance(self._error, VerificationError):
                    # The report has said all of it, link by link.
                    click.echo(f"enarx: {report.refusal()}", err=True)
                    return
            if self._error is not None:
                click.echo(printable(f"enarx: {self._error}"), err=True)


@contextlib.contextmanager
def _open_stdin(path: Path | None) -> Iterator[int]:
    if path is None:
        yield 0
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UsageError(
            f"--stdin: cannot read {path}: {error.strerror}", code="usage.stdin"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _write(output: Output, data: bytes) -> None:
    try:
        await output.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError(
            f"cannot write the workload's output: {error.strerror}", code="client.output"
        ) from None
