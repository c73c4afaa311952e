"""An answer on its way from the application: passed on as it comes, and kept if it may be."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from random import random
from typing import Any

from starlette.types import Message, Scope, Send

from scalekit_cache.answering import unchanged, unchanged_messages
from scalekit_cache.cache_status import NotStored
from scalekit_cache.judgement import reevaluate
from scalekit_cache.keeper import Keeper
from scalekit_cache.leader_stream import LeaderStream, discard, send_all
from scalekit_cache.policies import CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.revalidation import update_stored_response
from scalekit_cache.single_flight import Flight
from scalekit_cache.storability import COOKIES
from scalekit_cache.stored_response import NOWHERE, Headers, StoredResponse, with_status
from scalekit_cache.storing import Freshness, dated, evaluate, is_longer, kept_headers, relevant_of
from scalekit_cache.user_detection import detect_user, state_of
from scalekit_caching.tags import path_tags

WITHOUT_BODY = frozenset({204, 304})
ERRORS = 500
"""Statuses from here on are failures, which do not take the place of what is kept."""
NEVER = float("inf")
STORED = b"; stored"


class ResponseRecorder:
    """The sending side of one call of the application.

    *stale* is what the application was asked to validate, if anything. Without *send* nobody waits for the answer. What
    is kept in the end is in ``entry``; ``unchanged`` tells that it is *stale* with new headers, and that ``extra`` ones
    are for who asked now. ``complete`` tells whether the answer came to its end, ``refusal`` why it is not kept.
    """

    # On the class, so that an answer sets only what differs.
    entry: StoredResponse | None = None
    unchanged = False
    extra: Headers = []
    status = 0
    complete = False
    refusal: NotStored | None = None
    otherwise: Send | None = None
    """Receives a response that is not stored, and no failure, where no client waits for it."""
    _start: Message | None = None
    _first: Sequence[Message] = ()
    _delivery: LeaderStream | None = None
    _kept: Freshness | None = None
    _fields: dict[bytes, bytes] = {}

    def __init__(
        self,
        keeper: Keeper,
        flight: Flight,
        asked: CacheRequest,
        policy: CachePolicy,
        scope: Scope,
        path: str,
        why: bytes,
        stale: StoredResponse | None = None,
        send: Send | None = None,
    ) -> None:
        self.keeper = keeper
        self.flight = flight
        self.asked = asked
        self.policy = policy
        self.scope = scope
        self.path = path
        self.why = why
        self.stale = stale
        self._send = send or discard
        self._begun_at = keeper.clock()
        self._state = state_of(scope)

    def send(self, message: Message) -> Awaitable[None]:
        """Look at *message*, pass it on and let those who follow have it."""
        kind = message["type"]
        if kind == "http.response.body":
            self.complete = last = not message.get("more_body", False)
            kept = self._kept
            if kept is not None and self._is_for_one(kept):
                self._break_off()
            elif kept is not None:
                self._take(kept, message.get("body", b""), last)
                return self._deliver(message, last)
        elif kind == "http.response.start":
            return self._begin(message)
        elif self._start is not None:  # what cannot be kept, such as a file that the server sends by itself
            self._give_up()
        return self._pass_on(message)

    def _begin(self, message: Message) -> Awaitable[None]:
        keeper, now = self.keeper, self.keeper.clock()
        status = self.status = message["status"]
        headers = message.get("headers", ())
        stale = self.stale
        if stale is not None and status == 304 and (stale.etag is not None or stale.modified is not None):
            return self._freshen(stale, headers, now)
        fields = self._fields = relevant_of(headers, keeper.rulings.relevant)
        judged = NotStored.TRAILERS if message.get("trailers") else self._judged(fields, now)
        length = fields.get(b"content-length")
        if length is not None and is_longer(length, keeper.max_body) and type(judged) is Freshness:
            judged = NotStored.TOO_LARGE
        if isinstance(judged, NotStored):
            self.refusal, kept, outcome = judged, None, judged.value
            if self.otherwise is not None and status < ERRORS:
                self._send = self.otherwise
            self._give_up()
        else:
            self._start, self._kept = message, judged
            kept, outcome = judged, b"" if length is None else STORED
        said = keeper.said(self.why, status, outcome)
        named = with_status(headers, said) if b"cache-status" in fields else [*headers, (b"cache-status", said)]
        noted = self.asked.noted
        if noted and kept is not None and status == 200 and unchanged(headers, noted, now):
            return self._hold(*unchanged_messages(named))
        start = {**message, "headers": named}
        return self._send(start) if kept is None else self._hold(start)

    def _hold(self, *first: Message) -> Awaitable[None]:
        """Send *first* with the first part of the body; followers do not wait for a client that reads neither."""
        self._first = first
        if len(first) == 1 and self._send is not discard:
            self.flight.taken = 0
        return discard(first[0])

    def _deliver(self, message: Message, last: bool) -> Awaitable[None]:
        """Let the client of the leader have *message*, which is in the flight too, at its own pace."""
        if self._delivery is not None:
            return self._delivery.pace()
        first, self._first = self._first, ()
        whole = len(first) == 1  # else it is a 304, which has no parts
        if last or self._send is discard:
            return send_all(self._send, (*first, message) if whole else first)
        self._delivery = LeaderStream(self.flight, self._send, first, whole)
        return self._delivery.pace()

    def _pass_on(self, message: Message) -> Awaitable[None]:
        """Send *message*, which is not in the flight, after what came before it."""
        if self._delivery is not None:
            return self._delivery.pass_after(message)
        first, self._first = self._first, ()
        return send_all(self._send, (*first, message)) if first else self._send(message)

    async def finish(self) -> None:
        """Return when the client of the leader has the response."""
        if self._delivery is not None:
            await self._delivery.end()
        elif self._first:  # an application that ended before the body
            await send_all(self._send, self._first)

    async def abandon(self) -> None:
        """Send no more of a response that failed."""
        if self._delivery is not None:
            await self._delivery.cancel()

    def _judged(self, fields: dict[bytes, bytes], now: float) -> Freshness | NotStored:
        flight = self.flight
        if flight.tables is not None and not flight.tables.known:
            return NotStored.TABLES
        if flight.outdated:
            return NotStored.PURGED
        if self.scope["method"] != "GET":
            return NotStored.METHOD
        if self.stale is not None and self.status >= ERRORS:
            return NotStored.ERROR
        learned = reevaluate(self.keeper, self.scope, self.asked, self.policy, self._state)
        if isinstance(learned, NotStored):
            return learned
        if learned.query is not None and self.policy.query is None:
            self.keeper.reshape(flight, self.path, learned.query)
        self.policy = learned
        return evaluate(self.status, fields, self.asked.lacks, learned, self.keeper.rulings, self._begun_at, now)

    def _take(self, kept: Freshness, body: bytes, last: bool) -> None:
        """Keep the next part, and let those who follow have it."""
        flight, start = self.flight, self._start
        if start is not None:
            self._start = None
            headers = kept_headers(start.get("headers", ()), kept.ruling.without)
            dated(headers, self._fields, self._begun_at)
            if last and not flight.awaited and len(body) <= flight.window:
                flight.complete = True
                self._keep(kept, headers, body)
                self.keeper.landed(flight)
                return
            self._show(headers, kept, (*self.policy.tags, *path_tags(self.path)))
        flight.feed(body, last)
        if flight.outgrown:
            self.keeper.outgrown(flight)
        if last:
            whole = flight.body()
            if whole is not None:
                self._keep(kept, flight.headers, whole)
            self.keeper.landed(flight)

    def _show(self, headers: Headers, kept: Freshness, tags: tuple[bytes, ...]) -> None:
        names = kept.ruling.names
        self.flight.begin(self.status, headers, kept, self.asked.selecting(names) if names else (), tags)

    def _keep(self, kept: Freshness, headers: Headers, body: bytes) -> None:
        """Make the entry, unless something of it is missing."""
        flight = self.flight
        if flight.outdated:
            return
        length = self._fields.get(b"content-length")
        if length is None:
            if self.status not in WITHOUT_BODY:
                headers = [*headers, (b"content-length", b"%d" % len(body))]
        elif length != b"%d" % len(body):
            return
        policy, ruling, fields = self.policy, kept.ruling, self._fields
        tags = policy.tags if flight.tables is None else flight.tables.tags_beside(policy.tags)
        if tags is None:
            return
        early = NEVER
        if policy.early and kept.lifetime == ruling.by_policy:
            early = kept.born + kept.lifetime * (1 - policy.early * random())
        entry = StoredResponse(
            flight.key,
            self.status,
            headers,
            body,
            ruling,
            kept.born,
            kept.lifetime,
            fields.get(b"etag"),
            fields.get(b"last-modified"),
            self.keeper.name,
            self.path,
            early,
            tags,
            flight.since,
            routed(self.scope),
        )
        self.entry = self.keeper.keep(entry, flight, self.asked)

    async def _freshen(self, stale: StoredResponse, headers: Headers, now: float) -> None:
        """Take the answer that nothing has changed; nothing is passed on of it."""
        self._send = discard
        learned = reevaluate(self.keeper, self.scope, self.asked, self.policy, self._state)
        if not isinstance(learned, NotStored):
            self.policy = learned
        entry, kept = update_stored_response(stale, headers, self.asked.lacks, self.policy, self.keeper.rulings, now)
        kept = learned if isinstance(learned, NotStored) else kept
        self.extra = [field for field in headers if field[0].lower() in COOKIES]
        self.entry, self.unchanged = entry, True
        if self.flight.tables is not None:
            tags = self.flight.tables.tags_beside(stale.tags)
            if tags is None:
                kept = NotStored.TABLES
            else:
                entry.tags = tags
        if isinstance(kept, NotStored) or self.flight.outdated:
            self.refusal = kept if isinstance(kept, NotStored) else NotStored.PURGED
            self.keeper.part(self.flight)
            return
        entry.since = entry.valid = self.flight.since
        self.keeper.keep(entry, self.flight, self.asked)
        self.status = entry.status
        self._show(entry.headers, kept, entry.all_tags())
        self.flight.feed(entry.body, True)
        self.keeper.landed(self.flight)

    def _is_for_one(self, kept: Freshness) -> bool:
        """Tell whether the application has found a user, or a body in the request, since its response began."""
        detect_user(self.asked, self.scope, self.policy, self._state)
        return self.asked.has_body or self.asked.lacks(kept.ruling) != 0

    def _break_off(self) -> None:
        """Share no more of a response which turns out to be for nobody else."""
        if self.flight.kept is None:
            self._give_up()
        else:
            self._kept = None
            self.flight.outdated = True
            self.flight.fail()
            self.keeper.outgrown(self.flight)

    def _give_up(self) -> None:
        self._start = self._kept = None
        self.keeper.part(self.flight)


def routed(scope: Scope) -> Mapping[str, Any]:
    """Return what the router has left in *scope*, from which metrics know the route."""
    endpoint, template = scope.get("endpoint"), scope.get("path_template")
    if endpoint is None and template is None:
        return NOWHERE
    left = {"endpoint": endpoint, "router": scope.get("router")}
    if template is not None:
        left["path_template"] = template
    if "app_root_path" in scope:
        left["app_root_path"] = scope["app_root_path"]
    return left
