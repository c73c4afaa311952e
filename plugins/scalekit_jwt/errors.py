"""Why a token is not taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class InvalidToken(Exception):
    """A token is not good; *reason* is one of a closed set, and never holds anything of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidToken):
    """No key of the issuer has the token's ``kid``; *wait_for_keys* waits for others, and tells whether they came."""

    def __init__(self, wait_for_keys: Callable[[], Awaitable[bool]] | None = None) -> None:
        super().__init__("unknown_key")
        self.wait_for_keys = wait_for_keys
