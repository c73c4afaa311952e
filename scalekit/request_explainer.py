"""Serve one request within the running service, by a chain of its own that measures it, for operators."""

from __future__ import annotations

import asyncio
from time import perf_counter
from urllib.parse import SplitResult, unquote, urlsplit

from starlette.types import Message, Receive, Scope

from scalekit.contracts.explainer import ExplainedRequest, FilterTime
from scalekit.host import Host
from scalekit.http.cache_status import explain_cache_status
from scalekit.http.trace_recorder import TraceRecorder
from scalekit.layer_times import own_times, timed_chain
from scalekit.telemetry.finished_span import FinishedSpan
from scalekit.traceback_text import format_traceback

SAFE_METHODS = ("GET", "HEAD")
"""Methods that change nothing (RFC 9110, section 9.2.1)."""
MAX_BODY = 16 << 20
"""Bytes of a response, after which it is cut off."""
CLIENT = ("127.0.0.1", 0)
USER_AGENT = b"scalekit explain"


class HostExplainer:
    """Implements :class:`scalekit.contracts.RequestExplainer` for *host*; one request at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._is_busy = False

    async def explain(self, method: str, url: str, seconds: float) -> ExplainedRequest:
        """Serve a request for *url*, as the contract says."""
        if method not in SAFE_METHODS:
            raise ValueError(f"method: expected {' or '.join(SAFE_METHODS)}, got {method!r}")
        scope = self._scope(method, url)
        if self._is_busy:
            raise ValueError("another request is being explained; try again")
        self._is_busy = True
        try:
            return await self._serve(scope, seconds)
        finally:
            self._is_busy = False

    async def _serve(self, scope: Scope, seconds: float) -> ExplainedRequest:
        spans: list[FinishedSpan] = []
        chain, layers = timed_chain(self._host, TraceRecorder(spans.extend))
        limit = asyncio.timeout(seconds)
        response = DiscardedResponse(limit)
        error, began = "", perf_counter()
        try:
            async with limit:
                await self._host.serve_apart(chain, scope, _receive(), response.send)
        except Exception as failure:
            if not limit.expired():
                error = format_traceback(failure)
        cut_off = response.cut_off or (f"did not end within {seconds:g} s" if limit.expired() else "")
        filters = [FilterTime(*each) for each in own_times(layers)]
        duration = perf_counter() - began
        decisions = list(explain_cache_status(response.cache_status))
        return ExplainedRequest(response.status, response.size, duration, error, cut_off, decisions, filters, spans)

    def _scope(self, method: str, url: str) -> Scope:
        """Return the scope of a request for *url*; raises ValueError when it is invalid."""
        parts, port = _split(url)
        allowed = self._host.settings.server.allowed_hosts
        host = parts.netloc or (allowed[0] if allowed else "localhost")
        headers = [(b"host", host.encode("ascii", "replace")), (b"user-agent", USER_AGENT), (b"accept", b"*/*")]
        path = parts.path or "/"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": parts.scheme or "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": parts.query.encode("ascii"),
            "root_path": "",
            "headers": headers,
            "client": CLIENT,
            "server": (parts.hostname or "localhost", port),
        }


class DiscardedResponse:
    """Receives a response without its content; *limit* expires when it is too large."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self.status = 0
        self.size = 0
        self.cache_status = ""
        self.cut_off = ""

    async def send(self, message: Message) -> None:
        """Receive a message of the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            values = [
                value.decode("latin-1") for name, value in message.get("headers", ()) if name.lower() == b"cache-status"
            ]
            self.cache_status = ", ".join(values)
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            if self.size > MAX_BODY and not self.cut_off:
                self.cut_off = f"is larger than {MAX_BODY} bytes"
                self._limit.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(0)  # a response without an end must not keep the loop from noticing the limit


def _receive() -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # a client that stays connected until the response ends
        return {"type": "http.disconnect"}

    return receive


def _split(url: str) -> tuple[SplitResult, int]:
    """Return the parts of *url* and its port; raises ValueError when it is no URL or path of this service."""
    expected = f"expected a path such as /items?limit=10, or a URL of this service, got {url[:200]!r}"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{expected}; write other characters percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(expected) from None
    is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    is_path = not parts.scheme and not parts.netloc and url.startswith("/")
    if not (is_url or is_path) or (parts.path and not parts.path.startswith("/")):
        raise ValueError(expected)
    return parts, port
