"""Conditional requests of clients and of the cache (RFC 9111, section 4.3; RFC 9110, section 13)."""

from __future__ import annotations

import pytest

from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
CLOCK = CacheHarness(Origin())
NOW, LONG_AGO = CLOCK.date(), CLOCK.date(-3000)


@pytest.mark.parametrize(
    ("stored", "conditions"),
    [
        ([("ETag", '"abc"')], [("If-None-Match", '"abc"')]),
        ([("ETag", '"abc"')], [("If-None-Match", "*")]),
        ([("ETag", '"abc"')], [("If-None-Match", 'W/"abc"')]),
        ([("ETag", 'W/"abc"')], [("If-None-Match", 'W/"abc"')]),
        ([("ETag", 'W/"abc"')], [("If-None-Match", '"abc"')]),
        ([("ETag", '"abcü"')], [("If-None-Match", '"abcü"')]),
        ([("ETag", '"a,b"')], [("If-None-Match", '"1", "a,b"')]),
        ([("ETag", '"abc"')], [("If-None-Match", '"abc", "1234", "5678"')]),
        ([("ETag", '"abc"')], [("If-None-Match", '"1234", "abc", "5678"')]),
        ([("ETag", '"abc"')], [("If-None-Match", '"1234"'), ("If-None-Match", '"abc"')]),
        ([("ETag", '"abc"'), ("Last-Modified", LONG_AGO)],
         [("If-None-Match", '"abc"'), ("If-Modified-Since", CLOCK.date(-9000))]),
        ([("Last-Modified", LONG_AGO)], [("If-Modified-Since", LONG_AGO)]),
        ([("Last-Modified", LONG_AGO)], [("If-Modified-Since", CLOCK.date(-2000))]),
        ([("Date", LONG_AGO)], [("If-Modified-Since", LONG_AGO)]),
    ],
)  # fmt: skip
async def test_a_request_with_a_matching_validator_gets_304(stored: Pairs, conditions: Pairs) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=36000"), ("X-Test", "1"), *stored])))
    whole = await harness.fetch()
    response = await harness.fetch(headers=conditions)
    assert (response.status, response.body, origin.calls) == (304, b"", 1)
    for name in ("etag", "cache-control", "last-modified", "x-test"):
        assert response.header(name) == whole.header(name)
    assert response.header("age") is not None
    assert response.header("content-length") is None


@pytest.mark.parametrize(
    ("stored", "conditions"),
    [
        ([("ETag", '"abc"')], [("If-None-Match", '"abd"')]),
        ([("ETag", '"abc"')], [("If-None-Match", '"ABC"')]),
        ([("ETag", '"abc"')], [("If-None-Match", '"abc')]),
        ([], [("If-None-Match", '"abc"')]),
        ([("Last-Modified", LONG_AGO)], [("If-Modified-Since", CLOCK.date(-4000))]),
        ([("Last-Modified", LONG_AGO)], [("If-Modified-Since", "yesterday")]),
        ([("ETag", '"abc"'), ("Last-Modified", LONG_AGO)],
         [("If-None-Match", '"abd"'), ("If-Modified-Since", NOW)]),
    ],
)  # fmt: skip
async def test_a_request_without_a_matching_validator_gets_200(stored: Pairs, conditions: Pairs) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600"), *stored])))
    await harness.fetch()
    response = await harness.fetch(headers=conditions)
    assert (response.status, response.body, origin.calls) == (200, b"1", 1)


async def test_an_error_is_never_304() -> None:
    harness = CacheHarness(Origin(Reply([(CC, "max-age=3600"), ("ETag", '"abc"')], 404)))
    await harness.fetch()
    assert (await harness.fetch(headers=[("If-None-Match", '"abc"')])).status == 404


@pytest.mark.parametrize(
    ("validator", "condition"), [(("ETag", '"abc"'), "if-none-match"), (("ETag", 'W/"abc"'), "if-none-match"),
                                 (("Last-Modified", LONG_AGO), "if-modified-since")]
)  # fmt: skip
async def test_a_stale_response_is_revalidated_by_its_validators(validator: tuple[str, str], condition: str) -> None:
    replies = [Reply([(CC, "max-age=2"), validator, ("X", "1"), ("Y", "1")], body=b"whole")]
    replies.append(Reply([(CC, "max-age=100"), validator, ("X", "2")], body=b"other"))
    harness = CacheHarness(origin := Origin(*replies))
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch()
    assert origin.header(condition) == validator[1]
    assert (response.status, response.body, response.header("x"), response.header("y")) == (200, b"whole", "2", "1")
    harness.pass_time(50)
    again = await harness.fetch()
    assert (again.body, again.header("x"), again.header("age"), origin.calls) == (b"whole", "2", "50", 2)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Test-Header", "1", "2"),
        ("Content-Foo", "1", "2"),
        ("Content-Type", "text/plain", "text/plain;charset=utf-8"),
        ("Content-Location", "/foo", "/bar"),
        ("Content-Security-CachePolicy", "default-src 'self'", "default-src 'none'"),
        ("Cache-Control", "max-age=1", "max-age=3600"),
        ("Expires", CLOCK.date(1), CLOCK.date(3600)),
        ("Clear-Site-Data", "cache", "cookies"),
    ],
)
async def test_a_304_updates_stored_headers(name: str, first: str, second: str) -> None:
    lives = [] if name in ("Cache-Control", "Expires") else [(CC, "max-age=1")]
    longer = [] if name in ("Cache-Control", "Expires") else [(CC, "max-age=3600")]
    replies = [Reply([*lives, ("ETag", '"a"'), (name, first)]), Reply([*longer, ("ETag", '"a"'), (name, second)])]
    harness = CacheHarness(origin := Origin(*replies))
    await harness.fetch()
    harness.pass_time(3)
    for _ in range(2):
        response = await harness.fetch()
        assert [value for key, value in response.headers if key == name.lower().encode()] == [second.encode()]
    assert origin.calls == 2


