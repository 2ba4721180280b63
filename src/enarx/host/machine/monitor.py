"""QEMU's control protocol (QMP), as far as it is needed: one question.

Source: QEMU, docs/interop/qmp-spec.rst. `info usernet` has no form for programs.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

from enarx.errors import HostError

ANSWER_SECONDS: Final = 30.0
"""For an answer; it takes milliseconds, more on a busy machine."""
_LINE: Final = 256 * 1024
"""Bytes of one answer; the one that is asked for has 500."""
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")


async def forwarded_port(path: Path) -> int:
    """The port of 127.0.0.1 behind which the guest's listener is.

    Raises:
        HostError: QEMU does not answer, or forwards nothing (`host.machine-monitor`).
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=_LINE)
            try:
                await reader.readline()  # its greeting
                await _ask(reader, writer, {"execute": "qmp_capabilities"})
                told = await _ask(
                    reader,
                    writer,
                    {
                        "execute": "human-monitor-command",
                        "arguments": {"command-line": "info usernet"},
                    },
                )
            finally:
                writer.close()
    except (TimeoutError, OSError, ValueError) as error:
        raise _failed(f"does not answer: {error or 'too late'}") from None
    found = _FORWARD.search(str(told))
    if found is None:
        raise _failed("forwards no port to the machine")
    return int(found[1])


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: dict[str, Any]
) -> Any:
    writer.write(json.dumps(question).encode() + b"\n")
    await writer.drain()
    while line := await reader.readline():
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            raise _failed(f"refuses: {answer['error'].get('desc', 'no reason')}")
    raise _failed("has ended")


def _failed(what: str) -> HostError:
    return HostError(f"QEMU {what}", code="host.machine-monitor")
