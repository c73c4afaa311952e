"""Issue and revoke this service's own tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from scalekit import ProblemError
from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.challenges import DPOP_CHALLENGE, unauthorized
from scalekit_jwt.credentials import read_proof
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import FingerprintCookie, fingerprint_digest
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.session_store import SessionStore, TokenSession
from scalekit_jwt.token_pair import TokenBinding, TokenPair, TokenPairEncoder, random_id

RESERVED_CLAIMS = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "ver", "fgp", "scope", "scp", "cnf", "ext"}
)
MAX_SUBJECT_LENGTH = 255
FOREIGN_REVOCATION_TTL = 86400.0
"""Seconds for which a revoked token of another issuer is refused, since its expiry is unknown here."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The collaborators of TokenService and RefreshTokens; *on_revoke* is called after each revocation.

    *fingerprint* is None when tokens are not bound to a cookie.
    """

    encoder: TokenPairEncoder
    store: SessionStore
    fingerprint: FingerprintCookie | None
    proofs: ProofVerifier
    metrics: JwtMetrics
    clock: Callable[[], float]
    on_revoke: Callable[[], None]


class TokenService:
    """Starts sessions with their first token pair, and revokes tokens and sessions."""

    def __init__(self, context: SessionContext) -> None:
        self._encoder = context.encoder
        self._issuer = context.encoder.issuer
        self._lifetimes = context.encoder.lifetimes
        self._store = context.store
        self._fingerprint = context.fingerprint
        self._proofs = context.proofs
        self._metrics = context.metrics
        self._clock = context.clock
        self._on_revoke = context.on_revoke

    async def issue(
        self,
        subject: str,
        claims: Mapping[str, Any] | None = None,
        scopes: Sequence[str] = (),
        request: HTTPConnection | None = None,
    ) -> TokenPair:
        """Start a session of *subject* and return its first pair, bound to the DPoP key of *request* if required."""
        custom_claims = dict(claims or {})
        _validate(subject, custom_claims, scopes)
        jkt = await self._proven_thumbprint(request) if self._issuer.requires_dpop else ""
        now = self._clock()
        identifier = self._identifier(subject)
        version = await self._store.version_of(identifier)
        session = TokenSession(random_id(), identifier, version, random_id(), now + self._lifetimes.refresh_ttl)
        await self._store.create(session, now)
        value = self._fingerprint.generate() if self._fingerprint else ""
        self._metrics.issued.inc()
        return self._encoder.encode(
            session,
            scope=" ".join(scopes),
            claims=custom_claims,
            binding=TokenBinding(fingerprint_digest(value.encode()) if value else "", jkt),
            cookie=self._fingerprint.set_cookie(value) if self._fingerprint else "",
        )

    async def revoke(self, jti: str, issuer: str = "") -> None:
        """Revoke the token *jti* of *issuer*, or of this service when *issuer* is empty."""
        now = self._clock()
        until = now + FOREIGN_REVOCATION_TTL if issuer else self._lifetimes.last_access_expiry(now)
        await self._store.revoke(issuer or self._issuer.issuer, jti, until)
        self._on_revoke()

    async def revoke_all(self, subject: str) -> None:
        """Revoke all sessions of *subject*."""
        now = self._clock()
        await self._store.revoke_all(self._identifier(subject), now, self._lifetimes.last_access_expiry(now))
        self._on_revoke()

    def _identifier(self, subject: str) -> SubjectIdentifier:
        return SubjectIdentifier(self._issuer.issuer, subject)

    async def _proven_thumbprint(self, request: HTTPConnection | None) -> str:
        """Return the thumbprint of the key in the request's DPoP proof; raises ProblemError, a 401, without one."""
        if request is None:
            raise ValueError('sender_constraint = "dpop" needs the request: call issue(..., request=request)')
        try:
            return await self._proofs.check(read_proof(request.scope))
        except InvalidToken as invalid:
            raise ProblemError(unauthorized(DPOP_CHALLENGE, invalid.reason)) from None


def _validate(subject: str, claims: Mapping[str, object], scopes: Sequence[str]) -> None:
    if not subject or len(subject) > MAX_SUBJECT_LENGTH or "\x00" in subject:
        raise ValueError(f"subject must have 1 to {MAX_SUBJECT_LENGTH} characters")
    if reserved := sorted(RESERVED_CLAIMS & claims.keys()):
        raise ValueError(f"claims {', '.join(reserved)} are reserved for the issuer; choose other names")
    if isinstance(scopes, str) or any(not scope.isprintable() or " " in scope or not scope for scope in scopes):
        raise ValueError('scopes must be a list of words, such as ["orders:read"]')
