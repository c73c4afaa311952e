"""Relay the outbox to the transport in the background."""

from __future__ import annotations

import asyncio
import logging

from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.outbox import Outbox

logger = logging.getLogger("scalekit.queue")

MIN_INTERVAL = 0.005
"""Seconds until the first poll after a message was stored, whose transaction is not committed yet."""
ERROR_DELAY = 1.0


async def run_relay(outbox: Outbox, max_interval: float, metrics: PublishMetrics) -> None:
    """Poll *outbox* until cancelled: often after a store in this process, else every *max_interval* seconds."""
    interval = MIN_INTERVAL
    while True:
        outbox.stored.clear()
        relayed = await _relay_batch(outbox, metrics)
        if relayed:
            interval = MIN_INTERVAL
            continue
        try:
            async with asyncio.timeout(interval):
                await outbox.stored.wait()
            interval = MIN_INTERVAL
        except TimeoutError:
            interval = min(max_interval, interval * 2)


async def _relay_batch(outbox: Outbox, metrics: PublishMetrics) -> int:
    try:
        count = await outbox.relay()
        metrics.relayed.inc(count)
        metrics.outbox_lag.set(await outbox.lag())
    except Exception as error:
        logger.warning("relaying the outbox failed, next attempt in %gs: %s", ERROR_DELAY, error)
        await asyncio.sleep(ERROR_DELAY)
        return 0
    return count
