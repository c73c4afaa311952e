"""Rotate refresh tokens, detect their reuse, and log out (RFC 9700 section 4.14.2)."""

from __future__ import annotations

import logging
from dataclasses import replace

from scalekit import Unavailable
from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.claims import read_numeric_date, read_string_claim
from scalekit_jwt.dpop import PresentedProof
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import decode_digest
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.session_store import Rotation, RotationOutcome, TokenSession
from scalekit_jwt.token_pair import TokenBinding, TokenPair, random_id
from scalekit_jwt.token_service import SessionContext
from scalekit_jwt.token_verifier import REFRESH, VerifiedToken

logger = logging.getLogger("scalekit.jwt")


class RefreshTokens:
    """Exchanges refresh tokens for new pairs, and ends sessions."""

    def __init__(self, context: SessionContext) -> None:
        self._encoder = context.encoder
        self._verifier = replace(context.encoder.issuer, token_types=frozenset({REFRESH}))
        self._lifetimes = context.encoder.lifetimes
        self._store = context.store
        self.fingerprint = context.fingerprint
        self._proofs = context.proofs
        self._metrics = context.metrics
        self._clock = context.clock
        self._on_revoke = context.on_revoke

    async def refresh(self, token: bytes, cookies: bytes, presented: PresentedProof) -> TokenPair:
        """Rotate the refresh *token* and return the next pair; raises InvalidToken, also for a reused token."""
        verified = await self._verify(token, cookies, presented)
        now = self._clock()
        subject = SubjectIdentifier(verified.issuer, verified.subject)
        session = TokenSession(verified.session, subject, verified.version, verified.jti, verified.expires)
        rotation = await self._rotate(session, now)
        successor = replace(session, jti=rotation.jti, expires=rotation.expires)
        value = self._cookie_value(verified, cookies)
        cookie = self.fingerprint.set_cookie(value.decode("latin-1")) if self.fingerprint and value else ""
        await self._mark_delivered(session.family, rotation.jti, now)
        return self._encoder.encode(
            successor,
            scope=" ".join(verified.scopes),
            claims=verified.claims.get("ext", {}),
            binding=TokenBinding(verified.fingerprint, verified.jkt),
            cookie=cookie,
        )

    async def logout(self, token: bytes, cookies: bytes, presented: PresentedProof) -> None:
        """End the session of the refresh *token*; raises InvalidToken when the token is invalid."""
        await self.end((await self._verify(token, cookies, presented)).session)

    async def _rotate(self, session: TokenSession, now: float) -> Rotation:
        expires = now + self._lifetimes.refresh_ttl
        grace = self._lifetimes.rotation_grace
        rotation = await self._store.rotate(session, random_id(), now=now, grace=grace, expires=expires)
        self._metrics.refreshed(rotation.outcome.value)
        if rotation.outcome is RotationOutcome.REUSED:
            logger.warning(
                "refresh token reused: session revoked",
                extra={
                    **session.subject._asdict(),
                    "session": session.family,
                    "event_kind": "refresh_token_reuse",
                },
            )
            await self.end(session.family)
        if not rotation.jti:
            raise InvalidToken("reused" if rotation.outcome is RotationOutcome.REUSED else "revoked")
        return rotation

    async def _mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Record that the pair of *jti* is sent to the client, or log that this could not be recorded.

        The token has been rotated, so a 503 instead of the pair would make the client's next request look like reuse.
        Without the record the old token returns the same successor for longer than the grace period.
        """
        try:
            await self._store.mark_delivered(family, jti, now)
        except Unavailable as error:
            logger.warning("delivery of a refreshed token could not be recorded: %s", error, extra={"session": family})

    async def end(self, family: str) -> None:
        """End the session *family* and revoke its access tokens."""
        now = self._clock()
        await self._store.end(family, now, self._lifetimes.last_access_expiry(now))
        self._on_revoke()

    async def _verify(self, token: bytes, cookies: bytes, presented: PresentedProof) -> VerifiedToken:
        verified = self._verifier.verify(parse_jws(token))
        issued_at = read_numeric_date(verified.claims, "iat")
        # A token issued under a longer refresh_ttl expires by the current one: revocations are stored no longer.
        if issued_at is None or issued_at + self._lifetimes.refresh_ttl + self._lifetimes.leeway <= self._clock():
            raise InvalidToken("expired")
        bound = self.fingerprint is not None
        if bound != bool(verified.fingerprint) or (bound and not self._cookie_value(verified, cookies)):
            raise InvalidToken("fingerprint")
        read_string_claim(verified.claims, "jti")
        read_string_claim(verified.claims, "sid")
        if verified.jkt:
            await self._proofs.check(presented, jkt=verified.jkt)
        return verified

    def _cookie_value(self, token: VerifiedToken, cookies: bytes) -> bytes:
        """Return the value of the cookie that *token* is bound to, empty without one."""
        return self.fingerprint.find_match(cookies, decode_digest(token.fingerprint)) if self.fingerprint else b""
