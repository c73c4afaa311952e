"""The page of the limits: decisions by policy, the clients that are refused most, and what a client has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    FormField,
    Link,
    Notice,
    PageAction,
    PageView,
    QueryForm,
    Text,
    Tone,
    Unit,
)
from scalekit_ratelimit.client_lookup import ClientLookup
from scalekit_ratelimit.filters import LimitFilter
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.heavy_hitters import HeavyHitter, total_hitters
from scalekit_ratelimit.limit_statistics import RECENT, LimitStatistics
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.limits import MICROSECONDS
from scalekit_ratelimit.load_shedding import LoadSheddingFilter
from scalekit_ratelimit.policies import PRIORITIES, RateLimitPolicy
from scalekit_ratelimit.shared_limiter import STORE_ERRORS

SHOWN_CLIENTS = 25
"""Clients of each policy that are shown."""
FIELDS = {
    "policy": "Policy",
    "client": "Client address or key",
    "user": "User",
    "issuer": "Issuer of the user",
}
NO_CLIENT = dict.fromkeys(FIELDS, "")
POLICIES = (
    Column("policy"),
    Column("quota"),
    Column("window", Unit.SECONDS),
    Column("mode"),
    Column("allowed"),
    Column("refused"),
    Column("share refused", Unit.RATIO),
    Column("allowed in the last minute", Unit.PER_SECOND),
    Column("refused in the last minute", Unit.PER_SECOND),
)
CLIENTS = (
    Column("client", code=True),
    Column("user"),
    Column("issuer"),
    Column("last address"),
    Column("refusals at least"),
    Column("refusals at most"),
    Column("last refusal", Unit.TIME),
    Column("state"),
    Column("action"),
)
STATES = (
    Column("counted in"),
    Column("policy"),
    Column("quota"),
    Column("remaining"),
    Column("whole quota in", Unit.SECONDS),
)
CONCURRENCY = (
    Column("worker"),
    Column("in flight"),
    Column("concurrency limit"),
    *(Column(f"shed, {priority} priority") for priority in PRIORITIES),
)


class LimitsPage:
    """The page of *limit_filter* and *shedding_filter*, which have a limiter while the plugin runs."""

    def __init__(
        self,
        limit_filter: LimitFilter,
        shedding_filter: LoadSheddingFilter,
        application_policies: Mapping[str, RateLimitPolicy],
        statistics: LimitStatistics,
    ) -> None:
        self._limit_filter = limit_filter
        self._shedding_filter = shedding_filter
        self._application_policies = application_policies
        self._statistics = statistics

    def page(self) -> ConsolePage:
        """Return the page."""
        reset = PageAction(
            "reset",
            "Reset the limits of a client",
            self.reset,
            [FormField(name, label, required=name == "policy") for name, label in FIELDS.items()],
            "all workers",
            "Reset these limits? The client has its whole quota again.",
        )
        return ConsolePage(
            "limits",
            "Limits",
            self.render,
            self.collect,
            [reset],
            description="Decisions by policy, the clients that are refused most, and what a client has left.",
        )

    async def collect(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the figures of this worker, and the state of the client if it is counted here."""
        limiter = self._limit_filter.limiter
        if limiter is None:
            return None
        shedder = self._shedding_filter.shedder
        return {
            "limits": _describe_limits(self._statistics),
            "concurrency": shedder and [*shedder.sample(), *map(shedder.metrics.shed, PRIORITIES)],
            "client": self._states_in_memory(limiter, query),
            "store_error": limiter.shared.circuit_breaker.error if limiter.shared else "",
        }

    async def render(self, view: PageView) -> Sequence[Block]:
        """Return the blocks of the page."""
        workers = {worker: data for worker, data in view.workers.items() if data is not None}
        errors = {data["store_error"]: worker for worker, data in workers.items() if data["store_error"]}
        return [
            *(
                Notice(f"{self._store()} is unavailable: {error}", "Each worker applies on_error until it replies.")
                for error in errors
            ),
            self._policies(list(workers.values())),
            *self._share(len(workers)),
            *(await self._client(view.query, workers)),
            *_clients(list(workers.values())),
            *_concurrency(workers),
        ]

    async def reset(self, values: Mapping[str, str]) -> str:
        """Delete the counters of a client in this worker and in the shared store."""
        limiter = self._limit_filter.limiter
        if limiter is None:
            raise ValueError("the limits have not started; try again")
        hits = self._lookup(limiter).hits(values)
        if not hits:
            return "the client is exempt"
        if error := await limiter.reset(hits):
            raise ValueError(f"reset in memory, but not in {self._store()}: {error}; try again when it replies")
        return f"reset {', '.join(hit.limit.name for hit in hits)} for {hits[0].key}"

    def _store(self) -> str:
        """Return the name of the shared store."""
        limiter = self._limit_filter.limiter
        return limiter.shared.limiter.store if limiter is not None and limiter.shared is not None else "the store"

    def _lookup(self, limiter: Limiter) -> ClientLookup:
        policies = {**limiter.policies.by_name(), **self._application_policies}
        return ClientLookup(policies, limiter.policies.address_key_func, self._statistics)

    def _states_in_memory(self, limiter: Limiter, query: Mapping[str, str]) -> list[list[Any]] | None:
        shared = limiter.shared
        if not query.get("policy") or (shared and not (shared.circuit_breaker.error and shared.on_error == "local")):
            return None
        try:
            return _describe_states(limiter.read_memory(self._lookup(limiter).hits(query)))
        except ValueError:
            return None  # the worker that responds reports it

    def _policies(self, workers: Sequence[Mapping[str, Any]]) -> DataTable:
        limiter = self._limit_filter.limiter
        policies = self._lookup(limiter).policies.values() if limiter else ()
        totals = {
            limit.name: _LimitTotal(limit.quota, limit.window, each.dry_run)
            for each in policies
            for limit in each.limits
        }
        for worker in workers:
            for name, counts in worker["limits"].items():
                totals.setdefault(name, _LimitTotal(*counts["limit"])).add(counts["counts"])
        return DataTable(POLICIES, [total.row(name) for name, total in totals.items()], "Policies, since the start")

    def _share(self, workers: int) -> list[Text]:
        """Return why a client may get more than the quota."""
        limiter = self._limit_filter.limiter
        if limiter is None or limiter.shared is not None or workers < 2:
            return []
        remedy = 'url = "redis://..." or "database:" counts exactly.'
        return [Text(f"Each of {workers} workers counts by itself: a client may get {workers} times a quota; {remedy}")]

    async def _client(self, query: Mapping[str, str], workers: Mapping[str, Any]) -> list[Block]:
        shown = {name: query.get(name, "") for name in FIELDS}
        form = QueryForm(FIELDS, shown, "Look up what a client has left")
        limiter = self._limit_filter.limiter
        if limiter is None or not shown["policy"]:
            return [form]
        try:
            hits = self._lookup(limiter).hits(shown)
        except ValueError as error:
            return [form, Notice(str(error))]
        if not hits:
            return [form, Text("This client is exempt.")]
        rows: list[Sequence[Cell]] = [
            (f"worker {worker}", *state) for worker, data in workers.items() for state in data["client"] or ()
        ]
        notices: list[Block] = []
        if limiter.shared is not None:
            try:
                states = _describe_states(await limiter.read_shared(hits))
                rows += [(limiter.shared.limiter.store, *state) for state in states]
            except STORE_ERRORS as error:
                notices = [Notice(f"The state in {limiter.shared.limiter.store} cannot be read: {error}")]
        return [
            form,
            *notices,
            DataTable(STATES, rows, f"Limits of {hits[0].key}"),
            ActionForm("reset", shown, "Reset these limits"),
        ]


