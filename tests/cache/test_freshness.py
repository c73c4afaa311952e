"""Freshness of responses (RFC 9111, sections 4.2 and 5.2.2); the subjects are those of cache-tests.fyi."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio
CC = "Cache-Control"


async def is_reused(headers: Pairs, after: float = 3.0) -> bool:
    """Return whether a response with *headers* is reused *after* seconds."""
    origin = Origin(Reply(headers))
    harness = CacheHarness(origin)
    first = await harness.fetch()
    harness.pass_time(after)
    second = await harness.fetch()
    assert (second.body == first.body) == (origin.calls == 1)
    return origin.calls == 1


def dated(harness: CacheHarness, seconds: float) -> str:
    return harness.date(seconds)


CLOCK = CacheHarness(Origin())
NOW, AHEAD, AGO = CLOCK.date(), CLOCK.date(10_000), CLOCK.date(-10_000)


@pytest.mark.parametrize(
    "headers",
    [
        [(CC, "max-age=3600")],
        [(CC, "MaX-aGe=3600")],
        [(CC, 'max-age="3600"')],
        [(CC, "max-age=003600")],
        [(CC, "max-age=2147483648")],
        [(CC, "max-age=99999999999")],
        [(CC, "max-age=99999999999999999999999999")],
        [(CC, "foobar, max-age=3600")],
        [(CC, 'foobar="x, y", max-age=3600')],
        [(CC, "max-age=3600"), ("Expires", AGO), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Expires", "0"), ("Date", NOW)],
        [(CC, "s-maxage=3600")],
        [(CC, "max-age=1, s-maxage=3600")],
        [(CC, "max-age=3600"), (CC, "public")],
        [(CC, "max-age=3600, must-revalidate")],
        [(CC, "max-age=3600, immutable")],
        [("Expires", AHEAD), ("Date", NOW)],
        [("Expires", AHEAD)],
        [("Expires", "Fri, 18 Aug 2051 02:01:18 GMT"), ("Date", NOW)],
        [("Expires", "Friday, 18-Aug-51 02:01:18 GMT"), ("Date", NOW)],
        [("Expires", "Fri Aug 18 02:01:18 2051"), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Age", "abc"), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Pragma", "no-cache")],
        [("CDN-Cache-Control", "max-age=3600")],
        [("CDN-Cache-Control", "foobar, max-age=3600")],
        [("CDN-Cache-Control", "max-age=3600"), ("Expires", AGO), ("Date", NOW)],
        [("CDN-Cache-Control", "max-age=3600"), ("Expires", "0"), ("Date", NOW)],
        [("CDN-Cache-Control", "max-age=3600"), (CC, "max-age=1")],
        [("ScaleKit-Cache-Control", "max-age=3600"), ("CDN-Cache-Control", "max-age=1"), (CC, "no-store")],
        [("CDN-Cache-Control", "max-age=10000"), (CC, "no-store")],
        [("CDN-Cache-Control", "max-age=10000;ext=1"), (CC, "no-store")],
        [("CDN-Cache-Control", "&&&"), (CC, "max-age=3600")],
        [(CC, "no-store, must-understand, max-age=3600")],
        [(CC, 'no-cache="a", max-age=3600')],
    ],
)
async def test_a_fresh_response_is_reused(headers: Pairs) -> None:
    assert await is_reused(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(CC, "max-age=0")],
        [(CC, "max-age=2")],
        [(CC, "max-age=-100")],
        [(CC, "max-age=a3600")],
        [(CC, "max-age=3600a")],
        [(CC, "max-age='3600'")],
        [(CC, "max-age =3600")],
        [(CC, "max-age= 3600")],
        [(CC, "max-age")],
        [(CC, "max-age=")],
        [(CC, 'extension="max-age=3600", max-age=1')],
        [(CC, 'max-age=1, extension="max-age=3600"')],
        [(CC, 'extension="max-age=3600", max-age="1"')],
        [(CC, 'extension="\\"max-age=3600, ", max-age=1')],
        [(CC, "max-age=1, max-age=1800")],
        [(CC, "max-age=3600, s-maxage=1")],
        [(CC, "s-maxage=1, max-age=3600")],
        [(CC, "max-age=3600"), (CC, "s-maxage=1")],
        [(CC, "max-age=0"), ("Expires", AHEAD), ("Date", NOW)],
        [(CC, "max-age=10"), ("Age", "15"), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Age", "9" * 50), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Age", "0" * 20 + "7200"), ("Date", NOW)],
        [(CC, "max-age=10"), ("Date", CLOCK.date(-15))],
        [("Expires", AGO), ("Date", NOW)],
        [("Expires", NOW), ("Date", NOW)],
        [("Expires", "0"), ("Date", NOW)],
        [("Expires", "Thu, 18 Aug 2050 02:01:18 UTC"), ("Date", NOW)],
        [("Expires", "Thu, 18 Aug 2050 02:01:18 AEST"), ("Date", NOW)],
        [("Expires", "Thu 18 Aug 2050 02:01:18 GMT"), ("Date", NOW)],
        [("Expires", "Thu, 18 Aug 2050 2:01:18 GMT"), ("Date", NOW)],
        [("Expires", CLOCK.date(30)), ("Date", NOW), ("Age", "40")],
        [(CC, "no-store")],
        [(CC, "No-StOrE")],
        [(CC, "max-age=10000, no-store"), ("Expires", AHEAD), ("Date", NOW)],
        [(CC, "private, max-age=3600")],
        [(CC, 'private="a", max-age=3600')],
        [(CC, "no-cache")],
        [(CC, "max-age=10000, No-CaChE"), ("Expires", AHEAD), ("Date", NOW)],
        [(CC, "max-age=3600"), ("Set-Cookie", "a=b")],
        [(CC, "max-age=3600"), ("Vary", "*")],
        [(CC, "max-age=3600"), ("Vary", "Foo, *")],
        [(CC, "max-age=3600"), ("Vary", ""), ("Vary", "*")],
        [("CDN-Cache-Control", "max-age=0"), ("Expires", AHEAD), ("Date", NOW)],
        [("CDN-Cache-Control", "max-age=3600"), ("Age", "7200"), ("Date", NOW)],
        [("CDN-Cache-Control", "max-age=1"), (CC, "max-age=3600")],
        [("CDN-Cache-Control", "private"), (CC, "max-age=10000")],
        [("CDN-Cache-Control", "no-cache"), (CC, "max-age=10000")],
        [("CDN-Cache-Control", "no-store"), (CC, "max-age=10000")],
        [("CDN-Cache-Control", "max-age=10000, &&&&&"), (CC, "no-store")],
        [("CDN-Cache-Control", 'max-age="10000"'), (CC, "no-store")],
        [("CDN-Cache-Control", "max-age =100"), (CC, "max-age=1")],
        [("CDN-Cache-Control", "max-age= 100"), (CC, "max-age=1")],
        [("CDN-Cache-Control", "MaX-aGe=3600"), (CC, "max-age=1")],
        [("Last-Modified", AGO), ("Date", NOW)],
        [("ETag", '"abc"')],
    ],
)
async def test_any_other_response_is_not_reused(headers: Pairs) -> None:
    assert not await is_reused(headers)


@pytest.mark.parametrize("status", [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503, 599])
async def test_any_final_status_with_an_explicit_lifetime_is_stored(status: int) -> None:
    origin = Origin(Reply([(CC, "max-age=3600")], status))
    harness = CacheHarness(origin)
    first, second = await harness.fetch(), await harness.fetch()
    assert (first.status, second.status, origin.calls) == (status, status, 1)
    harness.pass_time(3600)
    await harness.fetch()
    assert origin.calls == 2


@pytest.mark.parametrize("status", [206, 304])
async def test_partial_and_not_modified_responses_are_not_stored(status: int) -> None:
    origin = Origin(Reply([(CC, "max-age=3600")], status))
    harness = CacheHarness(origin)
    await harness.fetch()
    await harness.fetch()
    assert origin.calls == 2


async def test_must_understand_forbids_to_store_an_unknown_status() -> None:
    origin = Origin(Reply([(CC, "max-age=3600, must-understand")], 299))
    harness = CacheHarness(origin)
    await harness.fetch()
    await harness.fetch()
    assert origin.calls == 2


@pytest.mark.parametrize(
    ("headers", "after", "age"),
    [
        ([(CC, "max-age=600")], 0, 0),
        ([(CC, "max-age=600")], 10, 10),
        ([(CC, "max-age=600"), ("Age", "30")], 3, 33),
        ([(CC, "max-age=600"), ("Age", "30"), ("Age", "7")], 3, 33),
        ([("Expires", AHEAD), ("Date", NOW), ("Age", "30")], 5, 35),
        ([(CC, "max-age=600"), ("Date", CLOCK.date(-50))], 5, 55),
        ([(CC, "max-age=600"), ("Date", CLOCK.date(-50)), ("Age", "10")], 5, 55),
        ([(CC, "max-age=600"), ("Date", CLOCK.date(500))], 5, 5),
    ],
)
async def test_age_is_correct_at_every_reuse(headers: Pairs, after: int, age: int) -> None:
    harness = CacheHarness(Origin(Reply(headers)))
    first = await harness.fetch()
    for more in (0, 7):
        harness.pass_time(more if more else after)
        again = await harness.fetch()
        assert [value for name, value in again.headers if name == b"age"] == [b"%d" % (age + more)]
        assert again.header("date") == (first.header("date") or NOW)


async def test_the_response_delay_is_added_to_age() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=600"), ("Age", "30")])))
    origin.gate = asyncio.Event()
    task = asyncio.ensure_future(harness.fetch())
    while not origin.calls:
        await asyncio.sleep(0)
    harness.pass_time(20)
    origin.gate.set()
    await task
    assert (await harness.fetch()).header("age") == "50"


async def test_heuristic_freshness_is_off_by_default() -> None:
    from scalekit_cache.storability import StorageRules

    headers = [("Last-Modified", CLOCK.date(-1000)), ("Date", NOW)]
    for status, calls in ((200, 1), (404, 1), (201, 2), (503, 2)):
        harness = CacheHarness(
            origin := Origin(Reply(headers, status)), storage_rules=StorageRules(heuristic_fraction=0.1)
        )
        await harness.fetch()
        harness.pass_time(99)
        await harness.fetch()
        assert origin.calls == calls, status
        harness.pass_time(2)
        origin.validates = False
        await harness.fetch()
        assert origin.calls == (2 if calls == 1 else 3)


async def test_errors_are_not_stored_unless_a_policy_names_their_status() -> None:
    for status in (400, 404, 413, 500, 503):
        harness = CacheHarness(origin := Origin(Reply(status=status)), [("/**", CachePolicy(ttl=60.0))])
        await harness.fetch()
        await harness.fetch()
        assert origin.calls == 2
    policy = CachePolicy(ttl=60.0, statuses=frozenset({404}))
    harness = CacheHarness(origin := Origin(Reply(status=404)), [("/**", policy)])
    await harness.fetch()
    await harness.fetch()
    assert origin.calls == 1
