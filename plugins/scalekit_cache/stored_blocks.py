"""The blocks of the page of the cache about one URL: its policy, and the stored responses in each store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalekit import PathGlob
from scalekit.pages import Badge, Block, Column, DataTable, Facts, Notice, QueryForm, Text, Tone, Unit
from scalekit_cache.config import CacheConfig
from scalekit_cache.filters import CacheFilter
from scalekit_cache.policies import NO_POLICY
from scalekit_cache.url_lookup import FIELDS, TAG_PREFIX, UrlLookup

STORED = (
    Column("store"),
    Column("host", code=True),
    Column("route", code=True),
    Column("for"),
    Column("request headers", code=True),
    Column("state"),
    Column("status"),
    Column("content type"),
    Column("content coding"),
    Column("body", Unit.BYTES),
    Column("etag", code=True),
    Column("age", Unit.SECONDS),
    Column("fresh until", Unit.TIME),
    Column("stale until", Unit.TIME),
    Column("tags"),
)
TONES = {"fresh": Tone.GOOD, "stale": Tone.WARNING}
CACHED_METHODS = ("GET", "HEAD")


def stored_in_memory(cache_filter: CacheFilter, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the responses for the URL of *query* in the memory of this worker; empty for an invalid URL."""
    if cache_filter.cache is None or not query.get("url"):
        return []
    try:
        return UrlLookup(cache_filter.cache, query).in_memory()
    except ValueError:  # the worker that responds reports it
        return []


async def lookup_blocks(
    cache_filter: CacheFilter, config: CacheConfig, query: Mapping[str, str], workers: Mapping[str, Mapping[str, Any]]
) -> list[Block]:
    """Return the form for a URL, and what is stored for the URL of *query* in each of *workers* and in their store."""
    form = QueryForm(FIELDS, {name: query.get(name, "") for name in FIELDS}, "Look up")
    cache = cache_filter.cache
    if cache is None or not query.get("url"):
        return [form]
    try:
        lookup = UrlLookup(cache, query)
    except ValueError as error:
        return [form, Notice(str(error))]
    stored = [(f"worker {worker}", each) for worker, data in workers.items() for each in data["stored"]]
    notices: list[Block] = []
    try:
        stored += [
            ("shared store", each) for each in await lookup.in_shared_store([each["key"] for _, each in stored]) or ()
        ]
    except Exception as error:  # whatever the client of the store raises
        notices.append(Notice(f"The shared store cannot be read: {type(error).__name__}: {error}"))
    empty = "nothing; Cache-Status in the response to a request says why"
    table = DataTable(STORED, [_row(*each) for each in stored], "Stored responses", empty=empty)
    return [form, _policy(lookup, config), *notices, table]


def _policy(lookup: UrlLookup, config: CacheConfig) -> Block:
    """Return by which policy a response for the URL is stored."""
    if lookup.method not in CACHED_METHODS:
        return Text(f"Responses to {lookup.method} are not stored, only those to GET.")
    policy = lookup.policy
    if policy is NO_POLICY:
        return Text(
            "No policy of the configuration has this path: a response is stored when it has a freshness lifetime, by "
            "Cache-Control or the decorator of its handler."
        )
    path = next((table.path for table in config.policies if PathGlob(table.path).matches(lookup.path)), None)
    facts = {
        "path": path,
        "ttl": None if policy.ttl is None else float(policy.ttl),
        "request headers in the key": _join(policy.vary),
        "query parameters in the key": "all" if policy.query is None else _join(sorted(policy.query)),
        "stored for each user": policy.by_identity,
        "ignores cookies": policy.ignores_cookies,
        "stale while revalidate": float(policy.stale_while_revalidate),
        "stale if error": float(policy.stale_if_error),
        "statuses": ", ".join(map(str, sorted(policy.statuses))),
        "tags": _join([tag.removeprefix(TAG_PREFIX) for tag in policy.tags]),
    }
    seconds: Mapping[str, Unit] = dict.fromkeys(("ttl", "stale while revalidate", "stale if error"), Unit.SECONDS)
    return Facts(facts, "Policy, which the response and the decorator of its handler may override", seconds)


def _row(store: str, each: Mapping[str, Any]) -> Sequence[Any]:
    host, _, _, scheme, *_ = each["key"]
    state = Badge(each["state"], TONES.get(each["state"], Tone.NEUTRAL))
    described = (each[name] for name in ("status", "type", "coding", "body", "etag", "age", "expires", "stale_until"))
    tags = ", ".join(each["tags"])
    return (store, f"{scheme}://{host}", each["route"], each["user"], each["variant"], state, *described, tags)


def _join(values: Sequence[bytes]) -> str:
    return ", ".join(value.decode("utf-8", "replace") for value in values) or "none"
