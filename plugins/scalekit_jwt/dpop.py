"""ProofVerifier that a client has the key which its token is bound to (DPoP, RFC 9449)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from scalekit_jwt.claims import numeric_date, text
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.htu import normal
from scalekit_jwt.jws import read
from scalekit_jwt.keys import KEY_TYPES, SigningKey

TYPE = "dpop+jwt"
ALGORITHMS = ("ES256", "EdDSA")
"""Short keys that are quickly checked: whoever shows a proof chooses the key."""
MAX_AGE = 30.0
"""Seconds after which a proof is of no use any more, beside the leeway for clocks that differ."""

_MEMBERS = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class ExpectedRequest(NamedTuple):
    """What is asked for: the method, and the address as the client knows it."""

    method: str
    address: str


class PresentedProof(NamedTuple):
    """A *proof* that came with a request, empty where none did, and what is *asked* for."""

    proof: bytes
    asked: ExpectedRequest


class VerifiedProof(NamedTuple):
    """A proof that is good: the thumbprint of its *key*, a *name* of its own, and *until* when it is of use."""

    key: str
    name: str
    until: float


class ReplayStore(Protocol):
    """Remembers which proofs have been used, for all who share it."""

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Remember *proof* until it is of no use any more; tell whether it is used for the first time."""
        ...


class ProofVerifier:
    """Checks proofs, each of which is good once: *spent* knows."""

    def __init__(self, spent: ReplayStore, leeway: float, clock: Callable[[], float]) -> None:
        self._spent = spent
        self._leeway = leeway
        self._clock = clock

    async def check(self, shown: PresentedProof, token: bytes = b"", key: str = "") -> str:
        """Return the thumbprint of the key that a proof is of: *key*, where there is one; raises InvalidToken.

        Raises Unavailable when nobody knows whether it has been used before.
        """
        now = self._clock()
        proof = verify_proof(shown, token, key, now, self._leeway)
        if not await self._spent.mark_proof_used(proof.name, now, proof.until):
            raise InvalidToken("proof_used")
        return proof.key


def verify_proof(shown: PresentedProof, token: bytes, wanted: str, now: float, leeway: float) -> VerifiedProof:
    """Return what is shown if it is a proof for this request, *token* and key; raises InvalidToken when it is not."""
    try:
        header, claims, signed, signature = read(shown.proof)
        key = _key(header)
        thumbprint = key.key.thumbprint()
        if wanted and thumbprint != wanted:
            raise InvalidToken("binding")
        until = _checked(claims, shown.asked, token, now, leeway)
        name = f"{thumbprint} {text(claims, 'jti')}"
        if not key.verifies(signed, signature):
            raise InvalidToken("proof")
    except InvalidToken as refused:
        raise InvalidToken("binding" if refused.reason == "binding" else "proof") from None
    return VerifiedProof(thumbprint, digest(name.encode("utf-8", "surrogatepass")), until)


def digest(value: bytes) -> str:
    """Return SHA-256 of *value* as RFC 9449 writes it."""
    return urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()


def confirmed_thumbprint(claims: Mapping[str, Any]) -> str:
    """Return the thumbprint of the key that a token with *claims* is bound to; empty where it is bound to none.

    Raises InvalidToken for one that is bound otherwise, such as to a certificate (RFC 8705): nobody here checks that.
    """
    confirmation = claims.get("cnf", {})
    if not isinstance(confirmation, dict):
        raise InvalidToken("claim")
    if confirmation and "jkt" not in confirmation:
        raise InvalidToken("binding")
    return text(confirmation, "jkt") if confirmation else ""


def _key(header: Mapping[str, Any]) -> SigningKey:
    """Return the public key in *header*; only what makes up its thumbprint is looked at."""
    algorithm, given, kind = header.get("alg"), header.get("jwk"), header.get("typ")
    if algorithm not in ALGORITHMS or not isinstance(given, dict) or _PRIVATE & given.keys():
        raise InvalidToken("proof")
    if (
        not isinstance(kind, str)
        or kind.lower().removeprefix("application/") != TYPE
        or given.get("kty") != KEY_TYPES[algorithm]
    ):
        raise InvalidToken("proof")
    members = {name: text(given, name) for name in ("kty", *_MEMBERS[KEY_TYPES[algorithm]])}
    try:
        return SigningKey.load(members, algorithm)
    except ValueError:
        raise InvalidToken("proof") from None


def _checked(claims: Mapping[str, Any], asked: ExpectedRequest, token: bytes, now: float, leeway: float) -> float:
    """Return until when a proof with *claims* is of use; raises InvalidToken when it is for something else."""
    if text(claims, "htm") != asked.method or not _same(text(claims, "htu"), asked.address):
        raise InvalidToken("proof")
    if token and claims.get("ath") != digest(token):
        raise InvalidToken("proof")
    made = numeric_date(claims, "iat")
    if made is None or not made - leeway <= now < made + MAX_AGE + leeway:
        raise InvalidToken("proof")
    return made + MAX_AGE + leeway


def _same(address: str, other: str) -> bool:
    try:
        return normal(address) == normal(other)
    except ValueError:
        return False
