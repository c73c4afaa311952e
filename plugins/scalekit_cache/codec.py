"""Answers as bytes, for a store outside the process, and back."""

from __future__ import annotations

from typing import Any

from scalekit.caching.codec import Head, ItemCodec, from_text, text, texts
from scalekit.caching.items import Item, Key
from scalekit_cache.entry import Entry, Ruling, Variants

_RULING: dict[str, tuple[type, ...]] = {
    "lifetime": (int, float, type(None)),
    "by_policy": (int, float, type(None)),
    "expires": (bool,),
    "heuristic": (int, float),
    "covers": (int,),
    "while_revalidate": (int, float),
    "if_error": (int, float),
    "checked": (bool,),
    "strict": (bool,),
    "immutable": (bool,),
    "says_more": (bool,),
}


class HttpCodec(ItemCodec):
    """Bytes of answers, of what they vary by, and of values."""

    def _told(self, item: Item) -> tuple[dict[str, Any], bytes]:
        if isinstance(item, Entry):
            return _told_of_entry(item), item.body
        if isinstance(item, Variants):
            return {"names": texts(item.names), "token": text(item.token)}, b""
        return super()._told(item)

    def _made(self, head: Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int) -> Item:
        if "status" in head.fields:
            return _entry(head, body, key, tags, since)
        if "token" in head.fields:
            return Variants(key, head.all_encoded("names"), head.encoded("token"))
        return super()._made(head, body, key, tags, since)


def _told_of_entry(entry: Entry) -> dict[str, Any]:
    ruling = entry.ruling
    return {
        "status": entry.status,
        "born": entry.born,
        "expires": entry.expires,
        "path": entry.path,
        "name": text(entry.name),
        "early": entry.early if entry.early < entry.expires else None,
        "headers": [[text(name), text(value)] for name, value in entry.headers],
        "ruling": {name: getattr(ruling, name) for name in _RULING},
        "names": texts(ruling.names),
        "without": texts(sorted(ruling.without)),
    }


def _entry(head: Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int) -> Entry:
    told = Head(head.get("ruling", dict))
    fields = {name: told.get(name, *types) for name, types in _RULING.items()}
    ruling = Ruling(**fields, names=head.all_encoded("names"), without=frozenset(head.all_encoded("without")))
    headers = [(from_text(name), from_text(value)) for name, value in head.get("headers", list)]
    born, early = float(head.get("born", int, float)), head.get("early", int, float, type(None))
    return Entry(
        key,
        head.get("status", int),
        headers,
        body,
        ruling,
        born,
        float(head.get("expires", int, float)) - born,
        etag=next((value for name, value in headers if name == b"etag"), None),
        modified=next((value for name, value in headers if name == b"last-modified"), None),
        name=head.encoded("name"),
        path=head.get("path", str),
        early=float("inf") if early is None else float(early),
        tags=tags,
        since=since,
    )
