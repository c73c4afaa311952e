"""Asymmetric keys: RSA, EC (NIST curves) and OKP (Edwards curves)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, RSAKey
from joserfc.jws import JWSRegistry

from scalekit_jwt.keys.key_set import CURVES

MIN_RSA_BITS = 2048

_ALGORITHMS = JWSRegistry.algorithms  # by name: the lookup function warns that RFC 9864 deprecates EdDSA


class AsymmetricKey:
    """A public key or a key pair."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.private = bool(key.is_private)

    @classmethod
    def load(cls, value: Mapping[str, Any] | str | bytes, key_type: str) -> AsymmetricKey:
        """Return the key in a JWK or PEM *value*; raises ValueError, TypeError or KeyError."""
        members = dict(value) if isinstance(value, Mapping) else value
        try:
            return cls(JWKRegistry.import_key(members, key_type))
        except JoseError as error:
            raise ValueError(str(error)) from None

    def weakness(self, algorithm: str) -> str:
        """Return why the key is unsuitable for *algorithm*, empty when it is suitable."""
        key = self._key
        if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
            return f"an RSA key of {key.raw_value.key_size} bits is too short; use at least {MIN_RSA_BITS}"
        if algorithm in CURVES and key.as_dict().get("crv") not in CURVES[algorithm]:
            return f"{algorithm} needs a key on {' or '.join(CURVES[algorithm])}"
        return ""

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signing_input* is valid."""
        try:
            return bool(_ALGORITHMS[algorithm].verify(signing_input, signature, self._key))
        except (JoseError, ValueError):
            return False

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return the signature over *signing_input*."""
        return bytes(_ALGORITHMS[algorithm].sign(signing_input, self._key))

    def thumbprint(self) -> str:
        """Return the JWK thumbprint (RFC 7638)."""
        return self._key.thumbprint()

    def public_members(self) -> dict[str, object]:
        """Return the members of the public JWK."""
        return dict(self._key.as_dict(private=False))


def generate_key_pair(key_type: str, algorithm: str) -> dict[str, Any]:
    """Return the members of a JWK with a new key pair."""
    size: Any = CURVES[algorithm][0] if algorithm in CURVES else MIN_RSA_BITS
    return dict(JWKRegistry.generate_key(key_type, size, private=True).as_dict(private=True))
