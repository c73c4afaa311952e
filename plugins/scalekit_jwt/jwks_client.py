"""Fetch JWK sets, and where they are, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url

TIMEOUT = 5.0
MAX_BYTES = 1 << 20


class JwksClient:
    """Fetches the JWK set of *issuer*: from *jwks*, or where its OIDC metadata says that it is."""

    def __init__(self, client: httpx2.AsyncClient, issuer: str, jwks: str) -> None:
        self._client = client
        self._issuer = issuer
        self._jwks = jwks

    async def __call__(self) -> dict[str, Any]:
        """Return the set; raises whatever is wrong on the way."""
        address = self._jwks or await self._discover()
        return await self._get(address)

    async def _discover(self) -> str:
        found = OpenIDProviderMetadata(await self._get(get_well_known_url(self._issuer, external=True)))
        if found.get("issuer") != self._issuer:
            raise ValueError("the metadata is of another issuer")
        address = str(found.get("jwks_uri", ""))
        if not address.startswith(("https://", _origin(self._issuer))):
            raise ValueError("the metadata names keys that do not come over https")
        return address

    async def _get(self, address: str) -> dict[str, Any]:
        async with self._client.stream("GET", address) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError("too long")
        document = orjson.loads(content)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        return document


def http_client() -> httpx2.AsyncClient:
    """Return a client that follows nobody elsewhere, and waits for nobody long."""
    return httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


def _origin(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"
