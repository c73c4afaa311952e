"""Signing keys, each for one algorithm, JWK sets (RFC 7517), and the keys in the configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.keys.secret_key import SecretKey

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
"""The curves that each algorithm accepts; new keys use the first."""


class KeyMaterial(Protocol):
    """A secret or an asymmetric key."""

    private: bool
    """Whether the key can sign."""

    def weakness(self, algorithm: str) -> str:
        """Return why the key is unsuitable for *algorithm*, empty when it is suitable."""
        ...

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signing_input* is valid."""
        ...

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return the signature over *signing_input*."""
        ...

    def thumbprint(self) -> str:
        """Return the JWK thumbprint (RFC 7638)."""
        ...

    def public_members(self) -> dict[str, object]:
        """Return the members of the public JWK."""
        ...


class SigningKey(NamedTuple):
    """A key for one *algorithm*; *expires_at* is when it stops verifying, in seconds since the epoch, 0 for never."""

    kid: str
    algorithm: str
    key: KeyMaterial
    expires_at: float = 0.0

    @classmethod
    def load(cls, value: Mapping[str, Any] | str | bytes, algorithm: str, kid: str = "") -> SigningKey:
        """Return the key in a JWK or PEM *value*; raises ValueError when it is unsuitable for *algorithm*."""
        required = KEY_TYPES[algorithm]
        if isinstance(value, Mapping) and value.get("kty") != required:  # the library does not check it
            raise ValueError(f"not a key of type {required}, which {algorithm} needs: its kty is {value.get('kty')!r}")
        try:
            key = _load_material(value, required)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"not a key of type {required}, which {algorithm} needs") from None
        members = value if isinstance(value, Mapping) else {}
        _refuse_unsuitable(key, members, algorithm)
        name = members.get("kid", kid) or key.thumbprint()
        expires_at = members.get("exp", 0)
        if not isinstance(name, str) or not isinstance(expires_at, int | float):
            raise ValueError("kid must be a string and exp a number")
        return cls(name, algorithm, key, float(expires_at))

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """Return whether *signature* over *signing_input* is valid."""
        return self.key.verify(self.algorithm, signing_input, signature)

    def sign(self, signing_input: bytes) -> bytes:
        """Return the signature over *signing_input*."""
        return self.key.sign(self.algorithm, signing_input)

    @property
    def private(self) -> bool:
        """Whether the key can sign."""
        return self.key.private

    def public(self) -> dict[str, Any]:
        """Return the public JWK."""
        members = {name: value for name, value in self.key.public_members().items() if name != "exp"}
        return {**members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def _load_material(value: Mapping[str, Any] | str | bytes, key_type: str) -> KeyMaterial:
    if key_type == "oct":
        return SecretKey.load(value)
    from scalekit_jwt.keys.asymmetric_key import AsymmetricKey  # slow to import, and HS256 does not need it

    return AsymmetricKey.load(value, key_type)


def _refuse_unsuitable(key: KeyMaterial, members: Mapping[str, Any], algorithm: str) -> None:
    if weakness := key.weakness(algorithm):
        raise ValueError(weakness)
    if members.get("use", "sig") != "sig" or members.get("alg", algorithm) != algorithm:
        raise ValueError(f"use or alg of the key is not for signatures with {algorithm}")
    operations = members.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not ("sign" in operations or "verify" in operations):
        raise ValueError("key_ops of the key allow no signatures")


class KeySet:
    """Keys of one type, indexed by ``kid`` and algorithm; the first signs."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        """Index *keys*; raises ValueError when two share a ``kid`` and algorithm, or their types differ."""
        self.keys = tuple(keys)
        self._by_kid: dict[str, dict[str, SigningKey]] = {}
        for key in keys:
            if self._by_kid.setdefault(key.kid, {}).setdefault(key.algorithm, key) is not key:
                raise ValueError("two keys have the same kid")
        if len({KEY_TYPES[key.algorithm] for key in keys}) > 1:
            raise ValueError("one set has keys of several types")

    def find(self, header: Mapping[str, object], now: float) -> SigningKey:
        """Return the key for ``kid`` and ``alg`` of *header*; raises UnknownKey or InvalidToken."""
        kid = header.get("kid")
        if kid is None and len(self._by_kid) == 1:
            (found,) = self._by_kid.values()
        else:
            found = self._by_kid.get(kid, {}) if isinstance(kid, str) else {}
        valid = {name: key for name, key in found.items() if not key.expires_at or key.expires_at >= now}
        if not valid:
            raise UnknownKey()
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in valid:
            raise InvalidToken("algorithm")
        return valid[algorithm]


class KeySource(Protocol):
    """Provides the current keys of an issuer."""

    @property
    def current(self) -> KeySet:
        """The current keys."""
        ...

    @property
    def wait_for_keys(self) -> Callable[[], Awaitable[bool]] | None:
        """Wait for a fetch of the issuer's JWKS; None for local keys."""
        ...

    def reload_for_unknown_key(self) -> bool:
        """Load changed local keys for a token with an unknown ``kid``; return whether keys were loaded."""
        ...


class StaticKeys:
    """A key set that stays the same until the process ends."""

    wait_for_keys: Callable[[], Awaitable[bool]] | None = None
    changed_at: float | None = None

    def __init__(self, current: KeySet) -> None:
        self.current = current

    def reload_for_unknown_key(self) -> bool:
        """Return False: static keys never change."""
        return False

    def reload(self) -> bool:
        """Return False: static keys never change."""
        return False


def keys_from_secret(secret: str) -> StaticKeys:
    """Return a key set of the one HS256 *secret*."""
    return StaticKeys(KeySet([SigningKey.load(secret.encode(), "HS256", "secret")]))


def keys_from_files(paths: Sequence[str], algorithm: str) -> StaticKeys:
    """Return the keys in *paths*, one PEM or JWK each; raises ValueError naming the file without a suitable key."""
    keys = [_load_file(path, algorithm) for path in paths]
    if not keys[0].private:
        raise ValueError(f"{paths[0]}: the first key signs, and this one has no private part")
    return StaticKeys(KeySet(keys))


def _load_file(path: str, algorithm: str) -> SigningKey:
    try:
        content = Path(path).read_bytes()
        value = orjson.loads(content) if content.lstrip()[:1] == b"{" else content
        return SigningKey.load(value, algorithm)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
