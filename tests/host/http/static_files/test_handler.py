from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Scope

from scalekit.asgi_client import ReceivedResponse
from scalekit.host import Host
from scalekit.testing import request, running
from tests.host.http.static_files.site_folder import THEN, application, write

pytestmark = pytest.mark.anyio
TEXT = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    write(folder / "a.txt", TEXT)
    write(folder / "empty.txt", b"")
    write(folder / "docs" / "index.html", b"<p>docs")
    write(folder / "no-index" / "a.txt", b"a")
    write(folder / ".env", b"secret")
    write(folder / ".git" / "config", b"secret")
    write(folder / "back\\slash.txt", b"a")
    write(folder.parent / "secret", b"secret")
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent)
    (folder / "in.txt").symlink_to(folder / "a.txt")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    write(folder / "app.css", b"body {}" * 20)
    for extension in ("br", "zst", "gz"):
        write(folder / f"app.css.{extension}", extension.encode() * 3)
    write(folder / "stale.css", b"new")
    write(folder / "stale.css.br", b"old", THEN - 60)
    for name in ("app.0123456789ab.css", "app.css.map", "report-20240101.pdf", "logo-deadbeef.png", "x-9ab01cd2.js"):
        write(folder / "names" / name, b"x")
    return folder


@pytest.fixture
def app(folder: Path) -> Host:
    return application(folder)


Get = Callable[..., Any]


@pytest.fixture
async def get(app: Host) -> AsyncGenerator[Get, None]:
    async with running(app) as state:

        async def get(path: str, method: str = "GET", **headers: str) -> ReceivedResponse:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            return await request(app, f"/static/{path}", method=method, headers=fields, state=state)

        yield get


async def test_a_file_is_sent_with_type_length_and_validators(get: Get) -> None:
    response = await get("a.txt")
    assert (response.status, response.body) == (200, TEXT)
    fields = dict(response.headers)
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert fields[b"content-length"] == b"1024"
    assert fields[b"last-modified"] == b"Sun, 13 Sep 2020 12:26:40 GMT"
    assert re.fullmatch(rb'"[0-9a-f]+-400"', fields[b"etag"])
    assert fields[b"accept-ranges"] == b"bytes"
    assert {b"vary", b"content-encoding"}.isdisjoint(fields)


async def test_head_has_the_headers_of_get_and_ignores_ranges(get: Get) -> None:
    expected = await get("a.txt")
    for headers in ({}, {"range": "bytes=0-3"}):
        response = await get("a.txt", "HEAD", **headers)
        assert (response.status, response.body, response.headers) == (200, b"", expected.headers)


OUTSIDE = (
    "../secret %2e%2e/secret ..%2fsecret %2e%2e%2fsecret ..\\secret ..%5csecret out up/secret /a.txt ~root c:/a.txt"
)
DOTS = "no-index/../a.txt no-index/%2e/a.txt ./a.txt no-index//a.txt docs%2f..%2fa.txt .env .git/config %2eenv"
NO_FILES = "a.txt/ a.txt/b loop pipe no-index no-index/ missing back%5cslash.txt"
CHARACTERS = "a.txt%00 %00 a.txt%0a a%0ab.txt %0a %ff %ed%a0%80 a.txt%20"
LONG = [300 * "a", 3000 * "a/"]


@pytest.mark.parametrize(
    "path",
    ["", *OUTSIDE.split(), *DOTS.split(), *NO_FILES.split(), *CHARACTERS.split(), *LONG],
    ids=lambda path: path[:20],
)
async def test_a_path_that_names_no_file_of_the_folder_is_not_found(get: Get, path: str) -> None:
    response = await get(path)
    assert (response.status, response.header("content-type")) == (404, "application/problem+json")
    assert b"secret" not in response.body


async def test_a_path_of_characters_that_no_file_system_has_is_not_found(app: Host) -> None:
    async with running(app) as state:
        for path in ("/static/\ud800", "/static/\udc80", "/static/a\x7f", "/static/\u202e"):
            sent: list[Message] = []

            async def send(message: Message, sent: list[Message] = sent) -> None:
                sent.append(message)

            scope: Scope = {
                "type": "http",
                "method": "GET",
                "path": path,
                "headers": [],
                "query_string": b"",
                "state": state,
            }
            await app(scope, lambda: None, send)  # type: ignore[arg-type,return-value] # it is not received from
            assert sent[0]["status"] == 404


async def test_a_link_inside_the_folder_is_followed(get: Get) -> None:
    assert (await get("in.txt")).body == TEXT


