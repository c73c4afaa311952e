"""FastAPI with the usual packages: metrics, request id and a structlog access log to a file."""

import tempfile
import time
from typing import Any

import orjson
import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from fastapi_bare import BODY, PATH
from fastapi_bare import make as make_bare
from prometheus_fastapi_instrumentator import Instrumentator

__all__ = ["BODY", "PATH"]

LINES = tempfile.TemporaryFile("ab")  # noqa: SIM115 - open for as long as the process lives


class AccessLog:
    """A pure ASGI middleware, the cheaper of the two ways that are in use."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.logger = structlog.get_logger()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=correlation_id.get())
        started = time.perf_counter()
        status = 500

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1e3, 3)
            fields = {"method": scope["method"], "path": scope["path"], "status": status}
            self.logger.info("request", **fields, client=scope["client"][0], duration_ms=milliseconds)


def make() -> FastAPI:
    structlog.configure(
        cache_logger_on_first_use=True,
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=LINES),
    )
    app = make_bare()
    app.add_middleware(AccessLog)
    app.add_middleware(CorrelationIdMiddleware)
    Instrumentator().instrument(app).expose(app)
    return app


app = make()
