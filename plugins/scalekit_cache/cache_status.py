"""Why a response is not stored, as ``Cache-Status`` says it in ``detail`` (RFC 9211, section 2.8)."""

from __future__ import annotations

from enum import Enum

from scalekit_cache.stored_response import AUTHORIZATION, COOKIE, DECLARED, NAMELESS, OTHER, UNSEEN, USER


class Refusal(Enum):
    """One reason; its value is what ``Cache-Status`` ends with."""

    AUTHORIZATION = b"; detail=authorization"
    COOKIE = b"; detail=cookie"
    USER = b"; detail=user"
    CREDENTIAL_HEADER = b"; detail=credential-header"
    DECLARED = b"; detail=credential-of-route"
    USER_OF_APPLICATION = b"; detail=user-of-application"
    REQUEST_BODY = b"; detail=request-body"
    METHOD = b"; detail=method"
    NO_STORE = b"; detail=no-store"
    PRIVATE = b"; detail=private"
    NOT_UNDERSTOOD = b"; detail=must-understand"
    SET_COOKIE = b"; detail=set-cookie"
    VARY = b"; detail=vary"
    STATUS = b"; detail=status"
    PARTIAL = b"; detail=partial"
    NO_LIFETIME = b"; detail=no-lifetime"
    STALE = b"; detail=stale"
    TOO_LARGE = b"; detail=too-large"
    TRAILERS = b"; detail=trailers"
    ERROR = b"; detail=error"
    PURGED = b"; detail=purged"
    TABLES = b"; detail=unknown-tables"


_OF_CREDENTIALS = (
    (AUTHORIZATION, Refusal.AUTHORIZATION),
    (USER | NAMELESS, Refusal.USER),
    (COOKIE, Refusal.COOKIE),
    (OTHER, Refusal.CREDENTIAL_HEADER),
    (DECLARED, Refusal.DECLARED),
    (UNSEEN, Refusal.USER_OF_APPLICATION),
)
OF_THE_REQUEST = frozenset(
    {refusal for _, refusal in _OF_CREDENTIALS} | {Refusal.REQUEST_BODY, Refusal.METHOD, Refusal.PURGED, Refusal.ERROR}
)
"""Reasons which say nothing of what was stored before: others may still have that."""


def refusal_of(credentials: int) -> Refusal:
    """Return the first reason in *credentials*, of which there is at least one."""
    return next(refusal for credential, refusal in _OF_CREDENTIALS if credentials & credential)
