"""Tag versions of a shared store, as far as this process has read them.

The versions of single tags are valid for one version of the store: while that stays the same, no query is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalekit_caching.items import Item
from scalekit_caching.shared_store import SharedStore

MAX_TAGS = 10_000
"""Tags whose version is cached."""


class SharedTagVersions:
    """The versions of *shared_store* that were read last."""

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
        """Return whether *item* has to be checked: one whose making began after the last purge has not."""
        if item.version_at_start >= self.version:
            return False
        known = self._of_tags
        return any(known.get(tag, self.version) > item.version_at_start for tag in item.all_tags())

    async def are_outdated(self, items: Sequence[Item], version: int) -> list[bool]:
        """Return for each of *items*, read at *version*, whether a tag of it was purged after its making began."""
        tags = {tag for item in items if item.version_at_start < version for tag in item.all_tags()}
        known = self._of_tags
        missing = [tag for tag in tags if tag not in known]
        fetched = dict(zip(missing, await self._shared_store.tag_versions(missing), strict=True)) if missing else {}
        if known is self._of_tags and len(known) + len(fetched) <= MAX_TAGS:
            known.update(fetched)
        versions = known | fetched if fetched else known
        return [
            item.version_at_start < version and any(versions[tag] > item.version_at_start for tag in item.all_tags())
            for item in items
        ]
