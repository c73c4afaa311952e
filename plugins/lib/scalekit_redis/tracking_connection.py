"""One connection on which a server tells which keys were changed (CLIENT TRACKING, broadcast by prefix).

It is a connection of its own, opened anew whenever it is lost. A server that says nothing may have nothing to say, may
hang, or may be cut off: it is asked something four times a second, and has half a second to answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from scalekit_redis.connector import Connector
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.protocol import RedisProtocol

logger = logging.getLogger("scalekit.redis")

EVERY = 0.25
"""Seconds between an answer and the next question."""
PATIENCE = 0.5
"""Seconds that an answer may take. A loss that nothing shows is so noticed after at most 0.8 seconds."""
GRACE = 0.05
"""Seconds more in which an answer is read that came while the loop was held up."""
LONGEST_PAUSE = 1.0
"""Seconds between two attempts to connect, at most."""


def tracking_command(prefixes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the words that turn tracking on for keys that begin with one of *prefixes*."""
    named = [word for prefix in prefixes for word in (b"PREFIX", prefix)]
    return (b"CLIENT", b"TRACKING", b"ON", b"BCAST", *named)


@dataclass(frozen=True, slots=True)
class LivenessProbe:
    """What a server is asked to see that it is there; *told* is what of the answer stays while all is as it was."""

    packed: bytes
    told: Callable[[Any], object]


class TrackingConnection:
    """A connection to *connector*'s server that begins with the command *first*; *on* while it can be relied upon.

    ``proved`` is when, on the monotonic clock, every change until then is known to have been told.
    *shifted* is called when *on* has changed, *told* with keys or with None for all of them, and *turned* when the
    answer to *question* is another than the last, and after each connection that ended or could not be had.
    """

    def __init__(
        self,
        name: str,
        connector: Connector,
        metrics: RedisMetrics,
        first: bytes,
        question: LivenessProbe,
        shifted: Callable[[], None],
        told: Callable[[list[bytes] | None], None],
        turned: Callable[[TrackingConnection], None],
    ) -> None:
        self.on = False
        self.proved = -inf
        self._name = name
        self._connector = connector
        self._metrics = metrics
        self._first = first
        self._question = question
        self._shifted = shifted
        self._told = told
        self._turned = turned
        self._wire: RedisProtocol | None = None
        self._lost = asyncio.Event()
        self._warned = False
        self._task = asyncio.create_task(self._live(), name=f"scalekit: tracking on {name}")

    async def close(self) -> None:
        """End the connection; nobody is told."""
        self._shifted, self.on = _ignore, False
        self._task.cancel()
        await asyncio.wait([self._task])
        self.end("it is no longer needed")

    def end(self, reason: str) -> None:
        """End the connection that there is, for the next."""
        if self._wire is not None:
            self._wire.close(reason)

    def on_lost(self, wire: RedisProtocol, reason: str) -> None:
        """Tell at once that changes are no longer told."""
        self._wire = None
        was_on, self.on = self.on, False
        self._lost.set()
        if was_on:
            self._shifted()
            self._warn(reason)
        for call in [call for calls in wire.take_back() for call in calls]:
            call.fail(RedisUnavailable(f"{self._name}: {reason}", "lost"))

    def on_busy(self, wire: RedisProtocol) -> None:
        """Go on: nobody else has this connection."""

    def on_drained(self, wire: RedisProtocol) -> None:
        """Go on."""

    def on_push(self, push: list[Any]) -> None:
        """Tell which keys were changed."""
        if push[0] == b"invalidate":
            self._told(push[1])

    async def _live(self) -> None:
        attempt = 0
        while True:
            try:
                await self._begin()
                attempt = 0
                await self._listen()
            except Exception as error:
                self._metrics.failed("tracking")
                self._warn(self._connector.explain(error))
            self.end("the server does not answer")
            self._turned(self)
            attempt += 1
            await asyncio.sleep(min(0.05 * attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0))

    async def _begin(self) -> None:
        transport = await self._connector.open()
        self._lost.clear()
        self._wire = RedisProtocol(transport, self, self._metrics)
        await self._ask(self._first)
        self.on = True
        if self._warned:
            self._warned = False
            logger.warning("%s tells of changes again", self._name)
        self._shifted()

    async def _listen(self) -> None:
        """Return when the connection is lost; raises RedisUnavailable when the server does not answer."""
        known = await self._state()
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(EVERY):
                    await self._lost.wait()
                return
            except TimeoutError:
                state = await self._state()
            if state != known:
                known = state
                self._turned(self)

    async def _state(self) -> object:
        try:
            return self._question.told(await self._ask(self._question.packed))
        except ReplyError:  # it is there, and does not tell everybody
            return None

    async def _ask(self, packed: bytes) -> Any:
        wire = self._wire
        if wire is None:
            raise RedisUnavailable(f"{self._name}: the connection was lost", "lost")
        now = monotonic()
        call = PendingCommand(asyncio.get_running_loop().create_future(), packed, now, now + PATIENCE)
        wire.put(call)
        try:
            for seconds in (PATIENCE, GRACE):
                await asyncio.wait([call.future], timeout=seconds)
                if call.future.done():
                    reply = call.future.result()
                    self.proved = now
                    return reply
        finally:
            call.future.cancel()  # nobody waits for it any more
        raise RedisUnavailable(f"{self._name}: no answer within {PATIENCE:g}s", "late")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s tells of no changes: %s", self._name, reason)


def _ignore() -> None:
    """Do nothing."""


def _role(reply: Any) -> object:
    return reply[0]


def _shape(reply: Any) -> object:
    """Return those lines of CLUSTER INFO that change when another has slots."""
    parts = (b"cluster_current_epoch", b"cluster_my_epoch", b"cluster_known_nodes", b"cluster_size", b"cluster_state")
    return [line for line in bytes(reply).splitlines() if line.startswith(parts)]


ROLE = LivenessProbe(pack(("ROLE",)), _role)
CLUSTER_INFO = LivenessProbe(pack(("CLUSTER", "INFO")), _shape)
