"""A host and Keeps for other people's tests: the real ones, on simulated silicon.

    import enarx
    from enarx.testing import host

    def test_my_workload():
        with host() as address:
            result = enarx.run("app.wasm", host=address, policy="development", stdin=b"1 2 3")
            assert result.check().stdout == b"6"

A host takes about a second to start: start one for a whole test session, as a fixture of
that scope. It is private: it ends with its context, or with the process, and leaves
nothing behind. It protects nothing from anybody with the machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.portal import Portal
from enarx.client.private_host import private_host

__all__ = ["host"]


@contextlib.contextmanager
def host(
    *, timeouts: Timeouts = DEFAULT, payload: Path | None = None, listen: str = ""
) -> Iterator[str]:
    """A private host; gives its address, for ``enarx.run(host=...)`` and ``enarx.Client``.

    Args:
        timeouts: how long it may take to start and to end.
        payload: directory of another payload than the installed one, to see it refused.
        listen: `ADDR:PORT` to listen on with TLS as well (port 0: a free one); the address
            is that one then, with its pin.

    Raises:
        UsageError: this is not Linux on x86-64.
        HostError: it did not start.
    """
    portal = Portal()
    try:
        context = private_host(timeouts=timeouts, payload=payload, listen=listen)
        endpoint = portal.call(context.__aenter__())
        try:
            yield str(endpoint)
        finally:
            portal.call(context.__aexit__(None, None, None))
    finally:
        portal.close()
