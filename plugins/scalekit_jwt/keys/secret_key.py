"""HS256 secrets, without a library: importing one for asymmetric keys takes a tenth of a second."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from secrets import token_bytes
from typing import Any

MIN_SECRET_BYTES = 32
_PUBLIC = (b"-----BEGIN ", b"---- BEGIN ", b"ssh-rsa ", b"ssh-dss ", b"ssh-ed25519 ", b"ecdsa-sha2-")
"""Prefixes of public keys and certificates, which must not be used as secrets (CVE-2016-10555)."""


class SecretKey:
    """The secret *value*, limited to the ``key_ops`` in *operations* (RFC 7517 section 4.3)."""

    def __init__(self, value: bytes, operations: object = ("sign", "verify")) -> None:
        self._value = value
        allowed = operations if isinstance(operations, list | tuple) else ()
        self.private = "sign" in allowed
        self._verifies = "verify" in allowed

    @classmethod
    def load(cls, value: Mapping[str, Any] | str | bytes) -> SecretKey:
        """Return the secret in a JWK, or *value* itself; raises ValueError, TypeError or KeyError."""
        if isinstance(value, Mapping):
            secret, operations = _decoded(value["k"]), value.get("key_ops", ("sign", "verify"))
        else:
            secret, operations = value.encode() if isinstance(value, str) else value, ("sign", "verify")
        if _is_public(secret):
            raise ValueError("a public key cannot be a secret")
        return cls(secret, operations)

    def weakness(self, algorithm: str) -> str:
        """Return why the secret is unsuitable, empty when it is suitable."""
        size = len(self._value)
        return (
            f"a secret of {size} bytes is too short; use at least {MIN_SECRET_BYTES}" if size < MIN_SECRET_BYTES else ""
        )

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signing_input* is valid."""
        return self._verifies and hmac.compare_digest(hmac.digest(self._value, signing_input, "sha256"), signature)

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return the signature over *signing_input*; raises ValueError when ``key_ops`` do not allow it."""
        if not self.private:
            raise ValueError("key_ops of the key do not allow sign")
        return hmac.digest(self._value, signing_input, "sha256")

    def thumbprint(self) -> str:
        """Return the JWK thumbprint (RFC 7638)."""
        return _encoded(sha256(f'{{"k":"{_encoded(self._value)}","kty":"oct"}}'.encode()).digest())

    def public_members(self) -> dict[str, object]:
        """Return the members of the public JWK: a secret has none."""
        return {}


def generate_secret() -> dict[str, str]:
    """Return the members of a JWK with a new random secret."""
    return {"kty": "oct", "k": _encoded(token_bytes(MIN_SECRET_BYTES))}


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """Decode base64url without padding; raises ValueError for a non-canonical encoding."""
    decoded = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if _encoded(decoded) != text:
        raise ValueError("not base64url")
    return decoded


def _is_public(value: bytes) -> bool:
    if any(mark in value for mark in _PUBLIC):
        return True
    if not _is_der_sequence(value):
        return False
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from cryptography.x509 import load_der_x509_certificate

    for load in (load_der_public_key, load_der_x509_certificate):
        try:
            load(value)
        except (ValueError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _is_der_sequence(value: bytes) -> bool:
    """Return whether *value* is exactly one ASN.1 sequence, as DER public keys are."""
    if len(value) < 2 or value[0] != 0x30:
        return False
    length_bytes = value[1] - 0x80 if value[1] > 0x80 else 0
    length = int.from_bytes(value[2 : 2 + length_bytes], "big") if length_bytes else value[1]
    return len(value) == 2 + length_bytes + length
