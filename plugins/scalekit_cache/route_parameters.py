"""What the route of a request declares that it reads: parameters and security schemes of FastAPI and Litestar."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from inspect import isroutine
from typing import Any, get_args

from starlette.types import Scope

from scalekit_cache.credentials import HeaderRoles, is_of_anybody

REMEMBERED = 4096
"""Routes of which it is remembered what they read."""
MOST = 1000
"""Dependencies of one route that are looked into."""


@dataclass(frozen=True)
class RouteParameters:
    """What a route reads: headers that identify the user, others that it *varies* by, and secrets in the query.

    *looks* says that one of its dependencies gets the request itself, and may take any header from it.
    """

    credentials: tuple[bytes, ...]
    varies: tuple[bytes, ...]
    query: frozenset[bytes]
    looks: bool = False


class RouteInspector:
    """What was found for each route; some headers have *meanings* even where they are plain parameters."""

    def __init__(self, meanings: HeaderRoles) -> None:
        self._meanings = meanings
        self._known: dict[int, tuple[Any, RouteParameters | None]] = {}

    def of(self, scope: Scope) -> RouteParameters | None:
        """Return what the route reads that *scope* was given to; None when it declares nothing."""
        route = scope.get("route")
        declaring = scope.get("route_handler") if route is None else _dependant(scope, route)
        if declaring is None:
            return None
        known = self._known.get(id(declaring))
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._of_dependant(declaring) if route is not None else self._of_handler(scope, declaring)
            # It is kept beside, since an id is an object's own only as long as that is there.
            known = self._known[id(declaring)] = (declaring, found)
        return known[1]

    def _of_handler(self, scope: Scope, handler: Any) -> RouteParameters | None:
        """Return what a *handler* of Litestar's reads, whose models have what their dependencies read."""
        headers: set[bytes] = set()
        secrets: set[bytes] = set()
        for route in getattr(scope.get("litestar_app"), "routes", ()):
            for found, model in getattr(route, "route_handler_map", {}).values():
                if found is handler:
                    headers.update(each.field_alias.lower().encode() for each in model.expected_header_params)
                    if model.expected_cookie_params or "cookies" in model.expected_reserved_kwargs:
                        secrets.add(b"cookie")
        return self._reads(headers, secrets, set())

    def _of_dependant(self, dependant: Any) -> RouteParameters | None:
        headers: set[bytes] = set()
        secrets: set[bytes] = set()
        query: set[bytes] = set()
        for each in _every(dependant):
            headers.update(name for field in each.header_params for name in _header_names(field))
            if each.cookie_params:
                secrets.add(b"cookie")
            for place, name in _scheme(each.call):
                (query if place == "query" else secrets).add(name)
        looks = any(each is not dependant and _looks(each) for each in _every(dependant))
        return self._reads(headers, secrets, query, looks)

    def _reads(
        self, headers: set[bytes], secrets: set[bytes], query: set[bytes], looks: bool = False
    ) -> RouteParameters | None:
        secrets.update(filter(self._meanings.is_credential, headers))
        if not headers and not secrets and not query and not looks:
            return None
        return RouteParameters(tuple(sorted(secrets)), tuple(sorted(headers - secrets)), frozenset(query), looks)

    def shows_strange(self, scope: Scope, varies: Collection[bytes]) -> bool:
        """Return whether the request has a header that may identify its user and that the key does not have already."""
        return not all(
            name in varies or is_of_anybody(name) or self._meanings.is_credential(name) for name, _ in scope["headers"]
        )


def _dependant(scope: Scope, route: Any) -> Any:
    """Return what FastAPI resolves for *route*; a router that was included has dependencies of its own."""
    own = scope.get("fastapi")
    context = own.get("effective_route_context") if isinstance(own, dict) else None
    if context is not None and getattr(context, "original_route", None) is route:
        return getattr(context, "dependant", None)
    return getattr(route, "dependant", None)


def _every(dependant: Any) -> Iterator[Any]:
    """Yield *dependant* and all that it depends on."""
    waiting, seen = [dependant], 0
    while waiting and seen < MOST:
        each = waiting.pop()
        seen += 1
        yield each
        waiting.extend(each.dependencies)


def _looks(dependency: Any) -> bool:
    """Tell whether a *dependency* gets the request itself; those of FastAPI and of ScaleKit take what is known."""
    names = ("request_param_name", "http_connection_param_name")
    if not any(getattr(dependency, name, None) for name in names):
        return False
    call = dependency.call
    while isinstance(call, partial):
        call = call.func
    function = call if isroutine(call) or isinstance(call, type) else type(call).__call__
    return not str(function.__module__).startswith(("fastapi.", "scalekit.", "scalekit_"))


def _header_names(field: Any) -> Iterator[bytes]:
    """Yield the headers that a parameter is taken from: one, or those of a model's fields."""
    info = field.field_info
    model = _model(getattr(info, "annotation", None))
    if model is None:
        yield from _names(info, field.alias)
        return
    converts = getattr(info, "convert_underscores", True)
    for name, each in model.model_fields.items():
        yield from _names(each, name.replace("_", "-") if converts else name)


def _names(info: Any, name: str) -> Iterator[bytes]:
    yield name.lower().encode()
    aliases = [info.alias, info.validation_alias, *getattr(info.validation_alias, "choices", ())]
    yield from (alias.lower().encode() for alias in aliases if isinstance(alias, str))


def _model(annotation: Any) -> Any:
    candidates = (annotation, *get_args(annotation))
    return next((each for each in candidates if isinstance(getattr(each, "model_fields", None), dict)), None)


def _scheme(call: Any) -> Iterator[tuple[str, bytes]]:
    """Yield where a security scheme takes credentials from; nothing where *call* is none."""
    while isinstance(call, partial):
        call = call.func
    kinds = {kind.__name__: kind for kind in type(call).__mro__}
    if "SecurityBase" not in kinds:
        return
    model = getattr(call, "model", None)
    place = getattr(getattr(model, "in_", None), "value", "header")
    name = str(getattr(model, "name", None) or "authorization")
    yield place, b"cookie" if place == "cookie" else name.encode() if place == "query" else name.lower().encode()
    if not str(type(call).__call__.__module__).startswith("fastapi."):  # one's own may look elsewhere
        yield "header", b"authorization"
        yield "cookie", b"cookie"
