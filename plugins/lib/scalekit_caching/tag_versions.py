"""Tag versions: the version of the last purge of each tag, in this process and in a shared store.

Every purge increments the version. An item stores the version at which its computation started, so one lookup for each
of its tags shows whether it was purged since: nothing is searched for or deleted, and a purge takes effect at once for
everything, including items whose computation is in progress.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scalekit_caching.items import Item
from scalekit_caching.shared_store import SharedStore

MAX_TAGS = 10_000
"""Maximum number of tags whose version is stored. An item older than the version dropped last counts as purged."""


class TagVersions:
    """The versions of purged tags; ``version`` is that of the last purge."""

    def __init__(self) -> None:
        self.version = 0
        self._floor = 0
        self._purged: dict[bytes, int] = {}

    def purge(self, tags: Iterable[bytes], version: int = 0) -> None:
        """Purge *tags*: every item with one of them whose computation started before is outdated.

        *version* is the version of the purge in the shared store, if there is one.
        """
        version = version or self.version + 1
        self.version = max(self.version, version)
        for tag in tags:
            self._purged[tag] = max(version, self._purged.pop(tag, 0))
        while len(self._purged) > MAX_TAGS:
            oldest = next(iter(self._purged))
            self._floor = self._purged.pop(oldest)

    def is_outdated(self, item: Item) -> bool:
        """Return whether one of the tags of *item* was purged after its computation started."""
        if item.checked_version == self.version:
            return False
        if self.purged_since(item.all_tags(), item.version_at_start):
            return True
        item.checked_version = self.version
        return False

    def purged_since(self, tags: Sequence[bytes], version: int) -> bool:
        """Return whether one of *tags* was purged after *version*."""
        return bool(tags) and (version < self._floor or any(self._purged.get(tag, 0) > version for tag in tags))


class SharedTagVersions:
    """The versions of *shared_store* that were read last.

    The versions of single tags are valid for one version of the store: while that stays the same, no query is needed.
    """

    def __init__(self, shared_store: SharedStore) -> None:
        self.version = 0
        self._shared_store = shared_store
        self._of_tags: dict[bytes, int] = {}

    def update(self, version: int) -> None:
        """Set the *version* of the last purge, as a reply of the store has reported it."""
        if version != self.version:
            self._of_tags = {}
            self.version = version

    def may_be_outdated(self, item: Item) -> bool:
        """Return whether *item* has to be checked: an item computed since the last purge is not."""
        if item.version_at_start >= self.version:
            return False
        cached = self._of_tags
        return any(cached.get(tag, self.version) > item.version_at_start for tag in item.all_tags())

    async def are_outdated(self, items: Sequence[Item], version: int) -> list[bool]:
        """Return for each of *items*, read at *version*, whether a tag was purged after its computation started."""
        tags = {tag for item in items if item.version_at_start < version for tag in item.all_tags()}
        cached = self._of_tags
        missing = [tag for tag in tags if tag not in cached]
        fetched = dict(zip(missing, await self._shared_store.tag_versions(missing), strict=True)) if missing else {}
        if cached is self._of_tags and len(cached) + len(fetched) <= MAX_TAGS:
            cached.update(fetched)
        versions = cached | fetched if fetched else cached
        return [
            item.version_at_start < version and any(versions[tag] > item.version_at_start for tag in item.all_tags())
            for item in items
        ]
