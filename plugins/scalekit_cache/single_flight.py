"""One call for many: while one request has an answer made, others for the same wait for it and get it as it comes.

The one who has it made leads a flight; the others follow. Nothing of an answer is shown to them before it is known that
they may have it. When a leader fails before its answer has begun, the first of those who wait leads on.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from scalekit_cache.stored_response import Headers
from scalekit_cache.storing import Freshness
from scalekit_cache.table_tags import ReadTracker
from scalekit_caching.items import Key
from scalekit_caching.store import Lease

GONE = float("inf")
"""The place of a leader who takes nothing more."""


class FlightOutcome(Enum):
    """How waiting for the beginning of an answer ended."""

    STARTED = auto()
    LEAD = auto()
    """The leader failed: whoever gets this leads."""
    RETRY = auto()
    """Look again: it is kept now, or what was being made is outdated."""
    BYPASS = auto()
    """The answer is for its leader only, or does not come in time."""


class LeaderFailed(RuntimeError):
    """The answer that was being followed ended in the middle."""


class Flight:
    """An answer that is being made, and who waits for it.

    *window* bytes at most are held of it. When more comes than may be kept, the leader sets the pace: what it has
    ``taken`` is let go, and a follower that lags behind by more than the window is left behind. ``ends`` tells that
    nothing more comes.
    """

    # On the class, so that a flight that nobody joins sets next to nothing.
    kept: Freshness | None = None
    lease: Lease | None = None
    written: asyncio.Future[None] | None = None
    tables: ReadTracker | None = None
    outdated = False
    landed_elsewhere = False
    complete = False
    begun = 0
    """The moment at which the application was asked, as the cache counts them; 0 before that."""
    taken: float = GONE
    ends = False
    status = 0
    headers: Headers = []
    selecting: tuple[bytes, ...] = ()
    tags: tuple[bytes, ...] = ()
    _chunks: list[bytes] = []
    _first = 0
    _held = 0
    _broken = False
    _reading: dict[int, int] = {}
    _news: list[asyncio.Future[None]] = []
    _waiting: list[asyncio.Future[FlightOutcome]] = []

    def __init__(self, key: Key, primary: Key, since: int, window: int, shared: bool = True) -> None:
        self.key = key
        self.primary = primary
        self.since = since
        self.window = window
        self.open = shared

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for the answer to begin."""
        return bool(self._waiting)

    @property
    def has_let_go(self) -> bool:
        """Whether the beginning of the answer is no longer held."""
        return self._first > 0

    @property
    def outgrown(self) -> bool:
        """Whether more has come than may be kept."""
        return self._first > 0 or self._held > self.window

    @property
    def followed(self) -> bool:
        """Whether anybody reads along."""
        return bool(self._reading)

    async def landed(self, seconds: float) -> FlightOutcome:
        """Wait for the answer to begin, *seconds* at most."""
        if not self.open:
            return FlightOutcome.BYPASS
        if self.kept is not None:
            return FlightOutcome.STARTED
        if self.complete:  # before anybody waited
            return FlightOutcome.RETRY
        future: asyncio.Future[FlightOutcome] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._waiting = []
        self._waiting.append(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return future.result() if future.done() and not future.cancelled() else FlightOutcome.BYPASS
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result() is FlightOutcome.LEAD:
                self.fail()  # it was to lead on, and is gone too
            raise
        finally:
            self._waiting = [each for each in self._waiting if each is not future]

    def begin(
        self, status: int, headers: Headers, kept: Freshness, selecting: tuple[bytes, ...], tags: tuple[bytes, ...]
    ) -> None:
        """Let all have the answer that begins so and has *tags*, whom the same values are *selecting* as its leader."""
        self.status, self.headers, self.kept = status, headers, kept
        self.selecting, self.tags = selecting, tags
        if self._waiting:
            self._wake(FlightOutcome.STARTED)

    def release(self) -> None:
        """Let other processes make the response, once what was made here is there for all."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release(self.written)

    def part(self) -> None:
        """Let everybody go on alone: the answer is not for them."""
        self.open = False
        self._wake(FlightOutcome.BYPASS)

    def land(self) -> None:
        """Let everybody look again: somebody else has kept what is missing, or made it wrong."""
        self.open = False
        self.landed_elsewhere = True
        self._wake(FlightOutcome.RETRY)

    def fail(self) -> bool:
        """Take note that the leader is gone; return whether another leads on."""
        if self.kept is not None:
            self._broken = True
            self.open = False
            self.tell()
            return False
        while self._waiting:
            future, *self._waiting = self._waiting
            if not future.done():
                future.set_result(FlightOutcome.LEAD)
                return True
        self.open = False
        return False

    def feed(self, chunk: bytes, last: bool) -> None:
        """Let all have the next part of the answer."""
        if chunk:
            if not self._chunks:
                self._chunks = []
            self._chunks.append(chunk)
            self._held += len(chunk)
        self.complete = last
        if self._held > self.window:
            self.open = False
            self._let_go()
        if self._news:
            self.tell()

    async def room(self) -> None:
        """Wait until the leader has taken so much that no more than the window is held."""
        while self._held > self.window and self.taken < GONE:
            await self._hear()

    async def take(self, place: int) -> tuple[bytes, bool] | None:
        """Return the part at *place* for the leader, who has taken all before it; None when nothing more comes."""
        self.taken = place
        if self.outgrown:
            self._let_go()
            self.tell()
        while place >= self._first + len(self._chunks):
            if self.complete:
                return b"", True
            if self.ends or self._broken:
                return None
            await self._hear()
        return self._chunks[place - self._first], self.complete and place == self._first + len(self._chunks) - 1

    def take_no_more(self) -> None:
        """Take note that the leader needs nothing any more."""
        self.taken = GONE
        if self.outgrown:
            self._let_go()
        self.tell()

    async def read(self, reader: int, place: int) -> tuple[bytes, bool]:
        """Return the part at *place* as soon as it is there, and whether it is the last.

        Raises LeaderFailed when the answer ends before, or has gone on too far.
        """
        self._reading[reader] = place
        while True:
            if self._broken or place < self._first:
                raise LeaderFailed("the answer that this request shared ended in the middle")
            if place < self._first + len(self._chunks):
                chunk = self._chunks[place - self._first]
                return chunk, self.complete and place == self._first + len(self._chunks) - 1
            if self.complete:
                return b"", True
            await self._hear()

    def join(self, reader: int) -> None:
        """Take note that *reader* reads from the beginning."""
        self._reading = {**self._reading, reader: 0}

    def leave(self, reader: int) -> None:
        """Take note that *reader* reads no more."""
        self._reading.pop(reader, None)
        if not self._reading:
            self.tell()

    async def unfollowed(self) -> None:
        """Wait until nobody follows any more."""
        while self._reading:
            await self._hear()

    def body(self) -> bytes | None:
        """Return the whole answer, or None when it was too large to be held."""
        if self.outgrown:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _let_go(self) -> None:
        until = min(self._reading.values(), default=self._first + len(self._chunks))
        while self._chunks and self._first < self.taken and (self._first < until or self._held > self.window):
            self._held -= len(self._chunks.pop(0))
            self._first += 1

    def _wake(self, landed: FlightOutcome) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(landed)

    async def _hear(self) -> None:
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._news:
            self._news = []
        self._news.append(news)
        await news

    def tell(self) -> None:
        """Wake the readers of the body."""
        news, self._news = self._news, []
        for future in news:
            if not future.done():
                future.set_result(None)