async def test_a_304_adds_to_vary_and_removes_nothing_from_it() -> None:
    first = Reply([(CC, "max-age=1"), ("ETag", '"a"'), ("Vary", "Accept-Language, Accept-Encoding")])
    second = Reply([(CC, "max-age=9"), ("ETag", '"a"'), ("Vary", "Accept-Encoding, Accept")])
    harness = CacheHarness(origin := Origin(first, second))
    await harness.fetch(headers=[("Accept-Language", "de")])
    harness.pass_time(3)
    response = await harness.fetch(headers=[("Accept-Language", "de")])
    assert (response.header("vary"), origin.calls) == ("accept, accept-encoding, accept-language", 2)


async def test_a_304_does_not_update_length_and_encoding() -> None:
    first = Reply([(CC, "max-age=1"), ("ETag", '"a"'), ("Content-Encoding", "gzip")], body=b"zipped")
    second = Reply([(CC, "max-age=9"), ("ETag", '"a"'), ("Content-Encoding", "br"), ("Content-Length", "0")])
    harness = CacheHarness(Origin(first, second))
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch()
    assert (response.header("content-encoding"), response.header("content-length"), response.body) == (
        "gzip",
        "6",
        b"zipped",
    )


async def test_a_cookie_in_a_304_is_sent_to_the_leader_only() -> None:
    first = Reply([(CC, "max-age=1"), ("ETag", '"a"')])
    second = Reply([(CC, "max-age=3600"), ("ETag", '"a"'), ("Set-Cookie", "a=b")])
    harness = CacheHarness(origin := Origin(first, second, first))
    await harness.fetch()
    harness.pass_time(3)
    assert (await harness.fetch()).header("set-cookie") == "a=b"
    assert (await harness.fetch()).header("set-cookie") is None
    assert origin.calls == 3


async def test_a_conditional_request_gets_304_after_a_revalidation() -> None:
    reply = Reply([(CC, "max-age=2"), ("Last-Modified", LONG_AGO)])
    harness = CacheHarness(origin := Origin(reply))
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch(headers=[("If-Modified-Since", CLOCK.date(-10))])
    assert (response.status, origin.header("if-modified-since")) == (304, LONG_AGO)


async def test_a_conditional_request_gets_304_when_the_new_response_matches() -> None:
    harness = CacheHarness(
        Origin(Reply([(CC, "max-age=2"), ("ETag", '"1"')]), Reply([(CC, "max-age=2"), ("ETag", '"2"')]))
    )
    await harness.fetch()
    harness.pass_time(3)
    response = await harness.fetch(headers=[("If-None-Match", '"2"')])
    assert (response.status, response.body) == (304, b"")
    assert (await harness.fetch()).body == b"2"


async def test_a_condition_reaches_the_application_when_no_response_is_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600"), ("ETag", '"abc"')])))
    response = await harness.fetch(headers=[("If-None-Match", '"abc"')])
    assert (response.status, origin.header("if-none-match")) == (304, '"abc"')
    assert (await harness.fetch()).status == 200


async def test_a_stored_validator_is_not_used_for_another_variant() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=9"), ("ETag", '"a"'), ("Vary", "Abc")])))
    await harness.fetch(headers=[("Abc", "123")])
    await harness.fetch(headers=[("Abc", "456")])
    assert (origin.calls, origin.header("if-none-match")) == (2, None)
    harness.pass_time(10)
    await harness.fetch(headers=[("Abc", "123")])
    assert (origin.header("if-none-match"), origin.header("abc")) == ('"a"', "123")


@pytest.mark.parametrize(CC.lower().replace("-", "_"), ["no-cache", "max-age=10000, no-cache"])
async def test_a_no_cache_response_is_stored_and_revalidated_at_every_reuse(cache_control: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, cache_control), ("ETag", '"abcd"')], body=b"one")))
    await harness.fetch()
    for calls in (2, 3):
        assert (await harness.fetch()).body == b"one"
        assert (origin.calls, origin.header("if-none-match")) == (calls, '"abcd"')


async def test_a_304_without_a_stale_response_is_forwarded() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=2")]), Reply([(CC, "max-age=2")], 304, b""), Reply()))
    await harness.fetch()
    harness.pass_time(3)
    assert [(await harness.fetch()).status for _ in range(2)] == [304, 200]
    assert origin.calls == 3


