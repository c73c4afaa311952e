"""Responses of applications through the cache: clients receive them with any header fields."""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from tests.cache.harness import CacheHarness, Origin, Reply
from tests.fuzz.test_cache_fields import directives, names, numbers, tags
from tests.fuzz.test_dates import dates
from tests.fuzz.words import fuzzed, values

FIELDS = {
    "age": numbers,
    "cache-control": directives | st.just(b"max-age=60"),
    "cache-status": values("scalekit", ";", "hit", ",", " ", "="),
    "cdn-cache-control": directives,
    "content-length": numbers,
    "content-location": values("/", "//", "[", "?", "#", "%", ":", "http:", "shop.example", "\xe9"),
    "content-range": values("bytes ", "0-1", "/", "*"),
    "date": dates,
    "etag": tags,
    "expires": dates,
    "last-modified": dates,
    "location": values("/", "//", "[", "]", "?", "#", "%", ":", "http:", "shop.example", "\xe9", "@"),
    "pragma": directives,
    "set-cookie": values("a=1", ";", " "),
    "vary": names,
}
one_field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name]))
headers = st.lists(one_field, max_size=6).map(lambda found: [(name, value.decode("latin-1")) for name, value in found])
statuses = st.sampled_from([200, 200, 201, 204, 206, 301, 304, 404, 500, 503, 599])


@given(headers, statuses, st.sampled_from(["GET", "HEAD", "POST", "DELETE"]))
@fuzzed
@example([("cache-control", "max-age=60"), ("content-length", "9" * 5000)], 200, "GET")
@example([("cache-control", "max-age=60"), ("age", "9" * 5000)], 200, "GET")
@example([("expires", "Sat, 01 Jan 0000 00:00:00 GMT")], 200, "GET")
@example([("location", "http://[")], 201, "POST")
def test_an_application_may_say_anything(found: list[tuple[str, str]], status: int, method: str) -> None:
    async def fetch() -> None:
        laboratory = CacheHarness(Origin(Reply(found, status)))
        for each in (method, "GET", method):
            assert (await laboratory.fetch(method=each)).status == status
            laboratory.pass_time(30)
            await laboratory.settle()

    asyncio.run(fetch())
