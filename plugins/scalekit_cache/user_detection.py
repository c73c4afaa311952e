"""Whom the application itself has recognised, after the cache has looked at the request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from starlette.types import Scope

from scalekit.contracts import is_authenticated
from scalekit_cache.credentials import is_of_anybody
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.scope_copy import is_copied
from scalekit_cache.stored_response import COOKIE, NAMELESS, UNSEEN, USER

State = Mapping[str, Any]
NOTHING: State = {}

_OF_USERS = re.compile(
    r"user(?!_?agent)|authenticated|api_?key|tenant|credential|principal|customer"
    r"|(?<![a-z])(?:auth|authorization|identity|account|subject|sub|claims|uid|member|viewer|actor|caller|login|person"
    r"|profile|jwt|token|scopes|roles?|permissions|org|organi[sz]ation|client_id)(?![a-z])"
)
"""What the names have in them under which applications leave a user, or what one may do, in ``request.state``."""


@lru_cache(4096)
def names_user(name: str) -> bool:
    """Tell whether applications leave a user in ``request.state`` under such a *name*."""
    return _OF_USERS.search(name.lower()) is not None


def state_of(scope: Scope) -> State:
    """Return what stands in the state of *scope* now."""
    state = scope.get("state")
    return dict(state) if state else NOTHING


def detect_user(asked: CacheRequest, scope: Scope, policy: CachePolicy, known: State) -> None:
    """Let *asked* know of a user whom the application has left in *scope* meanwhile, whose state was *known* before."""
    if _has_session(asked, scope, policy) or _is_unseen(asked, scope, known) or _may_be_hidden(scope):
        asked.credentials |= UNSEEN


def _has_session(asked: CacheRequest, scope: Scope, policy: CachePolicy) -> bool:
    session = scope.get("session")
    if session is None or not _is_something(session):
        return False
    return policy.ignores_cookies or not asked.credentials & COOKIE


def _is_unseen(asked: CacheRequest, scope: Scope, known: State) -> bool:
    """Tell whether the application has found a user of whom *asked* knows nothing."""
    user, auth = scope.get("user"), scope.get("auth")
    if user is not None or auth is not None:
        scopes = getattr(auth, "scopes", None)
        if user is not None and is_authenticated(user):
            return not asked.knows(user, scopes or ())
        if auth is not None and (scopes is None or scopes):
            return True
    if not asked.credentials & (USER | NAMELESS):
        state = scope.get("state")
        if state and _has_user(state, known):
            return True
    return _has_certificate(scope)


def _may_be_hidden(scope: Scope) -> bool:
    """Tell whether there may be a user in a copy of *scope*: with a header that not everybody sends."""
    for name, _ in scope["headers"]:
        if not is_of_anybody(name):
            return is_copied(scope)
    return False


def _has_user(state: State, known: State) -> bool:
    return any(
        known.get(name) is not value and names_user(name) and _is_something(value) and is_authenticated(value)
        for name, value in state.items()
    )


def _is_something(value: object) -> bool:
    try:
        return bool(value)
    except Exception:  # it is neither true nor false, or not loaded yet
        return True


def _has_certificate(scope: Scope) -> bool:
    """Tell whether the client has shown a certificate to the server (the TLS extension of ASGI)."""
    extensions = scope.get("extensions")
    tls = extensions.get("tls") if extensions else None
    return bool(tls and (tls.get("client_cert_name") or tls.get("client_cert_chain")))
