"""The service's own tokens: issued, rotated, ended."""

from __future__ import annotations

import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.requests import HTTPConnection

from scalekit.contracts import SubjectIdentifier
from scalekit.resilience import Unavailable
from scalekit.strict_json import encode_json
from scalekit_jwt.claims import numeric_date, text
from scalekit_jwt.dpop import PresentedProof, ProofVerifier
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import FingerprintCookie, decode_digest, fingerprint_digest
from scalekit_jwt.jws import read
from scalekit_jwt.keys import SigningKey
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.session_store import RotationOutcome, Session, SessionStore
from scalekit_jwt.token_binding import TokenBinding, key_of
from scalekit_jwt.token_verifier import ACCESS, REFRESH, Issuer, VerifiedToken

logger = logging.getLogger("scalekit.jwt")

RESERVED = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "ver", "fgp", "scope", "scp", "cnf", "ext"}
)
MAX_SUBJECT_LENGTH = 255
FOREIGN_REVOCATION_TTL = 86400.0
"""Seconds for which a revoked token of another issuer is refused: nobody here knows when it ends."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A pair of tokens; *cookie* is the Set-Cookie of the fingerprint, empty where there is none."""

    access: str
    refresh: str
    expires_in: int
    token_type: str
    cookie: str

    @property
    def headers(self) -> dict[str, str]:
        """What the answer must have that hands them out."""
        headers = {"cache-control": "no-store"}
        return {**headers, "set-cookie": self.cookie} if self.cookie else headers


@dataclass(frozen=True, slots=True)
class TokenLifetimes:
    """Times in seconds."""

    access: float
    refresh: float
    grace: float
    leeway: float


