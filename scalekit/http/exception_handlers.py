"""Register exception handlers that return Unavailable and ProblemError as problem responses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from scalekit.errors import Unavailable
from scalekit.http.problem import ProblemError, ProblemResponse, on_problem

logger = logging.getLogger("scalekit")

MAX_APPS = 1000
"""Routes, applications and middleware that are searched."""
DEFAULTS = ("starlette.", "fastapi.")
"""Prefixes of modules of the frameworks' default handlers."""


def add_exception_handlers(app: ASGIApp) -> None:
    """Register handlers of Unavailable and ProblemError in *app* and its mounted applications.

    Only Starlette applications, such as FastAPI, are changed, and handlers of the application are not replaced.
    """
    for each in _applications(app, set()):
        handlers: dict[Any, Any] = each.exception_handlers
        if _has_no_custom_handler(handlers, 503, Unavailable, HTTPException):
            handlers[Unavailable] = on_unavailable
        if _has_no_custom_handler(handlers, ProblemError, HTTPException):
            handlers[ProblemError] = on_problem


def _has_no_custom_handler(handlers: Mapping[Any, object], *kinds: object) -> bool:
    chosen = [handlers[kind] for kind in kinds if kind in handlers]
    return all(getattr(handler, "__module__", "").startswith(DEFAULTS) for handler in chosen)


def problem_of(error: Unavailable) -> ProblemResponse:
    """Return the response for *error*; log its reason, which the client does not receive."""
    logger.info("responded with 503: %s", error.reason)
    return ProblemResponse(error.status_code, error.detail, headers=dict(error.headers or {}))


async def on_unavailable(connection: HTTPConnection, error: Exception) -> ProblemResponse:
    """Return an Unavailable as a problem response: a Starlette exception handler."""
    if not isinstance(error, Unavailable):
        raise error
    return problem_of(error)


def _applications(app: object, seen: set[int]) -> Iterator[Starlette]:
    if app is None or id(app) in seen or len(seen) >= MAX_APPS:
        return
    seen.add(id(app))
    if isinstance(app, Starlette):
        yield app
    routes = getattr(app, "routes", None)
    for route in routes if isinstance(routes, list) else ():
        yield from _applications(getattr(route, "app", None), seen)
    if not isinstance(routes, list):  # middleware around an application
        yield from _applications(getattr(app, "app", None), seen)
