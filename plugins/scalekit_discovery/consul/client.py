"""A client of Consul's HTTP API."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from scalekit import Tls
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.sources import SourceError

TIMEOUT = 5.0
"""Seconds of a request, besides the wait of a blocking query."""
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)

CONSISTENT = {"consistent": ""}
"""Consistency mode in which the leader confirms its state: a restarted server first has to read it from disk."""


class UnknownConsulService(SourceError):
    """The agent has no service or check with the id."""


class ConsulClient:
    """The HTTP API of one agent."""

    def __init__(self, session: aiohttp.ClientSession, config: DiscoveryConfig) -> None:
        self._session = session
        self._base_url = config.consul.reveal().rstrip("/")
        self.name = f"Consul at {config.consul}"
        token = config.token.get_secret_value() if config.token else ""
        self._headers = {"X-Consul-Token": token} if token else {}
        self._namespace = {"ns": config.namespace} if config.namespace else {}
        self._datacenter = {"dc": config.datacenter} if config.datacenter else {}
        self.consistency = {"stale": ""} if config.allow_stale else {}

    async def health(
        self, name: str, index: int, wait: float, consistency: Mapping[str, str]
    ) -> tuple[int, list[dict[str, Any]]]:
        """Return the index and the health entries of the service *name*, once the index is higher than *index*.

        The blocking query waits *wait* seconds; *consistency* is CONSISTENT or that of the configuration. Raises
        SourceError when the query fails.
        """
        query = {**self._datacenter, **consistency, "index": str(index), "wait": f"{wait:g}s"}
        # Consul adds up to a sixteenth to the wait.
        body, headers = await self._request("GET", f"/v1/health/service/{quote(name, safe='')}", query, wait * 17 / 16)
        try:
            return int(headers.get("X-Consul-Index", "0")), list(orjson.loads(body))
        except (ValueError, TypeError):
            raise SourceError(f"{self.name}: unexpected response, not Consul's API") from None

    async def ping(self) -> None:
        """Return when the agent responds; raise SourceError when not."""
        await self._request("GET", "/v1/status/leader", {})

    async def names(self) -> list[str]:
        """Return the names of all services except Consul's own."""
        body, _ = await self._request("GET", "/v1/catalog/services", {**self._datacenter, **self.consistency})
        return sorted(set(orjson.loads(body)) - {"consul"})

    async def register(self, definition: Mapping[str, Any]) -> None:
        """Register a service or update it; an existing check keeps its state."""
        await self._request("PUT", "/v1/agent/service/register", {}, body=orjson.dumps(definition))

    async def deregister(self, service_id: str) -> None:
        """Deregister a service; an unknown one is no error."""
        try:
            await self._request("PUT", f"/v1/agent/service/deregister/{quote(service_id, safe='')}", {})
        except UnknownConsulService:
            pass

    async def set_maintenance(self, service_id: str, *, enable: bool, reason: str = "") -> None:
        """Enable or disable the maintenance mode of a service."""
        query = {"enable": str(enable).lower(), "reason": reason}
        await self._request("PUT", f"/v1/agent/service/maintenance/{quote(service_id, safe='')}", query)

    async def is_registered(self, service_id: str) -> bool:
        """Return whether the agent has the service."""
        try:
            await self._request("GET", f"/v1/agent/service/{quote(service_id, safe='')}", {})
        except UnknownConsulService:
            return False
        return True

    async def update_check(self, check_id: str, *, passing: bool) -> None:
        """Report the status of a TTL check."""
        status, output = ("passing", "ready") if passing else ("critical", "not ready")
        body = orjson.dumps({"Status": status, "Output": output})
        await self._request("PUT", f"/v1/agent/check/update/{quote(check_id, safe=':')}", {}, body=body)

    async def _request(
        self, method: str, path: str, query: Mapping[str, str], wait: float = 0.0, *, body: bytes | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        url = URL(self._base_url + path, encoded=True).with_query({**self._namespace, **query})
        timeout = aiohttp.ClientTimeout(total=wait + TIMEOUT, sock_connect=TIMEOUT)
        try:
            async with self._session.request(
                method, url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await response.read()
        except FAILURES as error:
            raise SourceError(f"{self.name} is unavailable: {_describe(error)}") from None
        if response.status == 200:
            return content, response.headers
        reason = content[:200].decode("utf-8", "replace").strip()
        if response.status == 404 or "unknown service" in reason.lower() or "unknown check" in reason.lower():
            raise UnknownConsulService(f"{self.name}: unknown service or check: {reason}")
        remedy = "; set token to one with the required policy" if response.status in (401, 403) else ""
        raise SourceError(f"{self.name} responded with status {response.status}: {reason}{remedy}")


@asynccontextmanager
async def open_consul(config: DiscoveryConfig) -> AsyncGenerator[ConsulClient, None]:
    """Open a client with a session of its own; raise StartError when a certificate cannot be loaded."""
    connector = aiohttp.TCPConnector(limit=0, ssl=consul_ssl(config) or True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield ConsulClient(session, config)


def consul_ssl(config: DiscoveryConfig) -> ssl.SSLContext | None:
    """Return the SSL context of an https URL, None for http; raise StartError when a file cannot be loaded."""
    return (config.tls or Tls()).ssl_context("Consul") if config.consul.scheme == "https" else None


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
