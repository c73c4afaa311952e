"""Pass on what lies in the outbox, again and again."""

from __future__ import annotations

import asyncio
import logging

from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.outbox import Outbox

logger = logging.getLogger("scalekit.queue")

SHORTEST = 0.005
"""Seconds until the first look after something was stored, which is not committed yet."""


async def run_relay(outbox: Outbox, poll: float, metrics: PublishMetrics) -> None:
    """Look every *poll* seconds, and often right after something was stored in this process, until cancelled."""
    pause = SHORTEST
    while True:
        outbox.stored.clear()
        relayed = await _relayed(outbox, metrics)
        if relayed:
            pause = SHORTEST
            continue
        try:
            async with asyncio.timeout(pause):
                await outbox.stored.wait()
            pause = SHORTEST
        except TimeoutError:
            pause = min(poll, pause * 2)


async def _relayed(outbox: Outbox, metrics: PublishMetrics) -> int:
    try:
        count = await outbox.relay()
        metrics.relayed.inc(count)
        metrics.outbox_lag.set(await outbox.lag())
    except Exception as error:
        logger.warning("the outbox could not be passed on, and will be tried again: %s", error)
        await asyncio.sleep(1.0)
        return 0
    return count
