"""Messages of a plain ASGI application: headers in any form, wrong lengths, failures, files and streams."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import create_app
from scalekit.http import exchange
from scalekit.testing import running
from scalekit_compression import response_encoder
from scalekit_compression.encoders import GzipEncoder

pytestmark = pytest.mark.anyio

TEXT = b"to be or not to be " * 500
TYPE = (b"content-type", b"text/plain")
GZIP = ((b"accept-encoding", b"gzip"),)
Fields = Sequence[tuple[bytes, bytes]]


def application(headers: Fields, *messages: Any, status: int = 200, error: Exception | None = None) -> ASGIApp:
    """Return an application that sends *messages*, of which a dict without a type is a body; then it raises *error*."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for message in messages:
            await send({"type": "http.response.body", **message})
        if error is not None:
            raise error

    return app


async def responses(
    app: ASGIApp, *, headers: Fields = GZIP, method: str = "GET", count: int = 1, **plugins: Any
) -> tuple[list[list[Message]], str]:
    """Return the messages of *count* responses of *app* behind the plugin, and the page of metrics."""
    host = create_app({"plugins": {"compression": {}, "metrics": {}, **plugins}}, app=app)
    scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "query_string": b""}
    async with running(host) as state:

        async def fetch(path: str, extra: Fields) -> list[Message]:
            sent: list[Message] = []

            async def receive() -> Message:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Message) -> None:
                sent.append(message)

            fields = [(b"host", b"localhost"), *extra]
            client = ("127.0.0.1", 50000)
            each = {**scope, "path": path, "raw_path": path.encode(), "headers": fields, "client": client}
            try:
                await host({**each, "state": dict(state)}, receive, send)
            except Exception as error:
                sent.append({"type": "error", "error": error})
            return sent

        found = [await fetch("/", headers) for _ in range(count)]
        scope["method"] = "GET"
        page = (await fetch("/metrics", ()))[1]["body"].decode()
    return found, page


async def response(app: ASGIApp, **options: Any) -> list[Message]:
    return (await responses(app, **options))[0][0]


def fields_of(messages: list[Message]) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in messages[0]["headers"]}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Encoding", b"br")],
        [(b"Content-Range", b"bytes 0-1/2")],
        [(b"Cache-Control", b"no-transform")],
        [(b"cache-control", b"no-transform"), (b"cache-control", b"max-age=60")],
        [(b"Set-Cookie", b"a=b")],
        [(b"content-digest", b"sha-256=:YQ==:")],
        [(b"Repr-Digest", b"sha-256=:YQ==:")],
        [(b"digest", b"sha-256=YQ==")],
        [(b"content-md5", b"YQ==")],
        [(b"Content-Length", b"abc")],
        [(b"content-length", b"9" * 5000)],
    ],
)
async def test_a_response_is_left_alone(headers: Fields) -> None:
    found = await response(application([TYPE, *headers], {"body": TEXT}))
    assert found[0]["headers"][: len(headers) + 1] == [TYPE, *headers]
    assert found[1]["body"] == TEXT


async def test_headers_in_mixed_case_are_replaced() -> None:
    length = str(len(TEXT)).encode()
    headers = [(b"Content-Type", b"text/plain"), (b"Content-Length", length), (b"ETag", b'"a"')]
    found = await response(application([*headers, (b"Transfer-Encoding", b"chunked")], {"body": TEXT}))
    names = [name.lower() for name, _ in found[0]["headers"]]
    assert names.count(b"content-length") == 1
    assert b"transfer-encoding" not in names
    assert fields_of(found)[b"etag"] == b'W/"a"'
    assert fields_of(found)[b"content-length"] == str(len(found[1]["body"])).encode()


async def test_vary_is_added_once() -> None:
    found = await response(application([TYPE, (b"Vary", b"Cookie, accept-encoding")], {"body": TEXT}))
    assert [value for name, value in found[0]["headers"] if name.lower() == b"vary"] == [b"Cookie, accept-encoding"]


@pytest.mark.parametrize(
    ("control", "compressed"),
    [
        (b"public", True),
        (b"max-age=60, Public", True),
        (b"private", False),
        (b"private, public", False),
        (b'private, community="public"', False),
        (b'x="a, public, b"', False),
        (b"republic", False),
    ],
)
async def test_only_the_directive_public_allows_compression_for_users(control: bytes, compressed: bool) -> None:
    app = application([TYPE, (b"cache-control", control)], {"body": TEXT})
    found = await response(app, headers=[*GZIP, (b"cookie", b"a=b")])
    assert (b"content-encoding" in fields_of(found)) is compressed


@pytest.mark.parametrize("name", [b"remote-user", b"x-forwarded-user", b"cf-access-jwt-assertion", b"x-api-key"])
async def test_headers_of_authenticating_proxies_are_credentials(name: bytes) -> None:
    found = await response(application([TYPE], {"body": TEXT}), headers=[*GZIP, (name, b"ada")])
    assert b"content-encoding" not in fields_of(found)
    table = {"credential_headers": ["X-Other"]}
    found = await response(application([TYPE], {"body": TEXT}), headers=[*GZIP, (name, b"ada")], compression=table)
    assert fields_of(found)[b"content-encoding"] == b"gzip"


