"""The table ``[plugins.compression]``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scalekit import PathGlob, Size, Table, TextPattern

Coding = Literal["zstd", "br", "gzip"]
MediaType = Annotated[
    str,
    TextPattern(
        r"^[a-z0-9*.+-]+/[a-z0-9*.+-]+$", 'a media type in lower case such as "text/*" or "application/*+json"'
    ),
]


FieldName = Annotated[str, TextPattern(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 'the name of a header, such as "X-User"')]
CREDENTIAL_HEADERS = (
    "Proxy-Authorization",
    "API-Key",
    "X-API-Key",
    "X-Auth-Token",
    "X-Access-Token",
    "X-Session-Token",
    "Client-Cert",
    "X-Client-Cert",
    "X-Forwarded-Client-Cert",
    "SSL-Client-Cert",
    "X-SSL-Client-Cert",
    "Remote-User",
    "X-Remote-User",
    "X-User",
    "X-User-Id",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Access-Token",
    "X-Authenticated-User",
    "X-Authentik-Username",
    "X-Authentik-JWT",
    "X-Webauth-User",
    "X-Consumer-Id",
    "X-Consumer-Username",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Accesstoken",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Authenticated-User-Id",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-ID",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Pomerium-Jwt-Assertion",
    "Tailscale-User-Login",
)
"""Headers by which clients and authenticating proxies commonly identify the user."""


class CompressionConfig(Table):
    """Which responses are compressed, and how."""

    codings: Annotated[tuple[Coding, ...], Field(min_length=1)] = ("br", "zstd", "gzip")
    """Content codings, the preferred one first, where a client accepts several with the same weight."""
    min_size: Size = Size("1KiB")
    """Smallest body that is compressed; a stream of unknown length always is."""
    types: tuple[MediaType, ...] = (
        "text/*",
        "application/json",
        "application/*+json",
        "application/javascript",
        "application/xml",
        "application/*+xml",
        "application/wasm",
        "image/svg+xml",
    )
    """Media types that are compressed."""
    private: bool = False
    """Compress responses to requests with credentials too; see BREACH in the README."""
    credential_headers: tuple[FieldName, ...] = CREDENTIAL_HEADERS
    """Request headers that identify the user, beside ``Authorization`` and ``Cookie``; a list replaces the default."""
    exclude: tuple[PathGlob, ...] = ()
    """Paths whose responses are never compressed."""
    br_level: Annotated[int, Field(ge=0, le=11)] = 4
    """Level of Brotli, 0 to 11."""
    zstd_level: Annotated[int, Field(ge=1, le=19)] = 3
    """Level of Zstandard, 1 to 19."""
    gzip_level: Annotated[int, Field(ge=1, le=9)] = 6
    """Level of gzip, 1 to 9."""

    @model_validator(mode="after")
    def _refuse_repetition(self) -> Self:
        if len(set(self.codings)) < len(self.codings):
            raise ValueError("codings has one twice; remove it")
        return self

    def level(self, coding: str) -> int:
        """Return the level of *coding*."""
        return {"br": self.br_level, "zstd": self.zstd_level, "gzip": self.gzip_level}[coding]
