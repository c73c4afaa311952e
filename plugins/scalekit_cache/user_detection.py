"""Detect a user that the application has authenticated after the lookup, when the response starts and for each chunk.

A middleware of Starlette or FastAPI may pass on a copy of the scope, as ASGI recommends; a user that the application
has authenticated is then in the copy only. The scope of the request shows how far it was passed on itself: to the
application, or to the last route that has set its name in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from inspect import isroutine
from types import MappingProxyType
from typing import Any

from starlette.types import Scope

from scalekit.contracts import is_authenticated
from scalekit_cache.cache_status import NotStored
from scalekit_cache.credentials import APPLICATION_USER, COOKIE, DECLARED, UNNAMED_USER, USER, is_common_header
from scalekit_cache.decorator import policy_of
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.keys import has_secret_parameter
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest

State = Mapping[str, Any]
NO_STATE: State = MappingProxyType({})
MAX_DEPTH = 20
"""Levels of middleware and mounts that are inspected."""

_USER_NAMES = re.compile(
    r"user(?!_?agent)|authenticated|api_?key|tenant|credential|principal|customer"
    r"|(?<![a-z])(?:auth|authorization|identity|account|subject|sub|claims|uid|member|viewer|actor|caller|login|person"
    r"|profile|jwt|token|scopes|roles?|permissions|org|organi[sz]ation|client_id)(?![a-z])"
)
"""Matches names in ``request.state`` under which applications set a user or permissions."""


def reevaluate(
    cache: HttpCache, scope: Scope, request: CacheRequest, policy: CachePolicy, initial_state: State
) -> CachePolicy | NotStored:
    """Return the policy of the handler that responds, or why the response must not be stored.

    The application has set handler and user in *scope*, from which the credentials of *request* are completed. *policy*
    is that of the path, *initial_state* the state of the scope before the call.
    """
    if request.has_body:
        return NotStored.REQUEST_BODY
    handler_policy = policy_of(scope)
    if handler_policy is not None:
        policy = cache.policies.for_handler(handler_policy, policy)
    parameters = cache.routes.parameters(scope)
    if parameters is not None:
        if parameters.query and has_secret_parameter(scope["query_string"], parameters.query, policy.query):
            return NotStored.DECLARED
        policy = cache.policies.for_route(policy, parameters)
        names = parameters.credential_headers
        if request.has_any(names):
            request.credentials |= DECLARED
        if parameters.uses_request and cache.routes.has_uncommon_header(scope, {*policy.vary, *names}):
            request.credentials |= APPLICATION_USER
    detect_user(request, scope, policy, initial_state)
    return policy


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


@lru_cache(4096)
def is_user_name(name: str) -> bool:
    """Return whether applications set a user in ``request.state`` under such a *name*."""
    return _USER_NAMES.search(name.lower()) is not None


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

    That is a middleware of a route or mount that is not Starlette's own, or an application with routes, because one of
    those would be the last route in the scope.
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
