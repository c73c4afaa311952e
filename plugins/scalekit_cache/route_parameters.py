"""The headers, cookies and security schemes that the route of a request declares, in FastAPI and Litestar."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from inspect import isroutine
from typing import Any, get_args

from starlette.types import Scope

from scalekit_cache.credentials import HeaderRoles, is_common_header

MAX_CACHED = 4096
"""Routes whose parameters are cached."""
MAX_DEPENDENCIES = 1000
"""Dependencies of one route that are inspected."""


@dataclass(frozen=True)
class RouteParameters:
    """What a route declares: *credential_headers*, other *headers*, and secrets in the *query*.

    *uses_request* is whether one of its dependencies gets the request itself, and may read any header.
    """

    credential_headers: tuple[bytes, ...]
    headers: tuple[bytes, ...]
    query: frozenset[bytes]
    uses_request: bool = False


class RouteInspector:
    """Reads the parameters of routes once; *roles* classifies plain header parameters."""

    def __init__(self, roles: HeaderRoles) -> None:
        self._roles = roles
        self._known: dict[int, tuple[Any, RouteParameters | None]] = {}

    def parameters(self, scope: Scope) -> RouteParameters | None:
        """Return what the route of *scope* declares, or None when that is nothing."""
        route = scope.get("route")
        declaration = scope.get("route_handler") if route is None else _dependant(scope, route)
        if declaration is None:
            return None
        known = self._known.get(id(declaration))
        if known is None:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            found = self._of_dependant(declaration) if route is not None else self._of_handler(scope, declaration)
            # The value references the declaration, because an id is unique only during an object's lifetime.
            known = self._known[id(declaration)] = (declaration, found)
        return known[1]

    def _of_handler(self, scope: Scope, handler: Any) -> RouteParameters | None:
        """Return what a *handler* of Litestar declares; its models include the parameters of its dependencies."""
        headers: set[bytes] = set()
        secrets: set[bytes] = set()
        for route in getattr(scope.get("litestar_app"), "routes", ()):
            for found, model in getattr(route, "route_handler_map", {}).values():
                if found is handler:
                    headers.update(each.field_alias.lower().encode() for each in model.expected_header_params)
                    if model.expected_cookie_params or "cookies" in model.expected_reserved_kwargs:
                        secrets.add(b"cookie")
        return self._create(headers, secrets, set())

    def _of_dependant(self, dependant: Any) -> RouteParameters | None:
        headers: set[bytes] = set()
        secrets: set[bytes] = set()
        query: set[bytes] = set()
        for each in _with_dependencies(dependant):
            headers.update(name for field in each.header_params for name in _header_names(field))
            if each.cookie_params:
                secrets.add(b"cookie")
            for place, name in _security_scheme(each.call):
                (query if place == "query" else secrets).add(name)
        uses_request = any(each is not dependant and _uses_request(each) for each in _with_dependencies(dependant))
        return self._create(headers, secrets, query, uses_request)

    def _create(
        self, headers: set[bytes], secrets: set[bytes], query: set[bytes], uses_request: bool = False
    ) -> RouteParameters | None:
        secrets.update(filter(self._roles.is_credential, headers))
        if not headers and not secrets and not query and not uses_request:
            return None
        names = tuple(sorted(secrets)), tuple(sorted(headers - secrets))
        return RouteParameters(*names, frozenset(query), uses_request)

    def has_uncommon_header(self, scope: Scope, key_headers: Collection[bytes]) -> bool:
        """Return whether the request has a header that may identify its user and is not in the key."""
        return not all(
            name in key_headers or is_common_header(name) or self._roles.is_credential(name)
            for name, _ in scope["headers"]
        )


def _dependant(scope: Scope, route: Any) -> Any:
    """Return FastAPI's dependant of *route*; an included router has dependencies of its own."""
    fastapi = scope.get("fastapi")
    context = fastapi.get("effective_route_context") if isinstance(fastapi, dict) else None
    if context is not None and getattr(context, "original_route", None) is route:
        return getattr(context, "dependant", None)
    return getattr(route, "dependant", None)


def _with_dependencies(dependant: Any) -> Iterator[Any]:
    """Yield *dependant* and its dependencies, recursively."""
    pending, seen = [dependant], 0
    while pending and seen < MAX_DEPENDENCIES:
        each = pending.pop()
        seen += 1
        yield each
        pending.extend(each.dependencies)


def _uses_request(dependency: Any) -> bool:
    """Return whether a *dependency* gets the request itself; those of FastAPI and ScaleKit read known parts only."""
    names = ("request_param_name", "http_connection_param_name")
    if not any(getattr(dependency, name, None) for name in names):
        return False
    call = dependency.call
    while isinstance(call, partial):
        call = call.func
    function = call if isroutine(call) or isinstance(call, type) else type(call).__call__
    return not str(function.__module__).startswith(("fastapi.", "scalekit.", "scalekit_"))


def _header_names(field: Any) -> Iterator[bytes]:
    """Yield the headers of a parameter: one, or those of a model's fields."""
    info = field.field_info
    model = _model(getattr(info, "annotation", None))
    if model is None:
        yield from _aliases(info, field.alias)
        return
    converts = getattr(info, "convert_underscores", True)
    for name, each in model.model_fields.items():
        yield from _aliases(each, name.replace("_", "-") if converts else name)


def _aliases(info: Any, name: str) -> Iterator[bytes]:
    yield name.lower().encode()
    aliases = [info.alias, info.validation_alias, *getattr(info.validation_alias, "choices", ())]
    yield from (alias.lower().encode() for alias in aliases if isinstance(alias, str))


def _model(annotation: Any) -> Any:
    candidates = (annotation, *get_args(annotation))
    return next((each for each in candidates if isinstance(getattr(each, "model_fields", None), dict)), None)


def _security_scheme(call: Any) -> Iterator[tuple[str, bytes]]:
    """Yield where the security scheme *call* takes credentials from; nothing when it is no security scheme."""
    while isinstance(call, partial):
        call = call.func
    kinds = {kind.__name__: kind for kind in type(call).__mro__}
    if "SecurityBase" not in kinds:
        return
    model = getattr(call, "model", None)
    place = getattr(getattr(model, "in_", None), "value", "header")
    name = str(getattr(model, "name", None) or "authorization")
    yield place, b"cookie" if place == "cookie" else name.encode() if place == "query" else name.lower().encode()
    if not str(type(call).__call__.__module__).startswith("fastapi."):  # a subclass may read other places
        yield "header", b"authorization"
        yield "cookie", b"cookie"
