from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from scalekit.http.static_files.file_lookup import FileChanged, FileLookup, OpenFile
from scalekit.http.static_files.file_response import CHUNK, FileResponse, file_response
from tests.host.http.static_files.site_folder import write

pytestmark = pytest.mark.anyio
Change = Callable[[int], Awaitable[None] | None]


CONTENT = os.urandom(4 * CHUNK + 17)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write(tmp_path / "large.bin", CONTENT)


def respond(path: Path, **fields: str) -> FileResponse:
    file = FileLookup([str(path.parent)]).open(f"/{path.name}", "")
    assert file is not None
    response = file_response(file, fields, method="GET", content_type="image/png", cache_control="no-cache")
    assert isinstance(response, FileResponse)
    response.prepare()
    return response


async def connected() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def receive_all(response: FileResponse, on_body: Change = lambda count: None, receive: Any = connected) -> bytes:
    body = b""
    count = 0

    async def send(message: Message) -> None:
        nonlocal body, count
        if message["type"] == "http.response.body":
            assert len(message["body"]) <= CHUNK
            body += message["body"]
            count += 1
            waiting = on_body(count)
            if waiting is not None:
                await waiting

    await response.send(receive, send)
    return body


async def test_a_large_file_is_sent_in_chunks_by_another_thread(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    pread = os.pread

    def recorded(*args: int) -> bytes:
        threads.append(threading.get_ident())
        return pread(*args)

    monkeypatch.setattr(os, "pread", recorded)
    assert await receive_all(respond(large)) == CONTENT
    assert len(threads) == 5
    assert threading.get_ident() not in threads


async def test_a_file_that_is_replaced_is_sent_as_it_was(large: Path) -> None:
    def replace(count: int) -> None:
        if count == 1:
            write(large.parent / "new", b"new").replace(large)

    assert await receive_all(respond(large), replace) == CONTENT


@pytest.mark.parametrize("content", [b"", os.urandom(4 * CHUNK + 17), os.urandom(9 * CHUNK)])
async def test_a_file_that_is_written_to_breaks_the_response_off(large: Path, content: bytes) -> None:
    response = respond(large)
    received = 0

    def overwrite(count: int) -> None:
        nonlocal received
        received = count
        if count == 2:
            large.write_bytes(content)

    with pytest.raises(FileChanged, match=r"large\.bin' was written to while it was sent; replace files by renaming"):
        await receive_all(response, overwrite)
    assert received == 2


def test_a_short_file_that_is_written_to_is_never_sent_in_part(tmp_path: Path) -> None:
    path = write(tmp_path / "short.txt", b"12345")
    file = OpenFile(str(path))
    write(path, b"1")
    with pytest.raises(FileChanged):
        file.read(0, 5)
    file.close()


async def test_a_file_is_not_read_for_a_client_that_has_left(large: Path) -> None:
    left = asyncio.Event()
    received = 0

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def leave(count: int) -> None:
        nonlocal received
        received = count
        left.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert len(await receive_all(respond(large), leave, receive)) == CHUNK
    assert received == 1


def open_descriptors(path: Path) -> int:
    links = (Path(entry.path) for entry in os.scandir("/proc/self/fd"))
    return sum(link.is_symlink() and os.readlink(link) == str(path) for link in links if link.is_symlink())


async def test_files_are_closed_in_the_end_however_it_comes(large: Path) -> None:
    short = write(large.parent / "short.txt", b"short")
    etag = dict(respond(short).headers)[b"etag"].decode()
    assert await receive_all(respond(short, **{"if-none-match": etag})) == b""
    assert open_descriptors(short) == 0
    await receive_all(respond(large))

    async def hang(count: int) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(receive_all(respond(large), hang))
    while not open_descriptors(large):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_descriptors(large) == 0


async def test_a_file_that_is_opened_for_a_cancelled_request_is_closed(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, opened = threading.Event(), threading.Event()
    open_file = os.open

    def slow(*args: Any) -> int:
        started.set()
        opened.wait()
        return open_file(*args)

    monkeypatch.setattr(os, "open", slow)
    task = asyncio.create_task(asyncio.to_thread(FileLookup([str(large.parent)]).open, "/large.bin", ""))
    while not started.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    opened.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert open_descriptors(large) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranges")


@given(text=st.text(alphabet="0123456789-, ", max_size=20), size=st.integers(0, 300))
async def test_the_length_of_every_response_is_that_of_its_body(folder: Path, text: str, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    path = write(folder / "range.bin", content)
    file = OpenFile(str(path))
    fields = {"range": f"bytes={text}"}
    response = file_response(file, fields, method="GET", content_type="image/png", cache_control="no-cache")
    if isinstance(response, int):
        assert response == 416
        file.close()
        return
    response.prepare()
    body = await receive_all(response)
    assert dict(response.headers)[b"content-length"] == b"%d" % len(body)
    if response.status == 200:
        assert body == content
