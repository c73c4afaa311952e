"""The nonce of a response, for the inline scripts of its page."""

from __future__ import annotations

from secrets import token_urlsafe

from starlette.requests import HTTPConnection

from scalekit import ResourceError

SCOPE_KEY = "scalekit.csp_nonce"
"""Key of a list in the scope: empty, or with the nonce. Copies of the scope refer to the same list."""
BYTES = 18


def csp_nonce(request: HTTPConnection) -> str:
    """Return the nonce of the response to *request*, 24 characters; the first call, before it starts, makes it.

    ``{nonce}`` in ``content_security_policy`` becomes this nonce, and caches do not store the response. Raises
    ResourceError when the plugin ``headers`` is off.
    """
    try:
        nonces: list[str] = request.scope[SCOPE_KEY]
    except KeyError:
        raise ResourceError("no plugin adds the nonce to this response: turn on [plugins.headers]") from None
    if not nonces:
        nonces.append(token_urlsafe(BYTES))
    return nonces[0]
