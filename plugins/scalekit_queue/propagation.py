"""Propagate trace context, deadline and consistency token from the publisher to the handler, in message headers."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import floor, isfinite
from time import time
from typing import Any

from scalekit import DEADLINE, TRACE_CONTEXT, Context, parse_trace_context
from scalekit.contracts import CONSISTENCY, CONSISTENCY_HEADER, CONSISTENCY_TOKENS, Consistency, ConsistencyTokens

TOKEN_HEADER = CONSISTENCY_HEADER.decode()
DEADLINE_HEADER = "scalekit-deadline"
AFTER_COMMIT = "scalekit-after-commit"
"""Marks a message that was stored in a transaction, whose consistency token is issued when it is delivered."""


def context_headers() -> dict[str, str]:
    """Return the headers that carry the current trace context and deadline."""
    identity = TRACE_CONTEXT.get()
    headers = identity.headers() if identity is not None else {}
    deadline = DEADLINE.get()
    if deadline is None or not isfinite(deadline):
        return headers
    return {**headers, DEADLINE_HEADER: f"{floor(deadline * 1000) / 1000:.3f}"}  # rounded up, it would be later


async def consistency_headers(context: Context) -> dict[str, str]:
    """Return the header with the consistency token of this request's writes, so that the handler reads them."""
    consistency = CONSISTENCY.get()
    if consistency is None or not context.has(CONSISTENCY_TOKENS):
        return {}
    token = await context.get(CONSISTENCY_TOKENS).issue(consistency)
    return {TOKEN_HEADER: token} if token else {}


async def committed_headers(context: Context) -> dict[str, str]:
    """Return the header with a consistency token for all writes committed so far."""
    if not context.has(CONSISTENCY_TOKENS):
        return {}
    consistency = Consistency()
    consistency.wrote = True
    return {TOKEN_HEADER: await context.get(CONSISTENCY_TOKENS).issue(consistency)}


def deadline_of(headers: Mapping[str, str]) -> float | None:
    """Return the deadline in *headers*, in seconds since the epoch, or None when there is no valid one."""
    try:
        deadline = float(headers[DEADLINE_HEADER])
    except (KeyError, ValueError):
        return None
    return deadline if isfinite(deadline) else None


@contextmanager
def restored_context(headers: Mapping[str, str], context: Context) -> Generator[None, None, None]:
    """Set the trace context, deadline and consistency of the publisher, from *headers*, while inside."""
    encoded = [(_encoded(name.lower()), _encoded(value)) for name, value in headers.items()]
    tokens = context.get(CONSISTENCY_TOKENS) if context.has(CONSISTENCY_TOKENS) else None
    values: list[tuple[ContextVar[Any], Any]] = [
        (TRACE_CONTEXT, parse_trace_context(encoded)),
        (DEADLINE, _unless_expired(deadline_of(headers))),
        (CONSISTENCY, _consistency(headers, tokens)),
    ]
    resets = [(variable, variable.set(value)) for variable, value in values]
    try:
        yield
    finally:
        for variable, token in resets:
            variable.reset(token)


def _unless_expired(deadline: float | None) -> float | None:
    """Return *deadline*, or None when it has passed: an expired message is still handled, without a time limit."""
    return deadline if deadline is not None and deadline > time() else None


def _consistency(headers: Mapping[str, str], tokens: ConsistencyTokens | None) -> Consistency | None:
    if tokens is None:
        return None
    return tokens.read(headers.get(TOKEN_HEADER, "")) or Consistency()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
