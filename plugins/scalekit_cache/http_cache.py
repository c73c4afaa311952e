"""The HTTP cache of one process: its store, its policies, and the responses in flight."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from starlette.types import Scope

from scalekit import Exchange
from scalekit.telemetry import CURRENT_SPAN
from scalekit_cache.cache_status import NotStored
from scalekit_cache.credentials import APPLICATION_USER, CREDENTIAL_HEADERS, DECLARED, CredentialsCache, HeaderRoles
from scalekit_cache.decorator import policy_of
from scalekit_cache.freshness import is_reusable
from scalekit_cache.keys import Resource, canonical_query, has_secret_parameter
from scalekit_cache.metrics import CacheMetrics
from scalekit_cache.policies import CachePolicies, CachePolicy
from scalekit_cache.request import RELEVANT_HEADERS, CacheRequest
from scalekit_cache.single_flight import Flight
from scalekit_cache.storability import StoragePolicies, StorageRules
from scalekit_cache.stored_response import StoredResponse, Variants
from scalekit_cache.user_detection import RouteInspector, State, detect_user
from scalekit_caching import Item, Key, Store, path_tags

MAX_UNSHARED = 4096
"""Flight keys of responses that were not shareable; the next requests for them are not coalesced."""
MAX_REFRESHES = 64
"""Maximum number of concurrent refreshes in the background."""


Negotiate = Callable[[Exchange], bytes | None]
"""Returns the content coding of the response to a request, as ``CodingNegotiator.negotiate`` does."""


def no_coding(exchange: Exchange) -> bytes | None:
    """Return None: responses are not compressed, or the application does it."""
    return None


@dataclass(frozen=True)
class CacheOptions:
    """Settings of the HTTP cache; times are in seconds."""

    name: bytes
    max_body: int
    coalesce_timeout: float
    refresh_timeout: float
    cookies_identify: bool
    sort_query: bool
    storage_rules: StorageRules
    tags_from_sql: bool = False
    credential_headers: tuple[str, ...] = CREDENTIAL_HEADERS


@dataclass(frozen=True)
class RefreshResult:
    """The outcome of a refresh: the stored response, whether it *failed*, or why the response must not be stored.

    *sequence* is that of the call of the application, *variant* the secondary key of the request that caused it;
    *error* is the exception of the application.
    """

    response: StoredResponse | None
    failed: bool
    not_stored: NotStored | None
    sequence: int
    variant: tuple[bytes, ...]
    error: Exception | None

    def may_reuse(self, request: CacheRequest, arrival: int, now: float) -> bool:
        """Return whether *request*, which is not the one that caused the refresh, may reuse the response."""
        response = self.response
        if response is None or self.not_stored is not None:
            return False
        policy = response.storage_policy
        if request.missing_credentials(policy):
            return False
        if policy.vary and request.variant_key(policy.vary) != self.variant:
            return False
        return arrival <= self.sequence or is_reusable(response, request.directives, now)


Refresh = Callable[[], Coroutine[Any, Any, RefreshResult]]


class HttpCache:
    """Looks up and stores responses, and coalesces requests for a missing one."""

    def __init__(
        self,
        store: Store,
        policies: CachePolicies,
        options: CacheOptions,
        metrics: CacheMetrics,
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.negotiate: Negotiate = no_coding
        self.policies = policies
        self.options = options
        self.metrics = metrics
        self.clock = clock
        self.name = options.name
        self.tracks_tables = options.tags_from_sql
        self.max_body = options.max_body
        self.storage_policies = StoragePolicies(options.storage_rules)
        self.header_roles = HeaderRoles(RELEVANT_HEADERS, options.credential_headers)
        self.routes = RouteInspector(self.header_roles)
        self.credentials = CredentialsCache(options.cookies_identify)
        self.plain_queries = not policies.reshape_queries
        """Whether the query string of a request without ``&`` is its canonical query."""
        self.sequence = count(1)
        """Numbers the arrivals of requests and the calls of the application."""
        self.route_of: Callable[[Scope], str] = lambda scope: ""  # the template
        self.run_refresh: Callable[[Refresh], Coroutine[Any, Any, RefreshResult]] = lambda refresh: refresh()
        """Runs a background refresh, for example within a trace."""
        self.not_stored: dict[NotStored, int] = {}
        """Responses of the application that were not stored, by reason."""
        self._statuses: dict[tuple[bytes, int, bytes], bytes] = {}
        self._flights: dict[Key, Flight] = {}
        self._unshared: dict[Key, None] = {}
        self._max_refreshes = MAX_REFRESHES
        self._refreshes: dict[Key, asyncio.Task[RefreshResult]] = {}

    def peek(self, primary_key: Key, request: CacheRequest) -> StoredResponse | Variants | None:
        """Return the local response for *request*, or Variants when the process has other variants only."""
        found = self.store.peek(primary_key)
        if type(found) is Variants:
            found = self.store.peek((found.token, *request.variant_key(found.names))) or found
        return found if isinstance(found, StoredResponse | Variants) else None

    async def fetch(self, primary_key: Key, request: CacheRequest) -> StoredResponse | Variants | None:
        """Return the response for *request* from this process or the shared store, or Variants of others only."""
        found = await self.store.get(primary_key)
        if type(found) is Variants:
            found = await self.fetch_variant(found, request) or found
        return found if isinstance(found, StoredResponse | Variants) else None

    async def fetch_variant(self, variants: Variants, request: CacheRequest) -> Item | None:
        """Return the one of *variants* for *request*, from this process or the shared store."""
        return await self.store.get((variants.token, *request.variant_key(variants.names)))

    def variant_names(self, primary_key: Key) -> tuple[bytes, ...]:
        """Return the request headers by which the stored variants of *primary_key* vary, as far as is known here."""
        found = self.store.peek_unsynced(primary_key)
        return found.names if type(found) is Variants else ()

    def cache_status(self, reason: bytes, status: int, outcome: bytes) -> bytes:
        """Return the member of ``Cache-Status`` for a response of the application with *status*.

        *reason* is why the request was forwarded. *outcome* is STORED, the value of a NotStored, or empty when it is
        known only at the end of the response.
        """
        member = self._statuses.get((reason, status, outcome))
        if member is None:
            member = b"%b; %b; fwd-status=%d%b" % (self.name, reason, status, outcome)
            self._statuses[reason, status, outcome] = member
        return member

    def reevaluate(
        self, scope: Scope, request: CacheRequest, policy: CachePolicy, initial_state: State
    ) -> CachePolicy | NotStored:
        """Return the policy of the handler that responds, or why the response must not be stored.

        The application has set handler and user in *scope*, from which the credentials of *request* are completed.
        *policy* is that of the path, *initial_state* the state of the scope before the call.
        """
        if request.has_body:
            return NotStored.REQUEST_BODY
        handler_policy = policy_of(scope)
        if handler_policy is not None:
            policy = self.policies.for_handler(handler_policy, policy)
        parameters = self.routes.parameters(scope)
        if parameters is not None:
            if parameters.query and has_secret_parameter(scope["query_string"], parameters.query, policy.query):
                return NotStored.DECLARED
            policy = self.policies.for_route(policy, parameters)
            names = parameters.credential_headers
            if request.has_any(names):
                request.credentials |= DECLARED
            if parameters.uses_request and self.routes.has_uncommon_header(scope, {*policy.vary, *names}):
                request.credentials |= APPLICATION_USER
        detect_user(request, scope, policy, initial_state)
        return policy

    def set_query(self, flight: Flight, path: str, query: frozenset[bytes]) -> None:
        """Use only the parameters *query* in the key of *flight*, and of all later requests for *path*."""
        host, raw_path, full_query, *rest = flight.primary_key
        if self.policies.set_query(path, raw_path, query):
            self.plain_queries = False
            short_query = canonical_query(full_query, query, self.options.sort_query)
            flight.primary_key = (host, raw_path, short_query, *rest)

    def put(self, response: StoredResponse, flight: Flight, request: CacheRequest) -> StoredResponse:
        """Store *response* under the primary key of *flight*, or as a variant."""
        existing = self.store.peek_unsynced(flight.primary_key)
        names = response.storage_policy.vary
        if type(existing) is Variants:
            names = tuple(sorted({*names, *existing.names}))
        response.key = flight.primary_key
        if names:
            if type(existing) is not Variants or existing.names != names:
                existing = Variants(flight.primary_key, names, os.urandom(16))
                self.store.put(existing)
            response.key = (existing.token, *request.variant_key(names))
        flight.written = self.store.put(response, flight.lease)
        if self._unshared:
            self._unshared.pop(flight.key, None)
        return response

    async def invalidate(self, resources: Sequence[Resource]) -> None:
        """Invalidate the responses of *resources*, stored and in flight; requests that wait for those retry.

        With a shared store, another process may be writing such a response; only a purge by tag invalidates that.
        """
        keys = [resource.key for resource in resources]
        flights = [flight for flight in self._flights.values() if flight.primary_key in keys]
        for flight in flights:
            flight.outdated = True
            self.close_flight(flight)
        await self.store.delete(keys)
        if self.store.shared:
            try:
                await self.store.purge([path_tags(resource.path)[0] for resource in resources])
            except Exception as error:
                self.metrics.count_failure(type(error).__name__)
        for flight in flights:
            flight.retry()

    def join_flight(self, key: Key, primary_key: Key) -> tuple[Flight, bool]:
        """Return the flight for *key*, and whether the caller leads it."""
        flight = self._flights.get(key)
        if flight is not None:
            return flight, False
        shared = key not in self._unshared
        flight = Flight(key, primary_key, self.store.version, self.max_body, shared)
        flight.leader = CURRENT_SPAN.get()
        if shared:
            self._flights[key] = flight
        return flight, True

    def is_current(self, flight: Flight, number: int) -> bool:
        """Return whether the response of *flight* has not been purged before the purge *number*."""
        if flight.outdated:
            return False
        if flight.since == number:  # a later purge does not concern requests that arrived before it
            return True
        tags = flight.tags if flight.tables is None else flight.tables.merge_tags(flight.tags)
        return tags is not None and not self.store.purged_since(tags, flight.since)

    def make_private(self, flight: Flight) -> None:
        """Mark the response of *flight* as private to its leader; later requests for its key are not coalesced."""
        self.close_flight(flight)
        if flight.outdated:
            flight.retry()
            return
        if flight.open:
            self._mark_unshared(flight.key)
        flight.make_private()

    def mark_too_large(self, flight: Flight) -> None:
        """Mark the response of *flight* as too large to store; later requests for its key are not coalesced."""
        if self._flights.get(flight.key) is flight:
            self._mark_unshared(flight.key)
        self.close_flight(flight)

    def close_flight(self, flight: Flight) -> None:
        """Let no further request join *flight*, here or in another process."""
        flight.release_lease()
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _mark_unshared(self, key: Key) -> None:
        if len(self._unshared) >= MAX_UNSHARED:
            self._unshared.clear()
        self._unshared[key] = None

    def start_refresh(self, key: Key, refresh: Refresh) -> asyncio.Task[RefreshResult] | None:
        """Start *refresh* for *key* unless one runs; return its task, or None when too many run."""
        task = self._refreshes.get(key)
        if task is None and len(self._refreshes) < self._max_refreshes:
            task = self._refreshes[key] = asyncio.create_task(self.run_refresh(refresh))
            task.add_done_callback(lambda done: self._refreshes.pop(key, None))
        return task

    def drain(self) -> None:
        """Start no more refreshes, because the application stops before the cache."""
        self._max_refreshes = 0

    async def close(self) -> None:
        """Cancel the refreshes in the background."""
        tasks = list(self._refreshes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