class _LimitTotal:
    """The decisions of a limit over all workers."""

    def __init__(self, quota: int, window: int, dry_run: bool) -> None:
        mode = Badge("dry run: allows all", Tone.WARNING) if dry_run else Badge("enforced", Tone.GOOD)
        self._limit = (quota, window / MICROSECONDS, mode)
        self._counts = [0, 0, 0, 0]

    def add(self, counts: Sequence[int]) -> None:
        """Add the *counts* of a worker."""
        self._counts = [total + count for total, count in zip(self._counts, counts, strict=True)]

    def row(self, name: str) -> Sequence[Cell]:
        """Return the row of the limit *name*."""
        allowed, refused, *recent = self._counts
        share = refused / (allowed + refused) if refused else 0.0
        return (
            Link(name, "limits", {"policy": name}),
            *self._limit,
            allowed,
            refused,
            share,
            *(n / RECENT for n in recent),
        )


def _describe_limits(statistics: LimitStatistics) -> dict[str, Any]:
    return {
        name: {
            "limit": [counts.limit.quota, counts.limit.window, counts.dry_run],
            "counts": [
                counts.allowed,
                counts.refused,
                counts.recent_allowed.total(),
                counts.recent_refused.total(),
            ],
            "floor": counts.hitters.floor,
            "clients": {key: [each.count, each.error, each.details] for key, each in counts.hitters.items.items()},
        }
        for name, counts in statistics.limits.items()
    }


def _describe_states(results: HitResults) -> list[list[Any]]:
    return [[hit.limit.name, hit.limit.quota, state.remaining, state.reset / MICROSECONDS] for hit, state in results]


def _clients(workers: Sequence[Mapping[str, Any]]) -> list[DataTable]:
    names = dict.fromkeys(name for worker in workers for name, limit in worker["limits"].items() if limit["clients"])
    return [
        _refused_most(name, [worker["limits"][name] for worker in workers if name in worker["limits"]])
        for name in names
    ]


def _refused_most(name: str, limits: Sequence[Mapping[str, Any]]) -> DataTable:
    parts = [(limit["floor"], {key: HeavyHitter(*item) for key, item in limit["clients"].items()}) for limit in limits]
    totals = total_hitters(parts)
    rows = []
    for key, total in list(totals.items())[:SHOWN_CLIENTS]:
        client = {"policy": name, "client": key}
        details = [total.details.get(each) for each in ("user", "issuer", "address")]
        counts = (total.at_least, total.at_most, total.details.get("at"))
        look_up = Link("look up", "limits", client)
        rows.append((key, *details, *counts, look_up, ActionForm("reset", {**NO_CLIENT, **client}, "Reset")))
    return DataTable(CLIENTS, rows, f"Refused most by {name}", max(0, len(totals) - SHOWN_CLIENTS))


def _concurrency(workers: Mapping[str, Mapping[str, Any]]) -> list[DataTable]:
    rows = [(worker, *data["concurrency"]) for worker, data in workers.items() if data["concurrency"]]
    return [DataTable(CONCURRENCY, rows, "Load shedding")] if rows else []
