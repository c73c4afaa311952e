"""Tag versions: the version of the last purge of each tag in this process.

Every purge increments the version. An item stores the version at which its making began, so one look-up for each of its
tags says whether a purge came after: nothing has to be searched for or deleted, and a purge takes effect at once for
everything, including items that are being made at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scalekit_caching.items import Item

MAX_TAGS = 10_000
"""Tags whose version is remembered. An item older than the version dropped last counts as purged."""


class TagVersions:
    """The versions of purged tags; ``version`` is that of the last purge."""

    def __init__(self) -> None:
        self.version = 0
        self._floor = 0
        self._purged: dict[bytes, int] = {}

    def purge(self, tags: Iterable[bytes], version: int = 0) -> None:
        """Purge *tags*: every item with one of them whose making began before is outdated.

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
        """Return whether one of the tags of *item* was purged after its making began."""
        if item.checked_version == self.version:
            return False
        if self.purged_since(item.all_tags(), item.version_at_start):
            return True
        item.checked_version = self.version
        return False

    def purged_since(self, tags: Sequence[bytes], version: int) -> bool:
        """Return whether one of *tags* was purged after *version*."""
        return bool(tags) and (version < self._floor or any(self._purged.get(tag, 0) > version for tag in tags))
