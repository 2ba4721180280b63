"""`python -m enarx.silicon --socket PATH [--state DIR] [--payload DIR] [--ready-fd N]`."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

from enarx.errors import EnarxError, HostError
from enarx.image.payload import require_linux
from enarx.silicon import isolation, keys, pki, snapshot
from enarx.silicon.amdkeys import AmdVendor
from enarx.silicon.chip import Chip
from enarx.silicon.intel import IntelPki
from enarx.silicon.loop import Loop
from enarx.silicon.nursery import Nursery
from enarx.silicon.server import Server, listen


def main(arguments: list[str] | None = None) -> int:
    """Run the silicon until SIGTERM or SIGINT; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        require_linux()
        return _run(options)
    except EnarxError as error:
        _say(" ".join(str(error).split()))
    except OSError as error:
        _say(f"the system refuses: {error}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m enarx.silicon",
        description="Simulated silicon: measures and launches Keeps, and signs evidence for them. "
        "It protects nothing from the owner of this machine.",
    )
    parser.add_argument(
        "--socket", type=Path, required=True, metavar="PATH", help="Unix socket to serve"
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="keep keys here (default: new keys each time)"
    )
    parser.add_argument(
        "--payload", type=Path, metavar="DIR", help="take the payload from this directory"
    )
    parser.add_argument(
        "--ready-fd", type=int, metavar="N", help="write a line to this descriptor when serving"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    _allow_descriptors()
    loop = Loop()
    loop.end_on(signal.SIGTERM, signal.SIGINT)
    socket_path = options.socket.absolute()
    state = options.state.absolute() if options.state is not None else None
    listener = listen(socket_path)
    trouble: list[str] = []
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(socket_path.unlink, missing_ok=True)
        cleanup.callback(listener.close)
        chip_keys = keys.chip_keys(state)
        intel = IntelPki.issue(chip_keys, at=pki.now())
        found = isolation.enter()
        needed = () if state is None else (state,)
        tree = snapshot.take(
            found, payload=options.payload, beside=socket_path.parent, needed=needed
        )
        cleanup.callback(tree.remove)
        server = Server(
            loop,
            tree,
            signer=Chip(chip_keys, intel),
            intel=intel,
            amd=AmdVendor(loop, chip_keys, state),
            missing=found.missing,
        )
        cleanup.callback(server.close)

        def ready() -> None:
            server.open(listener)
            if options.ready_fd is not None:
                os.write(options.ready_fd, b"ready\n")
                os.close(options.ready_fd)

        def failed(why: str) -> None:
            trouble.append(why)
            loop.stop()

        server.nursery = Nursery(
            loop,
            tree,
            ready=ready,
            ended=lambda kuuid, _: server.keeps.ended(kuuid),
            lost=server.keeps.lose_all,
            failed=failed,
            say=_say,
        )
        cleanup.callback(server.nursery.close)
        server.nursery.start()
        loop.run()
    if trouble:
        raise HostError(
            f"no Keep can be launched: {trouble[0]}",
            hint="what the zygote said stands above",
            code="silicon.zygote",
        )
    return 0


def _allow_descriptors() -> None:
    """As many open files as may be had: each Keep takes one here, and one in the zygote."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(line: str) -> None:
    sys.stderr.write(f"enarx silicon: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
