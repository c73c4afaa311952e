"""Propagate trace context and deadline of the current request or message to outgoing calls."""

from __future__ import annotations

from time import monotonic, time
from typing import NamedTuple

from scalekit import DEADLINE, TRACE_CONTEXT


class CallDeadline(NamedTuple):
    """When a call must have ended, on the monotonic clock; *inherited* when it is the deadline of the request."""

    at: float
    inherited: bool


def trace_headers() -> dict[str, str]:
    """Return the headers that carry the current trace context and request id, none outside of a request."""
    identity = TRACE_CONTEXT.get()
    return identity.headers() if identity else {}


def call_deadline(started: float, timeout: float) -> CallDeadline:
    """Return the deadline of a call that *started* with *timeout* seconds, or that of the request when earlier."""
    own = started + timeout
    until = DEADLINE.get()
    if until is None:
        return CallDeadline(own, False)
    inherited = monotonic() + until - time()
    return CallDeadline(own, False) if inherited >= own else CallDeadline(inherited, True)
