"""Check an external service by the status line of its response."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from scalekit.config.tables import External
from scalekit.config.url_syntax import UrlParts, split_url
from scalekit.health.check import Check

MAX_LINE = 1024


def external_check(name: str, service: External) -> Check:
    """Return the check of the external *service*."""
    return Check(name, partial(probe, service.url.reveal()), service.critical, service.timeout)


async def probe(url: str) -> None:
    """Send one GET to *url*; raise ConnectionError unless the status is 2xx or 3xx."""
    parts = split_url(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.host,
        parts.port or (443 if secure else 80),
        ssl=ssl.create_default_context() if secure else None,
        limit=MAX_LINE,
    )
    try:
        writer.write(_request(parts))
        status = _status(await reader.readline())
    finally:
        writer.transport.abort()
    if not 200 <= status < 400:
        raise ConnectionError(f"responded with {status}")


def _request(url: UrlParts) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = f"[{url.host}]" if ":" in url.host else url.host
    host += f":{url.port}" if url.port else ""
    headers = f"Host: {host}\r\nUser-Agent: scalekit-health\r\nAccept: */*\r\nConnection: close"
    return f"GET {target} HTTP/1.1\r\n{headers}\r\n\r\n".encode()


def _status(line: bytes) -> int:
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ConnectionError("the response is not HTTP")
    return int(words[1])
