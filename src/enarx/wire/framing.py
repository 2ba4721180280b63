"""Messages one after another on a byte stream.

A frame is `#6.24(bstr .cbor message)` (RFC 8949, section 3.4.5.1): the head of the byte
string says how long the message is, so that a reader knows when to refuse before it reads,
and a stream of frames is a CBOR sequence (RFC 8742) that any tool can read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from enarx.errors import LimitError, ProtocolError

_TAG_24 = b"\xd8\x18"
_HEADS = ((24, 0x58, 1), (0x100, 0x59, 2), (0x1_0000, 0x5A, 4))


def frame(message: bytes) -> bytes:
    """One message as a frame."""
    size = len(message)
    if size < 24:
        return _TAG_24 + bytes([0x40 | size]) + message
    for smallest, initial, width in reversed(_HEADS):
        if size >= smallest:
            return _TAG_24 + bytes([initial]) + size.to_bytes(width, "big") + message
    raise AssertionError("every size has a head")


class FrameReader:
    """Cuts frames out of pieces of a stream as they arrive. Does no I/O.

    `limit` is the most bytes the next message may have; it may be changed between frames
    (the first frame of a workload stream carries the module, the others do not).
    """

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole message, or None when more bytes are needed."""
        buffer = self._buffer
        if len(buffer) < 3:
            if not _TAG_24.startswith(bytes(buffer[:2])):
                raise ProtocolError("stream is not made of CBOR frames", code="protocol.frame")
            return None
        if buffer[:2] != _TAG_24:
            raise ProtocolError("stream is not made of CBOR frames", code="protocol.frame")
        initial = buffer[2]
        if 0x40 <= initial < 0x58:
            start, size = 3, initial & 31
        else:
            width, smallest = {head: (w, s) for s, head, w in _HEADS}.get(initial, (0, 0))
            if not width:
                raise ProtocolError("frame has no definite length", code="protocol.frame")
            start = 3 + width
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[3:start], "big")
            if size < smallest:
                raise ProtocolError(
                    "frame length is not in its shortest form", code="protocol.frame"
                )
        if size > self.limit:
            raise LimitError(
                f"frame of {size} bytes, at most {self.limit} are allowed here", code="limit.size"
            )
        if len(buffer) < start + size:
            return None
        message = bytes(memoryview(buffer)[start : start + size])
        del buffer[: start + size]
        return message

    def finish(self) -> None:
        """Say that the stream has ended; raises ProtocolError in the middle of a frame."""
        if self._buffer:
            raise ProtocolError(
                f"stream ends {len(self._buffer)} bytes into a frame", code="protocol.truncated"
            )


async def frames(pieces: AsyncIterator[bytes], reader: FrameReader) -> AsyncIterator[bytes]:
    """All messages of a stream, as they become whole."""
    async for piece in pieces:
        reader.feed(piece)
        while (message := reader.next()) is not None:
            yield message
    reader.finish()
