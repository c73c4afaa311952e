"""The request id and the trace context of a request (W3C Trace Context).

The request id is the client's ``X-Request-ID`` when it is well formed, else a new one. The trace is that of a valid
``traceparent``, else a new one. Both are parsed once, on first use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple

from starlette.types import Scope

from scalekit.http.tracestate import parse_tracestate

REQUEST_ID = b"x-request-id"
"""Name of the header with the request's id."""
TRACEPARENT = b"traceparent"
"""Name of the header with trace id and parent span (W3C Trace Context)."""
TRACESTATE = b"tracestate"
"""Name of the header with the vendors' part of a trace (W3C Trace Context)."""
SCOPE_KEY = "scalekit.trace_context"

KNOWN_FLAGS = 0x03
"""The flags sampled and random-trace-id (W3C Trace Context level 2)."""
RANDOM = "02"
"""The flags of a new trace."""

MAX_CALLS = 100
"""Outgoing calls of one request whose span ids are recorded."""
WHITESPACE = b" \t"

HEADERS = frozenset((REQUEST_ID, TRACEPARENT, TRACESTATE))
"""The request headers that are read."""
_BATCH_SIZE = 128
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")
# W3C Trace Context, section 3.2.2: version 00 ends after the flags; later versions may continue after a dash.
_VALID_TRACE = re.compile(
    rb"(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2}(?=.{53}(?:-|$)))"
    rb"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


class TraceContext(NamedTuple):
    """The ids of one request; *parent_id* is the span id of the client, empty for a new trace.

    *calls* has the span ids of the request's first MAX_CALLS outgoing calls; the access log reports them.
    """

    request_id: str
    trace_id: str
    calls: list[str]
    parent_id: str = ""
    flags: str = RANDOM
    tracestate: str = ""

    def headers(self) -> dict[str, str]:
        """Return the headers that propagate the ids to one outgoing call, with a new span id.

        A parent id identifies one outgoing request (W3C Trace Context, section 3.2.2.4).
        """
        span = os.urandom(8).hex()
        if len(self.calls) < MAX_CALLS:
            self.calls.append(span)
        headers = {"x-request-id": self.request_id, "traceparent": f"00-{self.trace_id}-{span}-{self.flags}"}
        return {**headers, "tracestate": self.tracestate} if self.tracestate else headers


# One system call per id would dominate the cost. A forked process must not reuse the ids of its parent.
_unused: list[TraceContext] = []
if hasattr(os, "register_at_fork"):  # Windows forks no processes
    os.register_at_fork(after_in_child=_unused.clear)

TRACE_CONTEXT: ContextVar[TraceContext | None] = ContextVar("scalekit.trace_context", default=None)
"""The trace context of the current request or message, for log lines and outgoing calls."""


def trace_context_of(scope: Scope) -> TraceContext:
    """Return the trace context of the request of *scope*; the first call parses it and stores it in the scope."""
    found: TraceContext | None = scope.get(SCOPE_KEY)
    if found is None:
        found = scope[SCOPE_KEY] = parse_trace_context(scope["headers"])
    return found


def request_id(scope: Scope) -> str:
    """Return the id of the request of *scope*."""
    return trace_context_of(scope).request_id


def parse_trace_context(headers: Sequence[tuple[bytes, bytes]]) -> TraceContext:
    """Return the trace context in *headers*; generate ids that are missing, malformed or repeated."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in HEADERS:
            values.setdefault(name, []).append(value)
    return _read(values) if values else _new_trace_context()


def trace_context_from_index(headers: Mapping[bytes, bytes], repeated: Mapping[bytes, list[bytes]]) -> TraceContext:
    """Return the trace context from the header index and the *repeated* headers."""
    if REQUEST_ID not in headers and TRACEPARENT not in headers and TRACESTATE not in headers:
        return _new_trace_context()
    return _read({name: repeated.get(name) or [headers[name]] for name in HEADERS if name in headers})


def _new_trace_context() -> TraceContext:
    try:
        return _unused.pop()
    except IndexError:
        _unused.extend(_generate_batch())
        return _unused.pop()


def _read(values: Mapping[bytes, list[bytes]]) -> TraceContext:
    sent_id, trace = _single_value(values.get(REQUEST_ID)), _single_value(values.get(TRACEPARENT))
    state = values.get(TRACESTATE)
    new = new_request_id()
    identifier = sent_id.decode("ascii") if _WELL_FORMED.fullmatch(sent_id) else new
    match = _VALID_TRACE.fullmatch(trace.strip(WHITESPACE))
    if match is None:
        return TraceContext(identifier, new, [])
    trace_id, parent_id, flags = match.groups()
    traced = parse_tracestate(b",".join(state) if state else None)
    return TraceContext(identifier, trace_id.decode(), [], parent_id.decode(), _flags(flags), traced)


def _single_value(values: list[bytes] | None) -> bytes:
    """Return the value of a header, empty when it is missing or repeated."""
    return values[0] if values is not None and len(values) == 1 else b""


def new_request_id() -> str:
    """Return 32 random hexadecimal digits."""
    return _new_trace_context().request_id


def _generate_batch() -> Iterator[TraceContext]:
    digits = os.urandom(16 * _BATCH_SIZE).hex()
    for place in range(0, len(digits), 32):
        new = digits[place : place + 32]
        yield tuple.__new__(TraceContext, (new, new, [], "", RANDOM, ""))  # half the time of TraceContext(...)


def _flags(flags: bytes) -> str:
    """Return the known flags, to be propagated."""
    return f"{int(flags, 16) & KNOWN_FLAGS:02x}"
