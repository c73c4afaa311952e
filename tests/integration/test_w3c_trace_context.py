"""The cases of the W3C's public test suite of Trace Context, levels 1 and 2, against a running service.

Each case is named as in ``test/test.py`` of github.com/w3c/trace-context. Like its harness, a test sends headers to the
service, which then makes calls whose headers are checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import pytest

from tests.processes import HOST
from tests.service import Service

TRACE = "12345678901234567890123456789012"
PARENT = "1234567890123456"
VALID = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
PROPAGATED = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

Header = tuple[str, str]


class Sent(NamedTuple):
    """Headers of a request, and what its calls must have.

    *continued* is whether they have its trace id, *state* their list, and *flags* bits of their flags.
    """

    headers: list[Header]
    continued: bool
    state: str = ""
    flags: int = 0


def parents(*values: str, continued: bool = False) -> list[Sent]:
    """Return a request with each of *values* as its ``traceparent``."""
    return [Sent([("traceparent", value)], continued) for value in values]


def states(*lists: list[str], expected: str | None = None) -> list[Sent]:
    """Return a request with the headers ``tracestate`` of each of *lists*; None means that they stay as they are."""
    return [
        Sent(
            [("traceparent", UNSAMPLED), *(("tracestate", value) for value in values)], True, _joined(values, expected)
        )
        for values in lists
    ]


def _joined(values: list[str], expected: str | None) -> str:
    return ",".join(filter(None, values)) if expected is None else expected


def named(name: str, value: str, **expected: Any) -> Sent:
    """Return a request with a header *name* in another case, or with another name."""
    before = [("traceparent", UNSAMPLED)] if "state" in name.lower() else []
    return Sent([*before, (name, value)], **expected)


KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
TENS = [",".join(MEMBERS[first : first + 10]) for first in (0, 10, 20)]
FUTURE = f"cc-{TRACE}-{PARENT}-01"

CASES: dict[str, list[Sent]] = {
    "both_traceparent_and_tracestate_missing": [Sent([], False)],
    "traceparent_included_tracestate_missing": parents(VALID, continued=True),
    "traceparent_duplicated": [Sent([("traceparent", VALID.replace(TRACE, "1" * 32)), ("traceparent", VALID)], False)],
    "traceparent_header_name": [named(each, VALID, continued=False) for each in ("trace-parent", "trace.parent")],
    "traceparent_header_name_valid_casing": [
        named(each, VALID, continued=True) for each in ("TraceParent", "TrAcEpArEnT", "TRACEPARENT")
    ],
    "traceparent_version_0x00": parents(f"{VALID}.", f"{VALID}-what-the-future-will-be-like"),
    "traceparent_version_0xcc": [
        *parents(FUTURE, f"{FUTURE}-what-the-future-will-be-like", continued=True),
        *parents(f"{FUTURE}.what-the-future-will-be-like"),
    ],
    "traceparent_version_0xff": parents(f"ff-{TRACE}-{PARENT}-01"),
    "traceparent_version_illegal_characters": parents(f".0-{TRACE}-{PARENT}-01", f"0.-{TRACE}-{PARENT}-01"),
    "traceparent_version_too_long": parents(f"000-{TRACE}-{PARENT}-01", f"0000-{TRACE}-{PARENT}-01"),
    "traceparent_version_too_short": parents(f"0-{TRACE}-{PARENT}-01"),
    "traceparent_trace_id_all_zero": parents(f"00-{'0' * 32}-{PARENT}-01"),
    "traceparent_trace_id_illegal_characters": parents(f"00-.{TRACE[1:]}-{PARENT}-01", f"00-{TRACE[:-1]}.-{PARENT}-01"),
    "traceparent_trace_id_too_long": parents(f"00-{TRACE}3-{PARENT}-01"),
    "traceparent_trace_id_too_short": parents(f"00-{TRACE[:-1]}-{PARENT}-01"),
    "traceparent_parent_id_all_zero": parents(f"00-{TRACE}-{'0' * 16}-01"),
    "traceparent_parent_id_illegal_characters": parents(
        f"00-{TRACE}-.{PARENT[1:]}-01", f"00-{TRACE}-{PARENT[:-1]}.-01"
    ),
    "traceparent_parent_id_too_long": parents(f"00-{TRACE}-{PARENT}7-01"),
    "traceparent_parent_id_too_short": parents(f"00-{TRACE}-{PARENT[:-1]}-01"),
    "traceparent_trace_flags_illegal_characters": parents(f"00-{TRACE}-{PARENT}-.0", f"00-{TRACE}-{PARENT}-0."),
    "traceparent_trace_flags_too_long": parents(f"00-{TRACE}-{PARENT}-001"),
    "traceparent_trace_flags_too_short": parents(f"00-{TRACE}-{PARENT}-1"),
    "traceparent_ows_handling": parents(
        f" {VALID}", f"\t{VALID}", f"{VALID} ", f"{VALID}\t", f"\t {VALID} \t", continued=True
    ),
    "tracestate_included_traceparent_missing": [
        Sent([("tracestate", each)], False) for each in ("foo=1", "foo=1,bar=2")
    ],
    "tracestate_included_traceparent_included": states(["foo=1,bar=2"]),
    "tracestate_header_name": [named(each, "foo=1", continued=True) for each in ("trace-state", "trace.state")],
    "tracestate_header_name_valid_casing": [
        named(each, "foo=1", continued=True, state="foo=1") for each in ("TraceState", "TrAcEsTaTe", "TRACESTATE")
    ],
    "tracestate_empty_header": states([""], ["foo=1", ""], ["", "foo=1"]),
    "tracestate_multiple_headers_different_keys": states(["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]),
    "tracestate_duplicated_keys": states(
        ["foo=1,foo=1"], ["foo=1,foo=2"], ["foo=1", "foo=1"], ["foo=1", "foo=2"], expected="foo=1"
    ),
    "tracestate_all_allowed_characters": states([f"{KEY}={VALUE}"], [f"{KEY}@a-z0-9_-*/={VALUE}"]),
    "tracestate_ows_handling": [
        *states(["foo=1 \t , \t bar=2, \t baz=3"], ["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], expected="foo=1,bar=2,baz=3"),
        *states([" foo=1"], ["\tfoo=1"], ["foo=1 "], ["foo=1\t"], ["\t foo=1 \t"], expected="foo=1"),
    ],
    "tracestate_key_illegal_characters": states(["foo =1"], ["FOO=1"], ["foo.bar=1"], expected=""),
    "tracestate_key_illegal_vendor_format": [
        *states(["foo@=1,bar=2"], ["foo@@bar=1,bar=2"], ["foo@bar@baz=1,bar=2"]),
        *states(["@foo=1,bar=2"], expected=""),
    ],
    "tracestate_member_count_limit": [
        *states([*TENS, ",".join(MEMBERS[30:32])]),
        *states([*TENS, ",".join(MEMBERS[30:33])], expected=""),
    ],
    "tracestate_key_length_limit": [
        *states(*(["foo=1", f"{key}=1"] for key in ("z" * 256, "t" * 241 + "@" + "v" * 14))),
        *states(*(["foo=1", f"{key}=1"] for key in ("t" * 242 + "@v", "t@" + "v" * 15))),
        *states(["foo=1", "z" * 257 + "=1"], expected=""),
    ],
    "tracestate_value_illegal_characters": states(["foo=bar=baz"], ["foo=,bar=3"], expected=""),
    "multiple_requests_with_valid_traceparent": parents(VALID, continued=True),
    "multiple_requests_without_traceparent": [Sent([], False)],
    "multiple_requests_with_illegal_traceparent": parents(f"00-{'0' * 32}-{PARENT}-01"),
    "propagates_random_flag": [Sent([("traceparent", f"00-{TRACE}-{PARENT}-02")], True, flags=0x02)],
}
"""Requests by the name of the case; the last one is of level 2, which the suite skips unless SPEC_LEVEL is 2."""

APPLICATION = """
import json
from opentelemetry import propagate, trace
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from scalekit.contracts import SERVICES

