"""Measure each request from its head to the end of its response."""

from __future__ import annotations

from asyncio import CancelledError
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.identity import TRACEPARENT, identity_of
from scalekit.route import RouteTemplates
from scalekit_metrics.recorder import LEFT, Recorder

WITHOUT_BODY = frozenset({"GET", "HEAD"})


class MetricsMiddleware:
    """Count and time HTTP requests, and count open websockets."""

    def __init__(self, app: ASGIApp, recorder: Recorder, exemplars: bool) -> None:
        self.app = app
        self.recorder = recorder
        self.templates = RouteTemplates(app)
        self.traced = TRACEPARENT if exemplars else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request between two looks at the clock; what is in line here, every request pays for."""
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        started = perf_counter()
        method = scope["method"]
        upload = None if method in WITHOUT_BODY else Upload(receive)
        status = sent = 0
        ended = 0.0

        def watched(message: Message) -> Any:
            nonlocal status, sent, ended
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
            elif kind == "http.response.body":
                sent += len(message.get("body", b""))
                ended = perf_counter()
            return send(message)

        recorder = self.recorder
        recorder.in_flight.value += 1
        try:
            await self.app(scope, receive if upload is None else upload.receive, watched)
        except CancelledError:
            status = status or LEFT
            raise
        except Exception as error:
            recorder.count_exception(method, self.templates.of(scope), error)
            raise
        finally:
            recorder.in_flight.value -= 1
            template = self.templates.known.get(id(scope.get("endpoint")))
            outcome = recorder.outcome(method, self.templates.of(scope) if template is None else template, status)
            outcome.sent.value += sent
            if upload is not None:
                outcome.received.value += upload.size
            duration = (ended or perf_counter()) - started
            for header in scope["headers"]:
                if header[0] == self.traced:
                    outcome.observe_traced(duration, identity_of(scope))
                    break
            else:
                outcome.duration.observe(duration)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        self.recorder.websockets.inc()
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            self.recorder.count_exception("GET", self.templates.of(scope), error)
            raise
        finally:
            self.recorder.websockets.dec()


class Upload:
    """The body of one request, as the application reads it."""

    __slots__ = ("_receive", "size")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0

    async def receive(self) -> Message:
        """Return the next message, its bytes counted."""
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return message
