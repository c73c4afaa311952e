"""What a call takes along from the request or message on whose behalf it is made: its identity and its deadline."""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic, time

from starlette.types import Scope

from scalekit.deadline import DEADLINE
from scalekit.identity import CURRENT, identity_of

SERVED: ContextVar[Scope | None] = ContextVar("scalekit_discovery.served", default=None)
"""The request that is served here and now."""


def passed_on() -> dict[str, str]:
    """Return the headers that tell whose call it is; none outside of a request or message."""
    served = SERVED.get()
    identity = identity_of(served) if served else CURRENT.get()
    return identity.headers() if identity else {}


def deadline() -> float | None:
    """Return until when the call is of use, on the monotonic clock; None where nobody has said."""
    until = DEADLINE.get()
    return None if until is None else monotonic() + until - time()
