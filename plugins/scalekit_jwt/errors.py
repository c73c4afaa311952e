"""Exceptions of token verification."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class InvalidToken(Exception):
    """A token or DPoP proof is invalid; *reason* is one of a fixed set and never contains part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidToken):
    """The issuer has no key with the token's ``kid``.

    *wait_for_keys* fetches the issuer's JWKS again and returns whether it was fetched; None for local keys.
    """

    def __init__(self, wait_for_keys: Callable[[], Awaitable[bool]] | None = None) -> None:
        super().__init__("unknown_key")
        self.wait_for_keys = wait_for_keys
