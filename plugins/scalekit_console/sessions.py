"""The sessions of operators who have signed in: kept by the service, in all workers, until they end or are ended."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from time import monotonic

from scalekit import Server, Unavailable
from scalekit.contracts import Override, OverrideChange, OverrideGroup

GROUP = "console session"
"""The group of overrides, by the digest of a session."""
MAX_SESSIONS = 100
"""Sessions of a service; a new one ends the one that would end first."""
MAX_COOKIE = 200
"""Characters of a cookie that can be that of a session."""
SIGNED_IN = "signed in"


class OperatorSessions:
    """Starts, finds and ends sessions of *ttl* seconds; those of another operator token are not found.

    Overrides of the service keep them: a session that has ended has ended in every worker and in each new one, and a
    restart of the service ends all. They have a digest in place of the cookie, from which it cannot be computed.
    """

    def __init__(self, server: Server, ttl: float, group: OverrideGroup) -> None:
        token = server.operator_token
        self._key = _derive_key(token.get_secret_value()) if token else b""
        self._ttl = ttl
        self._group = group

    def exists(self, cookie: str) -> bool:
        """Return whether *cookie* is that of a session that has not ended."""
        if not self._key or not 0 < len(cookie) <= MAX_COOKIE:
            return False
        return self._digest(cookie) in self._group.active

    async def start(self) -> str:
        """Return the cookie of a new session; raises Unavailable when the supervisor does not respond."""
        active = self._group.active
        if len(active) >= MAX_SESSIONS:
            await self._change(OverrideChange(min(active, key=lambda name: active[name].end), None))
        cookie = secrets.token_urlsafe(32)
        await self._change(OverrideChange(self._digest(cookie), Override(SIGNED_IN, monotonic() + self._ttl)))
        return cookie

    async def end(self, cookie: str) -> None:
        """End the session of *cookie* if there is one; raises Unavailable when the supervisor does not respond."""
        if self.exists(cookie):
            await self._change(OverrideChange(self._digest(cookie), None))

    async def _change(self, change: OverrideChange) -> None:
        try:
            await self._group.change(change)
        except TimeoutError:
            detail = "the supervisor does not respond; try again"
            raise Unavailable(detail, detail=detail) from None

    def _digest(self, cookie: str) -> str:
        return hmac.digest(self._key, cookie.encode(errors="replace"), sha256).hex()


def _derive_key(token: str) -> bytes:
    """Return the key of digests, from which the token cannot be computed; a new token ends all sessions."""
    return hmac.digest(token.encode(), b"scalekit console session", sha256)
