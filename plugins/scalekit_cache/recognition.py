"""Whom the application itself has recognised, after the cache has looked at the request."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from starlette.types import Scope

from scalekit_cache.asked import Asked
from scalekit_cache.entry import NAMELESS, USER

USERS = frozenset(
    {
        "user",
        "current_user",
        "auth_user",
        "authenticated_user",
        "user_id",
        "username",
        "auth",
        "identity",
        "principal",
        "account",
        "subject",
        "claims",
    }
)
"""Names under which applications leave a user in ``request.state``."""


def is_authenticated(user: Any) -> bool:
    """Tell whether *user* is somebody; one that does not say so is."""
    try:
        return bool(getattr(user, "is_authenticated", True))
    except NotImplementedError:  # what BaseUser of Starlette does in a class that does not say it
        return True


def is_unseen(asked: Asked, scope: Scope, known_state: int) -> bool:
    """Tell whether the application has found a user of whom *asked* knows nothing.

    *known_state* is how many names ``scope["state"]`` had before: what middleware adds comes after them.
    """
    user, auth = scope.get("user"), scope.get("auth")
    scopes = getattr(auth, "scopes", None)
    if user is not None and is_authenticated(user):
        return not asked.knows(user, scopes or ())
    if auth is not None and (scopes is None or scopes):
        return True
    if not asked.credentials & (USER | NAMELESS):
        state = scope.get("state")
        if state and len(state) > known_state and _has_user(state, known_state):
            return True
    return _has_certificate(scope)


def _has_user(state: Mapping[str, Any], known: int) -> bool:
    return any(
        name in USERS and bool(value) and is_authenticated(value) for name, value in islice(state.items(), known, None)
    )


def _has_certificate(scope: Scope) -> bool:
    """Tell whether the client has shown a certificate to the server (the TLS extension of ASGI)."""
    tls = (scope.get("extensions") or {}).get("tls")
    return bool(tls and (tls.get("client_cert_name") or tls.get("client_cert_chain")))
