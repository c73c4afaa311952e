"""Keys of another issuer: fetched in the background, and kept when it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from scalekit_jwt.keys import KEY_TYPES, KeySet, SigningKey
from scalekit_jwt.metrics import Metrics

logger = logging.getLogger("scalekit.jwt")

PATIENCE = 2.0
"""Seconds that a request waits for a key that is not known yet."""
DEADLINE = 10.0
"""Seconds that a fetch may take."""
MOST_KEYS = 100

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class RemoteKeys:
    """The keys of *issuer*, of which those for *algorithms* count; *fetch* returns its JWK set.

    They are fetched *every* so many seconds, or when one is missed, but never sooner than *again* after the last time.
    """

    def __init__(
        self, issuer: str, algorithms: Sequence[str], fetch: Fetch, metrics: Metrics, *, every: float, again: float
    ) -> None:
        self.issuer = issuer
        self.current = KeySet([])
        self.trouble = ""
        self._algorithms = algorithms
        self._fetch = fetch
        self._metrics = metrics
        self._every = every
        self._again = again
        self._wanted = asyncio.Event()
        self._cooling = False
        self._arrived = asyncio.Event()

    def missed(self) -> bool:
        """Tell that there are no others yet."""
        return False

    async def arrival(self) -> bool:
        """Have the keys fetched, once for all who miss one, and wait a while for them; tell whether they were."""
        if self._cooling:
            return False
        arrived = self._arrived
        self._wanted.set()
        try:
            await asyncio.wait_for(arrived.wait(), PATIENCE)
        except TimeoutError:
            return False
        return True

    async def run(self, changed: Callable[[], None]) -> None:
        """Fetch for as long as it runs; call *changed* when there are other keys."""
        while True:
            self._cooling = True
            await asyncio.sleep(self._again)
            self._wanted.clear()
            self._cooling = False
            try:
                await asyncio.wait_for(self._wanted.wait(), max(0.0, self._every - self._again))
            except TimeoutError:
                pass
            if await self.fetch():
                changed()
            self._arrived.set()
            self._arrived = asyncio.Event()

    async def fetch(self) -> bool:
        """Fetch once; tell whether there are other keys. What cannot be fetched changes nothing."""
        try:
            async with asyncio.timeout(DEADLINE):
                keys = read_keys(await self._fetch(), self._algorithms)
        except Exception as error:  # whatever the other side sends, or does not
            self._metrics.not_fetched.inc()
            if not self.trouble:
                logger.warning("the keys of %s stay as they were known: %s", self.issuer, type(error).__name__)
            self.trouble = f"the keys of {self.issuer} cannot be fetched: {type(error).__name__}"
            return False
        self._metrics.fetched.inc()
        self.trouble = ""
        other = [key.public() for key in keys.keys] != [key.public() for key in self.current.keys]
        self.current = keys
        return other


def read_keys(document: Mapping[str, Any], algorithms: Sequence[str]) -> KeySet:
    """Return the keys in a JWK set that are fit for *algorithms*; raises ValueError when there is none."""
    found: list[SigningKey] = []
    for member in list(document["keys"])[:MOST_KEYS]:
        algorithm = _algorithm(member, algorithms)
        if algorithm:
            try:
                found.append(SigningKey.read(member, algorithm))
            except ValueError:  # one that is not for us is no reason to miss the others
                continue
    if not found:
        raise ValueError(f"no key for {', '.join(algorithms)}")
    return KeySet(found)


def _algorithm(member: Any, algorithms: Sequence[str]) -> str:
    """Return what a key is for: what it says, else the first of *algorithms* that is for its type."""
    if not isinstance(member, dict):
        return ""
    said = member.get("alg")
    fit = [each for each in algorithms if KEY_TYPES[each] == member.get("kty") and said in (None, each)]
    return fit[0] if fit else ""
