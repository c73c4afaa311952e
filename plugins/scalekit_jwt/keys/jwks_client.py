"""Fetch an issuer's JWK set over HTTP, with OIDC discovery of its URL."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url

TIMEOUT = 5.0
"""Seconds that a connection, a write or a read may take."""
MAX_BYTES = 1 << 20


class JwksClient:
    """Fetches the JWK set of *issuer* from *jwks_url*, or from the ``jwks_uri`` of its OIDC metadata when empty."""

    def __init__(self, client: httpx2.AsyncClient, issuer: str, jwks_url: str) -> None:
        self._client = client
        self._issuer = issuer
        self._jwks_url = jwks_url

    async def __call__(self) -> dict[str, Any]:
        """Return the JWK set; raises any network, status or format error."""
        url = self._jwks_url or await self._discover()
        return await self._get(url)

    async def _discover(self) -> str:
        metadata = OpenIDProviderMetadata(await self._get(get_well_known_url(self._issuer, external=True)))
        if metadata.get("issuer") != self._issuer:
            raise ValueError("the metadata names another issuer")
        url = str(metadata.get("jwks_uri", ""))
        if not url.startswith(("https://", _origin(self._issuer))):
            raise ValueError("jwks_uri of the metadata is not https")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError(f"response exceeds {MAX_BYTES} bytes")
        document = orjson.loads(content)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        return document


def create_http_client() -> httpx2.AsyncClient:
    """Return a client with timeouts that follows no redirects."""
    return httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"