async def test_an_unreadable_file_is_not_found(get: Get, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, who reads everything
    assert (await get("a.txt")).status == 404


async def test_without_file_descriptors_the_response_is_503(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    response = await get("a.txt")
    assert (response.status, response.header("retry-after")) == (503, "1")
    assert b"a.txt" not in response.body


async def test_other_methods_are_not_allowed(get: Get) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
        response = await get("a.txt", method)
        assert (response.status, response.header("allow")) == (405, "GET, HEAD")


async def test_the_index_of_a_folder_needs_a_slash_and_there_is_no_list_of_files(get: Get) -> None:
    response = await get("docs/")
    assert (response.status, response.header("content-type")) == (200, "text/html; charset=utf-8")
    for path, location in (("docs", "docs/"), ("docs?q=%0d%0a", "docs/?q=%0d%0a")):
        response = await get(path)
        assert (response.status, response.header("location")) == (307, location)


@pytest.mark.parametrize(
    ("accept", "coding", "extension"),
    [
        ("br, zstd, gzip", "br", "br"),
        ("gzip, zstd", "zstd", "zst"),
        ("gzip", "gzip", "gz"),
        ("x-gzip", "gzip", "gz"),
        ("br;q=0.1, gzip;q=0.2", "gzip", "gz"),
        ("br;q=0, *;q=0.5", "zstd", "zst"),
        ("gzip;q=0.5, identity", None, ""),
        ("deflate", None, ""),
        ("", None, ""),
    ],
)
async def test_the_compressed_file_that_the_client_prefers_is_sent(
    get: Get, accept: str, coding: str | None, extension: str
) -> None:
    response = await get("app.css", accept_encoding=accept)
    assert response.header("content-encoding") == coding
    assert response.body == (extension.encode() * 3 if coding else b"body {}" * 20)
    assert response.header("content-length") == str(len(response.body))
    assert response.header("content-type") == "text/css; charset=utf-8"
    assert response.header("vary") == "Accept-Encoding"


async def test_every_coding_has_its_own_tag(get: Get) -> None:
    tags = {(await get("app.css", accept_encoding=coding)).header("etag") for coding in ("br", "zstd", "gzip", "")}
    assert len(tags) == 4
    (brotli,) = {(await get("app.css", accept_encoding="br")).header("etag")}
    unchanged = await get("app.css", accept_encoding="br", if_none_match=brotli)
    assert (unchanged.status, unchanged.header("etag"), unchanged.header("vary")) == (304, brotli, "Accept-Encoding")
    assert (await get("app.css", accept_encoding="gzip", if_none_match=brotli)).status == 200
    part = await get("app.css", accept_encoding="br", range="bytes=1-2", if_range=brotli)
    assert (part.status, part.body, part.header("content-encoding")) == (206, b"rb", "br")
    whole = await get("app.css", accept_encoding="gzip", range="bytes=1-2", if_range=brotli)
    assert (whole.status, whole.body) == (200, b"gzgzgz")


async def test_a_compressed_file_older_than_the_original_is_not_sent(get: Get) -> None:
    response = await get("stale.css", accept_encoding="br")
    assert (response.body, response.header("vary")) == (b"new", None)


async def test_a_compressed_file_itself_is_sent_as_it_is(get: Get) -> None:
    response = await get("app.css.gz", accept_encoding="gzip")
    assert (response.header("content-type"), response.header("content-encoding")) == ("application/gzip", None)


async def test_an_unchanged_file_is_not_sent_again(get: Get) -> None:
    first = await get("a.txt")
    for condition in ({"if_none_match": first.header("etag")}, {"if_modified_since": first.header("last-modified")}):
        for method in ("GET", "HEAD"):
            response = await get("a.txt", method, **condition, range="bytes=0-1")
            assert (response.status, response.body) == (304, b"")
            kept = {b"etag", b"last-modified", b"cache-control"}
            assert {name for name, _ in response.headers} == kept
            assert set(response.headers) <= set(first.headers)


async def test_a_false_precondition_is_412(get: Get) -> None:
    response = await get("a.txt", if_match='"other"')
    assert (response.status, response.header("content-type")) == (412, "application/problem+json")


async def test_one_range_is_a_part_of_the_file(get: Get) -> None:
    response = await get("a.txt", range="bytes=10-19")
    assert (response.status, response.body) == (206, TEXT[10:20])
    assert response.header("content-range") == "bytes 10-19/1024"
    assert response.header("content-length") == "10"
    assert response.header("etag") == (await get("a.txt")).header("etag")


async def test_several_ranges_are_parts_of_a_multipart_body(get: Get) -> None:
    response = await get("a.txt", range="bytes=300-309, 0-9,-10")
    assert response.status == 206
    assert response.header("content-length") == str(len(response.body))
    assert response.header("content-range") is None
    head = f"Content-Type: {response.header('content-type')}\r\n\r\n".encode()
    parts: list[Any] = list(message_from_bytes(head + response.body).get_payload())
    assert [part["content-range"] for part in parts] == [
        "bytes 300-309/1024",
        "bytes 0-9/1024",
        "bytes 1014-1023/1024",
    ]
    assert {part["content-type"] for part in parts} == {"text/plain; charset=utf-8"}
    boundary = head.split(b"boundary=")[1].strip()
    bodies = [part.partition(b"\r\n\r\n")[2] for part in response.body.split(b"\r\n--" + boundary)[1:-1]]
    assert bodies == [TEXT[300:310], TEXT[:10], TEXT[-10:]]


async def test_an_unsatisfiable_range_is_416_with_the_length(get: Get) -> None:
    response = await get("a.txt", range="bytes=1024-")
    assert (response.status, response.header("content-range")) == (416, "bytes */1024")
    assert (await get("empty.txt", range="bytes=0-")).status == 200


async def test_a_range_of_another_version_is_the_whole_file(get: Get) -> None:
    assert (await get("a.txt", range="bytes=0-0", if_range='"other"')).status == 200
    response = await get("a.txt", range="bytes=0-0", if_range="Sun, 13 Sep 2020 12:26:40 GMT")
    assert response.status == 206


async def test_an_empty_file_has_an_empty_body(get: Get) -> None:
    response = await get("empty.txt")
    assert (response.status, response.body, response.header("content-length")) == (200, b"", "0")


FOREVER = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"app.0123456789ab.css": FOREVER, "x-9ab01cd2.js": FOREVER, "logo-deadbeef.png": "public, no-cache"}),
        ({}, {"app.css.map": "public, no-cache", "report-20240101.pdf": "public, no-cache"}),
        ({"cache_control": "max-age=60"}, {"app.css.map": "max-age=60", "app.0123456789ab.css": FOREVER}),
        ({"immutable": ["/static/names/*.map"]}, {"app.css.map": FOREVER, "report-20240101.pdf": "public, no-cache"}),
        ({"cache_control": "private, no-cache"}, {"app.0123456789ab.css": "private, no-cache"}),
    ],
)
async def test_hashed_names_are_cached_for_ever_and_others_revalidated(
    folder: Path, config: Mapping[str, Any], expected: Mapping[str, str]
) -> None:
    app = application(folder, config)
    async with running(app) as state:
        for name, value in expected.items():
            response = await request(app, f"/static/names/{name}", state=state)
            assert (response.status, response.header("cache-control")) == (200, value), name


