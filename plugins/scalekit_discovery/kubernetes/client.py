"""A client of the Kubernetes API: lists, watches and objects in JSON."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from yarl import URL

from scalekit import StartError
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.kubernetes.service_account import ServiceAccount, api_url
from scalekit_discovery.sources import SourceError

TIMEOUT = 5.0
"""Seconds of a request, besides the duration of a watch."""
MAX_RESPONSE = 32 * 2**20
"""Bytes of a response; a page of 500 EndpointSlices with 100 endpoints each is smaller."""
MAX_EVENT = 4 * 2**20
"""Bytes of one event of a watch; etcd stores objects of at most 1.5 MiB."""
MAX_RETRY_AFTER = 60.0
"""Seconds that ``Retry-After`` may demand."""
MAX_REASON = 300
MASK = "***"
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
REMEDIES = {
    401: "; the API server rejects the token: look into token_file or token",
    403: "; bind a role with these verbs to the service account",
}
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Probes that end the watch of a machine that is gone after 30 s; other systems than Linux have their own defaults."""

OnEvents = Callable[[Sequence[Mapping[str, Any]]], None]


class AbortingConnector(aiohttp.TCPConnector):
    """Aborts a connection in the middle of a response: at shutdown no loop would wait for TLS's closing messages."""

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close:
            protocol.abort()
        super()._release(key, protocol, should_close=should_close)


class ExpiredVersion(SourceError):
    """The API server does not have the requested resource version: the collection has to be listed again."""


class KubernetesClient:
    """The API of one cluster, with the credentials of *account*."""

    def __init__(self, session: aiohttp.ClientSession, config: DiscoveryConfig, account: ServiceAccount) -> None:
        self._session = session
        self._base_url = api_url(config, os.environ)
        self._account = account
        self.name = f"Kubernetes at {self._base_url}"
        self.host = URL(self._base_url).host or ""
        self.namespace = account.namespace()

    async def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the object at *path*; raise ExpiredVersion or another SourceError when that fails."""
        async with self._request(path, query, TIMEOUT) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_RESPONSE:
                    raise SourceError(f"{self.name}: a response exceeds {MAX_RESPONSE} bytes")
        return self._parse(bytes(body))

    async def watch(self, path: str, query: Mapping[str, str], seconds: int, on_events: OnEvents) -> None:
        """Call *on_events* with the events of each received chunk until the watch ends, after *seconds* at most.

        Return when the stream ends, also when its connection is cut. Raises ExpiredVersion or another SourceError when
        the watch does not start, and passes on the exceptions of *on_events*.
        """
        query = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        async with self._request(path, query, seconds + TIMEOUT) as response:
            _keep_alive(response)
            pending = b""
            while chunk := await _read_chunk(response):
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > MAX_EVENT:
                    raise SourceError(f"{self.name}: an event exceeds {MAX_EVENT} bytes")
                if events := [self._parse(line) for line in lines if line.strip()]:
                    on_events(events)

    @asynccontextmanager
    async def _request(
        self, path: str, query: Mapping[str, str], limit: float
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        url = URL(self._base_url + path, encoded=True).with_query(query)
        try:
            response = await self._send(url, limit)
            async with response:
                if response.status != 200:
                    raise await self._error(response)
                yield response
        except SourceError:
            raise
        except StartError as error:
            raise SourceError(str(error)) from None
        except FAILURES as error:
            raise SourceError(f"{self.name} is unavailable: {_describe(error)}") from None

    async def _send(self, url: URL, limit: float) -> aiohttp.ClientResponse:
        """Send a GET, and again when the token was replaced while the API server rejected it."""
        headers = self._account.headers()
        response = await self._get(url, headers, limit)
        if response.status == 401 and (renewed := self._account.headers()) != headers:
            response.close()
            response = await self._get(url, renewed, limit)
        return response

    async def _get(self, url: URL, headers: Mapping[str, str], limit: float) -> aiohttp.ClientResponse:
        return await self._session.get(
            url,
            headers={"Accept": "application/json", **headers},
            timeout=aiohttp.ClientTimeout(total=limit, sock_connect=TIMEOUT),
            ssl=self._account.ssl_context() if url.scheme == "https" else True,
            allow_redirects=False,
        )

    async def _error(self, response: aiohttp.ClientResponse) -> SourceError:
        """Return the error of a ``Status`` object, or of any other body."""
        content = await response.content.read(65_536)
        try:
            status = dict(orjson.loads(content))
            reason = str(status.get("message", ""))
        except (ValueError, TypeError):
            status, reason = {}, content.decode("utf-8", "replace").strip()
        sent = response.request_info.headers.get("Authorization", "").removeprefix("Bearer ")
        reason = reason.replace(sent, MASK) if sent else reason  # a proxy may repeat what it has received
        remedy = REMEDIES.get(response.status, "")
        message = f"{self.name} responded with status {response.status}: {reason[:MAX_REASON]}{remedy}"
        if is_expired(response.status, status):
            return ExpiredVersion(message)
        return SourceError(message, _retry_after(response))

    def _parse(self, content: bytes) -> dict[str, Any]:
        try:
            parsed = orjson.loads(content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise SourceError(f"{self.name}: unexpected response, not the API of Kubernetes")
        return parsed


@asynccontextmanager
async def open_kubernetes(config: DiscoveryConfig) -> AsyncGenerator[KubernetesClient, None]:
    """Open a client with a session of its own; each watch has a connection."""
    connector = AbortingConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield KubernetesClient(session, config, ServiceAccount(config))


def is_expired(code: object, status: Mapping[str, Any]) -> bool:
    """Return whether a ``Status`` object says that a resource version is too old, or newer than the server's state."""
    return code == 410 or (code == 504 and "Too large resource version" in str(status.get("message", "")))


async def _read_chunk(response: aiohttp.ClientResponse) -> bytes:
    """Return the next bytes of a watch, none at its end, also when the connection is cut."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    transport = response.connection.transport if response.connection is not None else None
    connected = transport.get_extra_info("socket") if transport is not None else None
    for name, value in KEEPALIVE.items():
        if connected is not None and hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
