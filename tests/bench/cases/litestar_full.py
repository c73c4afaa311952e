"""Litestar with its own metrics, access log, limit, token and response cache, and a request id."""

import os
import tempfile
import time
from typing import Any

import jwt
import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from litestar import Litestar, get
from litestar.config.response_cache import ResponseCacheConfig
from litestar.logging.config import LoggingConfig, StructLoggingConfig
from litestar.middleware.base import DefineMiddleware
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.plugins.prometheus import PrometheusConfig, PrometheusController
from litestar.plugins.structlog import StructlogConfig, StructlogPlugin
from litestar.security.jwt import JWTAuth, Token
from litestar.stores.redis import RedisStore
from litestar_bare import BODY, PATH, PAYLOAD

__all__ = ["BODY", "HEADERS", "PATH"]

SECRET = "only for this measurement, and for no other"
NOW = int(time.time())
TOKEN = jwt.encode({"sub": "user-1", "iat": NOW, "exp": NOW + 86400}, SECRET, algorithm="HS256")
HEADERS = [(b"authorization", f"Bearer {TOKEN}".encode())]
LINES = tempfile.TemporaryFile("ab")  # noqa: SIM115 - open for as long as the process lives


@get(PATH, cache=3600)
async def data() -> dict[str, Any]:
    return PAYLOAD


async def user(token: Token, connection: Any) -> str:
    return token.sub


def make() -> Litestar:
    lean = LoggingMiddlewareConfig(request_log_fields=("method", "path"), response_log_fields=("status_code",))
    quiet = LoggingConfig(
        root={"level": "WARNING", "handlers": ["console"]},
        loggers={"litestar": {"level": "WARNING", "handlers": ["console"], "propagate": False}},
    )
    lines = StructLoggingConfig(
        logger_factory=structlog.BytesLoggerFactory(file=LINES), standard_lib_logging_config=quiet
    )
    store = RedisStore.with_client(url=os.environ["BENCH_REDIS"], namespace="litestar")
    limit = RateLimitConfig(rate_limit=("minute", 100_000), exclude=["/metrics"])
    return Litestar(
        route_handlers=[data, PrometheusController],
        middleware=[DefineMiddleware(CorrelationIdMiddleware), PrometheusConfig().middleware, limit.middleware],
        plugins=[StructlogPlugin(StructlogConfig(structlog_logging_config=lines, middleware_logging_config=lean))],
        stores={"rate_limit": store.with_namespace("limit"), "response_cache": store.with_namespace("cache")},
        on_app_init=[JWTAuth[str](retrieve_user_handler=user, token_secret=SECRET, exclude=["/metrics"]).on_app_init],
        response_cache_config=ResponseCacheConfig(default_expiration=3600),
    )


app = make()
