"""Litestar with its own metrics and access log, one lean line a request, to a file."""

import tempfile

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from litestar import Litestar
from litestar.logging.config import LoggingConfig, StructLoggingConfig
from litestar.middleware.base import DefineMiddleware
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.plugins.prometheus import PrometheusConfig, PrometheusController
from litestar.plugins.structlog import StructlogConfig, StructlogPlugin
from litestar_bare import BODY, PATH, data

__all__ = ["BODY", "PATH"]

LINES = tempfile.TemporaryFile("ab")  # noqa: SIM115 - open for as long as the process lives


def make() -> Litestar:
    lean = LoggingMiddlewareConfig(request_log_fields=("method", "path"), response_log_fields=("status_code",))
    quiet = LoggingConfig(
        root={"level": "WARNING", "handlers": ["console"]},
        loggers={"litestar": {"level": "WARNING", "handlers": ["console"], "propagate": False}},
    )
    lines = StructLoggingConfig(
        logger_factory=structlog.BytesLoggerFactory(file=LINES), standard_lib_logging_config=quiet
    )
    return Litestar(
        route_handlers=[data, PrometheusController],
        middleware=[DefineMiddleware(CorrelationIdMiddleware), PrometheusConfig().middleware],
        plugins=[StructlogPlugin(StructlogConfig(structlog_logging_config=lines, middleware_logging_config=lean))],
    )


app = make()