async def call(request):
    found = []
    for _ in range(request.path_params["count"]):
        async with SERVICES(request).client("echo").get("/") as response:
            found.append(json.loads(await response.read()))
    return JSONResponse(found)

async def inject(request):
    found = []
    for _ in range(request.path_params["count"]):
        carrier = {}
        with trace.get_tracer("test").start_as_current_span("call", kind=trace.SpanKind.CLIENT):
            propagate.inject(carrier)
        found.append(list(carrier.items()))
    return JSONResponse(found)

app = Starlette(routes=[Route("/call/{count:int}", call), Route("/inject/{count:int}", inject)])
"""
CALLS = """
[plugins.discovery]
cache_dir = ""
services = {{ echo = ["{url}"] }}
"""
TRACING = """
[plugins.tracing]
endpoint = "{url}"
"""


class Echo(BaseHTTPRequestHandler):
    """Responds with the headers of the request, and accepts what is exported."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond(json.dumps(self.headers.items()).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.respond(b"")

    def respond(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def echo_server() -> Generator[str, None, None]:
    """Run the server while inside, and yield its URL."""
    server = ThreadingHTTPServer((HOST, 0), Echo)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Target(NamedTuple):
    """A running service, and the path below which it propagates."""

    port: int
    path: str

    def calls(self, headers: list[Header], count: int) -> list[list[Header]]:
        """Send a request with *headers*, and return the headers of each of *count* calls that it causes."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.putrequest("GET", f"/{self.path}/{count}")
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, body
        return [[(name, value) for name, value in each] for each in json.loads(body)]


@pytest.fixture(scope="module", params=["calls", "calls of traced requests", "opentelemetry-api"])
def target(request: pytest.FixtureRequest, services: tuple[Service, Service]) -> Target:
    """Propagate by discovery without and with the plugin tracing, and by ``opentelemetry.propagate``."""
    untraced, traced = services
    path = "inject" if request.param == "opentelemetry-api" else "call"
    return Target((untraced if request.param == "calls" else traced).port, path)


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[Service, Service]]:
    with echo_server() as url:
        calls, sources = CALLS.format(url=url), {"service": APPLICATION}
        with Service(calls, sources) as untraced, Service(calls + TRACING.format(url=url), sources) as traced:
            yield untraced, traced


def propagated(headers: list[Header]) -> tuple[str, str, int, str]:
    """Return trace id, parent id, flags and list of the *headers* of a call."""
    (parent,) = (value for name, value in headers if name.lower() == "traceparent")
    found = PROPAGATED.fullmatch(parent)
    assert found, parent
    states = [value for name, value in headers if name.lower() == "tracestate"]
    assert len(states) <= 1
    return found[1], found[2], int(found[3], 16), "".join(states)


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, target: Target) -> None:
    for sent in CASES[case]:
        count = 3 if case.startswith("multiple") else 1
        calls = [propagated(each) for each in target.calls(sent.headers, count)]
        (trace_id,) = {trace_id for trace_id, *_ in calls}
        assert trace_id == TRACE if sent.continued else trace_id not in str(sent.headers)
        assert len({PARENT, *(parent for _, parent, *_ in calls)}) == count + 1
        assert {state for *_, state in calls} == {sent.state}, sent.headers
        assert all(flags & sent.flags == sent.flags for _, _, flags, _ in calls)


def test_every_case_of_the_suite_is_here() -> None:
    assert len(CASES) == 41
