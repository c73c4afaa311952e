"""KeySource of another issuer: fetched in the background, and kept when it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from scalekit_jwt.keys import CURVES, KEY_TYPES, KeySet, SigningKey
from scalekit_jwt.metrics import JwtMetrics

logger = logging.getLogger("scalekit.jwt")

KEY_WAIT_TIMEOUT = 2.0
"""Seconds that a request waits for a key that is not known yet."""
DEADLINE = 10.0
"""Seconds that a fetch may take."""
MAX_KEYS = 100

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class RemoteJwks:
    """The keys of *issuer*, of which those for *algorithms* count; *fetch* returns its JWK set.

    They are fetched *every* so many seconds, or when one is missed, but never sooner than *again* after the last time.
    """

    def __init__(
        self, issuer: str, algorithms: Sequence[str], fetch: Fetch, metrics: JwtMetrics, *, every: float, again: float
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
        self._wrong: list[str] = []
        self._arrived = asyncio.Event()

    def missed(self) -> bool:
        """Tell that there are no others yet."""
        return False

    async def wait_for_keys(self) -> bool:
        """Have the keys fetched, once for all who miss one, and wait a while for them; tell whether they were."""
        if self._cooling:
            return False
        arrived = self._arrived
        self._wanted.set()
        try:
            await asyncio.wait_for(arrived.wait(), KEY_WAIT_TIMEOUT)
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
                keys, wrong = parse_jwks(await self._fetch(), self._algorithms)
        except Exception as error:  # whatever the other side sends, or does not
            self._metrics.not_fetched.inc()
            if not self.trouble:
                logger.warning("the keys of %s stay as they were known: %s", self.issuer, type(error).__name__)
            self.trouble = f"the keys of {self.issuer} cannot be fetched: {type(error).__name__}"
            return False
        self._tell(wrong)
        self._metrics.fetched.inc()
        self.trouble = ""
        other = [key.public() for key in keys.keys] != [key.public() for key in self.current.keys]
        self.current = keys
        return other

    def _tell(self, wrong: list[str]) -> None:
        """Log keys that are left out, once for as long as they are the same."""
        if wrong and wrong != self._wrong:
            logger.warning("keys of %s are left out: %s", self.issuer, "; ".join(wrong))
        self._wrong = wrong


def parse_jwks(document: Mapping[str, Any], algorithms: Sequence[str]) -> tuple[KeySet, list[str]]:
    """Return the keys in a JWK set that are fit for *algorithms*, and what is wrong with those that should be.

    Raises ValueError when there is none. A key that does not say its algorithm is for all of its type and curve.
    """
    found: dict[tuple[str, str], list[SigningKey]] = {}
    wrong: list[str] = []
    for place, member in enumerate(list(document["keys"])[:MAX_KEYS]):
        read, faults = _read(member, algorithms)
        if not read and faults:
            wrong.append(f"keys[{place}]: {faults[0]}")
        for key in read:
            same = found.setdefault((key.kid, key.algorithm), [])
            if all(key.key.thumbprint() != known.key.thumbprint() for known in same):
                same.append(key)
    # Which of two different keys a token means by one kid cannot be told, so neither is good.
    doubled = sorted({kid for (kid, _), keys in found.items() if len(keys) > 1})
    wrong += [f"different keys have the kid {kid!r}" for kid in doubled]
    good = [keys[0] for keys in found.values() if len(keys) == 1]
    if not good:
        raise ValueError("; ".join([f"no key for {', '.join(algorithms)}", *wrong]))
    return KeySet(good), wrong


def _read(member: Any, algorithms: Sequence[str]) -> tuple[list[SigningKey], list[str]]:
    """Return *member* for each of *algorithms* that it is for, and why not where it claims to be for one."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return [], []
    said = member.get("alg")
    keys: list[SigningKey] = []
    faults: list[str] = []
    for algorithm in algorithms:
        if KEY_TYPES[algorithm] != member.get("kty") or (said is not None and said != algorithm):
            continue
        if said is None and algorithm in CURVES and member.get("crv") not in CURVES[algorithm]:
            continue
        try:
            keys.append(SigningKey.load(member, algorithm))
        except Exception as error:  # whatever the other side sends: one such key is no reason to miss the others
            faults.append(str(error) if isinstance(error, ValueError) else type(error).__name__)
    return keys, faults
