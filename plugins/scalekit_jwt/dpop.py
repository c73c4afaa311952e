"""Verify DPoP proofs of possession of the key that a token is bound to, and refuse replays (RFC 9449)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from scalekit_jwt.claims import read_numeric_date, read_string_claim
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.keys.key_set import KEY_TYPES, SigningKey

TYPE = "dpop+jwt"
ALGORITHMS = ("ES256", "EdDSA")
"""Algorithms with short keys and fast verification, since the client chooses the key."""
MAX_AGE = 30.0
"""Seconds for which a proof is valid, plus the leeway for clock differences."""

_MEMBERS = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


_PORTS = {"http": 80, "https": 443}
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
"""Schemes of websockets, whose handshake is an HTTP request."""
_ESCAPED = re.compile("%([0-9a-fA-F]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
PATH_SAFE_CHARACTERS = "/%:@!$&'()*+,;=~"
"""Characters of a path that are not percent-encoded, and ``%`` itself."""


class ExpectedRequest(NamedTuple):
    """The method and URL that a proof must match in ``htm`` and ``htu``."""

    method: str
    url: str


class PresentedProof(NamedTuple):
    """The DPoP header of a request, empty when absent, and the request that it must match."""

    proof: bytes
    request: ExpectedRequest


class VerifiedProof(NamedTuple):
    """A valid proof: the thumbprint of its key, its unique *replay_key*, and when it expires."""

    jkt: str
    replay_key: str
    expires: float


class ReplayStore(Protocol):
    """Stores used proofs for all processes that share the store."""

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Store *proof* until it expires at *until*; return whether this is its first use."""
        ...


class ProofVerifier:
    """Verifies proofs and refuses one that *replay_store* has seen."""

    def __init__(self, replay_store: ReplayStore, leeway: float, clock: Callable[[], float]) -> None:
        self._replay_store = replay_store
        self._leeway = leeway
        self._clock = clock

    async def check(self, presented: PresentedProof, token: bytes = b"", jkt: str = "") -> str:
        """Return the thumbprint of the proof's key, which must be *jkt* unless that is empty.

        Raises InvalidToken for an invalid or replayed proof, and Unavailable when the replay store is unavailable.
        """
        now = self._clock()
        proof = verify_proof(presented, token, jkt, now=now, leeway=self._leeway)
        if not await self._replay_store.mark_proof_used(proof.replay_key, now, proof.expires):
            raise InvalidToken("proof_replayed")
        return proof.jkt


def verify_proof(presented: PresentedProof, token: bytes, jkt: str, *, now: float, leeway: float) -> VerifiedProof:
    """Return the proof if it is valid for its request, *token* and the key *jkt*; raises InvalidToken otherwise."""
    try:
        header, claims, signing_input, signature = parse_jws(presented.proof)
        key = _public_key(header)
        thumbprint = key.key.thumbprint()
        if jkt and thumbprint != jkt:
            raise InvalidToken("binding")
        expires = _expiry(claims, presented.request, token, now, leeway)
        replay_key = f"{thumbprint} {read_string_claim(claims, 'jti')}"
        if not key.verify(signing_input, signature):
            raise InvalidToken("proof")
    except InvalidToken as invalid:
        raise InvalidToken("binding" if invalid.reason == "binding" else "proof") from None
    return VerifiedProof(thumbprint, digest(replay_key.encode("utf-8", "surrogatepass")), expires)


def digest(value: bytes) -> str:
    """Return the SHA-256 of *value* in base64url, as in ``ath`` (RFC 9449 section 4.2)."""
    return urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()


def _public_key(header: Mapping[str, Any]) -> SigningKey:
    """Return the public key in ``jwk``; only the members of its thumbprint are used."""
    algorithm, jwk, token_type = header.get("alg"), header.get("jwk"), header.get("typ")
    if algorithm not in ALGORITHMS or not isinstance(jwk, dict) or _PRIVATE & jwk.keys():
        raise InvalidToken("proof")
    if (
        not isinstance(token_type, str)
        or token_type.lower().removeprefix("application/") != TYPE
        or jwk.get("kty") != KEY_TYPES[algorithm]
    ):
        raise InvalidToken("proof")
    members = {name: read_string_claim(jwk, name) for name in ("kty", *_MEMBERS[KEY_TYPES[algorithm]])}
    try:
        return SigningKey.load(members, algorithm)
    except ValueError:
        raise InvalidToken("proof") from None


def _expiry(claims: Mapping[str, Any], request: ExpectedRequest, token: bytes, now: float, leeway: float) -> float:
    """Return when the proof expires; raises InvalidToken when it is for another request, token or time."""
    if read_string_claim(claims, "htm") != request.method or not _same_url(
        read_string_claim(claims, "htu"), request.url
    ):
        raise InvalidToken("proof")
    if token and claims.get("ath") != digest(token):
        raise InvalidToken("proof")
    issued_at = read_numeric_date(claims, "iat")
    if issued_at is None or not issued_at - leeway <= now < issued_at + MAX_AGE + leeway:
        raise InvalidToken("proof")
    return issued_at + MAX_AGE + leeway


def _same_url(url: str, other: str) -> bool:
    try:
        return normalize_htu(url) == normalize_htu(other)
    except ValueError:
        return False


def normalize_htu(url: str) -> str:
    """Return *url* normalized (RFC 3986 sections 6.2.2 and 6.2.3), without query and fragment.

    Raises ValueError unless it is an HTTP or websocket URL.
    """
    if not url.isprintable():
        raise ValueError("not a URL")
    parts = urlsplit(url)
    scheme = _WEBSOCKET_SCHEMES.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an HTTP URL")
    port = _PORTS[scheme] if parts.port is None else parts.port
    return f"{scheme}://{parts.hostname}:{port}{_normalize_path(parts.path)}"


def _normalize_path(path: str) -> str:
    return _remove_dot_segments(_ESCAPED.sub(_unescape, quote(path, safe=PATH_SAFE_CHARACTERS)))


def _unescape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else f"%{match[1].upper()}"


def _remove_dot_segments(path: str) -> str:
    output: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del output[-1:]
        elif segment != ".":
            output.append(segment)
    if segments and segments[-1] in (".", ".."):
        output.append("")
    return "/" + "/".join(output)
