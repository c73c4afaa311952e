"""FastAPI with the packages that are usually put together: metrics, request id, access log, limit, token and cache."""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import jwt
import orjson
import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_bare import BODY, PATH, PAYLOAD
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from prometheus_fastapi_instrumentator import Instrumentator
from redis import asyncio as redis
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

__all__ = ["BODY", "HEADERS", "PATH"]

REDIS = os.environ["BENCH_REDIS"]
SECRET = "only for this measurement, and for no other"
NOW = int(time.time())
TOKEN = jwt.encode({"sub": "user-1", "iat": NOW, "exp": NOW + 86400}, SECRET, algorithm="HS256")
HEADERS = [(b"authorization", f"Bearer {TOKEN}".encode())]
LINES = tempfile.TemporaryFile("ab")  # noqa: SIM115 - open for as long as the process lives
BEARER = HTTPBearer()
LIMITER = Limiter(key_func=get_remote_address, headers_enabled=True, storage_uri=REDIS)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    FastAPICache.init(RedisBackend(redis.from_url(REDIS)), prefix="fastapi-cache")
    yield


async def user(credentials: Annotated[HTTPAuthorizationCredentials, Depends(BEARER)]) -> Any:
    try:
        return jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401, "invalid token") from None


@LIMITER.limit("100000/minute")
@cache(expire=3600)
async def data(request: Request, response: Response) -> Any:
    return PAYLOAD


async def access_log(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=correlation_id.get())
    began, status = time.perf_counter(), 500
    try:
        response = await call_next(request)
        status = response.status_code
        return response
    finally:
        milliseconds = round((time.perf_counter() - began) * 1e3, 3)
        fields = {"method": request.method, "path": request.url.path, "status": status}
        LOGGER.info("request", **fields, client=request.client.host, duration_ms=milliseconds)


LOGGER = structlog.get_logger()


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
    app = FastAPI(lifespan=lifespan)
    app.state.limiter = LIMITER
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
    app.get(PATH, dependencies=[Depends(user)])(data)
    app.middleware("http")(access_log)
    app.add_middleware(CorrelationIdMiddleware)
    Instrumentator().instrument(app).expose(app)
    return app


app = make()
