"""Detect credentials that routes declare, and users that the application has authenticated.

FastAPI and Litestar declare the headers, cookies and security schemes of a route. A user is detected after the lookup,
when the response starts and for each chunk. A middleware of Starlette or FastAPI may pass on a copy of the scope, as
ASGI recommends; a user that the application has authenticated is then in the copy only. Routers write the matched route
into the scope that they receive. The last route in the original scope therefore shows where a middleware continued with
a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from inspect import isroutine
from types import MappingProxyType
from typing import Any, get_args

from starlette.types import Scope

from scalekit.contracts import is_authenticated
from scalekit_cache.credentials import (
    APPLICATION_USER,
    COOKIE,
    UNNAMED_USER,
    USER,
    HeaderRoles,
    is_common_header,
    is_user_name,
)
from scalekit_cache.policies import CachePolicy, RouteParameters
from scalekit_cache.request import CacheRequest

State = Mapping[str, object]
NO_STATE: State = MappingProxyType({})
MAX_DEPTH = 20
"""Maximum number of levels of middleware and mounts that are inspected."""
MAX_CACHED = 4096
"""Maximum number of routes whose parameters are cached."""
MAX_DEPENDENCIES = 1000
"""Maximum number of dependencies of one route that are inspected."""


def detect_user(request: CacheRequest, scope: Scope, policy: CachePolicy, initial_state: State) -> None:
    """Add APPLICATION_USER to the credentials of *request* when the application has set a user in *scope*."""
    if (
        _has_session(request, scope, policy)
        or _has_new_user(request, scope, initial_state)
        or _may_have_hidden_user(scope)
    ):
        request.credentials |= APPLICATION_USER


def state_of(scope: Scope) -> State:
    """Return a copy of the state of *scope*."""
    state = scope.get("state")
    return dict(state) if state else NO_STATE


def _has_session(request: CacheRequest, scope: Scope, policy: CachePolicy) -> bool:
    session = scope.get("session")
    if session is None or not _is_true(session):
        return False
    return policy.ignores_cookies or not request.credentials & COOKIE


def _has_new_user(request: CacheRequest, scope: Scope, initial_state: State) -> bool:
    """Return whether the application has found a user that is not in the credentials of *request*."""
    user, auth = scope.get("user"), scope.get("auth")
    if user is not None or auth is not None:
        scopes = getattr(auth, "scopes", None)
        if user is not None and is_authenticated(user):
            return not request.is_user(user, scopes or ())
        if auth is not None and (scopes is None or scopes):
            return True
    if not request.credentials & (USER | UNNAMED_USER):
        state = scope.get("state")
        if state and _state_has_user(state, initial_state):
            return True
    return _has_client_certificate(scope)


def _may_have_hidden_user(scope: Scope) -> bool:
    """Return whether a copy of *scope* may have a user: an uncommon header of the request may identify one."""
    for name, _ in scope["headers"]:
        if not is_common_header(name):
            return is_copied(scope)
    return False


def _state_has_user(state: State, initial_state: State) -> bool:
    return any(
        initial_state.get(name) is not value and is_user_name(name) and _is_true(value) and is_authenticated(value)
        for name, value in state.items()
    )


def _is_true(value: object) -> bool:
    try:
        return bool(value)
    except Exception:  # an object without truth value, or a lazy one that is not loaded yet
        return True


def _has_client_certificate(scope: Scope) -> bool:
    """Return whether the client has sent a certificate to the server (TLS extension of ASGI)."""
    extensions = scope.get("extensions")
    tls = extensions.get("tls") if extensions else None
    return bool(tls and (tls.get("client_cert_name") or tls.get("client_cert_chain")))


def is_copied(scope: Scope) -> bool:
    """Return whether a middleware inside Starlette may have passed on a copy of *scope*, or responded itself."""
    if "litestar_app" in scope:
        return False
    if "route" in scope:
        return may_copy(getattr(scope["route"], "app", None), MAX_DEPTH)
    if "router" in scope and "endpoint" in scope:  # FastAPI does not set the route of a plain Starlette route
        endpoint = scope["endpoint"]
        found = [route.app for route in _function_routes(scope["router"], MAX_DEPTH) if route.endpoint is endpoint]
        return any(may_copy(app, MAX_DEPTH) for app in found or [endpoint])
    return "app" in scope and "router" not in scope and hasattr(scope["app"], "router")


def may_copy(app: Any, depth: int) -> bool:
    """Return whether *app*, the target of the last route in a scope, may have passed on a copy of the scope.

    A middleware other than those of Starlette and FastAPI may. So may an application with routes: if it had received
    the original scope, one of its routes would be the last.
    """
    if isroutine(app) or isinstance(app, type):
        return False
    if hasattr(app, "routes"):
        return True
    if not hasattr(app, "app"):
        return False
    is_known = str(getattr(type(app).__call__, "__module__", "")).startswith(("starlette.", "fastapi."))
    return not is_known or not depth or may_copy(app.app, depth - 1)


def _function_routes(app: Any, depth: int) -> Iterator[Any]:
    """Yield the routes to functions below *app*, including those of included routers and mounts."""
    for route in _routes(app) if depth else ():
        if hasattr(route, "effective_route_contexts"):
            yield from (each.starlette_route for each in route.effective_route_contexts() if each.starlette_route)
        elif hasattr(route, "endpoint"):
            yield route
        elif hasattr(route, "app"):
            yield from _function_routes(route, depth - 1)


def _routes(app: Any) -> Iterable[Any]:
    for _ in range(MAX_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return routes
        app = getattr(app, "app", None)
    return ()


class RouteInspector:
    """Reads the parameters of routes once; *roles* classifies plain header parameters."""

    def __init__(self, roles: HeaderRoles) -> None:
        self._roles = roles
        self._entries: dict[int, tuple[object, RouteParameters | None]] = {}

    def parameters(self, scope: Scope) -> RouteParameters | None:
        """Return the parameters of the route of *scope*, or None when it declares none."""
        route = scope.get("route")
        declaration = scope.get("route_handler") if route is None else _dependant(scope, route)
        if declaration is None:
            return None
        entry = self._entries.get(id(declaration))
        if entry is None:
            if len(self._entries) >= MAX_CACHED:
                self._entries.clear()
            found = self._of_dependant(declaration) if route is not None else self._of_handler(scope, declaration)
            # The value references the declaration, because an id is unique only during an object's lifetime.
            entry = self._entries[id(declaration)] = (declaration, found)
        return entry[1]

    def _of_handler(self, scope: Scope, handler: Any) -> RouteParameters | None:
        """Return the parameters of a *handler* of Litestar; its models include those of its dependencies."""
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
    """Yield place and name of the credentials that the security scheme *call* reads; nothing for other calls."""
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
