"""A connection to RabbitMQ that is made again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.abc import AbstractConnection

from scalekit import mask_passwords
from scalekit_queue.amqp.broker import Broker

logger = logging.getLogger("scalekit.queue")
REPEATED = ("error when creating transport", "Cancelling cause reader exited abnormally")
"""How aiormq's messages begin about each failed attempt, and with a traceback about each lost connection."""
# Link logs each outage once, with its reason, and its end.
logging.getLogger("aiormq.connection").addFilter(lambda record: not str(record.msg).startswith(REPEATED))

CONNECT_LIMIT = 5.0
CLOSE_LIMIT = 3.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

Serve = Callable[[AbstractConnection], Awaitable[None]]
OnLoss = Callable[["Exception | None"], None]


class ConnectionLost(Exception):
    """The connection, or what was made on it, is there no more."""


class BrokerConnection:
    """Keeps one connection for *purpose*; *serve* uses it, and ends or raises when it has to be made anew.

    *on_loss* is told what it raised.
    """

    def __init__(self, broker: Broker, heartbeat: int, purpose: str, serve: Serve, on_loss: OnLoss) -> None:
        self.trouble = "not connected yet"
        self.connected = asyncio.Event()
        self._broker = broker
        self._options = {"heartbeat": str(heartbeat), "name": f"scalekit {purpose}"}
        self._purpose = purpose
        self._serve = serve
        self._on_loss = on_loss
        self._told = False

    def note_connected(self) -> None:
        """Note that all that was made on the connection is there."""
        self.trouble = ""
        if self._told:
            self._told = False
            logger.warning("%s: the broker can be reached again", self._purpose)
        self.connected.set()

    async def run(self) -> None:
        """Connect again and again, with pauses that grow while that fails, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            lost: Exception | None = None
            try:
                await self._connect_and_serve()
            except Exception as error:
                lost = error
                self._note(error)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            self._on_loss(lost)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _connect_and_serve(self) -> None:
        connection = self._broker.connection(**self._options)
        try:
            async with asyncio.timeout(CONNECT_LIMIT):  # it has no time-out of its own
                await connection.connect()
            await self._serve(connection)
        finally:
            await _close(connection)

    def _note(self, error: Exception) -> None:
        described = f"{self._broker.place}: {mask_passwords(str(error)) or type(error).__name__}"
        if not self._told:
            self._told = True
            logger.warning("%s: no connection to the broker: %s", self._purpose, described)
        self.trouble = f"{self._purpose}: {described}"


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            await connection.close()
    except Exception:
        logger.debug("a connection did not close well", exc_info=True)


async def first_of(*awaitables: Awaitable[Any]) -> None:
    """Wait until one of *awaitables* ends, and raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen, so that nobody warns of it
