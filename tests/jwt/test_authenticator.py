"""The cache of verified tokens: hits, expiry, eviction and revocation."""

from __future__ import annotations

import pytest

from scalekit.telemetry import Telemetry
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.keys.key_set import KeySet, SigningKey, StaticKeys
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.session_store import Revocation
from scalekit_jwt.session_store.memory import MemorySessionStore
from scalekit_jwt.token_verifier import TokenVerifier
from tests.jwt.forged_tokens import TokenForge

NOON = 1_700_000_000.0


class AuthenticatorHarness:
    """An authenticator with a manual clock that counts verified signatures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache_size: int = 3) -> None:
        self.now = NOON
        self.forge = TokenForge("HS256")
        self.forge.claims |= {"iat": NOON, "exp": NOON + 600}
        self.revocations = Revocations("scalekit")
        self.revocations.add([])
        self.verified = 0
        keys = StaticKeys(KeySet([self.forge.key]))
        issuer = TokenVerifier("scalekit", "scalekit", frozenset({"at+jwt"}), keys, 30.0, self.clock)
        metrics = JwtMetrics(Telemetry(100))
        proofs = ProofVerifier(MemorySessionStore(), 30.0, self.clock)
        self.authenticator = Authenticator(
            issuer,
            {},
            fingerprint=None,
            revocations=self.revocations,
            cache_size=cache_size,
            metrics=metrics,
            clock=self.clock,
            proofs=proofs,
        )
        real = SigningKey.verify

        def counted(key: SigningKey, signed: bytes, signature: bytes) -> bool:
            self.verified += 1
            return real(key, signed, signature)

        monkeypatch.setattr(SigningKey, "verify", counted)

    def clock(self) -> float:
        return self.now

    def authenticate(self, token: str) -> str:
        authorization = b"Bearer " + token.encode()
        cached = self.authenticator.lookup(authorization, b"") or self.authenticator.verify(authorization, b"")
        return cached.user.identity


def test_a_signature_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AuthenticatorHarness(monkeypatch)
    token = harness.forge.token()
    assert [harness.authenticate(token) for _ in range(3)] == ["ada"] * 3
    assert harness.verified == 1


def test_a_cached_token_expires_within_the_leeway(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AuthenticatorHarness(monkeypatch)
    token = harness.forge.token()
    harness.authenticate(token)
    harness.now = NOON + 629
    harness.authenticate(token)
    harness.now = NOON + 630
    for _ in range(2):
        with pytest.raises(InvalidToken, match="expired"):
            harness.authenticate(token)
    assert harness.authenticator.cached_tokens == 0


def test_an_invalid_token_is_never_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AuthenticatorHarness(monkeypatch)
    for _ in range(2):
        with pytest.raises(InvalidToken, match="signature"):
            harness.authenticate(harness.forge.token(key=SigningKey.load(b"x" * 32, "HS256")))
    assert harness.authenticator.cached_tokens == 0


def test_the_oldest_tokens_are_evicted_at_the_cache_size(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AuthenticatorHarness(monkeypatch, cache_size=3)
    tokens = [harness.forge.with_claims(jti=str(number)) for number in range(5)]
    for token in tokens:
        harness.authenticate(token)
    assert harness.authenticator.cached_tokens == 3
    harness.authenticate(tokens[4])
    assert harness.verified == 5
    harness.authenticate(tokens[0])
    assert harness.verified == 6


@pytest.mark.parametrize(
    ("kind", "value", "version", "revoked"),
    [
        ("token", "7", 0, True),
        ("token", "8", 0, False),
        ("session", "s", 0, True),
        ("session", "7", 0, False),
        ("subject", "ada", 3, True),
        ("subject", "ada", 2, False),
        ("subject", "bob", 3, False),
    ],
)
def test_a_revocation_applies_to_its_token_session_or_subject(
    monkeypatch: pytest.MonkeyPatch, kind: str, value: str, version: int, revoked: bool
) -> None:
    harness = AuthenticatorHarness(monkeypatch)
    token = harness.forge.with_claims(jti="7", sid="s", ver=2)
    harness.authenticate(token)
    issuer = "" if kind == "session" else "scalekit"
    revocations = [Revocation(1, kind, issuer, value, version, NOON + 1000)]
    assert harness.revocations.add(revocations)
    assert not harness.revocations.add(revocations), "a loaded revocation is not new"
    harness.authenticator.evict_revoked()
    for _ in range(2):
        if revoked:
            with pytest.raises(InvalidToken, match="revoked"):
                harness.authenticate(token)
        else:
            harness.authenticate(token)
    harness.revocations.remove_expired(NOON + 1001)
    harness.authenticate(token)


def test_a_revoked_jti_is_refused_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AuthenticatorHarness(monkeypatch)
    token = harness.forge.with_claims(jti="7")
    harness.revocations.add([Revocation(1, "token", "scalekit", "7", 0, NOON + 1000)])
    again = harness.forge.with_claims(x=1, jti="7")
    for each in (token, again):
        with pytest.raises(InvalidToken, match="revoked"):
            harness.authenticate(each)
    assert parse_jws(token.encode()).claims["jti"] == "7"
