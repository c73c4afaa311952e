"""What a message carries along from who publishes it to who consumes it, in its headers."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from time import time
from typing import Any

from scalekit import DEADLINE, TRACE_CONTEXT, Context, parse_trace_context
from scalekit.contracts import CONSISTENCY, CONSISTENCY_HEADER, CONSISTENCY_TOKENS, Consistency, ConsistencyTokens

TOKEN = CONSISTENCY_HEADER.decode()
UNTIL = "scalekit-deadline"


def carried() -> dict[str, str]:
    """Return the headers that say on whose behalf a message is published, and until when that is of use."""
    identity = TRACE_CONTEXT.get()
    headers = identity.headers() if identity is not None else {}
    deadline = DEADLINE.get()
    return headers if deadline is None else {**headers, UNTIL: f"{deadline:.3f}"}


async def consistency_headers(context: Context) -> dict[str, str]:
    """Return the header that says what has been written here, so that a consumer's reads see it."""
    consistency = CONSISTENCY.get()
    if consistency is None or not context.has(CONSISTENCY_TOKENS):
        return {}
    token = await context.get(CONSISTENCY_TOKENS).issue(consistency)
    return {TOKEN: token} if token else {}


async def committed_headers(context: Context) -> dict[str, str]:
    """Return the header that says that everything committed until now has been written."""
    if not context.has(CONSISTENCY_TOKENS):
        return {}
    consistency = Consistency()
    consistency.wrote = True
    return {TOKEN: await context.get(CONSISTENCY_TOKENS).issue(consistency)}


def deadline_of(headers: Mapping[str, str]) -> float | None:
    """Return until when the message is of use, in seconds since the epoch, where its headers say so."""
    try:
        deadline = float(headers[UNTIL])
    except (KeyError, ValueError):
        return None
    return deadline if isfinite(deadline) else None


@contextmanager
def on_behalf(headers: Mapping[str, str], context: Context) -> Generator[None, None, None]:
    """Let what runs inside be on behalf of whoever published the message with *headers*."""
    known = [(_encoded(name.lower()), _encoded(value)) for name, value in headers.items()]
    tokens = context.get(CONSISTENCY_TOKENS) if context.has(CONSISTENCY_TOKENS) else None
    values: list[tuple[ContextVar[Any], Any]] = [
        (TRACE_CONTEXT, parse_trace_context(known)),
        (DEADLINE, _ahead(deadline_of(headers))),
        (CONSISTENCY, _consistency(headers, tokens)),
    ]
    resets = [(variable, variable.set(value)) for variable, value in values]
    try:
        yield
    finally:
        for variable, token in resets:
            variable.reset(token)


def _ahead(deadline: float | None) -> float | None:
    """Return *deadline* unless it is over: nobody waits any more, and what is done late is done in its own time."""
    return deadline if deadline is not None and deadline > time() else None


def _consistency(headers: Mapping[str, str], tokens: ConsistencyTokens | None) -> Consistency | None:
    if tokens is None:
        return None
    return tokens.read(headers.get(TOKEN, "")) or Consistency()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
