"""Consul's HTTP API, as far as it is needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.sources import SourceError

DEADLINE = 5.0
"""Seconds for everything but blocking queries."""
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)

CONSISTENT = {"consistent": ""}
"""Asks for what the leader has once it has read all that it kept: until then one that was restarted knows nobody."""


class UnknownConsulService(SourceError):
    """The agent has no service of that id."""


class ConsulClient:
    """One agent's API."""

    def __init__(self, session: aiohttp.ClientSession, config: DiscoveryConfig) -> None:
        self._session = session
        self._base = config.consul.reveal().rstrip("/")
        self.place = f"Consul at {config.consul}"
        token = config.token.get_secret_value() if config.token else ""
        self._headers = {"X-Consul-Token": token} if token else {}
        self._everywhere = {"ns": config.namespace} if config.namespace else {}
        self._datacenter = {"dc": config.datacenter} if config.datacenter else {}
        self.freshness = {"stale": ""} if config.stale else {}

    async def health(
        self, name: str, index: int, wait: float, freshness: Mapping[str, str]
    ) -> tuple[int, list[dict[str, Any]]]:
        """Return the index and the entries of service *name*, as soon as the index is past *index*.

        *freshness* is CONSISTENT or what the file says. Raises SourceError when they cannot be had.
        """
        query = {**self._datacenter, **freshness, "index": str(index), "wait": f"{wait:g}s"}
        # Consul adds up to a sixteenth to the wait.
        answer, headers = await self._ask("GET", f"/v1/health/service/{quote(name, safe='')}", query, wait * 17 / 16)
        try:
            return int(headers.get("X-Consul-Index", "0")), list(orjson.loads(answer))
        except (ValueError, TypeError):
            raise SourceError(f"{self.place} answers what is not its API") from None

    async def reach(self) -> None:
        """Return when the agent answers, whoever the cluster's leader is; raises SourceError."""
        await self._ask("GET", "/v1/status/leader", {})

    async def names(self) -> list[str]:
        """Return the names of all services, Consul's own left out."""
        answer, _ = await self._ask("GET", "/v1/catalog/services", {**self._datacenter, **self.freshness})
        return sorted(set(orjson.loads(answer)) - {"consul"})

    async def register(self, definition: Mapping[str, Any]) -> None:
        """Register a service, or change it; a check that was there keeps its state."""
        await self._ask("PUT", "/v1/agent/service/register", {}, body=orjson.dumps(definition))

    async def deregister(self, identifier: str) -> None:
        """Forget a service; one that is not there is forgotten already."""
        try:
            await self._ask("PUT", f"/v1/agent/service/deregister/{quote(identifier, safe='')}", {})
        except UnknownConsulService:
            pass

    async def maintain(self, identifier: str, enable: bool, reason: str = "") -> None:
        """Take a service into maintenance, or out of it."""
        query = {"enable": str(enable).lower(), "reason": reason}
        await self._ask("PUT", f"/v1/agent/service/maintenance/{quote(identifier, safe='')}", query)

    async def has(self, identifier: str) -> bool:
        """Tell whether the agent knows the service."""
        try:
            await self._ask("GET", f"/v1/agent/service/{quote(identifier, safe='')}", {})
        except UnknownConsulService:
            return False
        return True

    async def tell(self, check: str, passing: bool) -> None:
        """Say how a check that waits for word is."""
        status, output = ("passing", "ready") if passing else ("critical", "not ready")
        body = orjson.dumps({"Status": status, "Output": output})
        await self._ask("PUT", f"/v1/agent/check/update/{quote(check, safe=':')}", {}, body=body)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], wait: float = 0.0, body: bytes | None = None
    ) -> tuple[bytes, Mapping[str, str]]:
        url = URL(self._base + path, encoded=True).with_query({**self._everywhere, **query})
        timeout = aiohttp.ClientTimeout(total=wait + DEADLINE, sock_connect=DEADLINE)
        try:
            async with self._session.request(
                method, url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except FAILURES as error:
            raise SourceError(f"{self.place} cannot be asked: {_described(error)}") from None
        if answer.status == 200:
            return content, answer.headers
        reason = content[:200].decode("utf-8", "replace").strip()
        if answer.status == 404 or "unknown service" in reason.lower() or "unknown check" in reason.lower():
            raise UnknownConsulService(f"{self.place} does not know it: {reason}")
        remedy = "; set token to one that may" if answer.status in (401, 403) else ""
        raise SourceError(f"{self.place} refuses with {answer.status}: {reason}{remedy}")


@asynccontextmanager
async def consul(config: DiscoveryConfig) -> AsyncGenerator[ConsulClient, None]:
    """Return the API that *config* names, with connections of its own; raises StartError for useless certificates."""
    secure = config.consul.scheme == "https"
    connector = aiohttp.TCPConnector(limit=0, ssl=config.tls("Consul") if secure else True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield ConsulClient(session, config)


def _described(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
