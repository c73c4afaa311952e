"""Responses of an application: what is compressed, for whom, and how often."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from scalekit import Exchange, Filter, create_app
from scalekit.host import Host
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request, running
from scalekit_compression.config import CompressionConfig
from scalekit_compression.encoders import ENCODERS, make_encoder
from scalekit_compression.filters import MAX_VALUES, CompressionFilter, Negotiator

pytestmark = pytest.mark.anyio

TEXT = "to be or not to be " * 500
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "gzip": lambda data: zlib.decompress(data, 31),
}
calls: list[str] = []


async def text(request: Request) -> Response:
    calls.append(request.headers.get("accept-encoding", ""))
    return PlainTextResponse(TEXT, headers={"etag": '"a"', "cache-control": "public, max-age=60"})


async def slow(request: Request) -> Response:
    await asyncio.sleep(0.05)
    return await text(request)


async def validated(request: Request) -> Response:
    headers = {"etag": '"a"', "cache-control": "public, no-cache"}
    if request.headers.get("if-none-match", "").removeprefix("W/") == '"a"':
        return Response(status_code=304, headers=headers)
    return PlainTextResponse(TEXT, headers=headers)


async def small(request: Request) -> Response:
    return PlainTextResponse("small")


async def large(request: Request) -> Response:
    return PlainTextResponse(TEXT * 100)


async def stream(request: Request) -> Response:
    async def parts() -> AsyncGenerator[str, None]:
        for number in range(3):
            yield f"part {number} "

    return StreamingResponse(parts(), media_type="text/event-stream")


async def described(request: Request) -> Response:
    query = dict(request.query_params)
    status = int(query.pop("status", 200))
    return Response(TEXT, status, {"content-type": "text/plain", **query})


async def file(request: Request) -> Response:
    return FileResponse(__file__, media_type="text/x-python")


async def refused(request: Request) -> Response:
    return JSONResponse({"detail": TEXT}, 422)


ENDPOINTS = (text, slow, validated, small, large, stream, described, file, refused)
ROUTES = [Route(f"/{endpoint.__name__}", endpoint) for endpoint in ENDPOINTS]


def host(table: dict[str, Any] | None = None, **plugins: Any) -> Host:
    return create_app({"plugins": {"compression": table or {}, **plugins}}, app=Starlette(routes=ROUTES))


@pytest.mark.parametrize("coding", sorted(ENCODERS))
async def test_a_response_is_compressed(coding: str) -> None:
    app = host()
    async with running(app) as state:
        found = await request(app, "/text", headers={"accept-encoding": coding}, state=state)
    assert found.header("content-encoding") == coding
    assert found.header("vary") == "Accept-Encoding"
    assert found.header("etag") == 'W/"a"'
    assert found.header("content-length") == str(len(found.body))
    assert len(found.body) < len(TEXT) / 10
    assert DECODE[coding](found.body).decode() == TEXT


async def test_a_client_that_accepts_nothing_gets_the_response_as_it_is() -> None:
    app = host()
    async with running(app) as state:
        for headers in ({}, {"accept-encoding": "identity"}, {"accept-encoding": "gzip;q=0"}):
            found = await request(app, "/text", headers=headers, state=state)
            assert found.header("content-encoding") is None
            assert (found.header("vary"), found.header("etag")) == ("Accept-Encoding", '"a"')
            assert found.body.decode() == TEXT


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/small", {}),
        ("/described?content-type=image/png", {}),
        ("/described?content-encoding=br", {}),
        ("/described?cache-control=no-transform", {}),
        ("/described?status=206", {}),
        ("/described?set-cookie=a=b", {}),
        ("/described", {"cookie": "session=1"}),
        ("/described", {"authorization": "Bearer x"}),
        ("/file", {"range": "bytes=0-99"}),
    ],
)
async def test_what_is_left_alone(target: str, headers: dict[str, str]) -> None:
    app = host()
    async with running(app) as state:
        found = await request(app, target, headers={"accept-encoding": "gzip", **headers}, state=state)
        plain = await request(app, target, headers=headers, state=state)
    assert found.body == plain.body
    assert found.header("content-encoding") == plain.header("content-encoding")
    assert found.header("vary") is None


@pytest.mark.parametrize(
    ("target", "headers", "table"),
    [
        ("/text", {"cookie": "session=1"}, {}),
        ("/described", {"cookie": "session=1"}, {"private": True}),
        ("/refused", {}, {}),
        ("/file", {}, {}),
        ("/small", {}, {"min_size": 1}),
    ],
)
async def test_what_is_compressed_too(target: str, headers: dict[str, str], table: dict[str, Any]) -> None:
    app = host(table)
    async with running(app) as state:
        found = await request(app, target, headers={"accept-encoding": "gzip", **headers}, state=state)
        plain = await request(app, target, headers=headers, state=state)
    assert found.header("content-encoding") == "gzip"
    assert DECODE["gzip"](found.body) == plain.body


@pytest.mark.parametrize("exclude", ["/text", "/tex*"])
async def test_excluded_paths_are_left_alone(exclude: str) -> None:
    app = host({"exclude": [exclude]})
    calls.clear()
    async with running(app) as state:
        for form in ("gzip, deflate", "br;q=0"):
            found = await request(app, "/text", headers={"accept-encoding": form}, state=state)
            assert (found.header("content-encoding"), found.header("vary")) == (None, None)
    assert calls == ["gzip, deflate", "br;q=0"]  # the application may have files that are compressed already


async def test_without_a_cache_accept_encoding_reaches_the_application() -> None:
    app = host()
    calls.clear()
    async with running(app) as state:
        for form in ("gzip, deflate", "br;q=0"):
            await request(app, "/text", headers={"accept-encoding": form}, state=state)
    assert calls == ["gzip, deflate", "br;q=0"]


async def test_the_cache_leaves_the_coding_of_excluded_paths_to_the_application() -> None:
    async def own(request: Request) -> Response:
        calls.append(request.headers.get("accept-encoding", ""))
        headers = {"vary": "Accept-Encoding", "cache-control": "public, max-age=60"}
        return PlainTextResponse(calls[-1], headers=headers)

    plugins: dict[str, Any] = {"compression": {"exclude": ["/own"]}, "cache": {}}
    app = create_app({"plugins": plugins}, app=Starlette(routes=[Route("/own", own)]))
    calls.clear()
    forms = ["gzip", "br, gzip", ""]
    async with running(app) as state:
        for form in forms * 2:
            headers = {"accept-encoding": form} if form else {}
            found = await request(app, "/own", headers=headers, state=state)
            assert found.body.decode() == form
    assert calls == forms


@pytest.mark.parametrize(
    ("values", "coding"),
    [([], b""), ([b""], b""), ([b"gzip"], b"gzip"), ([b"gzip", b"br"], b"br"), ([b"br;q=0", b"gzip;q=0.1"], b"gzip")],
)
def test_all_values_of_accept_encoding_count(values: list[bytes], coding: bytes) -> None:
    config = CompressionConfig()
    negotiator = Negotiator(config.codings)
    chain = FilterChain([CompressionFilter(config, negotiator)], Starlette(), RouteTemplates())
    headers = [(b"accept-encoding", value) for value in values]
    scope = {"type": "http", "path": "/", "headers": [(b"cookie", b"a"), (b"cookie", b"b"), *headers]}
    assert negotiator.negotiate(chain.exchange(scope, no_messages, no_messages)) == coding


async def no_messages(*_: Any) -> Any:
    raise AssertionError("an exchange that is not served sends and receives nothing")


async def test_a_mount_of_the_application_does_not_change_which_paths_are_excluded() -> None:
    mounted = Starlette(routes=[Mount("/inner", routes=ROUTES)])
    plugins: dict[str, Any] = {"compression": {"exclude": ["/inner/**"]}}
    for table in (plugins, {**plugins, "cache": {}}):
        app = create_app({"plugins": table}, app=mounted)
        async with running(app) as state:
            found = await request(app, "/inner/text", headers={"accept-encoding": "gzip"}, state=state)
        assert found.status == 200
        assert found.header("content-encoding") is None


async def test_a_filter_may_replace_accept_encoding() -> None:
    class Replace(Filter):
        def on_request(self, exchange: Exchange) -> None:
            exchange.replace_header(b"accept-encoding", b"deflate, gzip;q=0.5")

    config = CompressionConfig()
    filters = [Replace(), CompressionFilter(config, Negotiator(config.codings))]
    chain = FilterChain(filters, Starlette(routes=ROUTES), RouteTemplates())
    found = await request(chain, "/text", headers={"accept-encoding": "br"})
    assert found.header("content-encoding") == "gzip"


async def test_head_has_the_headers_of_the_response_to_get_without_its_length() -> None:
    app = host()
    async with running(app) as state:
        for path in ("/text", "/small"):
            found = [
                await request(app, path, method=method, headers={"accept-encoding": "gzip"}, state=state)
                for method in ("HEAD", "GET")
            ]
            names = {"content-encoding", "etag", "vary"}
            head, get = ({name: each.header(name) for name in names} for each in found)
            assert head == get
            assert found[0].header("content-length") == (None if path == "/text" else "5")


@pytest.mark.parametrize("coding", sorted(ENCODERS))
async def test_a_stream_is_flushed_part_by_part(coding: str) -> None:
    app = host()
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # the client sends nothing more
        return {}

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/stream",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"accept-encoding", coding.encode())],
        "client": ("127.0.0.1", 50000),
    }
    async with running(app) as state:
        await app({**scope, "state": state}, receive, send)
    decoders: dict[str, Any] = {
        "br": brotli.Decompressor().process,
        "zstd": zstandard.ZstdDecompressor().decompressobj().decompress,
        "gzip": zlib.decompressobj(31).decompress,
    }
    decoded = [decoders[coding](part) for part in parts if part]
    assert [part for part in decoded if part] == [b"part 0 ", b"part 1 ", b"part 2 "]


async def test_large_bodies_are_compressed_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def to_thread(function: Any, data: bytes, more: bool) -> bytes:
        sizes.append(len(data))
        result: bytes = function(data, more)
        return result

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    app = host()
    async with running(app) as state:
        found = await request(app, "/large", headers={"accept-encoding": "gzip"}, state=state)
        await request(app, "/text", headers={"accept-encoding": "gzip"}, state=state)
    assert sizes == [len(TEXT) * 100]
    assert DECODE["gzip"](found.body).decode() == TEXT * 100


async def test_the_cache_stores_a_variant_for_each_coding() -> None:
    app = host(cache={"policies": [{"path": "/text"}]})
    calls.clear()
    forms = ["gzip", "gzip, deflate", "br, gzip", "br;q=1, gzip;q=0.5", "deflate", "", "identity", None]
    async with running(app) as state:
        for _ in range(2):
            for form in forms:
                found = await request(
                    app, "/text", headers={} if form is None else {"accept-encoding": form}, state=state
                )
                coding = found.header("content-encoding")
                body = DECODE[coding](found.body) if coding else found.body
                assert body.decode() == TEXT
                assert coding == {"g": "gzip", "b": "br"}.get((form or "")[:1])
    assert calls == ["gzip", "br", ""]


async def test_a_304_of_the_application_leaves_the_stored_etag_weak() -> None:
    app = host(cache={})
    async with running(app) as state:
        for form in ("br", "identity", "br", "identity"):
            found = await request(app, "/validated", headers={"accept-encoding": form}, state=state)
            assert found.header("etag") == ('W/"a"' if form == "br" else '"a"')
            assert found.header("content-encoding") == (form if form == "br" else None)
    assert "fwd-status=304" in (found.header("cache-status") or "")


async def test_the_coding_is_that_of_the_cache_also_behind_a_middleware() -> None:
    app = host(cache={"policies": [{"path": "/text"}]})
    links = [link.filter for link in app.links if isinstance(link.filter, Filter)]
    inner = FilterChain([each for each in links if isinstance(each, CompressionFilter)], app.target, RouteTemplates())
    app.chain = FilterChain(
        [each for each in links if not isinstance(each, CompressionFilter)], inner, RouteTemplates()
    )
    calls.clear()
    async with running(app) as state:
        for form in ("gzip, deflate", "gzip") * 2:
            found = await request(app, "/text", headers={"accept-encoding": form}, state=state)
            assert found.header("content-encoding") == "gzip"
    assert calls == ["gzip"]


async def test_requests_for_several_codings_share_one_call_for_each() -> None:
    app = host(cache={"policies": [{"path": "/text"}]})
    calls.clear()
    async with running(app) as state:
        forms = ["br", *["gzip"] * 50, *["zstd"] * 5]
        await asyncio.gather(*[request(app, "/slow", headers={"accept-encoding": form}, state=state) for form in forms])
    assert sorted(calls) == ["br", "gzip", "zstd"]


async def test_bytes_are_counted_as_they_are_sent() -> None:
    app = host(metrics={})
    async with running(app) as state:
        found = await request(app, "/text", headers={"accept-encoding": "gzip"}, state=state)
        page = (await request(app, "/metrics", state=state)).body.decode()
    (line,) = [line for line in page.splitlines() if line.startswith("http_response_bytes_total") and "/text" in line]
    assert float(line.split()[-1]) == len(found.body)


@pytest.mark.parametrize("coding", sorted(ENCODERS))
@given(parts=st.lists(st.binary(max_size=2000), max_size=6))
def test_every_body_comes_back(coding: str, parts: list[bytes]) -> None:
    encoder = make_encoder(coding, 3)
    encoded = b"".join(encoder.encode(part) + encoder.flush() if part else b"" for part in parts) + encoder.finish()
    assert DECODE[coding](encoded) == b"".join(parts)


def test_what_is_remembered_has_a_bound() -> None:
    negotiator = Negotiator(("br", "zstd", "gzip"))
    for number in range(2 * MAX_VALUES):
        assert negotiator.choose(b"gzip, x%d" % number) == b"gzip"
    assert len(negotiator._choices) <= MAX_VALUES


def test_long_values_are_not_remembered() -> None:
    negotiator = Negotiator(("br", "zstd", "gzip"))
    assert negotiator.choose(b"gzip," + 8000 * b"x") == b"gzip"
    assert not negotiator._choices
