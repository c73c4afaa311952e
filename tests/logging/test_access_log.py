from __future__ import annotations

import itertools
import logging
import time
from uuid import uuid4

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit import Redactor
from scalekit_logging.access_log import MAX_CACHE_ENTRIES, AccessLogFormatter, AccessRecord
from scalekit_logging.json_formatter import LEVEL_OFFSET, MAX_LINE_BYTES, JsonFormatter
from scalekit_logging.serialization import ValueSerializer
from tests.logging.log_capture import parse

CONFIGURED = "s3cret"
FIELDS = {"service": 'sh"op {} %s', "region": "eu é"}
FORMATTER = JsonFormatter(FIELDS, Redactor(["iban"], lambda text: text.replace(CONFIGURED, "***")))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

texts = st.text(st.characters(categories=None), max_size=40) | st.sampled_from(
    [
        "",
        "\r\n{}%s%n",
        '"\\',
        "\x00\x1f\x7f\x80",
        "\ud800",
        "\u2028 é \U0001f511",
        '"},{"',
        "/" + "a" * 3000,
        f"/{CONFIGURED}/x",
        "/token=abc",
        "/password/9",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    ]
)
agents = st.binary(max_size=40) | st.sampled_from(
    [b"", b"curl/8", b"\xff\x80\xe9", b"iban: 4711", b"Basic dXNlcjpw", b"x" * 3000]
)
ids = st.text("0123456789abcdefABCXYZ._~+/=:@-", min_size=1, max_size=128)
moments = st.floats(0, 4e9) | st.integers(0, 4 * 10**9).flatmap(
    lambda second: st.sampled_from([0, 1e-7, 1e-6, 0.0999999, 0.1, 0.5, 0.999999, 0.9999999]).map(
        lambda part: second + part
    )
)
durations = st.floats(0, 1e9) | st.sampled_from([0.0, 1e-9, 4.999e-7, 5e-7, 0.0000125, 0.0012345, 0.9999995, 1.0005])
tokens = st.sampled_from(["GET", "PUT"]) | texts
statuses = st.sampled_from([200, 499, 500]) | st.integers(100, 599)
calls = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=3)
spans = st.just("") | st.text("0123456789abcdef", min_size=16, max_size=16)
records = st.tuples(
    moments, ids, ids, tokens, texts, tokens, statuses, durations, st.integers(0, 10**15), texts, agents, calls, spans
)


def serialized_by_orjson(record: AccessRecord) -> bytes:
    """Return the line of *record*, serialized by orjson from a dict."""
    now, request_id, trace_id, method, path, route, status, seconds, size, client, agent, calls, span = record
    text = ValueSerializer(FORMATTER.redactor, 2048, 0).serialize_text
    fields = {
        "timestamp": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int((now - int(now)) * 1e6):06}Z",
        "level": "error" if status >= 500 else "info",
        "event": "request",
        "logger": "scalekit.access",
        **FIELDS,
        "request_id": request_id,
        "trace_id": trace_id,
        **({"span_id": span} if span else {}),
        "method": text(method),
        "path": text(path),
        "route": text(route),
        "status": status,
        "duration_ms": orjson.Fragment(f"{seconds * 1000:.3f}"),
        "bytes": size,
        "client": text(client),
        "user_agent": text(agent.decode("latin-1")),
    }
    return orjson.dumps({**fields, "calls": calls} if calls else fields, option=orjson.OPT_APPEND_NEWLINE)


def access_record(
    path: str = "/", method: str = "GET", route: str = "/", status: int = 200, client: str = "127.0.0.1"
) -> AccessRecord:
    return (0.5, "abc", TRACE, method, path, route, status, 0.1, 7, client, b"", [], "")


@given(st.lists(records | st.just(b"a complete line\n"), max_size=8))
@settings(max_examples=500)
def test_lines_equal_those_serialized_by_orjson(batch: list[bytes | AccessRecord]) -> None:
    access = AccessLogFormatter(FORMATTER)
    expected = [entry if isinstance(entry, bytes) else serialized_by_orjson(entry) for entry in batch]
    assert access.format(batch) == expected
    assert access.format(batch) == expected, "the caches change nothing"


def test_templates_are_separate_by_method_route_and_status() -> None:
    access = AccessLogFormatter(FORMATTER)
    words = ("GET", "PUT", "/")
    batch = [
        access_record(method=method, route=route, status=status)
        for method, route, status in itertools.product(words, words, (200, 204, 499, 500))
    ]
    for entries in (batch, batch[::-1]):
        assert access.format(entries) == [serialized_by_orjson(entry) for entry in entries]


@given(record=records)
def test_an_access_line_has_the_same_leading_keys_as_other_lines(record: AccessRecord) -> None:
    (data,) = AccessLogFormatter(FORMATTER).format([record])
    assert data.count(b"\n") == 1
    assert len(data) < MAX_LINE_BYTES
    parse(data)
    level = logging.ERROR if record[6] >= 500 else logging.INFO
    other = FORMATTER.format(level, "scalekit.access", "request", {}, None)
    assert list(orjson.loads(data))[: len(orjson.loads(other))] == list(orjson.loads(other))
    assert data[LEVEL_OFFSET : LEVEL_OFFSET + 1] == other[LEVEL_OFFSET : LEVEL_OFFSET + 1]


def test_caches_are_bounded() -> None:
    access = AccessLogFormatter(FORMATTER)
    for _ in range(MAX_CACHE_ENTRIES + 1000):
        new = f"/{uuid4()}"
        access.format(
            [access_record(path=new), access_record(method=new), access_record(route=new), access_record(client=new)]
        )
    assert {len(cache) <= MAX_CACHE_ENTRIES for cache in access.caches} == {True}


def test_long_texts_are_not_cached() -> None:
    access = AccessLogFormatter(FORMATTER)
    long = "x" * 2000
    access.format(
        [access_record(path=long), access_record(method=long), access_record(route=long), access_record(client=long)]
    )
    assert long not in str(access.caches)
