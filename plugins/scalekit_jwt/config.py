"""Configuration model of ``[plugins.jwt]``."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import DeployMark, Duration, Method, PathGlob, PositiveDuration, Secret, Table, Url, split_url, with_head
from scalekit_jwt.keys.key_set import KEY_TYPES
from scalekit_jwt.keys.secret_key import MIN_SECRET_BYTES
from scalekit_jwt.policy import AccessRule
from scalekit_redis import parse_url

AsymmetricAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Algorithm = Literal["HS256"] | AsymmetricAlgorithm
NonEmpty = Annotated[str, Field(min_length=1)]


def _min_length(secret: Secret | None) -> Secret | None:
    if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"too short: HS256 needs at least {MIN_SECRET_BYTES} bytes; generate one with: openssl rand -base64 48"
        )
    return secret


def _in_existing_folder(path: str | None) -> str | None:
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not os.path.isdir(folder):
        raise ValueError(f"folder {folder} does not exist; create or mount it, or choose another path")
    return path


def _existing_file(path: str) -> str:
    if not os.path.isfile(path):
        raise ValueError(f"file {os.path.abspath(path)} does not exist; put the key there, or choose another path")
    return path


class RuleTable(Table):
    """Scopes and claims that a token must have for some requests."""

    path: PathGlob
    """Glob of the paths that the rule applies to, such as ``/api/**``."""
    methods: tuple[Method, ...] = ()
    """Methods that the rule applies to, ``GET`` including ``HEAD``; empty for all."""
    scopes: tuple[NonEmpty, ...] = ()
    """Scopes that the token must have, all of them."""
    claims: dict[str, str | int | bool | list[str | int]] = Field(default_factory=dict)
    """Claims that the token must have, each with this value or one of these values."""

    def rule(self) -> AccessRule:
        """Return the rule for the access policy."""
        return AccessRule(self.path, with_head(self.methods), frozenset(self.scopes), self.claims)


class IssuerTable(Table):
    """A trusted issuer, whose tokens are accepted too."""

    issuer: NonEmpty
    """Name of the issuer, exactly as in the claim ``iss`` of its tokens."""
    audience: NonEmpty
    """Audience that its tokens must have in ``audience_claim``."""
    audience_claim: NonEmpty = "aud"
    """Claim with the audience, such as ``client_id`` for AWS Cognito; an ``aud`` in the same token must match too."""
    jwks_url: Url | None = None
    """URL of its JWK set; without it the URL comes from OIDC discovery at the issuer."""
    algorithms: tuple[AsymmetricAlgorithm, ...] = ("RS256",)
    """Accepted algorithms, all for one type of key."""
    jwks_refresh_interval: PositiveDuration = Duration("5m")
    """Interval between fetches of its JWK set."""
    jwks_min_interval: PositiveDuration = Duration("5s")
    """Minimum interval between fetches caused by an unknown ``kid``."""
    token_types: tuple[str, ...] = ("at+jwt", "JWT", "")
    """Accepted values of ``typ``; an empty string accepts a token without ``typ``."""

    @model_validator(mode="after")
    def _is_secure(self) -> IssuerTable:
        if len({KEY_TYPES[each] for each in self.algorithms}) != 1:
            raise ValueError("algorithms must be for one type of key: RS and PS, or ES, or EdDSA")
        if self.jwks_min_interval > self.jwks_refresh_interval:
            raise ValueError(
                f"jwks_min_interval {self.jwks_min_interval} is longer than jwks_refresh_interval"
                f" {self.jwks_refresh_interval}; lower it"
            )
        url = self.jwks_url.parts if self.jwks_url else split_url(self.issuer)
        local = url.scheme == "http" and url.host in ("127.0.0.1", "::1", "localhost")
        if url.scheme != "https" and not local:
            raise ValueError(f"JWKS must use https, or http on this machine, not {self.jwks_url or self.issuer}")
        return self


def _one_master(url: Url) -> Url:
    if parse_url(url.reveal()).cluster:
        raise ValueError(f"a cluster cannot store sessions, got {str(url)!r}; write redis:// or redis-sentinel://")
    return url


class JwtConfig(Table):
    """Keys, lifetimes, sessions, protected paths and trusted issuers of tokens."""

    issuer: NonEmpty = "scalekit"
    """Name of this service in the claim ``iss`` of its tokens."""
    audience: NonEmpty | None = None
    """Audience of its tokens; defaults to the issuer."""
    secret: Annotated[Secret | None, AfterValidator(_min_length)] = None
    """HS256 secret of at least 32 bytes."""
    keys: tuple[Annotated[NonEmpty, AfterValidator(_existing_file)], ...] = ()
    """Key files, one PEM or JWK each; the first signs, all verify."""
    key_file: Annotated[NonEmpty | None, AfterValidator(_in_existing_folder), DeployMark("data_path")] = None
    """JWK set file, created with a first key when missing; ``scalekit jwt rotate`` adds a signing key."""
    algorithm: Algorithm = "HS256"
    """Algorithm of ``keys``, and of new keys in ``key_file``."""
    access_ttl: PositiveDuration = Duration("15m")
    """Lifetime of access tokens."""
    refresh_ttl: PositiveDuration = Duration("7d")
    """Lifetime of refresh tokens."""
    rotation_grace: Duration = Duration("5s")
    """Grace period in which a rotated refresh token returns the same successor, for a client that lost the response."""
    leeway: Duration = Duration("30s")
    """Tolerated clock difference."""
    fingerprint: bool = True
    """Bind tokens to a cookie."""
    sender_constraint: Literal["dpop"] | None = None
    """``dpop`` binds tokens to a key of the client instead of a cookie; every request carries a DPoP proof."""
    insecure_cookie: bool = False
    """Allow the cookie over plain http, for local development."""
    session_store: Literal["auto", "database", "memory", "redis"] = "auto"
    """Where sessions are stored: ``auto`` is the database when the pool is enabled, else the memory of the process."""
    redis_url: Annotated[Url, AfterValidator(_one_master)] | None = None
    """Redis of ``session_store = "redis"``: the primary or ``redis-sentinel://``; a replica acknowledges each write."""
    poll_interval: PositiveDuration = Duration("500ms")
    """Interval between polls for revocations and changed keys."""
    token_cache_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Maximum number of verified tokens cached per process."""
    protected_paths: tuple[PathGlob, ...] = ()
    """Paths that need a token, such as ``/api/**``."""
    public_paths: tuple[PathGlob, ...] = ()
    """Exceptions from ``protected_paths`` that need no token."""
    rules: tuple[RuleTable, ...] = ()
    """Required scopes and claims; all matching rules apply."""
    issuers: tuple[IssuerTable, ...] = ()
    """Trusted issuers, whose tokens are accepted too."""

    @model_validator(mode="after")
    def _is_consistent(self) -> JwtConfig:
        sources = [name for name in ("secret", "keys", "key_file") if getattr(self, name)]
        if len(sources) != 1:
            found = " and ".join(sources) or "none"
            raise ValueError(
                f'set exactly one of secret, keys and key_file, such as key_file = "jwt-keys.json"; found {found}'
            )
        if self.secret is not None and self.algorithm != "HS256":
            raise ValueError(f"algorithm {self.algorithm} needs keys or key_file; secret is for HS256")
        if self.keys and self.algorithm == "HS256":
            raise ValueError("algorithm HS256 needs secret or key_file; set the algorithm of keys, such as ES256")
        if (self.session_store == "redis") != (self.redis_url is not None):
            raise ValueError('session_store = "redis" and redis_url = "redis://..." go together; set both or neither')
        if self.sender_constraint and self.fingerprint and "fingerprint" in self.model_fields_set:
            raise ValueError('sender_constraint = "dpop" replaces the cookie; remove fingerprint')
        if self.refresh_ttl <= self.access_ttl:
            raise ValueError(
                f"refresh_ttl {self.refresh_ttl} is not longer than access_ttl {self.access_ttl}; raise it"
            )
        names = [self.issuer, *(each.issuer for each in self.issuers)]
        if len(set(names)) != len(names):
            raise ValueError("two issuers have the same name; rename one")
        return self
