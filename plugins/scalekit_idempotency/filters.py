"""Execute requests with an Idempotency-Key once, and replay their responses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from math import ceil
from time import monotonic

from starlette.types import ASGIApp, Receive

from scalekit import Decision, Exchange, Filter, LocalResponse, PathTable, local_problem
from scalekit_idempotency.config import IdempotencyConfig
from scalekit_idempotency.execution import Execution, ResponseRules
from scalekit_idempotency.keyed_request import KeyedRequest, fingerprint_of, parse_key, subject_of_request
from scalekit_idempotency.metrics import IdempotencyMetrics, Outcome
from scalekit_idempotency.request_body import BodyTooLarge, ClientDisconnected, read_body, replay_body
from scalekit_idempotency.stores.contract import IdempotencyStore, KeyInUse, Record

MAX_WAITING = 100
"""Requests of a process that wait for the first one with their key; more get 409 at once."""
POLL_INTERVAL = 0.1
"""Seconds between two looks whether the first request with a key has ended."""
HEADER = b"idempotency-key"
Execute = Callable[[], Awaitable[LocalResponse | None]]

OTHER_REQUEST = "this Idempotency-Key belongs to a request with another method, path, query or body; use a new key"
NOT_STORED = "the request with this Idempotency-Key was executed, but its response was not stored; do not repeat it"
IN_USE = "a request with this Idempotency-Key is being executed; repeat the request later"
MISSING = "this request needs the header Idempotency-Key"


class IdempotencyFilter(Filter):
    """Executes each request with a key once; *store* and *metrics* are set while the plugin runs.

    It is the innermost filter, so that all others see a response only after the transaction is committed. Requests that
    a plugin serves, such as those for tokens, are left alone.
    """

    store: IdempotencyStore | None = None
    metrics: IdempotencyMetrics
    is_plugin_request: Callable[[Exchange], bool] | None = None

    def __init__(self, config: IdempotencyConfig) -> None:
        self._header = config.subject_header.lower().encode() if config.subject_header else None
        self.request_headers = (HEADER,) if self._header is None else (HEADER, self._header)
        self._methods = frozenset(config.methods)
        entries = [(glob, False) for glob in config.exclude] + [(glob, True) for glob in config.paths]
        self._paths = PathTable(False, entries)
        self._required = PathTable(False, [(glob, True) for glob in config.required_paths])
        self._max_body = config.max_body
        self._rules = ResponseRules(config.max_response, frozenset(config.unstored_statuses))
        self._waiting = 0
        self._wait_timeout = float(config.wait_timeout)
        self._retry_after = {"Retry-After": str(ceil(config.retry_after))}

    def on_request(self, exchange: Exchange) -> Decision:
        """Take over a request with a key; refuse one without a key where it is required."""
        has_key = HEADER in exchange.headers
        if (not has_key and self._required.single is False) or not self._concerns(exchange):
            return None
        if not has_key:
            is_required = self._required.find(exchange.route_path)
            return self._refuse(Outcome.INVALID, 400, MISSING) if is_required else None
        if self.store is None:
            return None
        try:
            key = parse_key(exchange.values(HEADER))
        except ValueError as error:
            return self._refuse(Outcome.INVALID, 400, str(error))
        return partial(self._serve, exchange, self.store, key)

    def _concerns(self, exchange: Exchange) -> bool:
        """Return whether the key of a request is read."""
        if exchange.scope["method"] not in self._methods or not self._paths.find(exchange.route_path):
            return False
        # A refused refresh token ends its session: that must stay, although the 401 would roll back a transaction.
        return self.is_plugin_request is None or not self.is_plugin_request(exchange)

    async def _serve(self, exchange: Exchange, store: IdempotencyStore, key: str, app: ASGIApp) -> None:
        try:
            body = await read_body(exchange.receive, self._max_body)
        except ClientDisconnected:
            return
        except BodyTooLarge:
            detail = f"the body of a request with Idempotency-Key is larger than {self._max_body}"
            await exchange.respond(self._refuse(Outcome.INVALID, 413, detail))
            return
        request = self._keyed_request(exchange, key, body)
        execute = partial(self._execute, exchange, store, request, app, body)
        try:
            response = await execute()
        except KeyInUse:
            response = await self._wait(exchange, execute)
        if response is not None:
            await exchange.respond(response)

    async def _wait(self, exchange: Exchange, execute: Execute) -> LocalResponse | None:
        """Call *execute* until the key is free; return 409 when that takes too long, or its client disconnects."""
        deadline = monotonic() + self._wait_timeout
        if self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                while monotonic() < deadline and await _stays_connected(exchange.receive, POLL_INTERVAL):
                    with suppress(KeyInUse):
                        return await execute()
            finally:
                self._waiting -= 1
        return self._refuse(Outcome.CONFLICT, 409, IN_USE, self._retry_after)

    async def _execute(
        self, exchange: Exchange, store: IdempotencyStore, request: KeyedRequest, app: ASGIApp, body: bytes
    ) -> LocalResponse | None:
        """Run the application, or replay the response; return another response if neither is possible."""
        async with AsyncExitStack() as stack:
            try:
                found = await stack.enter_async_context(store.claim(request))
            except Exception as error:
                if not isinstance(error, KeyInUse):
                    self.metrics.count_error()
                raise
            if not isinstance(found, Record):
                execution = Execution(found, self._rules, exchange.send)
                stack.callback(self._count, execution)
                await execution.run(app, exchange.scope, replay_body(body, exchange.receive))
                return None
        if found.fingerprint != request.fingerprint:
            return self._refuse(Outcome.MISMATCH, 422, OTHER_REQUEST)
        self.metrics.count(Outcome.REPLAYED)
        if not found.response.status:
            return local_problem(409, NOT_STORED)
        await found.response.replay(exchange.send)
        return None

    def _count(self, execution: Execution) -> None:
        self.metrics.count(execution.outcome)
        if execution.commit_failed:
            self.metrics.count_error()

    def _keyed_request(self, exchange: Exchange, key: str, body: bytes) -> KeyedRequest:
        scope, header = exchange.scope, self._header
        subject = subject_of_request(scope, header, None if header is None else exchange.headers.get(header))
        return KeyedRequest(key, subject, scope["method"], scope["path"], fingerprint_of(scope, body))

    def _refuse(
        self, outcome: Outcome, status: int, detail: str, headers: dict[str, str] | None = None
    ) -> LocalResponse:
        if self.store is not None:
            self.metrics.count(outcome)
        return local_problem(status, detail, headers=headers)


async def _stays_connected(receive: Receive, seconds: float) -> bool:
    """Wait for *seconds*; return False at once when the client disconnects."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False
