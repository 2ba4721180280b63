"""The `enarx` command: which module has which subcommand, and how errors reach a person.

Subcommands are imported when they are asked for: `enarx run` loads only what it needs.
Exit codes: a command's own; 125 for everything that enarx refuses or that fails; 128 and
the signal's number for what a signal ended, as shells have it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from enarx import __version__
from enarx.client.text import printable
from enarx.errors import EnarxError

EXIT_REFUSED: Final = 125
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141
"""128 + SIGPIPE: who reads our output went away."""

_COMMANDS: Final = {
    "run": ("enarx.cli.run:run", "Run a WebAssembly module in an attested Keep."),
    "deploy": ("enarx.cli.deploy:deploy", "Leave a module running in a Keep on a host."),
    "keep": ("enarx.cli.keep:keep", "List, show, stop deployed Keeps; read their logs."),
    "host": ("enarx.cli.host:host", "Start, show and end the keep manager of this machine."),
    "platform": ("enarx.cli.platform:platform", "What this machine can do."),
    "measure": ("enarx.cli.measure:command", "Digests and launch measurements of a Keep."),
    "image": ("enarx.cli.image:image", "Build the image of Keeps that are virtual machines."),
    "verify": ("enarx.cli.verify:verify", "Appraise evidence of any technology."),
    "endorsements": ("enarx.cli.endorsements:endorsements", "Fetch and bundle endorsements."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one subcommand; None where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's, but an unknown name lists those there are."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}; there are: {', '.join(_COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  enarx run hello.wasm -- --name world     run a program in a Keep, with proof
  enarx run app.wasm < in.csv > out.csv    stdin and stdout are the program's own
  enarx host up                            start the keep manager of this machine
  enarx deploy service.wasm                leave a program running there
  enarx platform info                      what this machine can do""",
)
@click.version_option(__version__, "-V", "--version", message="enarx %(version)s")
def cli() -> None:
    """Run WebAssembly in attested Keeps on machines you do not trust."""


def main() -> NoReturn:
    """The command `enarx`."""
    _open_standard_streams()
    code = run_command(sys.argv[1:])
    if sys.stderr is not None:
        sys.stderr.flush()
    # Nothing is left to be done, and to take all modules apart costs a tenth of `enarx run`.
    os._exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; every error becomes its text on stderr."""
    try:
        code = _invoke(arguments)
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_PIPE
    except OSError as error:
        # What is left of these: our own output cannot be written (disk full).
        _complain(f"enarx: {error.strerror}{f': {error.filename}' if error.filename else ''}")
        _silence_stdout()
        return EXIT_REFUSED
    except Exception as error:
        # Not one of ours: a mistake of enarx itself, which nobody can do anything about here.
        if os.environ.get("ENARX_TRACEBACK"):
            raise
        _complain(
            f"enarx: a mistake in enarx itself: {type(error).__name__}: {error}\n"
            "  Please report it with what ENARX_TRACEBACK=1 shows."
        )
        return EXIT_REFUSED
    return code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        result: Any = cli.main(args=list(arguments), prog_name="enarx", standalone_mode=False)
    except EnarxError as error:
        _complain(f"enarx: {error}")
        return EXIT_REFUSED
    except click.UsageError as error:
        usage = error.ctx.get_usage() + "\n" if error.ctx else ""
        _complain(f"{usage}enarx: {error.format_message()}")
        return EXIT_REFUSED
    except click.ClickException as error:
        _complain(f"enarx: {error.format_message()}")
        return EXIT_REFUSED
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    try:
        click.echo(printable(text), err=True)
    except OSError:
        return  # stderr is gone as well: the exit code still tells


def _open_standard_streams() -> None:
    """Fill descriptors 0 to 2 where they were closed: else a socket would get their number.

    What is filled in reads as empty, and cannot be written.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDONLY)


def _silence_stdout() -> None:
    """Let the interpreter's own flush at exit go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main()
