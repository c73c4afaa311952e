"""Connections that are kept for the next call, and are not used once the other side has ended them.

A server that restarts ends its connections. The event loop may not have come to see that when the next request is about
to be written, and one that may not be repeated would be lost with it.
"""

from __future__ import annotations

import select
from typing import Any

import aiohttp
from aiohttp.connector import Connection


class LivenessCheckingConnector(aiohttp.TCPConnector):
    """Looks at the socket of a kept connection before it is used again."""

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            if kept.transport is not None and _is_silent(kept.transport.get_extra_info("socket").fileno()):
                return kept
            kept.close()
        return None


def _is_silent(descriptor: int) -> bool:
    """Tell whether nothing is to be read: neither an end, nor an error, nor what no request has asked for."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)
