"""List the routes of an application of any framework, and find routes that plugins or the host hide."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from starlette.routing import BaseRoute, Host, Mount
from starlette.types import ASGIApp

from scalekit.http.router import path_of

logger = logging.getLogger("scalekit")

MAX_DEPTH = 20
"""Levels of mounts, routers and middleware that are searched."""
MAX_ROUTES = 10_000
"""Routes that are listed, since a tree that contains itself is infinite."""


class AppRoute(NamedTuple):
    """One route: its template, and its methods separated by commas."""

    path: str
    methods: str


class AppMount(AppRoute):
    """A mount whose routes are unknown; it serves every path below its own."""

    __slots__ = ()


def list_routes(app: ASGIApp) -> list[AppRoute]:
    """Return the routes of *app* in order. Supports Starlette, FastAPI, Litestar, Django and Quart."""
    return list(islice(_walk_app(app, "", MAX_DEPTH), MAX_ROUTES))


def _walk_app(app: object, prefix: str, depth: int) -> Iterator[AppRoute]:
    if app is None or not depth:
        return
    routes = getattr(app, "routes", None)
    if isinstance(routes, list | tuple):
        yield from _walk(routes, prefix, depth)
    elif isinstance(
        by_kind := getattr(app, "application_mapping", None), Mapping
    ):  # Channels: applications by scope type
        for inner in by_kind.values():
            yield from _walk_app(inner, prefix, depth - 1)
    elif (rules := getattr(getattr(app, "url_map", None), "iter_rules", None)) is not None:  # Quart
        for rule in rules():
            yield AppRoute(f"{prefix}{rule.rule}", "WEBSOCKET" if rule.websocket else _methods(rule))
    elif type(app).__module__.startswith("django.") and "django.urls" in sys.modules:
        yield from _walk_django(sys.modules["django.urls"].get_resolver(), f"{prefix}/", depth)
    else:  # middleware around an application
        yield from _walk_app(getattr(app, "app", None), prefix, depth - 1)


def _walk(routes: Iterable[Any], prefix: str, depth: int) -> Iterator[AppRoute]:
    for route in routes if depth else ():
        if hasattr(route, "effective_route_contexts"):  # FastAPI's include_router replaces routes by it
            contexts = route.effective_route_contexts()
            yield from _walk((each.starlette_route or each for each in contexts), prefix, depth - 1)
            continue
        path = prefix + str(getattr(route, "path", "") or getattr(route, "host", ""))
        inner = list(_walk_app(route.app, path, depth - 1)) if isinstance(route, Mount | Host) else []
        if inner:
            yield from inner
        else:
            yield (AppMount if isinstance(route, Mount) else AppRoute)(path, _methods(route))


def _methods(route: object) -> str:
    kind = "WEBSOCKET" if "WebSocket" in type(route).__name__ else "*"
    return ", ".join(sorted(getattr(route, "methods", None) or ())) or kind


def _walk_django(resolver: Any, prefix: str, depth: int) -> Iterator[AppRoute]:
    for pattern in resolver.url_patterns if depth else ():
        path = prefix + str(pattern.pattern).removeprefix("^")  # the first character of each regular expression
        if hasattr(pattern, "url_patterns"):
            yield from _walk_django(pattern, path, depth - 1)
        else:
            yield AppRoute(path, "*")


def warn_of_hidden_routes(app: ASGIApp, by_owner: Mapping[str, Sequence[BaseRoute]], health: Sequence[str]) -> None:
    """Log a warning for each route of *app* that plugins' routes (*by_owner*) or the *health* pages hide."""
    own = list_routes(app)
    for path in sorted({route.path for route in own}.intersection(health)):
        remedy = 'set another path in [health], such as path = "/-/health", or remove the route'
        logger.warning(
            "the application's route %s never receives a request: the host serves this path; %s", path, remedy
        )
    for owner, routes in by_owner.items():
        for route in routes:
            for path in sorted({each.path for each in own if _hides(route, each)}):
                logger.warning(
                    "the application's route %s never receives a request: %r serves %s; change one of the two paths",
                    path,
                    owner,
                    path_of(route),
                )


def _hides(route: BaseRoute, hidden: AppRoute) -> bool:
    expression: re.Pattern[str] | None = getattr(route, "path_regex", None)
    paths = [hidden.path, f"{hidden.path}/"] if isinstance(hidden, AppMount) else [hidden.path]
    return expression is not None and any(expression.match(path) for path in paths)
