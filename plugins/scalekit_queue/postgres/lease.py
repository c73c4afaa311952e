"""The lease of this process: renewed periodically, and replaced when messages may belong to it that nobody handles.

When the response to a statement is lost, or its wait is cancelled, the server may still receive messages for this
process, or may not have settled one. Such messages would stay invisible as long as the lease is renewed. A new lease
then takes over the deliveries that are known, and the old one ends, also for statements that the server runs later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack

from scalekit_queue.batch_writer import RETRY_DELAY
from scalekit_queue.postgres.store import DeliveryKey, PostgresStore
from scalekit_queue.postgres.subscription import PostgresSubscription
from scalekit_queue.statement_status import StatementStatus

STATEMENT_TIMEOUT = 5.0
"""Seconds in which the lease must be renewed, replaced or ended."""


class ProcessLease:
    """Keeps the lease of *store* for *ttl* seconds at a time, to which the deliveries of *subscriptions* belong."""

    def __init__(self, store: PostgresStore, ttl: float, subscriptions: Collection[PostgresSubscription]) -> None:
        self.status = StatementStatus("renew the lease")
        self._store = store
        self._ttl = ttl
        self._subscriptions = subscriptions

    async def run(self) -> None:
        """Renew the lease, or replace it when a subscription is in doubt, until cancelled."""
        is_held = False
        while True:
            was_held, is_held = is_held, await self._keep()
            if is_held and not was_held:
                for subscription in self._subscriptions:
                    subscription.wake()
            await asyncio.sleep(self._ttl / 3 if is_held else RETRY_DELAY)

    async def end(self) -> None:
        """Let other processes receive at once what this one has not settled."""
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT):
                await self._store.end_lease()
        except Exception as error:
            self.status.failed(error)  # it expires

    async def _keep(self) -> bool:
        in_doubt = [each for each in self._subscriptions if each.in_doubt]
        try:
            await (self._replace() if in_doubt else self._renew())
        except Exception as error:
            for subscription in in_doubt:
                subscription.in_doubt = True
            self.status.failed(error)
            return False
        self.status.succeeded()
        return True

    async def _renew(self) -> None:
        async with asyncio.timeout(STATEMENT_TIMEOUT):
            await self._store.renew_lease(self._ttl)

    async def _replace(self) -> None:
        async with AsyncExitStack() as stack:
            for subscription in self._subscriptions:
                await stack.enter_async_context(subscription.receiving)
            deliveries: list[DeliveryKey] = []
            for subscription in self._subscriptions:
                subscription.in_doubt = False
                deliveries += subscription.unsettled
            async with asyncio.timeout(STATEMENT_TIMEOUT):
                await self._store.replace_lease(self._ttl, deliveries)
