"""Frames survive any cut of the stream and refuse before they read."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LimitError, ProtocolError
from enarx.wire.framing import FrameReader, frame


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.integers(1, 5000))
def test_messages_come_out_whole_however_the_stream_is_cut(
    messages: list[bytes], step: int
) -> None:
    stream = b"".join(map(frame, messages))
    reader, received = FrameReader(limit=100_000), []
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
        while (message := reader.next()) is not None:
            received.append(message)
    reader.finish()
    assert received == messages


def test_a_frame_is_a_tagged_byte_string_that_any_cbor_tool_reads() -> None:
    for size in (0, 23, 24, 255, 256, 65_535, 65_536):
        decoded = cbor2.loads(frame(b"x" * size))
        assert (decoded.tag, decoded.value) == (24, b"x" * size)


def test_oversized_frame_is_refused_from_its_head_alone() -> None:
    reader = FrameReader(limit=1000)
    reader.feed(bytes.fromhex("d8185a40000000"))
    with pytest.raises(LimitError):
        reader.next()


@pytest.mark.parametrize("head", ["00", "d819", "d818a0", "d8185f", "d8185800", "d818590001"])
def test_other_heads_are_refused(head: str) -> None:
    reader = FrameReader(limit=1000)
    reader.feed(bytes.fromhex(head) + b"\0" * 10)
    with pytest.raises(ProtocolError):
        reader.next()


def test_stream_that_ends_in_a_frame_is_refused() -> None:
    reader = FrameReader(limit=1000)
    reader.feed(frame(b"hello")[:-1])
    assert reader.next() is None
    with pytest.raises(ProtocolError, match="ends 7 bytes into a frame"):
        reader.finish()
