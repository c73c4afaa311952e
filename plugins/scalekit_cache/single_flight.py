"""Single flight: one request leads the call of the application, concurrent requests for the same key follow it.

Followers get the response as it arrives, once it is known that they may reuse it.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from scalekit.telemetry import Span
from scalekit_cache.cache_status import Headers
from scalekit_cache.freshness import Freshness, is_reusable
from scalekit_cache.invalidation import ReadTracker
from scalekit_cache.request import NO_DIRECTIVES, CacheRequest
from scalekit_cache.stored_response import NO_ROUTE
from scalekit_caching import Key, Lease

DONE = float("inf")
"""Value of ``leader_position`` when the leader does not read the body."""


class FlightOutcome(Enum):
    """How waiting for the start of a response ended."""

    STARTED = auto()
    LEAD = auto()
    """The leader failed: the request that gets this becomes the leader."""
    RETRY = auto()
    """Look up the store again: the response is stored, or the one in flight was invalidated."""
    BYPASS = auto()
    """The response is private to the leader, or did not start in time."""


class LeaderFailed(RuntimeError):
    """The response that a follower was reading broke off."""


class Flight:
    """A response in flight, its leader and its followers.

    At most *window* bytes are buffered. When the response is longer, the leader sets the pace: chunks before
    ``leader_position`` are dropped, and a follower that is more than the window behind fails. *since* is the version of
    the store before the call of the application; ``open`` is whether other requests may still join.
    """

    # Defaults on the class, so that a flight without followers sets few attributes.
    freshness: Freshness | None = None
    """The freshness of the response; None until it starts."""
    leader: Span | None = None
    """The span in which the leader calls the application; None when no spans are recorded."""
    lease: Lease | None = None
    """The lease among processes; None with a store of this process only, or after its release."""
    written: asyncio.Future[None] | None = None
    """Done when the response is written to the shared store; None when nothing is written."""
    tables: ReadTracker | None = None
    """The tables that the application has read; None when they are not tracked."""
    outdated = False
    """Whether the response must not be stored: its data was purged meanwhile, or it has become private."""
    stored_elsewhere = False
    """Whether the requests of the flight look up the store again, as after another process has stored the response."""
    complete = False
    """Whether the last chunk of the body is buffered."""
    sequence = 0
    """The sequence number of the call of the application; 0 before it."""
    leader_position: float = DONE
    """The index of the chunk that the leader reads next."""
    ended = False
    """Whether no more chunks follow, even if the body is incomplete."""
    route_scope = NO_ROUTE
    status = 0
    variant: tuple[bytes, ...] = ()
    tags: tuple[bytes, ...] = ()
    _first = _buffered = 0
    _failed = False

    def __init__(self, key: Key, primary_key: Key, since: int, window: int, shared: bool = True) -> None:
        self.key = key
        self.primary_key = primary_key
        self.since = since
        self.window = window
        self.open = shared
        self.headers: Headers = []
        self._chunks: list[bytes] = []
        self._positions: dict[int, int] = {}
        self._chunk_waiters: list[asyncio.Future[None]] = []
        self._start_waiters: list[asyncio.Future[FlightOutcome]] = []

    @property
    def has_waiters(self) -> bool:
        """Whether a request waits for the response to start."""
        return bool(self._start_waiters)

    @property
    def truncated(self) -> bool:
        """Whether the first chunks have been dropped."""
        return self._first > 0

    @property
    def exceeds_window(self) -> bool:
        """Whether the response is longer than the window."""
        return self._first > 0 or self._buffered > self.window

    @property
    def has_followers(self) -> bool:
        """Whether a follower reads the response."""
        return bool(self._positions)

    def may_follow(self, request: CacheRequest) -> bool:
        """Return whether *request* may reuse the response and has the same variant."""
        freshness = self.freshness
        if freshness is None or self.truncated or request.missing_credentials(freshness.storage_policy):
            return False
        return request.variant_key(freshness.storage_policy.vary) == self.variant

    def other_variant_names(self, request: CacheRequest) -> tuple[bytes, ...]:
        """Return the names by which the response varies when *request* may reuse another variant only, or ()."""
        freshness = self.freshness
        if freshness is None or request.missing_credentials(freshness.storage_policy):
            return ()
        names = freshness.storage_policy.vary
        return names if request.variant_key(names) != self.variant else ()

    def is_valid_for(self, request: CacheRequest, arrival: int, now: float) -> bool:
        """Return whether the application was called after the *arrival* of *request*, or the response is reusable."""
        freshness = self.freshness
        return freshness is None or arrival <= self.sequence or is_reusable(freshness, request.directives, now)

    def is_obsolete_for(self, request: CacheRequest, now: float) -> bool:
        """Return whether this flight can no longer be shared: a new one must start for *request* and later ones."""
        freshness = self.freshness
        return "no-cache" in request.directives or freshness is None or not is_reusable(freshness, NO_DIRECTIVES, now)

    async def wait_started(self, timeout: float) -> FlightOutcome:
        """Wait for the response to start, for *timeout* seconds at most."""
        if not self.open:
            return FlightOutcome.BYPASS
        if self.freshness is not None:
            return FlightOutcome.STARTED
        if self.complete:  # before the first request waited
            return FlightOutcome.RETRY
        future: asyncio.Future[FlightOutcome] = asyncio.get_running_loop().create_future()
        self._start_waiters.append(future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return future.result() if future.done() and not future.cancelled() else FlightOutcome.BYPASS
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result() is FlightOutcome.LEAD:
                self.fail()  # the new leader is cancelled too
            raise
        finally:
            self._start_waiters = [each for each in self._start_waiters if each is not future]

    def start(
        self, status: int, headers: Headers, freshness: Freshness, variant: tuple[bytes, ...], tags: tuple[bytes, ...]
    ) -> None:
        """Start the response: it has *tags*, and is for requests with the secondary key *variant*."""
        self.status, self.headers, self.freshness = status, headers, freshness
        self.variant, self.tags = variant, tags
        if self._start_waiters:
            self._wake(FlightOutcome.STARTED)

    def release_lease(self) -> None:
        """Let other processes call the application, once the response is written to the shared store."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release(self.written)

    def make_private(self) -> None:
        """Let waiting requests call the application themselves: the response is for the leader only."""
        self.open = False
        self._wake(FlightOutcome.BYPASS)

    def retry(self) -> None:
        """Let waiting requests look up the store again: another process stored the response, or it was invalidated."""
        self.open = False
        self.stored_elsewhere = True
        self._wake(FlightOutcome.RETRY)

    def fail(self) -> bool:
        """End the flight of a leader that failed; return whether a waiting request becomes the leader."""
        if self.freshness is not None:
            self._failed = True
            self.open = False
            self.notify()
            return False
        while self._start_waiters:
            future, *self._start_waiters = self._start_waiters
            if not future.done():
                future.set_result(FlightOutcome.LEAD)
                return True
        self.open = False
        return False

    def write(self, chunk: bytes, last: bool) -> None:
        """Append the next *chunk* of the body."""
        if chunk:
            self._chunks.append(chunk)
            self._buffered += len(chunk)
        self.complete = last
        if self._buffered > self.window:
            self.open = False
            self._truncate()
        if self._chunk_waiters:
            self.notify()

    async def wait_capacity(self) -> None:
        """Wait until no more than the window is buffered."""
        while self._buffered > self.window and self.leader_position < DONE:
            await self._wait_chunk()

    async def read_as_leader(self, position: int) -> tuple[bytes, bool] | None:
        """Return the chunk at *position* and whether it is the last, or None when no more follow.

        The leader has sent all chunks before *position*.
        """
        self.leader_position = position
        if self.exceeds_window:
            self._truncate()
            self.notify()
        while position >= self._first + len(self._chunks):
            if self.complete:
                return b"", True
            if self.ended or self._failed:
                return None
            await self._wait_chunk()
        last = self.complete and position == self._first + len(self._chunks) - 1
        return self._chunks[position - self._first], last

    def end_leader(self) -> None:
        """Release the chunks that were buffered for the leader."""
        self.leader_position = DONE
        if self.exceeds_window:
            self._truncate()
        self.notify()

    async def read(self, follower: int, position: int) -> tuple[bytes, bool]:
        """Return the chunk at *position*, as soon as it arrives, and whether it is the last.

        Raises LeaderFailed when the response broke off, or the follower is too far behind.
        """
        self._positions[follower] = position
        while True:
            if self._failed or position < self._first:
                raise LeaderFailed("the shared response broke off before its end")
            if position < self._first + len(self._chunks):
                chunk = self._chunks[position - self._first]
                return chunk, self.complete and position == self._first + len(self._chunks) - 1
            if self.complete:
                return b"", True
            await self._wait_chunk()

    def join(self, follower: int) -> None:
        """Add *follower*, which reads from the first chunk."""
        self._positions = {**self._positions, follower: 0}

    def leave(self, follower: int) -> None:
        """Remove *follower*."""
        self._positions.pop(follower, None)
        if not self._positions:
            self.notify()

    async def wait_no_followers(self) -> None:
        """Wait until the last follower has left."""
        while self._positions:
            await self._wait_chunk()

    def body(self) -> bytes | None:
        """Return the complete body, or None when it exceeds the window."""
        if self.exceeds_window:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _truncate(self) -> None:
        until = min(self._positions.values(), default=self._first + len(self._chunks))
        while self._chunks and self._first < self.leader_position:
            if self._first >= until and self._buffered <= self.window:
                return
            self._buffered -= len(self._chunks.pop(0))
            self._first += 1

    def _wake(self, outcome: FlightOutcome) -> None:
        waiters, self._start_waiters = self._start_waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(outcome)

    async def _wait_chunk(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunk_waiters.append(future)
        await future

    def notify(self) -> None:
        """Wake the readers of the body."""
        waiters, self._chunk_waiters = self._chunk_waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)
