"""Handle one GET or HEAD: send the stored response, or get one from the application and coalesce requests for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit_cache.background_refresh import ClientRelay, refresh_stored
from scalekit_cache.cache_status import REQUEST_REASONS, STORED, append_cache_status
from scalekit_cache.freshness import Reuse, decide_reuse
from scalekit_cache.http_cache import HttpCache, RefreshResult
from scalekit_cache.invalidation import track_reads
from scalekit_cache.leader import acquire_lease
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import FRAMED_BY_HEADERS, BodyProbe, CacheRequest
from scalekit_cache.response_recorder import ResponseRecorder
from scalekit_cache.single_flight import Flight, FlightOutcome
from scalekit_cache.spans import wait_for_leader
from scalekit_cache.stored_response import StoredResponse, Variants, route_scope
from scalekit_cache.validation import conditional_request, send_only_if_cached_error, send_stored
from scalekit_caching import Key

MISS_REASONS = {type(None): b"fwd=uri-miss", Variants: b"fwd=vary-miss", StoredResponse: b"fwd=request"}
"""Why a request is forwarded, by what the lookup found (RFC 9211, section 2.2)."""


class RequestHandler:
    """One request of the resource *primary_key*."""

    flight: Flight
    _variant_names: tuple[bytes, ...] = ()
    """The ``Vary`` of a flight for another variant; the next flight is for requests of the same variant."""

    def __init__(
        self,
        cache: HttpCache,
        request: CacheRequest,
        policy: CachePolicy,
        primary_key: Key,
        path: str,
        *,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.cache = cache
        self.request = request
        self.policy = policy
        self.primary_key = primary_key
        self.path = path
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self._arrival = next(cache.sequence)

    def handle(self) -> Awaitable[None]:
        """Look up a stored response, and send it or get one from the application."""
        found = self.cache.peek(self.primary_key, self.request)
        if type(found) is not StoredResponse and self.cache.store.shared:
            return self._handle_shared()
        return self.handle_found(found)

    async def _handle_shared(self) -> None:
        await self.handle_found(await self.cache.fetch(self.primary_key, self.request))

    def handle_found(self, found: StoredResponse | Variants | None) -> Awaitable[None]:
        """Send *found*, or get a response from the application."""
        directives = self.request.directives
        if type(found) is not StoredResponse or self.request.missing_credentials(found.storage_policy):
            if "only-if-cached" in directives:
                return send_only_if_cached_error(self.scope, self.send, self.cache.name)
            return self.fetch_from_app(MISS_REASONS[type(found)])
        now = self.cache.clock()
        reuse = decide_reuse(found, directives, now)
        if reuse is Reuse.FRESH:
            return self._send_stored(found)
        if reuse is Reuse.STALE_WHILE_REVALIDATE:
            self.cache.start_refresh(found.key, lambda: refresh_stored(self, found))
            return self._send_stored(found)
        if "only-if-cached" in directives:
            return send_only_if_cached_error(self.scope, self.send, self.cache.name)
        if reuse is Reuse.STALE_IF_ERROR:
            return self._revalidate_or_send_stale(found)
        return self.fetch_from_app(b"fwd=stale" if found.expires <= now else b"fwd=request", found)

    async def _send_stored(self, response: StoredResponse) -> None:
        now = self.cache.clock()
        self.scope.update(response.route_scope)
        self.cache.metrics.count("hit" if response.expires > now else "stale", self.scope)
        request, headers = self.request, response.headers_at(now)
        await send_stored(response, headers, request.relevant_headers, method=request.method, now=now, send=self.send)

    def fetch_from_app(self, reason: bytes, stale: StoredResponse | None = None) -> Awaitable[None]:
        """Get a response from the application, together with concurrent requests for it."""
        if self.scope.get("http_version", "1.1") not in FRAMED_BY_HEADERS:
            return self._fetch_after_probe(reason, stale)
        return self._fetch(reason, stale)

    async def _fetch_after_probe(self, reason: bytes, stale: StoredResponse | None) -> None:
        """Do so once it is known whether the request has a body, which the response may depend on."""
        probe = BodyProbe(self.receive)
        try:
            self.request.has_body = await probe.has_body()
            self.receive = probe.receive
            await self._fetch(reason, stale)
        finally:
            probe.close()

    def _fetch(self, reason: bytes, stale: StoredResponse | None) -> Awaitable[None]:
        request, policy = self.request, self.policy
        if not request.may_coalesce(policy):
            return self._lead(self._private_flight(), reason, stale)
        names = self.cache.variant_names(self.primary_key) or self._variant_names
        key = request.flight_key(self.primary_key, policy, names)
        flight, leads = self.cache.join_flight(key, self.primary_key)
        if not leads:
            return self._wait(flight, reason, stale)
        return self._lead_all(flight, reason, stale) if self.cache.store.shared else self._lead(flight, reason, stale)

    async def _wait(self, flight: Flight, reason: bytes, stale: StoredResponse | None) -> None:
        """Wait for the response of another request; lead, or call the application alone, when it is not shareable."""
        cache, request = self.cache, self.request
        number = cache.store.version
        try:
            outcome = await wait_for_leader(flight, cache.options.coalesce_timeout)
        except asyncio.CancelledError:
            if not flight.open:
                cache.close_flight(flight)
            raise
        if outcome is FlightOutcome.STARTED and not cache.is_current(flight, number):
            cache.close_flight(flight)
            outcome = FlightOutcome.RETRY
        elif outcome is FlightOutcome.STARTED and not flight.is_valid_for(request, self._arrival, cache.clock()):
            outcome = FlightOutcome.BYPASS
            if flight.is_obsolete_for(request, cache.clock()):
                cache.close_flight(flight)  # the next flight is for all requests that have arrived until now
                outcome = FlightOutcome.RETRY
        if outcome is FlightOutcome.RETRY:
            await self.handle()
        elif outcome is FlightOutcome.STARTED and flight.may_follow(request):
            await self._follow(flight, reason)
        elif outcome is FlightOutcome.LEAD:
            flight.since = cache.store.version
            await (self._lead_all if cache.store.shared else self._lead)(flight, reason, stale)
        elif outcome is FlightOutcome.STARTED and not self._variant_names and flight.other_variant_names(request):
            self._variant_names = flight.other_variant_names(request)
            await self.handle()
        else:
            await self._lead(self._private_flight(), reason, stale)

    async def _lead_all(self, flight: Flight, reason: bytes, stale: StoredResponse | None) -> None:
        """Lead the requests of all processes, or send the response that another process has stored."""
        try:
            lease = await acquire_lease(self.cache, flight, self.primary_key, self.request) if flight.open else None
        except BaseException:
            if not flight.fail():
                self.cache.close_flight(flight)
            raise
        if flight.stored_elsewhere:
            flight.release_lease()
            await self.handle()
            return
        try:
            await self._lead(flight, reason, stale)
        finally:
            if flight.lease is lease:  # otherwise the next leader has one
                flight.release_lease()

    async def _receive(self) -> Message:
        """Receive, delaying http.disconnect until no follower reads this response."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            await self.flight.wait_no_followers()
        elif message.get("body"):
            self.request.has_body = True
        return message

    def _private_flight(self) -> Flight:
        """Return a flight that no other request joins."""
        return Flight(self.primary_key, self.primary_key, self.cache.store.version, self.cache.max_body, shared=False)

    async def _lead(self, flight: Flight, reason: bytes, stale: StoredResponse | None) -> None:
        cache = self.cache
        scope = self.scope if stale is None else conditional_request(self.scope, stale)
        recorder = ResponseRecorder(
            cache,
            flight,
            self.request,
            self.policy,
            scope=scope,
            path=self.path,
            reason=reason,
            stale=stale,
            send=self.send,
        )
        self.flight = flight
        flight.sequence = next(cache.sequence)
        if cache.tracks_tables:
            flight.tables = track_reads()
        try:
            await self.app(scope, self._receive, recorder.send)
        except BaseException:
            self._end_call(recorder, scope)
            await recorder.abort()
            raise
        self._end_call(recorder, scope)
        await recorder.finish()
        if stale is not None and recorder.not_stored is not None and recorder.not_stored not in REQUEST_REASONS:
            await cache.store.delete([stale.key])
        if recorder.revalidated and recorder.stored is not None:
            cache.metrics.count("revalidated", self.scope)
            await self._send_revalidated(recorder, recorder.stored)
        else:
            cache.metrics.count("miss" if recorder.stored is not None else "bypass", self.scope)

    def _end_call(self, recorder: ResponseRecorder, scope: Scope) -> None:
        """Take over the route, and end the flight of an incomplete response, before the client has received it."""
        if scope is not self.scope:
            self.scope.update(route_scope(scope))
        if not recorder.complete and not self.flight.fail():
            self.cache.close_flight(self.flight)

    async def _send_revalidated(self, recorder: ResponseRecorder, response: StoredResponse) -> None:
        request, now = self.request, self.cache.clock()
        outcome = STORED if recorder.not_stored is None else recorder.not_stored.value
        status = b"%b; hit; %b; fwd-status=304%b" % (self.cache.name, recorder.reason, outcome)
        headers = [*response.headers_with_age(now, status), *recorder.extra]
        await send_stored(response, headers, request.relevant_headers, method=request.method, now=now, send=self.send)

    async def _follow(self, flight: Flight, reason: bytes) -> None:
        """Send the response of another request as it arrives."""
        self.scope.update(flight.route_scope)
        self.cache.metrics.count("collapsed", self.scope)
        headers = append_cache_status(flight.headers, b"%b; %b; collapsed" % (self.cache.name, reason))
        age = int(self.cache.clock() - flight.freshness.generated_at) if flight.freshness is not None else 0
        if age > 0:
            headers.append((b"age", b"%d" % age))
        start: Message = {"type": "http.response.start", "status": flight.status, "headers": headers}
        position, last = 0, False
        try:
            flight.join(id(self))
            await self.send(start)
            while not last:
                chunk, last = await flight.read(id(self), position)
                position += 1
                await self.send({"type": "http.response.body", "body": chunk, "more_body": not last})
        finally:
            flight.leave(id(self))

    async def _revalidate_or_send_stale(self, stale: StoredResponse) -> None:
        """Revalidate *stale*, and send it when that fails or times out."""
        relay = ClientRelay(self)
        task = self.cache.start_refresh(stale.key, lambda: self._start_refresh(stale, relay))
        if task is not None:
            await self._wait_refreshed(task, relay)
        if task is None or not task.done() or task.cancelled():
            await self._send_stored(stale)
            return
        result = task.result()
        if relay.started:
            self.cache.metrics.count("bypass", self.scope)
            if result.error is not None:
                raise result.error
        elif result.failed:
            await self._send_stored(stale)
        else:
            await self._send_refreshed(result, relay.leads)

    def _start_refresh(self, stale: StoredResponse, relay: ClientRelay) -> Coroutine[Any, Any, RefreshResult]:
        relay.leads = True
        return refresh_stored(self, stale, relay)

    async def _wait_refreshed(self, task: asyncio.Task[RefreshResult], relay: ClientRelay) -> None:
        """Wait for *task* up to the coalesce timeout, or until the client has the response of *relay*."""
        try:
            await asyncio.wait({task}, timeout=self.cache.options.coalesce_timeout)
            if relay.started:
                await asyncio.wait({task})
        finally:
            relay.close()
            if relay.started:
                task.cancel()

    async def _send_refreshed(self, result: RefreshResult, leads: bool) -> None:
        response = result.response
        if response is None:
            await self.fetch_from_app(b"fwd=stale")
        elif result.not_stored is None and self.cache.store.purged_since(
            response.all_tags(), response.version_at_start
        ):
            await self.handle()
        elif leads or result.may_reuse(self.request, self._arrival, self.cache.clock()):
            await self._send_stored(response)
        else:
            await self.fetch_from_app(b"fwd=stale")
