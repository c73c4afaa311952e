"""What a token must say of itself to be for us, and for now (RFC 7519 section 4.1, RFC 8725)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit_jwt.errors import InvalidToken

MAX_NUMERIC_DATE = 253_402_300_799.0
"""The end of the year 9999: what lies behind it is no date that anybody means."""


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """Return the NumericDate in the claim *name*, or None without it; raises InvalidToken for any other value."""
    value = claims.get(name)
    if value is None:
        if name in claims:
            raise InvalidToken("claim")
        return None
    if type(value) not in (int, float) or not 0 <= value <= MAX_NUMERIC_DATE:
        raise InvalidToken("claim")
    return float(value)


def validate_times(claims: Mapping[str, Any], now: float, leeway: float) -> float:
    """Return when the token ends; raises InvalidToken when it has ended, or has not begun."""
    expires = numeric_date(claims, "exp")
    if expires is None:
        raise InvalidToken("claim")
    if expires + leeway <= now:
        raise InvalidToken("expired")
    for name in ("nbf", "iat"):
        begins = numeric_date(claims, name)
        if begins is not None and begins - leeway > now:
            raise InvalidToken("not_yet")
    return expires


def validate_audience(claims: Mapping[str, Any], audience: str, claim: str = "aud") -> None:
    """Raise InvalidToken unless *claim*, and ``aud`` where present, name *audience*."""
    for name in {claim, "aud"} if "aud" in claims else {claim}:
        given = claims.get(name)
        named = given if isinstance(given, list) else [given]
        if not all(isinstance(each, str) for each in named) or audience not in named:
            raise InvalidToken("audience")


def text(claims: Mapping[str, Any], name: str, required: bool = True) -> str:
    """Return the claim *name*, which is a text; raises InvalidToken when it is not."""
    value = claims.get(name, None if required else "")
    if not isinstance(value, str) or (required and not value) or "\x00" in value:
        raise InvalidToken("claim")
    return value


def scopes_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the scopes of a token: ``scope`` (RFC 8693), or ``scp`` as some issuers have it."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return [scope for scope in given.split(" ") if scope]  # no other blank separates them (RFC 6749, section 3.3)
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return list(given)
    raise InvalidToken("claim")
