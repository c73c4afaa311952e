"""Why a response is not stored, as ``Cache-Status`` says it in ``detail`` (RFC 9211, section 2.8)."""

from __future__ import annotations

from enum import Enum

from scalekit_cache.stored_response import AUTHORIZATION, COOKIE, DECLARED, NAMELESS, OTHER, UNSEEN, USER


class NotStored(Enum):
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
    (AUTHORIZATION, NotStored.AUTHORIZATION),
    (USER | NAMELESS, NotStored.USER),
    (COOKIE, NotStored.COOKIE),
    (OTHER, NotStored.CREDENTIAL_HEADER),
    (DECLARED, NotStored.DECLARED),
    (UNSEEN, NotStored.USER_OF_APPLICATION),
)
REQUEST_REASONS = frozenset(
    {refusal for _, refusal in _OF_CREDENTIALS}
    | {NotStored.REQUEST_BODY, NotStored.METHOD, NotStored.PURGED, NotStored.ERROR}
)
"""Reasons which say nothing of what was stored before: others may still have that."""


def reason_for_credentials(credentials: int) -> NotStored:
    """Return the first reason in *credentials*, of which there is at least one."""
    return next(refusal for credential, refusal in _OF_CREDENTIALS if credentials & credential)