class TokenService:
    """Issues tokens as *issuer*, with its *keys*, and ends them in *sessions* and, here at once, in *revoked*."""

    def __init__(
        self,
        issuer: Issuer,
        lifetimes: TokenLifetimes,
        fingerprint: FingerprintCookie | None,
        proofs: ProofVerifier,
        sessions: SessionStore,
        revoked: Revocations,
        metrics: JwtMetrics,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._issuer = issuer
        self._refreshing = replace(issuer, types=frozenset({REFRESH}))
        self._lifetimes = lifetimes
        self.fingerprint = fingerprint
        self._proofs = proofs
        self._sessions = sessions
        self._revoked = revoked
        self._metrics = metrics
        self._clock = clock
        self._changed = changed

    async def issue(
        self,
        subject: str,
        claims: Mapping[str, Any] | None = None,
        scopes: Sequence[str] = (),
        request: HTTPConnection | None = None,
    ) -> Issued:
        """Return the first pair of a new session of *subject*, bound to the key that *request* shows if tokens are."""
        extra = _checked(subject, dict(claims or {}), scopes)
        key = await key_of(request, self._proofs) if self._issuer.bound else ""
        now = self._clock()
        owner = self._identifier(subject)
        version = await self._sessions.version_of(owner)
        session = Session(_name(), owner, version, _name(), now + self._lifetimes.refresh)
        await self._sessions.begin(session)
        value = self.fingerprint.make() if self.fingerprint else ""
        cookie = self.fingerprint.cookie(value) if self.fingerprint else ""
        binding = TokenBinding(fingerprint_digest(value.encode()) if value else "", key)
        self._metrics.issued.inc()
        return self._pair(session, " ".join(scopes), extra, binding, cookie)

    async def refresh(self, token: bytes, cookies: bytes, shown: PresentedProof) -> Issued:
        """Return the pair that follows *token*; raises InvalidToken."""
        verified = await self._read(token, cookies, shown)
        now = self._clock()
        owner = self._identifier(verified.subject)
        session = Session(verified.session, owner, verified.version, verified.jti, verified.expires)
        until = now + self._lifetimes.refresh
        rotation = await self._sessions.rotate(session, _name(), now, self._lifetimes.grace, until)
        self._metrics.refreshed(rotation.outcome.value)
        if rotation.outcome is RotationOutcome.THEFT:
            logger.warning(
                "a refresh token was used again: its session is ended",
                extra={
                    **session.subject._asdict(),
                    "session": session.family,
                    "event_kind": "theft",
                },
            )
            await self._end(session.family)
        if not rotation.jti:
            raise InvalidToken("used" if rotation.outcome is RotationOutcome.THEFT else "revoked")
        following = replace(session, jti=rotation.jti, expires=rotation.expires)
        value = self._value(verified, cookies)
        again = self.fingerprint.cookie(value.decode("latin-1")) if self.fingerprint and value else ""
        extra = verified.claims.get("ext", {})
        binding = TokenBinding(verified.fingerprint, verified.key)
        await self._note_answered(session.family, rotation.jti, now)
        return self._pair(following, " ".join(verified.scopes), extra, binding, again)

    async def _note_answered(self, family: str, jti: str, now: float) -> None:
        """Note that the pair of *jti* is handed out, if that can be noted.

        A 503 in the place of the pair would make a thief of the client: its token has been used, perhaps marked as
        delivered too. Without the note that token gives the same successor for longer than the grace.
        """
        try:
            await self._sessions.mark_delivered(family, jti, now)
        except Unavailable as error:
            logger.warning(
                "the delivery of a refreshed session could not be recorded: %s", error, extra={"session": family}
            )

    async def logout(self, token: bytes, cookies: bytes, shown: PresentedProof) -> None:
        """End the session of the refresh *token*; raises InvalidToken when it is not good."""
        await self._end((await self._read(token, cookies, shown)).session)

    async def revoke(self, jti: str, issuer: str = "") -> None:
        """End the one token that has this *jti*."""
        until = self._clock() + FOREIGN_REVOCATION_TTL if issuer else self._end_of_access()
        await self._sessions.revoke(issuer or self._issuer.name, jti, until)
        self._changed()

    async def revoke_all(self, subject: str) -> None:
        """End every session of *subject*."""
        await self._sessions.revoke_all(self._identifier(subject), self._clock(), self._end_of_access())
        self._changed()

    async def learn(self) -> bool:
        """Read what has been revoked since; tell whether anything has."""
        return self._revoked.learn(await self._sessions.revocations(self._revoked.last, self._clock()))

    async def sweep(self) -> None:
        """Forget what is over: the end of a subject's sessions once the longest that it ended would have ended too."""
        now = self._clock()
        self._revoked.sweep(now)
        await self._sessions.sweep(now, now - self._lifetimes.refresh - 2 * self._lifetimes.leeway)

    def _identifier(self, subject: str) -> SubjectIdentifier:
        return SubjectIdentifier(self._issuer.name, subject)

    async def _end(self, family: str) -> None:
        await self._sessions.end(family, self._clock(), self._end_of_access())
        self._changed()

    def _end_of_access(self) -> float:
        return self._clock() + self._lifetimes.access + 2 * self._lifetimes.leeway

    async def _read(self, token: bytes, cookies: bytes, shown: PresentedProof) -> VerifiedToken:
        verified = self._refreshing.verify(read(token))
        made = numeric_date(verified.claims, "iat")
        # One from when they were good for longer ends as they do now: what it could undo is remembered no longer.
        if made is None or made + self._lifetimes.refresh + self._lifetimes.leeway <= self._clock():
            raise InvalidToken("expired")
        bound = self.fingerprint is not None
        if bound != bool(verified.fingerprint) or (bound and not self._value(verified, cookies)):
            raise InvalidToken("fingerprint")
        text(verified.claims, "jti")
        text(verified.claims, "sid")
        if verified.key:
            await self._proofs.check(shown, key=verified.key)
        return verified

    def _value(self, token: VerifiedToken, cookies: bytes) -> bytes:
        """Return the value of the cookie that *token* is bound to; empty where there is none."""
        return self.fingerprint.find(cookies, decode_digest(token.fingerprint)) if self.fingerprint else b""

    def _pair(
        self, session: Session, scope: str, extra: Mapping[str, Any], binding: TokenBinding, cookie: str
    ) -> Issued:
        now = self._clock()
        common: dict[str, Any] = {
            "iss": self._issuer.name,
            "sub": session.subject.subject,
            "aud": self._issuer.audience,
            "sid": session.family,
            "ver": session.version,
            **binding.claims(),
        }
        if scope:
            common["scope"] = scope
        key = self._issuer.keys.current.keys[0]
        began = min(now, session.expires - self._lifetimes.refresh)
        access = {**extra, **common, "jti": _name(), "iat": int(now), "exp": int(now + self._lifetimes.access)}
        again = {**common, "jti": session.jti, "iat": int(began), "exp": int(session.expires)}
        if extra:
            again["ext"] = extra
        kind = "DPoP" if binding.key else "Bearer"
        lifetime = int(self._lifetimes.access)
        return Issued(encode(key, ACCESS, access), encode(key, REFRESH, again), lifetime, kind, cookie)


def encode(key: SigningKey, kind: str, claims: Mapping[str, Any]) -> str:
    """Return *claims* as a token of the type *kind*, signed with *key*."""
    header = orjson.dumps({"alg": key.algorithm, "typ": kind, "kid": key.kid})
    signed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, encode_json(claims)))
    return (signed + b"." + urlsafe_b64encode(key.sign(signed)).rstrip(b"=")).decode()


def _checked(subject: str, claims: dict[str, Any], scopes: Sequence[str]) -> dict[str, Any]:
    if not subject or len(subject) > MAX_SUBJECT_LENGTH or "\x00" in subject:
        raise ValueError(f"a subject is a text of 1 to {MAX_SUBJECT_LENGTH} characters")
    if taken := sorted(RESERVED & claims.keys()):
        raise ValueError(f"the claims {', '.join(taken)} are set by the issuer; name yours in another way")
    if isinstance(scopes, str) or any(not scope.isprintable() or " " in scope or not scope for scope in scopes):
        raise ValueError('scopes is a list of words, such as ["orders:read"]')
    return claims


def _name() -> str:
    return secrets.token_urlsafe(16)