@pytest.mark.parametrize("length", [b"2000", b"100000"])
@pytest.mark.parametrize("parts", [[{"body": TEXT}], [{"body": TEXT, "more_body": True}, {"body": b"end"}]])
async def test_a_body_that_differs_from_its_length_is_neither_completed_nor_stored(
    length: bytes, parts: list[dict[str, Any]]
) -> None:
    app = application([TYPE, (b"content-length", length), (b"cache-control", b"max-age=60")], *parts)
    found, _ = await responses(app, count=2, cache={})
    for messages in found:
        assert isinstance(messages[-1]["error"], RuntimeError)
        complete = [each for each in messages[1:-1] if not each.get("more_body")]
        assert messages[0]["status"] == 500 or not complete
        assert b"hit" not in fields_of(messages).get(b"cache-status", b"")


@pytest.mark.parametrize("cache", [{}, {"cache": {}}])
async def test_an_application_that_fails_after_its_start_gets_a_problem_response(cache: dict[str, Any]) -> None:
    app = application([TYPE], error=ValueError("no body"))
    (found,), page = await responses(app, **cache)
    assert found[0]["status"] == 500
    assert fields_of(found)[b"content-type"] == b"application/problem+json"
    assert b"content-encoding" not in fields_of(found)
    counts = [line for line in page.splitlines() if line.startswith("http_request_duration_seconds_count")]
    assert [line for line in counts if 'status="500"' in line]
    assert not [line for line in counts if 'status="200"' in line]


async def test_a_file_that_the_server_sends_is_left_alone() -> None:
    message = {"type": "http.response.pathsend", "path": "/file"}
    headers = [TYPE, (b"content-length", b"9500"), (b"etag", b'"a"')]
    found = await response(application(headers, message))
    assert found[0]["headers"][:3] == headers
    assert found[1] == message
    copies = [{"type": "http.response.zerocopysend", "file": 3, "more_body": True}, {"body": TEXT, "more_body": False}]
    found = await response(application(headers, *copies))
    assert b"content-encoding" not in fields_of(found)
    assert found[2]["body"] == TEXT


async def test_a_file_cannot_follow_a_compressed_part() -> None:
    part = {"body": TEXT, "more_body": True}
    found = await response(application([TYPE], part, {"type": "http.response.zerocopysend", "file": 3}))
    assert isinstance(found[-1]["error"], RuntimeError)


async def test_the_start_of_an_event_stream_is_sent_at_once() -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]})
        started.set()
        await go.wait()
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await send({"type": "http.response.body"})

    host = create_app({"plugins": {"compression": {}}}, app=app)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    fields = [(b"host", b"localhost"), *GZIP]
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": fields}
    async with running(host) as state:
        task = asyncio.create_task(host({**scope, "client": ("127.0.0.1", 5), "state": state}, receive, send))
        await started.wait()
        assert [message["type"] for message in sent] == ["http.response.start"]
        assert fields_of(sent)[b"content-encoding"] == b"gzip"
        go.set()
        await task
    assert zlib.decompress(b"".join(message["body"] for message in sent[1:]), 31) == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("tags", "etag"),
    [(b'W/"a"', b'W/"a"'), (b'"b", W/"a"', b'W/"a"'), (b"*", b'W/"a"'), (b'"a"', b'"a"')],
)
async def test_a_304_has_vary_and_the_etag_of_the_response_that_the_client_has(tags: bytes, etag: bytes) -> None:
    app = application([(b"ETag", b'"a"')], {}, status=304)
    found = await response(app, headers=[*GZIP, (b"if-none-match", tags)])
    assert (fields_of(found)[b"etag"], fields_of(found)[b"vary"]) == (etag, b"Accept-Encoding")
    assert b"content-encoding" not in fields_of(found)
    plain = await response(app, headers=[(b"if-none-match", tags)])
    assert (fields_of(plain)[b"etag"], fields_of(plain)[b"vary"]) == (b'"a"', b"Accept-Encoding")


@pytest.mark.parametrize("extra", [(b"content-type", b"image/png"), (b"set-cookie", b"a=b")])
async def test_a_304_of_a_response_that_is_left_alone_is_left_alone(extra: tuple[bytes, bytes]) -> None:
    app = application([(b"etag", b'"a"'), extra], {}, status=304)
    found = await response(app, headers=[*GZIP, (b"if-none-match", b'W/"a"')])
    assert found[0]["headers"][:2] == [(b"etag", b'"a"'), extra]
    assert b"vary" not in fields_of(found)


@pytest.mark.parametrize("messages", [({"body": TEXT},), ({"body": TEXT, "more_body": True}, {"body": b""})])
async def test_the_duration_of_a_request_includes_the_time_of_compression(
    messages: Sequence[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1.0
    finish = GzipEncoder.finish

    def slow_finish(encoder: GzipEncoder) -> bytes:
        nonlocal now
        now += 100.0
        return finish(encoder)

    monkeypatch.setattr(GzipEncoder, "finish", slow_finish)
    for module in (exchange, response_encoder):
        monkeypatch.setattr(module, "perf_counter", lambda: now)
    _, page = await responses(application((TYPE,), *messages))
    (seconds,) = [line for line in page.splitlines() if line.startswith("http_request_duration_seconds_sum")]
    assert float(seconds.split()[-1]) == 100.0
