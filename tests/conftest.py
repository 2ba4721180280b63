"""Checks that hold for every test: each message sent or received here fits protocol.cddl."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from typing import Any

import cbor2
import pycddl
import pytest

from enarx.wire import codec


class Protocol:
    """The normative protocol, one schema a rule, made when the rule is first needed."""

    SAMPLES_A_RULE = 500
    """Later messages of a rule are not checked any more, so that large tests stay quick."""

    def __init__(self) -> None:
        self.text = (importlib.resources.files("enarx.wire") / "protocol.cddl").read_text()
        self.rules = set(re.findall(r"^([A-Za-z-]+) =", self.text, re.MULTILINE))
        self.checked: dict[str, int] = {}
        self._schemas: dict[str, pycddl.Schema] = {}

    def check(self, rule: str, encoded: bytes) -> None:
        """Raise AssertionError where `encoded` is not what `rule` allows."""
        if rule not in self._schemas:
            assert rule in self.rules, f"protocol.cddl has no rule {rule}"
            # The first rule of a schema is the one that is checked.
            self._schemas[rule] = pycddl.Schema(f"start = {rule}\n{self.text}")
        try:
            self._schemas[rule].validate_cbor(encoded)
        except pycddl.ValidationError as error:
            raise AssertionError(f"{rule} does not fit protocol.cddl: {error}") from error
        self.checked[rule] = self.checked.get(rule, 0) + 1

    def saw(self, message: object, plain: object) -> None:
        """Check one message that passes through the codec, unless it is a test's own type."""
        rule = type(message).__name__
        if (
            type(message).__module__.startswith("enarx.wire.")
            and self.checked.get(rule, 0) < self.SAMPLES_A_RULE
        ):
            self.check(rule, cbor2.dumps(plain, canonical=True))


@pytest.fixture(scope="session", autouse=True)
def protocol() -> Iterator[Protocol]:
    """Every message that this process packs or unpacks is checked against the protocol."""
    protocol = Protocol()
    plain, typed = codec._plain, codec._typed

    def checked_plain(message: codec.Message) -> object:
        value = plain(message)
        protocol.saw(message, value)
        return value

    def checked_typed(value: object, kind: Any, what: str) -> Any:
        message = typed(value, kind, what)
        protocol.saw(message, value)
        return message

    codec._plain, codec._typed = checked_plain, checked_typed  # type: ignore[assignment]
    yield protocol
    codec._plain, codec._typed = plain, typed
