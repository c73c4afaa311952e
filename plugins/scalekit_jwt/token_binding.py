"""What a pair of tokens is bound to."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import HTTPConnection

from scalekit.problem import ProblemError
from scalekit_jwt.challenges import DPOP, unauthorized
from scalekit_jwt.credentials import shown
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.errors import InvalidToken


class TokenBinding(NamedTuple):
    """The digest of a cookie and the thumbprint of a key, each empty where tokens are not bound to one."""

    fingerprint: str = ""
    key: str = ""

    def claims(self) -> dict[str, Any]:
        """Return what tokens say of it."""
        cookie = {"fgp": self.fingerprint} if self.fingerprint else {}
        return {**cookie, "cnf": {"jkt": self.key}} if self.key else cookie


async def key_of(request: HTTPConnection | None, proofs: ProofVerifier) -> str:
    """Return the thumbprint of the key that who asks has; raises HTTPException, a 401, without a proof of one."""
    if request is None:
        raise ValueError('sender = "dpop" binds tokens to a key of who asks: call issue(..., request=request)')
    try:
        return await proofs.check(shown(request.scope))
    except InvalidToken as refused:
        raise ProblemError(unauthorized(DPOP, refused.reason)) from None
