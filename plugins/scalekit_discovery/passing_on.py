"""What a call takes along from the request on whose behalf it is made: its identity and its deadline."""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic
from typing import NamedTuple

from starlette.types import Scope

from scalekit.identity import CURRENT, identity_of

TIMEOUT_HEADER = "x-request-timeout-ms"
"""How many milliseconds the caller still waits."""
_TIMEOUT = TIMEOUT_HEADER.encode()
_LONGEST_DIGITS = 9


class Served(NamedTuple):
    """The request that is served here and now, and when it came."""

    scope: Scope
    came: float


SERVED: ContextVar[Served | None] = ContextVar("scalekit_discovery.served", default=None)


def passed_on() -> dict[str, str]:
    """Return the headers that tell whose call it is; none outside of a request or message."""
    served = SERVED.get()
    identity = identity_of(served.scope) if served else CURRENT.get()
    return identity.headers() if identity else {}


def deadline() -> float | None:
    """Return until when the caller of what is served waits, on the monotonic clock; None where nobody has said."""
    served = SERVED.get()
    if served is None:
        return None
    for name, value in served.scope["headers"]:
        if name == _TIMEOUT:
            return served.came + int(value) / 1e3 if value.isdigit() and len(value) <= _LONGEST_DIGITS else None
    return None


def serve(scope: Scope) -> Served:
    """Return *scope* as it comes now."""
    return Served(scope, monotonic())