async def test_a_full_response_to_a_revalidation_replaces_the_stale_one() -> None:
    replies = [Reply([(CC, "max-age=2"), ("ETag", '"1"')]), Reply([(CC, "max-age=9"), ("ETag", '"2"')])]
    harness = CacheHarness(origin := Origin(*replies))
    await harness.fetch()
    harness.pass_time(3)
    assert (await harness.fetch()).body == b"2"
    assert (await harness.fetch()).body == b"2"
    assert origin.calls == 2


@pytest.mark.parametrize(
    ("wanted", "status", "body", "place"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/11"),
        ("bytes=1-", 206, b"123456789A", "bytes 1-10/11"),
        ("bytes=-1", 206, b"A", "bytes 10-10/11"),
        ("bytes=-50", 206, b"0123456789A", "bytes 0-10/11"),
        ("bytes=5-500", 206, b"56789A", "bytes 5-10/11"),
        ("Bytes=0-0", 206, b"0", "bytes 0-0/11"),
        ("bytes=11-", 416, b"", "bytes */11"),
        ("bytes=-0", 416, b"", "bytes */11"),
        ("bytes=5-4", 200, b"0123456789A", None),
        ("bytes=-", 200, b"0123456789A", None),
        ("bytes=0-1,3-4", 200, b"0123456789A", None),
        ("lines=0-1", 200, b"0123456789A", None),
        ("bytes=" + "9" * 400 + "-", 200, b"0123456789A", None),
    ],
)
async def test_a_range_request_gets_a_part_of_the_stored_response(
    wanted: str, status: int, body: bytes, place: str | None
) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600"), ("ETag", '"a"')], body=b"0123456789A")))
    await harness.fetch()
    response = await harness.fetch(headers=[("Range", wanted)])
    assert (response.status, response.body, response.header("content-range")) == (status, body, place)
    assert response.header("content-length") == str(len(body))
    assert origin.calls == 1


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"a"', 206), ('"b"', 200), ('W/"a"', 200), (LONG_AGO, 206), (CLOCK.date(-2999), 200), ("rubbish", 200)],
)
async def test_if_range_gets_200_unless_it_matches(condition: str, status: int) -> None:
    headers = [(CC, "max-age=3600"), ("ETag", '"a"'), ("Last-Modified", LONG_AGO)]
    harness = CacheHarness(Origin(Reply(headers, body=b"0123")))
    await harness.fetch()
    response = await harness.fetch(headers=[("Range", "bytes=0-1"), ("If-Range", condition)])
    assert response.status == status


async def test_if_range_does_not_match_a_weak_entity_tag() -> None:
    harness = CacheHarness(Origin(Reply([(CC, "max-age=3600"), ("ETag", 'W/"a"')], body=b"0123")))
    await harness.fetch()
    assert (await harness.fetch(headers=[("Range", "bytes=0-1"), ("If-Range", 'W/"a"')])).status == 200


async def test_a_range_of_a_missing_response_reaches_the_application() -> None:
    part = Reply([(CC, "max-age=3600"), ("Content-Range", "bytes 4-9/10")], 206, b"01234")
    harness = CacheHarness(origin := Origin(part, Reply([(CC, "max-age=3600")], body=b"whole")))
    response = await harness.fetch(headers=[("Range", "bytes=-5")])
    assert (response.status, response.body, origin.header("range")) == (206, b"01234", "bytes=-5")
    assert (await harness.fetch()).body == b"whole"


async def test_head_reuses_the_response_to_get_and_is_never_stored() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=3600")], body=b"whole")))
    assert (await harness.fetch(method="HEAD")).body == b""
    assert (await harness.fetch()).body == b"whole"
    response = await harness.fetch(method="HEAD")
    assert (response.status, response.body, response.header("content-length"), origin.calls) == (200, b"", "5", 2)


@pytest.mark.parametrize(
    "date", ["Sat, 01 Jan 0000 00:00:00 GMT", "Sat Jan  1 00:00:00 0000", "Thu, 31 Feb 2999 00:00:00 GMT"]
)
@pytest.mark.parametrize("condition", ["If-Modified-Since", "If-Range"])
async def test_an_invalid_date_in_a_condition_is_ignored(condition: str, date: str) -> None:
    harness = CacheHarness(Origin(Reply([("Cache-Control", "max-age=60"), ("Last-Modified", LONG_AGO)])))
    headers = [(condition, date), ("Range", "bytes=0-")] if condition == "If-Range" else [(condition, date)]
    for _ in range(2):
        assert (await harness.fetch(headers=headers)).status == 200


@pytest.mark.parametrize("date", ["Sat, 01 Jan 0000 00:00:00 GMT", "Thu, 31 Feb 2999 00:00:00 GMT"])
@pytest.mark.parametrize("name", ["Expires", "Date", "Last-Modified"])
async def test_an_invalid_date_in_a_response_is_ignored(name: str, date: str) -> None:
    origin = Origin(Reply([(name, date)]))
    harness = CacheHarness(origin)
    for _ in range(2):
        assert (await harness.fetch()).status == 200
    assert origin.calls == 2
