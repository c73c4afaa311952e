"""KeySource, each for one algorithm, and sets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.secret_key import SecretKey

KEY_TYPES = {
    "HS256": "oct",
    **{f"{family}{bits}": "RSA" for family in ("RS", "PS") for bits in (256, 384, 512)},
    **{f"ES{bits}": "EC" for bits in (256, 384, 512)},
    "EdDSA": "OKP",
}
CURVES = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}
"""The curves of the keys that an algorithm is for, the first of which is made."""


class KeyMaterial(Protocol):
    """A secret or an asymmetric key."""

    private: bool
    """Whether it can sign."""

    def weakness(self, algorithm: str) -> str:
        """Return why the key must not be used for *algorithm*, empty when it may."""
        ...

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signed* is of this key."""
        ...

    def sign(self, algorithm: str, signed: bytes) -> bytes:
        """Return the signature over *signed*."""
        ...

    def thumbprint(self) -> str:
        """Return the thumbprint of RFC 7638."""
        ...

    def public_members(self) -> dict[str, Any]:
        """Return the members of a JWK for others to verify with."""
        ...


class SigningKey(NamedTuple):
    """A key that is for one *algorithm* only; *until* is when it stops to count, 0 for never."""

    kid: str
    algorithm: str
    key: KeyMaterial
    until: float = 0.0

    @classmethod
    def load(cls, value: Mapping[str, Any] | str | bytes, algorithm: str, kid: str = "") -> SigningKey:
        """Return the key in a JWK or PEM *value*, for *algorithm*; raises ValueError when it is not fit for that."""
        wanted = KEY_TYPES[algorithm]
        if isinstance(value, Mapping) and value.get("kty") != wanted:  # which the library does not look at
            raise ValueError(f"not a key of type {wanted}, which {algorithm} needs: its kty is {value.get('kty')!r}")
        try:
            key = _read(value, wanted)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"not a key of type {wanted}, which {algorithm} needs") from None
        members = value if isinstance(value, Mapping) else {}
        _refuse_unfit(key, members, algorithm)
        name = members.get("kid", kid) or key.thumbprint()
        until = members.get("exp", 0)
        if not isinstance(name, str) or not isinstance(until, int | float):
            raise ValueError("kid is a text and exp a number")
        return cls(name, algorithm, key, float(until))

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Tell whether *signature* over *signed* is of this key."""
        return self.key.verify(self.algorithm, signed, signature)

    def sign(self, signed: bytes) -> bytes:
        """Return the signature over *signed*."""
        return self.key.sign(self.algorithm, signed)

    @property
    def private(self) -> bool:
        """Whether it can sign."""
        return self.key.private

    def public(self) -> dict[str, Any]:
        """Return the JWK for others to verify with."""
        members = {name: value for name, value in self.key.public_members().items() if name != "exp"}
        return {**members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def _read(value: Mapping[str, Any] | str | bytes, kind: str) -> KeyMaterial:
    if kind == "oct":
        return SecretKey.load(value)
    from scalekit_jwt.asymmetric_key import AsymmetricKey  # takes long to import, and a secret does without

    return AsymmetricKey.load(value, kind)


def _refuse_unfit(key: KeyMaterial, members: Mapping[str, Any], algorithm: str) -> None:
    if weakness := key.weakness(algorithm):
        raise ValueError(weakness)
    if members.get("use", "sig") != "sig" or members.get("alg", algorithm) != algorithm:
        raise ValueError(f"the key says itself that it is not for signatures with {algorithm}")
    operations = members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not ("sign" in operations or "verify" in operations):
        raise ValueError("the key's key_ops allow no signatures")


class KeySet:
    """KeySource of one type, each found by its ``kid`` and algorithm; the first of them signs."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        """Keep *keys*; raises ValueError when two cannot be told apart, or they are of several types."""
        self.keys = tuple(keys)
        self._by_kid: dict[str, dict[str, SigningKey]] = {}
        for key in keys:
            if self._by_kid.setdefault(key.kid, {}).setdefault(key.algorithm, key) is not key:
                raise ValueError("two keys have the same kid")
        if len({KEY_TYPES[key.algorithm] for key in keys}) > 1:
            raise ValueError("keys of several types are in one set")

    def find(self, header: Mapping[str, Any], now: float) -> SigningKey:
        """Return the key that *header* names, for the algorithm that it names."""
        kid = header.get("kid")
        if kid is None and len(self._by_kid) == 1:
            (found,) = self._by_kid.values()
        else:
            found = self._by_kid.get(kid, {}) if isinstance(kid, str) else {}
        good = {name: key for name, key in found.items() if not key.until or key.until >= now}
        if not good:
            raise UnknownKey()
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in good:
            raise InvalidToken("algorithm")
        return good[algorithm]
