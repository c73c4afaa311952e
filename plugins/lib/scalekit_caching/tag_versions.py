"""When each tag was purged last.

Every purge has a number. An item knows the number of the purge before it was begun, so that one look-up for each of
its tags tells whether it came too late: nothing has to be found or deleted, and a purge counts at once for everything,
what is being made at that moment included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scalekit_caching.items import Item

REMEMBERED = 10_000
"""Tags whose last purge is remembered. What is older than the purge forgotten last counts as purged."""


class TagVersions:
    """The numbers of purges."""

    def __init__(self) -> None:
        self.number = 0
        self._floor = 0
        self._purged: dict[bytes, int] = {}

    def advance(self, tags: Iterable[bytes], number: int = 0) -> None:
        """Purge *tags*: whatever has one of them and was begun before is outdated.

        *number* is that which the purge has among those of all processes.
        """
        number = number or self.number + 1
        self.number = max(self.number, number)
        for tag in tags:
            self._purged[tag] = max(number, self._purged.pop(tag, 0))
        while len(self._purged) > REMEMBERED:
            oldest = next(iter(self._purged))
            self._floor = self._purged.pop(oldest)

    def outdated(self, item: Item) -> bool:
        """Tell whether *item* was begun before a purge of one of its tags."""
        if item.valid == self.number:
            return False
        if self.purged(item.all_tags(), item.since):
            return True
        item.valid = self.number
        return False

    def purged(self, tags: Sequence[bytes], since: int) -> bool:
        """Tell whether one of *tags* was purged after the purge *since*."""
        return bool(tags) and (since < self._floor or any(self._purged.get(tag, 0) > since for tag in tags))
