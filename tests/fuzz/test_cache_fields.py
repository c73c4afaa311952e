"""Header fields that the HTTP cache parses: no input raises."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from scalekit_cache.cache_status import NotStored
from scalekit_cache.directives import MAX_SECONDS, parse_cache_control, parse_targeted, seconds
from scalekit_cache.freshness import MAX_HEURISTIC_LIFETIME, expires_lifetime, heuristic_lifetime, initial_age
from scalekit_cache.keys import canonical_query, normalize, vary_names
from scalekit_cache.policies import CachePolicy
from scalekit_cache.storability import StoragePolicies, StorageRules, evaluate
from scalekit_cache.validation import if_range_matches, not_modified, parse_single_range
from tests.fuzz.test_dates import dates
from tests.fuzz.words import fuzzed, mixed, values

NOW = 1_700_000_000.0
DIRECTIVES = ("max-age", "s-maxage", "no-cache", "no-store", "private", "public", "stale-while-revalidate", "MAX-AGE")
SYNTAX = ("=", ",", ";", " ", '"', "\\", "?0", "?1", "0.5", "\t", ":", "*", "-", "1e9", "²")
directives = values(*DIRECTIVES, *SYNTAX, "set-cookie", "authorization")
tags = values('"a"', 'W/"a"', "W/", '"', "*", ",", " ", "a", "\t", "w/")
ranges = mixed(
    [st.tuples(st.integers(0, 10**21), st.integers(0, 10**21)).map(lambda ends: "bytes={}-{}".format(*ends))],
    "bytes",
    "=",
    "-",
    ",",
    " ",
    "BYTES",
    "0",
    "items",
)
names = values("accept", "Accept-Encoding", "*", ",", " ", "cookie", "\t")
lists = values("gzip", "br", ";q=", "0.5", ",", " ", "identity", '"', "*")
numbers = values("0", "1", "60", ",", " ", "-", "+", "_", ".", "1e3", "99999999999999999999", "9" * 5000)


@given(directives)
@example(b"max-age=" + b"9" * 5000)
@fuzzed
def test_directives_are_read_whatever_they_are(value: bytes) -> None:
    for found in (parse_cache_control(value), parse_targeted(value) or {}):
        for name in found:
            assert 0 <= (seconds(found, name) or 0) <= MAX_SECONDS


@given(directives)
@fuzzed
def test_parsed_directives_occur_in_the_field(value: bytes) -> None:
    text = value.decode("latin-1").lower()
    assert all(name in text for name in parse_cache_control(value))


@given(tags, dates, tags, dates, dates)
@fuzzed
def test_conditions_hold_or_not(if_none_match: bytes, since: bytes, etag: bytes, modified: bytes, date: bytes) -> None:
    assert not_modified({b"if-none-match": if_none_match}, etag, None, None, NOW) in (True, False)
    assert not_modified({b"if-modified-since": since}, etag, modified, date, NOW) in (True, False)
    for condition in (if_none_match, since):
        assert if_range_matches({b"if-range": condition}, etag, modified) in (True, False)


@given(ranges, st.integers(0, 2**40))
@fuzzed
def test_a_range_is_within_its_representation(value: bytes, length: int) -> None:
    place = parse_single_range(value, length)
    if place is not None and place[1]:
        assert 0 <= place[0] < place[1] <= length


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 10**9))
@fuzzed
def test_a_range_is_the_requested_one(first: int, last: int, length: int) -> None:
    expected = None if last < first else (first, min(last + 1, length)) if first < length else (0, 0)
    assert parse_single_range(b"bytes=%d-%d" % (first, last), length) == expected


@given(numbers, dates, dates, dates)
@example(b"9" * 5000, b"", b"", b"")
@fuzzed
def test_a_response_has_an_age_and_a_lifetime(age: bytes, date: bytes, expires: bytes, modified: bytes) -> None:
    fields = {b"age": age, b"date": date, b"expires": expires, b"last-modified": modified}
    assert 0 <= initial_age(fields, NOW - 1, NOW) < 1e13
    assert 0 <= expires_lifetime(fields, NOW) < 1e12
    assert 0 <= heuristic_lifetime(fields, 0.1, NOW) <= MAX_HEURISTIC_LIFETIME


@given(names, lists)
@fuzzed
def test_vary_is_parsed(vary: bytes, value: bytes) -> None:
    for name in vary_names([vary]):
        assert name == name.strip().lower()
        form = normalize(name, value)
        assert normalize(name, form) == form, "the form of a form is the form"


@given(directives, directives, names, dates, numbers, st.sampled_from([200, 204, 206, 301, 404, 500, 999]))
@fuzzed
def test_any_response_gets_a_storage_policy(
    control: bytes, targeted: bytes, vary: bytes, date: bytes, age: bytes, status: int
) -> None:
    fields = {b"cache-control": control, b"vary": vary, b"expires": date, b"date": date, b"age": age}
    fields[b"cdn-cache-control"] = targeted
    policy, policies = CachePolicy(ttl=60.0), StoragePolicies(StorageRules())
    kept = evaluate(status, fields, policy, policies, lambda storage: 0, requested_at=NOW - 1, now=NOW)
    assert isinstance(kept, NotStored) or kept.lifetime >= 0


@given(values("a", "=", "&", "%61", "%", ";", "+", "1", "tag[]", "%5B"), st.booleans())
@fuzzed
def test_a_query_is_its_own_canonical_form(query: bytes, is_sorted: bool) -> None:
    for kept in (None, frozenset({b"a", b"tag[]"})):
        canonical = canonical_query(query, kept, is_sorted)
        assert canonical_query(canonical, kept, is_sorted) == canonical
        assert set(re.split(b"[&]", canonical)) <= set(re.split(b"[&]", query)) | {b""}
