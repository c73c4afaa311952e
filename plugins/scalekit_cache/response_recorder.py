"""Stream the application's response to the client and its followers, and store it when allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from random import random

from starlette.types import Message, Scope, Send

from scalekit_cache.cache_status import STORED, Headers, NotStored, append_cache_status
from scalekit_cache.freshness import Freshness
from scalekit_cache.http_cache import HttpCache
from scalekit_cache.leader import LeaderStream, discard, send_all
from scalekit_cache.not_stored_reasons import record_not_stored
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import NO_FIELDS, CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.storability import (
    SET_COOKIE_FIELDS,
    add_date,
    evaluate,
    exceeds_length,
    exclude_fields,
    select_fields,
)
from scalekit_cache.stored_response import NEVER, StoredResponse, route_scope
from scalekit_cache.user_detection import detect_user, state_of
from scalekit_cache.validation import is_not_modified, not_modified_messages, update_stored_response
from scalekit_caching import path_tags

BODILESS_STATUSES = frozenset({204, 304})
SERVER_ERROR = 500
"""From this status on a response does not replace the stored one."""


class ResponseRecorder:
    """Wraps *send* for one call of the application.

    *stale* is the stored response that the call revalidates, if any. Without *send* the response has no client.
    ``stored`` is the resulting stored response; ``revalidated`` is set when that is *stale* with new headers, and
    ``extra`` are headers of the 304 for this client. ``complete`` is set at the end of the response, ``not_stored``
    when it must not be stored.
    """

    # Defaults on the class, so that a response sets few attributes.
    stored: StoredResponse | None = None
    revalidated = False
    extra: Sequence[tuple[bytes, bytes]] = ()
    status = 0
    complete = False
    not_stored: NotStored | None = None
    fallback_send: Send | None = None
    """Gets a response below 500 that must not be stored, when no client waits for it."""
    _start: Message | None = None
    _first: Sequence[Message] = ()
    _stream: LeaderStream | None = None
    _freshness: Freshness | None = None
    _fields: Mapping[bytes, bytes] = NO_FIELDS

    def __init__(
        self,
        cache: HttpCache,
        flight: Flight,
        request: CacheRequest,
        policy: CachePolicy,
        *,
        scope: Scope,
        path: str,
        reason: bytes,
        stale: StoredResponse | None = None,
        send: Send | None = None,
    ) -> None:
        self.cache = cache
        self.flight = flight
        self.request = request
        self.policy = policy
        self.scope = scope
        self.path = path
        self.reason = reason
        self.stale = stale
        self._send = send or discard
        self._started_at = cache.clock()
        self._state = state_of(scope)

    def send(self, message: Message) -> Awaitable[None]:
        """Record *message*, and send it to the client and the followers."""
        kind = message["type"]
        if kind == "http.response.body":
            self.complete = last = not message.get("more_body", False)
            freshness = self._freshness
            if freshness is not None and self._has_become_private(freshness):
                self._stop_sharing()
            elif freshness is not None:
                self._record(freshness, message.get("body", b""), last)
                return self._send_chunk(message, last)
        elif kind == "http.response.start":
            return self._start_response(message)
        elif self._start is not None:  # a message that cannot be stored, such as a file that the server sends
            self._stop_recording()
        return self._forward(message)

    def _start_response(self, message: Message) -> Awaitable[None]:
        cache, now = self.cache, self.cache.clock()
        status = self.status = message["status"]
        headers = message.get("headers", ())
        stale = self.stale
        if stale is not None and status == 304 and (stale.etag is not None or stale.last_modified is not None):
            return self._update_stale(stale, headers, now)
        fields = self._fields = select_fields(headers, cache.storage_policies.relevant_fields)
        evaluated = NotStored.TRAILERS if message.get("trailers") else self._evaluate(fields, now)
        length = fields.get(b"content-length")
        if length is not None and exceeds_length(length, cache.max_body) and type(evaluated) is Freshness:
            evaluated = NotStored.TOO_LARGE
        if isinstance(evaluated, NotStored):
            self.not_stored, freshness, outcome = evaluated, None, evaluated.value
            cache.not_stored[evaluated] = cache.not_stored.get(evaluated, 0) + 1
            record_not_stored(evaluated)
            if self.fallback_send is not None and status < SERVER_ERROR:
                self._send = self.fallback_send
            self._stop_recording()
        else:
            self._start, self._freshness = message, evaluated
            freshness, outcome = evaluated, b"" if length is None else STORED
        member = cache.cache_status(self.reason, status, outcome)
        named = (
            append_cache_status(headers, member) if b"cache-status" in fields else [*headers, (b"cache-status", member)]
        )
        conditions = self.request.relevant_headers
        if conditions and freshness is not None and status == 200 and is_not_modified(headers, conditions, now):
            return self._hold(*not_modified_messages(named))
        start = {**message, "headers": named}
        return self._send(start) if freshness is None else self._hold(start)

    def _hold(self, *first: Message) -> Awaitable[None]:
        """Send *first* together with the first chunk, so that followers do not wait for a client that reads neither."""
        self._first = first
        if len(first) == 1 and self._send is not discard:
            self.flight.leader_position = 0
        return discard(first[0])

    def _send_chunk(self, message: Message, last: bool) -> Awaitable[None]:
        """Send *message*, which is in the flight too, to the leader's client at its own pace."""
        if self._stream is not None:
            return self._stream.wait_capacity()
        first, self._first = self._first, ()
        sends_body = len(first) == 1  # otherwise it is a 304
        if last or self._send is discard:
            return send_all(self._send, (*first, message) if sends_body else first)
        self._stream = LeaderStream(self.flight, self._send, first, sends_body)
        return self._stream.wait_capacity()

    def _forward(self, message: Message) -> Awaitable[None]:
        """Send *message*, which is not in the flight, after the preceding messages."""
        if self._stream is not None:
            return self._stream.send_after(message)
        first, self._first = self._first, ()
        return send_all(self._send, (*first, message)) if first else self._send(message)

    async def finish(self) -> None:
        """Return when the leader's client has the response."""
        if self._stream is not None:
            await self._stream.end()
        elif self._first:  # the application ended without a body
            await send_all(self._send, self._first)

    async def abort(self) -> None:
        """Stop sending a response that failed."""
        if self._stream is not None:
            await self._stream.cancel()

    def _evaluate(self, fields: Mapping[bytes, bytes], now: float) -> Freshness | NotStored:
        flight = self.flight
        if flight.tables is not None and not flight.tables.known:
            return NotStored.UNKNOWN_TABLES
        if flight.outdated:
            return NotStored.PURGED
        if self.scope["method"] != "GET":
            return NotStored.METHOD
        if self.stale is not None and self.status >= SERVER_ERROR:
            return NotStored.ERROR
        policy = self.cache.reevaluate(self.scope, self.request, self.policy, self._state)
        if isinstance(policy, NotStored):
            return policy
        if policy.query is not None and self.policy.query is None:
            self.cache.set_query(flight, self.path, policy.query)
        self.policy = policy
        policies, missing = self.cache.storage_policies, self.request.missing_credentials
        return evaluate(self.status, fields, policy, policies, missing, requested_at=self._started_at, now=now)

    def _record(self, freshness: Freshness, chunk: bytes, last: bool) -> None:
        """Add *chunk* to the flight, and store the response at its end."""
        flight, start = self.flight, self._start
        if start is not None:
            self._start = None
            headers = exclude_fields(start.get("headers", ()), freshness.storage_policy.excluded_fields)
            add_date(headers, self._fields, self._started_at)
            if last and not flight.has_waiters and len(chunk) <= flight.window:
                flight.complete = True
                self._store(freshness, headers, chunk)
                self.cache.close_flight(flight)
                return
            self._start_flight(headers, freshness, (*self.policy.tags, *path_tags(self.path)))
        flight.write(chunk, last)
        if flight.exceeds_window:
            self.cache.mark_too_large(flight)
        if last:
            body = flight.body()
            if body is not None:
                self._store(freshness, flight.headers, body)
            self.cache.close_flight(flight)

    def _start_flight(self, headers: Headers, freshness: Freshness, tags: tuple[bytes, ...]) -> None:
        names = freshness.storage_policy.vary
        variant = self.request.variant_key(names) if names else ()
        self.flight.route_scope = route_scope(self.scope)
        self.flight.start(self.status, headers, freshness, variant, tags)

    def _store(self, freshness: Freshness, headers: Headers, body: bytes) -> None:
        """Store the response, unless it is incomplete or outdated."""
        flight = self.flight
        if flight.outdated:
            return
        length = self._fields.get(b"content-length")
        if length is None:
            if self.status not in BODILESS_STATUSES:
                headers = [*headers, (b"content-length", b"%d" % len(body))]
        elif length != b"%d" % len(body):
            return
        policy, storage, fields = self.policy, freshness.storage_policy, self._fields
        tags = policy.tags if flight.tables is None else flight.tables.merge_tags(policy.tags)
        if tags is None:
            return
        refresh_at = NEVER
        if policy.early_refresh and freshness.lifetime == storage.default_ttl:
            refresh_at = freshness.generated_at + freshness.lifetime * (1 - policy.early_refresh * random())
        response = StoredResponse(
            flight.key,
            self.status,
            headers,
            body,
            storage,
            generated_at=freshness.generated_at,
            lifetime=freshness.lifetime,
            etag=fields.get(b"etag"),
            last_modified=fields.get(b"last-modified"),
            cache_name=self.cache.name,
            path=self.path,
            refresh_at=refresh_at,
            tags=tags,
            since=flight.since,
            route_scope=route_scope(self.scope, self.cache.route_of(self.scope)),
        )
        self.stored = self.cache.put(response, flight, self.request)

    async def _update_stale(self, stale: StoredResponse, headers: Sequence[tuple[bytes, bytes]], now: float) -> None:
        """Update *stale* by a 304 with *headers*, which is not sent."""
        cache, flight = self.cache, self.flight
        self._send = discard
        policy = cache.reevaluate(self.scope, self.request, self.policy, self._state)
        if not isinstance(policy, NotStored):
            self.policy = policy
        policies, missing = cache.storage_policies, self.request.missing_credentials
        response, evaluated = update_stored_response(stale, headers, self.policy, policies, missing, now=now)
        evaluated = policy if isinstance(policy, NotStored) else evaluated
        self.extra = [field for field in headers if field[0].lower() in SET_COOKIE_FIELDS]
        self.stored, self.revalidated = response, True
        tags = stale.tags if flight.tables is None else flight.tables.merge_tags(stale.tags)
        if tags is None:
            evaluated = NotStored.UNKNOWN_TABLES
        else:
            response.tags = tags
        if isinstance(evaluated, NotStored) or flight.outdated:
            self.not_stored = evaluated if isinstance(evaluated, NotStored) else NotStored.PURGED
            cache.make_private(flight)
            return
        response.version_at_start = response.checked_version = flight.since
        cache.put(response, flight, self.request)
        self.status = response.status
        self._start_flight(response.headers, evaluated, response.all_tags())
        flight.write(response.body, True)
        cache.close_flight(flight)

    def _has_become_private(self, freshness: Freshness) -> bool:
        """Return whether the application has found a user, or a request body, since the response started."""
        detect_user(self.request, self.scope, self.policy, self._state)
        return self.request.has_body or self.request.missing_credentials(freshness.storage_policy) != 0

    def _stop_sharing(self) -> None:
        """Stop recording a response that has become private, and fail its followers."""
        if self.flight.freshness is None:
            self._stop_recording()
        else:
            self._freshness = None
            self.flight.outdated = True
            self.flight.fail()
            self.cache.mark_too_large(self.flight)

    def _stop_recording(self) -> None:
        self._start = self._freshness = None
        self.cache.make_private(self.flight)
