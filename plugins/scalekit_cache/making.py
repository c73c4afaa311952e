"""An answer on its way from the application: passed on as it comes, and kept if it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import random
from typing import Protocol

from starlette.types import Message, Scope, Send

from scalekit_cache.answering import send_unchanged, unchanged
from scalekit_cache.asked import Asked
from scalekit_cache.entry import Entry, Headers, dated, with_status
from scalekit_cache.flights import Flight
from scalekit_cache.freshening import freshened
from scalekit_cache.generations import path_tags
from scalekit_cache.marking import marked
from scalekit_cache.policies import Policy
from scalekit_cache.storing import COOKIES, Kept, Rules, fields_of, judge, kept_headers
from scalekit_cache.vary import selecting

WITHOUT_BODY = frozenset({204, 304})
ERRORS = 500
"""Statuses from here on are failures, which do not take the place of what is kept."""
ROUTED = ("endpoint", "router", "path_template", "app_root_path")
"""What routers leave in the scope, from which metrics know the route."""


class Keeper(Protocol):
    """What an answer needs of the cache that it may be kept in."""

    name: bytes
    max_body: int
    rules: Rules
    clock: Callable[[], float]

    def keep(self, entry: Entry, flight: Flight, asked: Asked) -> Entry:
        """Keep *entry*, which varies by its names, where it belongs."""
        ...

    def part(self, flight: Flight) -> None:
        """Take note that the answer is for its leader only."""
        ...


class Making:
    """The sending side of one call of the application.

    *stale* is what the application was asked to validate, if anything. Without *send* nobody waits for the answer. What
    is kept in the end is in ``entry``; ``unchanged`` tells that it is *stale* with new headers, and that ``extra`` ones
    are for who asked now.
    """

    def __init__(
        self,
        keeper: Keeper,
        flight: Flight,
        asked: Asked,
        policy: Policy,
        scope: Scope,
        why: bytes,
        stale: Entry | None = None,
        send: Send | None = None,
    ) -> None:
        self.keeper = keeper
        self.flight = flight
        self.asked = asked
        self.policy = policy
        self.scope = scope
        self.why = why
        self.stale = stale
        self.entry: Entry | None = None
        self.unchanged = False
        self.extra: Headers = []
        self.status = 0
        self._send = send
        self._start: Message | None = None
        self._kept: Kept | None = None
        self._begun_at = keeper.clock()
        self._since = flight.since
        self._ended = False
        self._silent = send is None

    async def send(self, message: Message) -> None:
        """Look at *message*, pass it on and let those who follow have it."""
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif self.unchanged:
            return
        elif kind == "http.response.body":
            await self._go_on(message)
        else:
            if self._start is not None:  # what cannot be kept, such as a file that the server sends by itself
                self._give_up()
            await self._pass_on(message)

    async def _begin(self, message: Message) -> None:
        keeper, now = self.keeper, self.keeper.clock()
        self.status = message["status"]
        headers = message.get("headers", ())
        if self.stale is not None and self.status == 304:
            self._freshen(self.stale, headers, now)
            return
        fields = fields_of(headers)
        kept = None if message.get("trailers") else self._judged(fields, now)
        length = fields.get(b"content-length", b"")
        if kept is not None and length.isdigit() and int(length) > keeper.max_body:
            kept = None
        self._start, self._kept = message, kept
        status = b"%b; %b; fwd-status=%d" % (keeper.name, self.why, self.status)
        if kept is None:
            self._give_up()
        elif length:
            status += b"; stored"
        if self._send is None:
            return
        if (
            kept is not None
            and self.status == 200
            and unchanged(kept_headers(headers, kept.without), self.asked.fields, now)
        ):
            self._silent = True
            await send_unchanged(with_status(list(headers), status), self._send)
        else:
            await self._send({**message, "headers": with_status(list(headers), status)})

    def _freshen(self, stale: Entry, headers: Headers, now: float) -> None:
        entry, kept = freshened(stale, headers, self._policy(), self.keeper.rules, self.asked.credentials, now)
        self.extra = [field for field in headers if field[0].lower() in COOKIES]
        self.entry, self.unchanged, self._ended = entry, True, True
        if kept is None or self.flight.outdated:
            self.keeper.part(self.flight)
            return
        entry.since = entry.valid = self._since
        self.keeper.keep(entry, self.flight, self.asked)
        self.status = entry.status
        self._show(entry.headers, kept)
        self.flight.feed(entry.body, True)

    def _judged(self, fields: dict[bytes, bytes], now: float) -> Kept | None:
        if self.flight.outdated or self.asked.method != "GET" or (self.stale is not None and self.status >= ERRORS):
            return None
        rules = self.keeper.rules
        return judge(self.status, fields, self.asked.credentials, self._policy(), rules, self._begun_at, now)

    def _policy(self) -> Policy:
        mark = marked(self.scope.get("endpoint"))
        if mark is not None:
            known = self.policy
            self.policy = replace(
                mark,
                query=known.query,
                vary=(*mark.vary, *known.vary),
                tags=(*mark.tags, *known.tags),
                by_identity=mark.by_identity or known.by_identity,
                ignores_cookies=known.ignores_cookies,
            )
        return self.policy

    async def _go_on(self, message: Message) -> None:
        if self._start is not None:
            self._let_follow()
        body, last = message.get("body", b""), not message.get("more_body", False)
        if self._kept is not None:
            self.flight.feed(body, last)
            if last:
                self._keep()
        self._ended = last
        await self._pass_on(message)

    @property
    def complete(self) -> bool:
        """Whether the answer came to its end."""
        return self._ended

    def _let_follow(self) -> None:
        start, self._start = self._start, None
        if start is not None and self._kept is not None:
            headers = dated(kept_headers(start.get("headers", ()), self._kept.without), self.keeper.clock())
            self._show(headers, self._kept)

    def _show(self, headers: Headers, kept: Kept) -> None:
        self.flight.begin(self.status, headers, kept, selecting(kept.names, self.asked.fields))

    def _keep(self) -> None:
        """Make the entry, unless something of it is missing."""
        flight, kept = self.flight, self._kept
        body = flight.body()
        if kept is None or body is None or flight.outdated:
            return
        length = next((value for name, value in flight.headers if name == b"content-length"), None)
        headers = flight.headers
        if length is None:
            if self.status not in WITHOUT_BODY:
                headers = [*headers, (b"content-length", b"%d" % len(body))]
        elif length != b"%d" % len(body):
            return
        policy, terms = self.policy, kept.terms
        if policy.early and terms.lifetime == policy.ttl:
            terms.early = terms.born + terms.lifetime * (1 - policy.early * random())
        tags = (*policy.tags, *path_tags(self.scope["path"]))
        entry = Entry(flight.key, self.status, headers, body, terms, self.keeper.name, kept.names, tags, self._since)
        entry.routed = {name: self.scope[name] for name in ROUTED if name in self.scope}
        self.entry = self.keeper.keep(entry, flight, self.asked)

    def _give_up(self) -> None:
        self._start = self._kept = None
        self.keeper.part(self.flight)

    async def _pass_on(self, message: Message) -> None:
        if self._silent or self._send is None:
            return
        try:
            await self._send(message)
        except OSError:  # the client left; whoever follows has not
            if self._kept is None:
                raise
            self._silent = True
