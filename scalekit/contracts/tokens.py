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
        """The access token, which the client sends in ``Authorization`` with the scheme *token_type*."""
        ...

    @property
    def refresh(self) -> str:
        """The refresh token, which is exchanged once for the next pair."""
        ...

    @property
    def expires_in(self) -> int:
        """The lifetime of the access token in seconds."""
        ...

    @property
    def token_type(self) -> str:
        """The authentication scheme: ``Bearer``, or ``DPoP`` for a token that is bound to a key of the client."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """Headers for the response with the tokens: the fingerprint cookie and ``Cache-Control: no-store``."""
        ...


class Tokens(Protocol):
    """Issues and revokes this service's tokens. Raises Unavailable (503) when the session store is unavailable."""

    async def issue(
        self,
        subject: str,
        claims: Values | None = None,
        scopes: Sequence[str] = (),
        request: HTTPConnection | None = None,
    ) -> IssuedTokens:
        """Return the first token pair of a new session of *subject*; raises ValueError for claims that the issuer sets.

        Sender-constrained tokens need the *request*; raises HTTPException (401) when it has no proof of possession.
        """
        ...

    async def revoke(self, jti: str, issuer: str = "") -> None:
        """Revoke the token with this *jti* of *issuer*, by default this service."""
        ...

    async def revoke_all(self, subject: str) -> None:
        """Revoke all sessions of *subject*."""
        ...


TOKENS: Key[Tokens] = Key("tokens", plugin="jwt")
"""Issues and revokes this service's tokens."""
