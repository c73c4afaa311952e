"""The collaborators shared by issuing, refreshing and revoking tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.fingerprint import FingerprintCookie
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.session_store import SessionStore
from scalekit_jwt.token_pair import TokenPairEncoder


@dataclass(frozen=True, slots=True)
class SessionContext:
    """Collaborators of TokenService and RefreshTokens; *on_revoke* is called after each revocation.

    *fingerprint* is None when tokens are not bound to a cookie.
    """

    encoder: TokenPairEncoder
    store: SessionStore
    fingerprint: FingerprintCookie | None
    proofs: ProofVerifier
    metrics: JwtMetrics
    clock: Callable[[], float]
    on_revoke: Callable[[], None]