async def test_a_file_for_credentials_is_not_public_for_a_year(get: Get) -> None:
    response = await get("names/app.0123456789ab.css", authorization="Bearer x")
    assert response.header("cache-control") == "max-age=31536000, immutable"


async def test_a_file_that_just_changed_has_a_weak_tag_and_a_reproducible_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "new.txt", b"new", THEN)
    write(tmp_path / "epoch.txt", b"old", 1)
    write(tmp_path / "zip.txt", b"old", 315_532_800)
    monkeypatch.setattr(time, "time", lambda: THEN + 1.0)
    app = application(tmp_path)
    async with running(app) as state:
        new = await request(app, "/static/new.txt", state=state)
        assert (new.header("etag") or "").startswith('W/"')
        headers = {"range": "bytes=0-0", "if-range": new.header("last-modified") or ""}
        assert (await request(app, "/static/new.txt", state=state, headers=headers)).status == 200
        for name in ("epoch.txt", "zip.txt"):
            response = await request(app, f"/static/{name}", state=state)
            assert (response.body, response.header("etag"), response.header("last-modified")) == (b"old", None, None)


async def test_the_first_folder_that_has_a_file_serves_it(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.txt", b"one of a")
    write(tmp_path / "a" / "docs" / "x.txt", b"x")
    write(tmp_path / "b" / "one.txt", b"one of b")
    write(tmp_path / "b" / "docs" / "index.html", b"docs of b")
    app = application(tmp_path, {"folders": [str(tmp_path / "a"), str(tmp_path / "b")]})
    async with running(app) as state:
        assert (await request(app, "/static/one.txt", state=state)).body == b"one of a"
        assert (await request(app, "/static/docs/", state=state)).body == b"docs of b"
        assert (await request(app, "/static/docs", state=state)).status == 307


async def test_a_folder_that_is_a_link_may_be_switched_while_the_service_runs(tmp_path: Path) -> None:
    for version in ("1", "2"):
        write(tmp_path / version / "version.txt", version.encode())
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "1")
    app = application(current)
    async with running(app) as state:
        assert (await request(app, "/static/version.txt", state=state)).body == b"1"
        (tmp_path / "next").symlink_to(tmp_path / "2")
        (tmp_path / "next").rename(current)
        assert (await request(app, "/static/version.txt", state=state)).body == b"2"
        current.unlink()
        assert (await request(app, "/static/version.txt", state=state)).status == 404
