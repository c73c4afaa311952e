"""Answer what is gone for the moment as a problem, where a framework would answer it in its own way."""

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

MOST = 1000
"""How many routes, applications and middleware are looked into."""
DEFAULTS = ("starlette.", "fastapi.")
"""Where handlers come from that nobody chose."""


def add_exception_handlers(app: ASGIApp) -> None:
    """Let *app*, and what is mounted in it, answer Unavailable and ProblemError as a problem.

    Only an application of Starlette's, such as FastAPI, is told so, and none that has a handler of its own for it.
    """
    for each in _applications(app, set()):
        handlers: dict[Any, Any] = each.exception_handlers
        if _nobody_chose(handlers, 503, Unavailable, HTTPException):
            handlers[Unavailable] = on_unavailable
        if _nobody_chose(handlers, ProblemError, HTTPException):
            handlers[ProblemError] = on_problem


def _nobody_chose(handlers: Mapping[Any, Any], *kinds: Any) -> bool:
    chosen = [handlers[kind] for kind in kinds if kind in handlers]
    return all(getattr(handler, "__module__", "").startswith(DEFAULTS) for handler in chosen)


def problem_of(gone: Unavailable) -> ProblemResponse:
    """Return the answer to *gone*, whose reason only the log is told."""
    logger.info("answered with 503: %s", gone.reason)
    return ProblemResponse(gone.status_code, gone.detail, headers=dict(gone.headers or {}))


async def on_unavailable(connection: HTTPConnection, gone: Exception) -> ProblemResponse:
    """Answer Unavailable as a problem: an exception handler of Starlette's."""
    if not isinstance(gone, Unavailable):
        raise gone
    return problem_of(gone)


def _applications(app: Any, seen: set[int]) -> Iterator[Starlette]:
    if app is None or id(app) in seen or len(seen) >= MOST:
        return
    seen.add(id(app))
    if isinstance(app, Starlette):
        yield app
    routes = getattr(app, "routes", None)
    for route in routes if isinstance(routes, list) else ():
        yield from _applications(getattr(route, "app", None), seen)
    if not isinstance(routes, list):  # middleware around an application
        yield from _applications(getattr(app, "app", None), seen)
