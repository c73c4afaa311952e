"""Serve one GET or HEAD that what is kept may answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit_cache.answering import answer
from scalekit_cache.assessing import Reuse, decide_reuse
from scalekit_cache.background_refresh import ClientRelay, refresh_stored
from scalekit_cache.bodies import FRAMED_BY_HEADERS, BodyProbe
from scalekit_cache.cache_status import REQUEST_REASONS
from scalekit_cache.http_cache import HttpCache, RefreshResult
from scalekit_cache.lease import acquire_lease
from scalekit_cache.policies import CachePolicy
from scalekit_cache.problems import refuse_only_if_cached
from scalekit_cache.request import CacheRequest
from scalekit_cache.response_recorder import STORED, ResponseRecorder, routed
from scalekit_cache.sharing import flight_key, is_for_one, is_in_time, is_over, may_follow, may_take
from scalekit_cache.single_flight import Flight, FlightOutcome
from scalekit_cache.stored_response import StoredResponse, Variants, with_status
from scalekit_cache.table_tags import begin_collecting
from scalekit_cache.validating import conditional_request
from scalekit_caching.items import Key

FORWARDED = {type(None): b"fwd=uri-miss", Variants: b"fwd=vary-miss", StoredResponse: b"fwd=request"}
"""Why the application is asked when something, or nothing, was found that is not for this request (RFC 9211, 2.2)."""


class RequestHandler:
    """One request on its way: what it asks, and what is known of the resource."""

    flight: Flight

    def __init__(
        self,
        cache: HttpCache,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: CacheRequest,
        policy: CachePolicy,
        primary: Key,
        path: str,
    ) -> None:
        self.cache = cache
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self.asked = asked
        self.policy = policy
        self.primary = primary
        self.path = path
        self._arrived = next(cache.moments)

    def serve(self) -> Awaitable[None]:
        """Answer from what is kept, or have it made."""
        found = self.cache.peek(self.primary, self.asked)
        if type(found) is not StoredResponse and self.cache.store.shared:
            return self._serve_shared()
        return self.serve_found(found)

    async def _serve_shared(self) -> None:
        await self.serve_found(await self.cache.fetch(self.primary, self.asked))

    def serve_found(self, found: StoredResponse | Variants | None) -> Awaitable[None]:
        """Answer from *found*, or have it made."""
        directives = self.asked.directives
        if type(found) is not StoredResponse or self.asked.lacks(found.ruling):
            if "only-if-cached" in directives:
                return refuse_only_if_cached(self.scope, self.send, self.cache.name)
            return self.make(FORWARDED[type(found)])
        now = self.cache.clock()
        verdict = decide_reuse(found, directives, now)
        if verdict is Reuse.FRESH:
            return self._give(found)
        if verdict is Reuse.STALE_WHILE_REVALIDATE:
            self._refresh(found)
            return self._give(found)
        if "only-if-cached" in directives:
            return refuse_only_if_cached(self.scope, self.send, self.cache.name)
        if verdict is Reuse.STALE_IF_ERROR:
            return self._validate_or_give(found)
        return self.make(b"fwd=stale" if found.expires <= now else b"fwd=request", found)

    async def _give(self, entry: StoredResponse) -> None:
        now = self.cache.clock()
        (self.cache.metrics.hit if entry.expires > now else self.cache.metrics.stale).inc()
        self.scope.update(entry.routed)
        await answer(entry, entry.head(now), self.asked.method, self.asked.noted, now, self.send)

    def make(self, why: bytes, stale: StoredResponse | None = None) -> Awaitable[None]:
        """Have the answer made, together with those who ask for the same at the same time."""
        if self.scope.get("http_version", "1.1") not in FRAMED_BY_HEADERS:
            return self._make_once_opened(why, stale)
        return self._make(why, stale)

    async def _make_once_opened(self, why: bytes, stale: StoredResponse | None) -> None:
        """Do so once it is known whether the request has a body, which may shape the response."""
        opening = BodyProbe(self.receive)
        try:
            self.asked.has_body = await opening.has_body()
            self.receive = opening.receive
            await self._make(why, stale)
        finally:
            opening.close()

    def _make(self, why: bytes, stale: StoredResponse | None) -> Awaitable[None]:
        asked = self.asked
        if asked.method != "GET" or b"range" in asked.noted or asked.has_body or is_for_one(asked, self.policy):
            return self._lead(self._own_flight(), why, stale)
        policy = self.policy
        key = flight_key(self.primary, asked, policy) if policy.vary or policy.by_identity else self.primary
        flight, leads = self.cache.flight(key, self.primary)
        if not leads:
            return self._wait(flight, why, stale)
        return self._lead_all(flight, why, stale) if self.cache.store.shared else self._lead(flight, why, stale)

    async def _wait(self, flight: Flight, why: bytes, stale: StoredResponse | None) -> None:
        """Wait for the answer that another request has made; lead or go alone when there is none to share."""
        known = self.cache.store.number
        try:
            landed = await flight.landed(self.cache.options.coalesce_timeout)
        except asyncio.CancelledError:
            if not flight.open:
                self.cache.landed(flight)
            raise
        if landed is FlightOutcome.STARTED and not self.cache.is_current(flight, known):
            self.cache.leave(flight)
            landed = FlightOutcome.RETRY
        elif landed is FlightOutcome.STARTED and not is_in_time(self.asked, self._arrived, flight, self.cache.clock()):
            landed = FlightOutcome.BYPASS
            if is_over(self.asked, flight, self.cache.clock()):
                self.cache.leave(flight)  # the next one is for all who have come until now
                landed = FlightOutcome.RETRY
        if landed is FlightOutcome.RETRY:
            await self.serve()
        elif landed is FlightOutcome.STARTED and may_follow(self.asked, flight):
            await self._follow(flight, why)
        elif landed is FlightOutcome.LEAD:
            flight.since = self.cache.store.number
            if self.cache.store.shared:
                await self._lead_all(flight, why, stale)
            else:
                await self._lead(flight, why, stale)
        else:
            await self._lead(self._own_flight(), why, stale)

    async def _lead_all(self, flight: Flight, why: bytes, stale: StoredResponse | None) -> None:
        """Lead those of other processes too, or give what one of them has made."""
        try:
            lease = await acquire_lease(self.cache, flight, self.primary, self.asked) if flight.open else None
        except BaseException:
            if not flight.fail():
                self.cache.landed(flight)
            raise
        if flight.landed_elsewhere:
            flight.release()
            await self.serve()
            return
        try:
            await self._lead(flight, why, stale)
        finally:
            if flight.lease is lease:  # else another has it, who leads on
                flight.release()

    async def _receive(self) -> Message:
        """Receive; that the client has left is told once nobody else follows."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            await self.flight.unfollowed()
        elif message.get("body"):
            self.asked.has_body = True
        return message

    def _own_flight(self) -> Flight:
        """Return a flight that nobody joins."""
        return Flight(self.primary, self.primary, self.cache.store.number, self.cache.max_body, shared=False)

    async def _lead(self, flight: Flight, why: bytes, stale: StoredResponse | None) -> None:
        cache = self.cache
        scope = self.scope if stale is None else conditional_request(self.scope, stale)
        making = ResponseRecorder(cache, flight, self.asked, self.policy, scope, self.path, why, stale, self.send)
        self.flight = flight
        flight.begun = next(cache.moments)
        if cache.collects:
            flight.tables = begin_collecting()
        try:
            await self.app(scope, self._receive, making.send)
        except BaseException:
            self._end(making, scope)
            await making.abandon()
            raise
        self._end(making, scope)
        await making.finish()
        if stale is not None and making.refusal is not None and making.refusal not in REQUEST_REASONS:
            await cache.store.remove([stale.key])
        if making.unchanged and making.entry is not None:
            cache.metrics.validated.inc()
            await self._give_validated(making)
        else:
            (cache.metrics.miss if making.entry is not None else cache.metrics.passed).inc()

    def _end(self, making: ResponseRecorder, scope: Scope) -> None:
        """Take note that the application is done, before its last client is."""
        if scope is not self.scope:
            self.scope.update(routed(scope))
        if not making.complete and not self.flight.fail():
            self.cache.landed(self.flight)

    async def _give_validated(self, making: ResponseRecorder) -> None:
        entry, now = making.entry, self.cache.clock()
        if entry is None:
            return
        outcome = STORED if making.refusal is None else making.refusal.value
        status = b"%b; hit; %b; fwd-status=304%b" % (self.cache.name, making.why, outcome)
        head = [*entry.aged(now, status), *making.extra]
        await answer(entry, head, self.asked.method, self.asked.noted, now, self.send)

    async def _follow(self, flight: Flight, why: bytes) -> None:
        """Send what another request has made, as it comes."""
        self.cache.metrics.collapsed.inc()
        head = with_status(flight.headers, b"%b; %b; collapsed" % (self.cache.name, why))
        age = int(self.cache.clock() - flight.kept.born) if flight.kept is not None else 0
        if age > 0:
            head.append((b"age", b"%d" % age))
        start: Message = {"type": "http.response.start", "status": flight.status, "headers": head}
        place, last = 0, False
        try:
            flight.join(id(self))
            await self.send(start)
            while not last:
                chunk, last = await flight.read(id(self), place)
                place += 1
                await self.send({"type": "http.response.body", "body": chunk, "more_body": not last})
        finally:
            flight.leave(id(self))

    async def _validate_or_give(self, entry: StoredResponse) -> None:
        """Have a stale answer validated; give it as it is when that fails or takes too long."""
        relay = ClientRelay(self)
        task = self.cache.refresh(entry.key, lambda: self._renewed(entry, relay))
        if task is not None:
            await self._until_renewed(task, relay)
        if task is None or not task.done() or task.cancelled():
            await self._give(entry)
            return
        refreshed = task.result()
        if relay.begun:
            self.cache.metrics.passed.inc()
            if refreshed.error is not None:
                raise refreshed.error
        elif refreshed.failed:
            await self._give(entry)
        else:
            await self._give_renewed(refreshed, relay.leads)

    def _renewed(self, entry: StoredResponse, relay: ClientRelay) -> Coroutine[Any, Any, RefreshResult]:
        relay.leads = True
        return refresh_stored(self, entry, relay)

    async def _until_renewed(self, task: asyncio.Task[RefreshResult], relay: ClientRelay) -> None:
        """Wait for *task* as long as a request waits, or until the client has what *relay* passes on."""
        try:
            await asyncio.wait({task}, timeout=self.cache.options.coalesce_timeout)
            if relay.begun:
                await asyncio.wait({task})
        finally:
            relay.close()
            if relay.begun:
                task.cancel()

    async def _give_renewed(self, refreshed: RefreshResult, leads: bool) -> None:
        made = refreshed.entry
        if made is None:
            await self.make(b"fwd=stale")
        elif refreshed.refusal is None and self.cache.store.purged(made.all_tags(), made.since):
            await self.serve()
        elif leads or may_take(self.asked, self._arrived, refreshed, self.cache.clock()):
            await self._give(made)
        else:
            await self.make(b"fwd=stale")

    def _refresh(self, entry: StoredResponse) -> None:
        self.cache.refresh(entry.key, lambda: refresh_stored(self, entry))
