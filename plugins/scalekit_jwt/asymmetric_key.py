"""KeySource of two halves: RSA, elliptic curves and Edwards curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, RSAKey
from joserfc.jws import JWSRegistry

from scalekit_jwt.keys import CURVES

MIN_RSA_BITS = 2048

_ALGORITHMS = JWSRegistry.algorithms  # by name: RFC 9864 calls EdDSA deprecated, and asking for it would warn


class AsymmetricKey:
    """A public key, or a pair."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.private = bool(key.is_private)

    @classmethod
    def load(cls, value: Mapping[str, Any] | str | bytes, kind: str) -> AsymmetricKey:
        """Return the key in a JWK or PEM *value*; raises ValueError, TypeError or KeyError."""
        members = dict(value) if isinstance(value, Mapping) else value
        try:
            return cls(JWKRegistry.import_key(members, kind))
        except JoseError as error:
            raise ValueError(str(error)) from None

    def weakness(self, algorithm: str) -> str:
        """Return why the key must not be used for *algorithm*, empty when it may."""
        key = self._key
        if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
            return f"an RSA key of {key.raw_value.key_size} bits is too short; {MIN_RSA_BITS} are needed"
        if algorithm in CURVES and key.as_dict().get("crv") not in CURVES[algorithm]:
            return f"{algorithm} needs a key on {' or '.join(CURVES[algorithm])}"
        return ""

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signed* is of this key."""
        try:
            return bool(_ALGORITHMS[algorithm].verify(signed, signature, self._key))
        except (JoseError, ValueError):
            return False

    def sign(self, algorithm: str, signed: bytes) -> bytes:
        """Return the signature over *signed*."""
        return bytes(_ALGORITHMS[algorithm].sign(signed, self._key))

    def thumbprint(self) -> str:
        """Return the thumbprint of RFC 7638."""
        return self._key.thumbprint()

    def public_members(self) -> dict[str, Any]:
        """Return the members of a JWK for others to verify with."""
        return dict(self._key.as_dict(private=False))


def make_pair(kind: str, algorithm: str) -> dict[str, Any]:
    """Return the members of a JWK with a new pair."""
    size: Any = CURVES[algorithm][0] if algorithm in CURVES else MIN_RSA_BITS
    return dict(JWKRegistry.generate_key(kind, size, private=True).as_dict(private=True))
