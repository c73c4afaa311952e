"""The HTTP session of calls, whose connector checks an idle connection before it is reused.

A server that restarts closes its connections. The event loop may not have processed that when the next request is about
to be written, and a request that must not be repeated would fail.
"""

from __future__ import annotations

import select
import sys
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.responses import UpstreamResponse

KEEPALIVE_TIMEOUT = 15.0
"""Seconds that an idle connection stays open; less than servers keep theirs, which may close just when it is reused."""


class LivenessCheckingConnector(aiohttp.TCPConnector):
    """Polls the socket of an idle connection before it is reused."""

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        while (idle := await super()._get(key, traces)) is not None:
            if idle.transport is not None and _is_alive(idle.transport.get_extra_info("socket").fileno()):
                return idle
            idle.close()
        return None


def _is_alive(descriptor: int) -> bool:
    """Return whether the socket has no end of stream, no error and no unexpected bytes."""
    if sys.platform == "win32":
        return not select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


def new_session(config: DiscoveryConfig) -> aiohttp.ClientSession:
    """Return the session of calls, without cookies."""
    connector = LivenessCheckingConnector(
        limit=0, limit_per_host=config.max_connections, keepalive_timeout=KEEPALIVE_TIMEOUT
    )
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=UpstreamResponse
    )
