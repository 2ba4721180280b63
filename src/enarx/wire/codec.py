"""Typed messages to and from deterministic CBOR."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from enarx.errors import ProtocolError
from enarx.wire import cbor, limits

T = TypeVar("T")


class Message(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of all messages: fields by name, unknown fields refused, defaults left out."""


def pack(message: Message) -> bytes:
    """The one encoding of a message."""
    return cbor.encode(_plain(message))


def unpack(data: bytes, kind: type[T], *, limit: int = limits.MESSAGE) -> T:
    """Decode and check one message, or raise ProtocolError that names the field.

    Args:
        data: exactly one encoded message.
        kind: the message type, or a union of tagged message types.
        limit: most bytes that `data` may have.
    """
    what = getattr(kind, "__name__", "message")
    return _typed(cbor.decode(data, limit=limit, what=what), kind, what)


def _plain(message: Message) -> object:
    return msgspec.to_builtins(message, builtin_types=(bytes,))


def _typed(value: object, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ProtocolError(f"{what}: {error}", code="protocol.schema") from None
