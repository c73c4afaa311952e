"""Answers as bytes, for a store outside the process, and back."""

from __future__ import annotations

from typing import Any

import orjson

from scalekit.caching.codec import Head, ItemCodec, text, texts
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


REMEMBERED = 1024
"""Rulings that are remembered by their text: most answers of a service have one of a few."""


class HttpCodec(ItemCodec):
    """Bytes of answers, of what they vary by, and of values."""

    def __init__(self) -> None:
        self._rulings: dict[str, Ruling] = {}

    def _told(self, item: Item) -> tuple[dict[str, Any], bytes]:
        if isinstance(item, Entry):
            return _told_of_entry(item), item.body
        if isinstance(item, Variants):
            return {"names": texts(item.names), "token": text(item.token)}, b""
        return super()._told(item)

    def _made(self, head: Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int) -> Item:
        if "status" in head.fields:
            return _entry(head, body, key, tags, since, self._ruling(head.get("ruling", str)))
        if "token" in head.fields:
            return Variants(key, head.all_encoded("names"), head.encoded("token"))
        return super()._made(head, body, key, tags, since)

    def _ruling(self, told: str) -> Ruling:
        found = self._rulings.get(told)
        if found is None:
            if len(self._rulings) >= REMEMBERED:
                self._rulings.clear()
            found = self._rulings[told] = _ruling(Head(orjson.loads(told)))
        return found


def _told_of_entry(entry: Entry) -> dict[str, Any]:
    return {
        "status": entry.status,
        "born": entry.born,
        "expires": entry.expires,
        "path": entry.path,
        "name": text(entry.name),
        "early": entry.early if entry.early < entry.expires else None,
        "headers": [each.decode("latin-1") for field in entry.headers for each in field],
        "ruling": _told_of_ruling(entry.ruling),
    }


def _told_of_ruling(ruling: Ruling) -> str:
    told: dict[str, Any] = {name: getattr(ruling, name) for name in _RULING}
    told |= {"names": texts(ruling.names), "without": texts(sorted(ruling.without))}
    return orjson.dumps(told, default=float).decode()


def _ruling(head: Head) -> Ruling:
    fields = {name: head.get(name, *types) for name, types in _RULING.items()}
    return Ruling(**fields, names=head.all_encoded("names"), without=frozenset(head.all_encoded("without")))


def _entry(head: Head, body: bytes, key: Key, tags: tuple[bytes, ...], since: int, ruling: Ruling) -> Entry:
    listed = head.all_encoded("headers")
    headers = list(zip(listed[::2], listed[1::2], strict=True))
    known = dict(reversed(headers))
    born, early = float(head.get("born", int, float)), head.get("early", int, float, type(None))
    return Entry(
        key,
        head.get("status", int),
        headers,
        body,
        ruling,
        born,
        float(head.get("expires", int, float)) - born,
        etag=known.get(b"etag"),
        modified=known.get(b"last-modified"),
        name=head.encoded("name"),
        path=head.get("path", str),
        early=float("inf") if early is None else float(early),
        tags=tags,
        since=since,
    )
