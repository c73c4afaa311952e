"""Who may come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import HTTPConnection

from scalekit.context import Key
from scalekit.contracts.database import Values


class IssuedTokens(Protocol):
    """What a client gets when it has shown who it is."""

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
        """Seconds that the access token is good for."""
        ...

    @property
    def token_type(self) -> str:
        """How it is sent: ``Bearer``, or ``DPoP`` when it is bound to a key of the client's."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """What the answer that hands them out must have: the fingerprint's cookie, and that nobody keeps it."""
        ...


class Tokens(Protocol):
    """Issues and ends this service's own tokens. Raises Unavailable, a 503, when what remembers them is gone."""

    async def issue(
        self,
        subject: str,
        claims: Values | None = None,
        scopes: Sequence[str] = (),
        request: HTTPConnection | None = None,
    ) -> IssuedTokens:
        """Return the first pair of a new session of *subject*; raises ValueError for claims that the issuer sets.

        Tokens that are bound to a key of who asks need the *request*; HTTPException, a 401, says that it shows none.
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
