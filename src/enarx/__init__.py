"""Run WebAssembly in attested Keeps on machines you do not trust.

What a user imports is here; the rooms behind it may change. Names are loaded
when they are first used, so that the Keep, which carries this file as well,
never loads the client's room.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "AsyncClient": "enarx.client.agent",
    "Client": "enarx.client.sync",
    "Config": "enarx.client.config",
    "EnarxError": "enarx.errors",
    "Expected": "enarx.client.appraisal",
    "Identity": "enarx.client.identity",
    "Limits": "enarx.wire.fields",
    "Policy": "enarx.verifier.policy",
    "Result": "enarx.client.result",
    "Timeouts": "enarx.client.bounds",
    "Verdict": "enarx.verifier.verdict",
    "VerificationError": "enarx.errors",
    "open_client": "enarx.client.start",
    "run": "enarx.client.simple",
    "run_async": "enarx.client.simple",
    "workload": "enarx.client.sync",
}


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'enarx' has no attribute {name!r}") from None
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_PUBLIC])
