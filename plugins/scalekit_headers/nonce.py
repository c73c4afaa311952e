"""The nonce of a response, for the inline scripts of its page."""

from __future__ import annotations

from secrets import token_urlsafe

from starlette.requests import HTTPConnection
from starlette.types import Scope

SCOPE_KEY = "scalekit.csp_nonce"
BYTES = 18


def csp_nonce(request: HTTPConnection) -> str:
    """Return the nonce of the response to *request*, 24 characters; it is made when it is first asked for.

    ``{nonce}`` in ``content_security_policy`` becomes this nonce, and the response is not stored by caches.
    """
    nonce = request.scope.get(SCOPE_KEY)
    if nonce is None:
        nonce = request.scope[SCOPE_KEY] = token_urlsafe(BYTES)
    return str(nonce)


def nonce_in(scope: Scope) -> str:
    """Return the nonce that the application has asked for in *scope*, empty when it has not."""
    return str(scope.get(SCOPE_KEY, ""))
