"""A connection to RabbitMQ that reconnects with backoff."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from math import ceil

import aiormq
from aiormq.abc import AbstractConnection
from yarl import URL

from scalekit import Tls, mask_passwords
from scalekit_queue.config import QueueConfig

logger = logging.getLogger("scalekit.queue")
DUPLICATE_MESSAGES = ("error when creating transport", "Cancelling cause reader exited abnormally")
"""Prefixes of the log messages of aiormq for each failed attempt and each lost connection."""
# BrokerConnection logs each outage once, with its cause, and the reconnection.
logging.getLogger("aiormq.connection").addFilter(lambda record: not str(record.msg).startswith(DUPLICATE_MESSAGES))

DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 3.0
MIN_BACKOFF = 0.05
MAX_BACKOFF = 2.0

Serve = Callable[[AbstractConnection], Awaitable[None]]
OnLoss = Callable[["Exception | None"], None]
ConnectionFactory = Callable[[str, Serve, OnLoss], "BrokerConnection"]


class ConnectionLost(Exception):
    """The connection, a channel or a consumer on it no longer works."""


class Broker:
    """The address, heartbeat and TLS of RabbitMQ; raises StartError when a certificate cannot be loaded."""

    def __init__(self, config: QueueConfig) -> None:
        self._url = URL(config.url.reveal())
        self._heartbeat = ceil(config.heartbeat)
        self._ssl = (config.tls or Tls()).ssl_context("the broker") if config.url.scheme == "amqps" else None
        self.address = f"{self._url.host}:{self._url.port or DEFAULT_PORTS[config.url.scheme]}"

    def connection(self, name: str) -> aiormq.Connection:
        """Return a connection that is not yet open, shown as *name* in RabbitMQ's management."""
        options = {"heartbeat": str(self._heartbeat), "name": f"scalekit {name}"}
        return aiormq.Connection(self._url.update_query(options), context=self._ssl)


class BrokerConnection:
    """Keeps one connection open for *role*, and opens a new one whenever *serve* returns or raises.

    *serve* uses the connection. *on_loss* is called with its exception, or None, before each reconnection.
    """

    def __init__(self, broker: Broker, role: str, serve: Serve, on_loss: OnLoss) -> None:
        self.last_error = "not connected yet"
        self.connected = asyncio.Event()
        self._broker = broker
        self._role = role
        self._serve = serve
        self._on_loss = on_loss
        self._outage_logged = False

    def mark_connected(self) -> None:
        """Record that the connection and everything declared on it is ready."""
        self.last_error = ""
        if self._outage_logged:
            self._outage_logged = False
            logger.warning("%s: reconnected to RabbitMQ at %s", self._role, self._broker.address)
        self.connected.set()

    async def run(self) -> None:
        """Connect and serve, with backoff between attempts, until cancelled."""
        backoff = MIN_BACKOFF
        while True:
            started = asyncio.get_running_loop().time()
            failure: Exception | None = None
            try:
                await self._connect_and_serve()
            except Exception as error:
                failure = error
                self._record_failure(error)
            if asyncio.get_running_loop().time() - started > MAX_BACKOFF:
                backoff = MIN_BACKOFF
            self._on_loss(failure)
            await asyncio.sleep(random.uniform(backoff / 2, backoff))
            backoff = min(MAX_BACKOFF, backoff * 2)

    async def _connect_and_serve(self) -> None:
        connection = self._broker.connection(self._role)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):  # aiormq has no connect timeout
                await connection.connect()
            await self._serve(connection)
        finally:
            await close_connection(connection)

    def _record_failure(self, error: Exception) -> None:
        cause = f"{self._broker.address}: {mask_passwords(str(error)) or type(error).__name__}"
        if not self._outage_logged:
            self._outage_logged = True
            logger.warning("%s: no connection to RabbitMQ, reconnecting with backoff: %s", self._role, cause)
        self.last_error = f"{self._role}: {cause}"


async def close_connection(connection: AbstractConnection) -> None:
    """Close *connection*, giving up after CLOSE_TIMEOUT seconds without a reply."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.close()
    except Exception:
        logger.debug("closing a connection to RabbitMQ failed", exc_info=True)


async def wait_first(*awaitables: Awaitable[object]) -> None:
    """Wait until one of *awaitables* ends, cancel the others, and raise the exception of the first.

    Those that wait for a broker that does not respond have CLOSE_TIMEOUT seconds, and then end with their connection.
    """
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_retrieve_exception)
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)


def _retrieve_exception(task: asyncio.Future[object]) -> None:
    """Retrieve the exception, so that asyncio does not warn about it."""
    if not task.cancelled():
        task.exception()
