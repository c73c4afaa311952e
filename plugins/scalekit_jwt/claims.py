"""Validate the registered claims of a JWT (RFC 7519 section 4.1, RFC 8725)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit_jwt.errors import InvalidToken

MAX_NUMERIC_DATE = 253_402_300_799.0
"""The end of the year 9999, in seconds since the epoch; later dates are invalid."""


def read_numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """Return the NumericDate in the claim *name*, None when absent; raises InvalidToken for any other value."""
    value = claims.get(name)
    if value is None:
        if name in claims:
            raise InvalidToken("claim")
        return None
    if type(value) not in (int, float) or not 0 <= value <= MAX_NUMERIC_DATE:
        raise InvalidToken("claim")
    return float(value)


def validate_times(claims: Mapping[str, Any], now: float, leeway: float) -> float:
    """Return ``exp``; raises InvalidToken when the token has expired or is not valid yet, within *leeway* seconds."""
    expires = read_numeric_date(claims, "exp")
    if expires is None:
        raise InvalidToken("claim")
    if expires + leeway <= now:
        raise InvalidToken("expired")
    for name in ("nbf", "iat"):
        valid_from = read_numeric_date(claims, name)
        if valid_from is not None and valid_from - leeway > now:
            raise InvalidToken("not_yet_valid")
    return expires


def validate_audience(claims: Mapping[str, object], audience: str, claim: str = "aud") -> None:
    """Raise InvalidToken unless *claim*, and ``aud`` where present, contain *audience*."""
    for name in {claim, "aud"} if "aud" in claims else {claim}:
        value = claims.get(name)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values) or audience not in values:
            raise InvalidToken("audience")


def read_string_claim(claims: Mapping[str, object], name: str, required: bool = True) -> str:
    """Return the string claim *name*; raises InvalidToken when it is missing, empty, or not a string."""
    value = claims.get(name, None if required else "")
    if not isinstance(value, str) or (required and not value) or "\x00" in value:
        raise InvalidToken("claim")
    return value


def read_confirmation(claims: Mapping[str, object]) -> str:
    """Return ``cnf.jkt``, the thumbprint of the key that a token is bound to; empty for an unbound token.

    Raises InvalidToken for other confirmation methods, such as a certificate (RFC 8705), which are not verified here.
    """
    confirmation = claims.get("cnf", {})
    if not isinstance(confirmation, dict):
        raise InvalidToken("claim")
    if confirmation and "jkt" not in confirmation:
        raise InvalidToken("binding")
    return read_string_claim(confirmation, "jkt") if confirmation else ""


def read_scopes(claims: Mapping[str, object]) -> list[str]:
    """Return the scopes of a token, from ``scope`` (RFC 8693) or ``scp`` (Microsoft Entra, Okta)."""
    value = claims.get("scope", claims.get("scp", ""))
    if isinstance(value, str):
        return [scope for scope in value.split(" ") if scope]  # only a space separates scopes (RFC 6749, section 3.3)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return list(value)
    raise InvalidToken("claim")
