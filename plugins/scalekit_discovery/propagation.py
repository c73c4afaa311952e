"""What a call takes along from the request or message on whose behalf it is made: its identity and its deadline."""

from __future__ import annotations

from time import monotonic, time

from scalekit import DEADLINE, TRACE_CONTEXT


def passed_on() -> dict[str, str]:
    """Return the headers that tell whose call it is; none outside of a request or message."""
    identity = TRACE_CONTEXT.get()
    return identity.headers() if identity else {}


def deadline() -> float | None:
    """Return until when the call is of use, on the monotonic clock; None where nobody has said."""
    until = DEADLINE.get()
    return None if until is None else monotonic() + until - time()
