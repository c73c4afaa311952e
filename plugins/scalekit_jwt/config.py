"""The table ``[plugins.jwt]``."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import Duration, PathGlob, Secret, Table, Url
from scalekit.config.tables import Method, SomeTime
from scalekit.config.url_syntax import split_url
from scalekit.methods import with_head
from scalekit_jwt.keys import KEY_TYPES
from scalekit_jwt.policy import AccessRule
from scalekit_jwt.secret_key import MIN_SECRET_BYTES

Foreign = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Algorithm = Literal["HS256"] | Foreign
Word = Annotated[str, Field(min_length=1)]


def _long_enough(secret: Secret | None) -> Secret | None:
    if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(
            f"too short: HS256 needs at least {MIN_SECRET_BYTES} bytes; make one with: openssl rand -base64 48"
        )
    return secret


def _in_a_folder(path: str | None) -> str | None:
    folder = os.path.dirname(os.path.abspath(path)) if path else None
    if folder and not os.path.isdir(folder):
        raise ValueError(f"the folder {folder} is not there; make it, or mount it, or name a file elsewhere")
    return path


def _is_a_file(path: str) -> str:
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {os.path.abspath(path)}; put the key there, or name another")
    return path


class RuleTable(Table):
    """What a token must say for some requests, beside being good."""

    path: PathGlob
    """Paths that it is for, such as ``/api/**``."""
    methods: tuple[Method, ...] = ()
    """Methods that it is for, ``GET`` being ``HEAD`` too; empty for all."""
    scopes: tuple[Word, ...] = ()
    """Scopes that the token must have, all of them."""
    claims: dict[str, str | int | bool | list[str | int]] = {}
    """Claims that it must have, each with this value, or one of these."""

    def rule(self) -> AccessRule:
        """Return what the core knows of it."""
        return AccessRule(self.path, with_head(self.methods), frozenset(self.scopes), self.claims)


class IssuerTable(Table):
    """Another issuer whose tokens are taken."""

    issuer: Word
    """Its name, exactly as its tokens have it in ``iss``."""
    audience: Word
    """What its tokens must have in ``audience_claim``."""
    audience_claim: Word = "aud"
    """The claim that says whom a token is for; where it is another, an ``aud`` beside it must name the audience too."""
    jwks: Url | None = None
    """Where its keys are; without it they are found by OIDC discovery below its name."""
    algorithms: tuple[Foreign, ...] = ("RS256",)
    """Algorithms of its keys, all of one type of key."""
    refetch: SomeTime = Duration("5m")
    """Time between two fetches of its keys."""
    cool_down: SomeTime = Duration("5s")
    """Time after a fetch before an unknown ``kid`` causes another."""
    types: tuple[str, ...] = ("at+jwt", "JWT", "")
    """What its tokens may have in ``typ``; empty stands for none."""

    @model_validator(mode="after")
    def _is_reached_safely(self) -> IssuerTable:
        if len({KEY_TYPES[each] for each in self.algorithms}) != 1:
            raise ValueError("algorithms are of one type of key: those of RS and PS, or those of ES, or EdDSA")
        if self.cool_down > self.refetch:
            raise ValueError(f"cool_down {self.cool_down} is longer than refetch {self.refetch}; lower it")
        url = self.jwks.parts if self.jwks else split_url(self.issuer)
        local = url.scheme == "http" and url.host in ("127.0.0.1", "::1", "localhost")
        if url.scheme != "https" and not local:
            raise ValueError(f"keys come over https, or http from this machine, not from {self.jwks or self.issuer}")
        return self


class JwtConfig(Table):
    """Whose tokens are taken, for what, and how this service's own are made."""

    issuer: Word = "scalekit"
    """The name of this service in the tokens that it issues."""
    audience: Word | None = None
    """Whom they are for; unset it is the issuer."""
    secret: Annotated[Secret | None, AfterValidator(_long_enough)] = None
    """A secret of at least 32 bytes, to sign with HS256."""
    keys: tuple[Annotated[Word, AfterValidator(_is_a_file)], ...] = ()
    """Files of a PEM or JWK each; the first signs, all verify."""
    key_file: Annotated[Word | None, AfterValidator(_in_a_folder)] = None
    """A JWK set of this plugin's own, made with a first key where there is none; ``scalekit jwt rotate`` adds to it."""
    algorithm: Algorithm = "HS256"
    """What the keys of keys are for, and those that are made in key_file."""
    access: SomeTime = Duration("15m")
    """How long an access token is good."""
    refresh: SomeTime = Duration("7d")
    """How long a refresh token is good."""
    grace: Duration = Duration("5s")
    """How long a used refresh token gives the same successor once more, to a client that has lost the answer."""
    leeway: Duration = Duration("30s")
    """How far clocks may differ."""
    fingerprint: bool = True
    """Whether tokens are bound to a cookie."""
    sender: Literal["dpop"] | None = None
    """``dpop`` binds tokens to a key of the client's in the place of a cookie; every request has a proof of it."""
    insecure_cookie: bool = False
    """Whether that cookie may go over http: for a laptop."""
    state: Literal["auto", "database", "memory", "redis"] = "auto"
    """Where sessions are remembered: ``auto`` is the database where the pool is on, else the memory of the process."""
    redis: Url | None = None
    """The Redis of ``state = "redis"``: one server with at least one replica, which must acknowledge each change."""
    poll: SomeTime = Duration("500ms")
    """Time between two looks at what has been revoked, and whether keys have changed."""
    remember: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """VerifiedToken tokens that each process remembers."""
    protect: tuple[PathGlob, ...] = ()
    """Paths that need a token, such as ``/api/**``."""
    public: tuple[PathGlob, ...] = ()
    """Paths among them that need none."""
    rules: tuple[RuleTable, ...] = ()
    """What a token must say besides; every rule counts that matches."""
    issuers: tuple[IssuerTable, ...] = ()
    """Other issuers whose tokens are taken."""

    @model_validator(mode="after")
    def _fits_together(self) -> JwtConfig:
        given = [name for name in ("secret", "keys", "key_file") if getattr(self, name)]
        if len(given) != 1:
            have = " and ".join(given) or "none"
            raise ValueError(f'name one of secret, keys and key_file, such as key_file = "jwt-keys.json"; have {have}')
        if self.secret is not None and self.algorithm != "HS256":
            raise ValueError(f"algorithm {self.algorithm} needs keys or key_file; a secret is for HS256")
        if self.keys and self.algorithm == "HS256":
            raise ValueError("algorithm HS256 needs secret or key_file; name that of the keys, such as ES256")
        if (self.state == "redis") != (self.redis is not None):
            raise ValueError('state = "redis" and redis = "redis://..." go together; name both or none')
        if self.redis is not None and self.redis.scheme not in ("redis", "rediss", "unix"):
            raise ValueError(
                f"redis is one server, redis:// or rediss://, not {self.redis.scheme}://; name its primary"
            )
        if self.sender and self.fingerprint and "fingerprint" in self.model_fields_set:
            raise ValueError('sender = "dpop" takes the place of the cookie; leave fingerprint out')
        if self.refresh <= self.access:
            raise ValueError(f"refresh {self.refresh} is not longer than access {self.access}; raise it")
        names = [self.issuer, *(each.issuer for each in self.issuers)]
        if len(set(names)) != len(names):
            raise ValueError("two issuers have one name; each is its own")
        return self
