"""A look-up in the shared store that is under way, for who does not wait in a coroutine."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Any

from scalekit_caching.codec import Codec, Corrupt
from scalekit_caching.items import Item, Key, digest
from scalekit_caching.local_invalidation import ClientSideCaching
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.shared_tag_versions import SharedTagVersions
from scalekit_caching.store import RetryGet

MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 64, 16384
"""Items that are not decoded again while they are the same, and the bytes of one."""


class SharedGets:
    """Begins look-ups that take one question for one frame, as they do while the process hears of purges.

    What is found is kept in the process with *keep*. A popular frame that finds no room there is decoded once.
    """

    def __init__(
        self,
        frames: SharedStore,
        codec: Codec,
        following: ClientSideCaching,
        purges: SharedTagVersions,
        metrics: CachingMetrics,
        keep: Callable[[Item, bytes], None],
    ) -> None:
        self._frames = frames
        self._codec = codec
        self._following = following
        self._purges = purges
        self._metrics = metrics
        self._keep = keep
        self._decoded_last: dict[bytes, tuple[bytes, Item]] = {}

    def begin(self, key: Key) -> SharedGet | None:
        """Ask for what is under *key*; None while the process does not hear of purges, or the store is gone."""
        following = self._following
        if not following.live:
            return None
        name = digest(key)
        try:
            reply = self._frames.start_get(name)
        except Exception:  # Store.fetch meets it again, and counts it
            return None
        return SharedGet(self, reply, name, key, following.changes)

    def finish(self, fetch: SharedGet) -> Item | None:
        """Return what *fetch* has found; raises RetryGet where that must be looked at more closely."""
        following = self._following
        try:
            frame = self._frames.read_reply(fetch.reply)
        except Exception as error:
            self._metrics.failed(type(error).__name__)
            return following.stand_in(fetch.key)
        if not following.live:  # something may have been purged meanwhile
            raise RetryGet
        if frame is None:
            self._metrics.found_nowhere.inc()
            return None
        item = self._decoded(frame, fetch)
        self._metrics.found_shared.inc()
        if not following.changed_since(fetch.name, fetch.changes):
            self._keep(item, fetch.name)
        return item

    def _decoded(self, frame: bytes, fetch: SharedGet) -> Item:
        last = self._decoded_last.get(fetch.name)
        if last is not None and last[0] == frame:
            item = last[1]
        else:
            try:
                item = self._codec.decode(frame, fetch.name, fetch.key)
            except Corrupt as error:
                raise RetryGet from error
            self._remember(fetch.name, frame, item)
        if self._purges.may_be_outdated(item):
            raise RetryGet
        return item

    def _remember(self, name: bytes, frame: bytes, item: Item) -> None:
        decoded = self._decoded_last
        if len(frame) <= MAX_REMEMBERED_BYTES:
            if len(decoded) >= MAX_REMEMBERED and name not in decoded:
                del decoded[next(iter(decoded))]
            decoded[name] = frame, item


class SharedGet:
    """A question for what is under *key*, whose digest is *name*, asked after so many *changes*."""

    __slots__ = ("_fetches", "changes", "key", "name", "reply")

    def __init__(self, fetches: SharedGets, reply: Future[Any], name: bytes, key: Key, changes: int) -> None:
        self._fetches = fetches
        self.reply = reply
        self.name = name
        self.key = key
        self.changes = changes

    def finish(self) -> Item | None:
        """Return what was found, once the reply is there; raises RetryGet."""
        return self._fetches.finish(self)
