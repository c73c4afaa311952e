"""What this process knows of the purges in a shared store.

The numbers of tags are known as of the number of the last purge: while that stays, nothing has to be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalekit_caching.items import Item
from scalekit_caching.shared_store import SharedStore

REMEMBERED = 10_000
"""Tags whose numbers are remembered."""


class SharedTagVersions:
    """The last numbers of *frames* that were seen."""

    def __init__(self, frames: SharedStore) -> None:
        self.number = 0
        self._frames = frames
        self._of_tags: dict[bytes, int] = {}

    def see(self, number: int) -> None:
        """Take note of the *number* of the last purge, which came with what was asked for."""
        if number != self.number:
            self._of_tags = {}
            self.number = number

    def may_be_outdated(self, item: Item) -> bool:
        """Tell whether *item* needs a closer look: one that was begun after the last purge does not."""
        if item.since >= self.number:
            return False
        known = self._of_tags
        return any(known.get(tag, self.number) > item.since for tag in item.all_tags())

    async def outdated(self, items: Sequence[Item], number: int) -> list[bool]:
        """Tell of each of *items*, which came with *number*, whether it was begun before a purge of its tags."""
        tags = {tag for item in items if item.since < number for tag in item.all_tags()}
        known = self._of_tags
        missing = [tag for tag in tags if tag not in known]
        fetched = dict(zip(missing, await self._frames.numbers(missing), strict=True)) if missing else {}
        if known is self._of_tags and len(known) + len(fetched) <= REMEMBERED:
            known.update(fetched)
        numbers = known | fetched if fetched else known
        return [item.since < number and any(numbers[tag] > item.since for tag in item.all_tags()) for item in items]
