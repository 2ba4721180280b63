"""Run a command's coroutine so that Ctrl-C and SIGTERM end it in order, whatever it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


def run_to_end(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run it and give its exit code, or 128 and the number of the signal that ended it.

    The first signal cancels it, so that it ends what it started; a second one does not wait
    for that (a private host ends by its lifeline all the same).
    """
    received: list[int] = []

    async def main() -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(coroutine)

        def interrupt(number: int) -> None:
            if received:
                os._exit(128 + number)
            received.append(number)
            task.cancel()

        for name in _SIGNALS:
            # Windows has neither SIGHUP nor handlers in the loop: KeyboardInterrupt comes there.
            with contextlib.suppress(AttributeError, NotImplementedError):
                number = getattr(signal, name)
                if signal.getsignal(number) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, interrupt, number)
        try:
            return await task
        except asyncio.CancelledError:
            if received:
                return 128 + received[0]
            raise

    return asyncio.run(main())
