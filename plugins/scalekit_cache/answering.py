"""Answer from what is kept: whole, in part, or that nothing has changed."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Message, Send

from scalekit_cache.conditional import if_range_holds, not_modified, one_range
from scalekit_cache.stored_response import Headers, StoredResponse

SUCCESS = frozenset({200, 203})
OF_THE_BODY = frozenset(
    {b"content-length", b"content-encoding", b"content-type", b"content-language", b"content-range"}
)
"""What a 304 leaves out: the client has it."""


async def give(entry: StoredResponse, head: Headers, send: Send) -> None:
    """Send *entry* as it is, with *head* for its headers."""
    await send({"type": "http.response.start", "status": entry.status, "headers": head})
    await send({"type": "http.response.body", "body": entry.body})


async def answer(
    entry: StoredResponse, head: Headers, method: str, asked: Mapping[bytes, bytes], now: float, send: Send
) -> None:
    """Send *entry* to a client that *asked* with conditions or for a part; *head* are the headers of the whole."""
    if entry.status in SUCCESS and unchanged(head, asked, now):
        for message in unchanged_messages(head):
            await send(message)
        return
    status, body = entry.status, entry.body
    wanted = asked.get(b"range") if status == 200 and method == "GET" else None
    if wanted is not None and if_range_holds(asked, entry.etag, entry.modified):
        place = one_range(wanted, len(body))
        if place is not None:
            status, head, body = _part(head, body, *place)
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def unchanged(headers: Headers, asked: Mapping[bytes, bytes], now: float) -> bool:
    """Tell whether a client that *asked* with conditions has already what goes with *headers*."""
    if b"if-none-match" not in asked and b"if-modified-since" not in asked:
        return False
    found = {name.lower(): value for name, value in headers}
    return not_modified(asked, found.get(b"etag"), found.get(b"last-modified"), found.get(b"date"), now)


def unchanged_messages(headers: Headers) -> tuple[Message, Message]:
    """Return the messages of a 304 with what belongs to it of *headers*."""
    kept = [field for field in headers if field[0].lower() not in OF_THE_BODY]
    start = {"type": "http.response.start", "status": 304, "headers": kept}
    return start, {"type": "http.response.body", "body": b""}


def _part(head: Headers, body: bytes, start: int, end: int) -> tuple[int, Headers, bytes]:
    if end == 0:
        status, part, place = 416, b"", b"bytes */%d" % len(body)
    else:
        status, part, place = 206, body[start:end], b"bytes %d-%d/%d" % (start, end - 1, len(body))
    kept = [field for field in head if field[0] != b"content-length"]
    return status, [*kept, (b"content-range", place), (b"content-length", b"%d" % len(part))], part
