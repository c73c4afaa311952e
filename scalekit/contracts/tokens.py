"""Contract of the jwt plugin: issue and revoke tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import HTTPConnection

from scalekit.context import Key
from scalekit.contracts.database import Values


class IssuedTokens(Protocol):
    """The token pair of an authenticated client."""

    @property
    def access(self) -> str:
        """What it sends with each request, as ``Authorization: Bearer``, or whatever *token_type* is."""
        ...

    @property
    def refresh(self) -> str:
        """What it gets the next pair for, once."""
        ...

    @property
    def expires_in(self) -> int:
        """Lifetime of the access token in seconds."""
        ...

    @property
    def token_type(self) -> str:
        """How it is sent: ``Bearer``, or ``DPoP`` when it is bound to a key of the client's."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response that delivers them: the fingerprint cookie and ``Cache-Control: no-store``."""
        ...


class Tokens(Protocol):
    """Issues and ends this service's own tokens. Raises Unavailable, a 503, when the session store is unavailable."""

    async def issue(
        self,
        subject: str,
        claims: Values | None = None,
        scopes: Sequence[str] = (),
        request: HTTPConnection | None = None,
    ) -> IssuedTokens:
        """Return the first pair of a new session of *subject*; raises ValueError for claims that the issuer sets.

        Sender-constrained tokens need the *request*; raises HTTPException 401 when it has no proof of possession.
        """
        ...

    async def revoke(self, jti: str, issuer: str = "") -> None:
        """End the one token that has this *jti*, of this service's own where no *issuer* is named."""
        ...

    async def revoke_all(self, subject: str) -> None:
        """End every session of *subject* at once."""
        ...


TOKENS: Key[Tokens] = Key("tokens", plugin="jwt")
"""Issues and ends this service's own tokens."""
