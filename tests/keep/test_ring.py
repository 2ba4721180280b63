"""The ring that holds a detached workload's output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enarx.keep.ring import ENTRY_COST, Ring
from enarx.wire.session import Lost, Stderr, Stdout


def test_output_comes_back_in_order_and_pieces_of_a_kind_are_joined() -> None:
    ring = Ring()
    ring.append(Stdout, b"a")
    ring.append(Stdout, b"b")
    ring.append(Stderr, b"c")
    assert list(ring.since(0)) == [Stdout(data=b"ab"), Stderr(data=b"c")]


def test_a_reader_goes_on_in_the_middle_of_a_joined_piece() -> None:
    ring = Ring()
    ring.append(Stdout, b"abc")
    position = ring.end
    ring.append(Stdout, b"def")
    assert list(ring.since(position)) == [Stdout(data=b"def")]
    assert list(ring.since(ring.end)) == []


def test_what_was_lost_is_said_by_its_size() -> None:
    ring = Ring(size=3 * ENTRY_COST)
    for number in range(10):
        ring.append(Stdout if number % 2 else Stderr, b"x" * 10)
    events = list(ring.since(0))
    lost = events[0]
    assert isinstance(lost, Lost)
    kept = sum(len(event.data) for event in events[1:])  # type: ignore[union-attr]
    assert lost.size + kept == 100


def test_tiny_pieces_cannot_fill_the_memory() -> None:
    ring = Ring(size=100 * ENTRY_COST)
    for number in range(10_000):
        ring.append(Stdout if number % 2 else Stderr, b"x")
    assert len(list(ring.since(0))) <= 101


@given(
    st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=50)), max_size=60),
    st.integers(min_value=1, max_value=3000),
)
def test_a_follower_gets_every_byte_or_is_told_how_many_it_missed(
    pieces: list[tuple[bool, bytes]], size: int
) -> None:
    ring, position, seen = Ring(size=size), 0, 0
    for index, (is_error, data) in enumerate(pieces):
        ring.append(Stderr if is_error else Stdout, data)
        if index % 3 == 0:
            for event in ring.since(position):
                seen += event.size if isinstance(event, Lost) else len(event.data)  # type: ignore[union-attr]
            position = ring.end
            assert seen == position == sum(len(data) for _, data in pieces[: index + 1])
