"""Cache and refresh the JWK set of a trusted issuer; the last keys stay in use while the issuer is unavailable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from scalekit_jwt.keys.key_set import CURVES, KEY_TYPES, KeySet, SigningKey
from scalekit_jwt.metrics import JwtMetrics

logger = logging.getLogger("scalekit.jwt")

KEY_WAIT_TIMEOUT = 2.0
"""Seconds that a request waits for an unknown key to be fetched."""
FETCH_TIMEOUT = 10.0
"""Seconds that a fetch may take in all."""
MAX_KEYS = 100

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class RemoteJwks:
    """The keys of *issuer* that are suitable for *algorithms*; *fetch* returns its JWK set.

    A background task fetches it every *refresh_interval* seconds, and for an unknown ``kid`` at once, but never within
    *min_interval* seconds of the last fetch.
    """

    def __init__(
        self,
        issuer: str,
        algorithms: Sequence[str],
        fetch: Fetch,
        metrics: JwtMetrics,
        *,
        refresh_interval: float,
        min_interval: float,
    ) -> None:
        self.issuer = issuer
        self.current = KeySet([])
        self.last_error = ""
        self.fetched_at = 0.0
        """When the keys were fetched last, in seconds since the epoch; 0 for never."""
        self._algorithms = algorithms
        self._fetch = fetch
        self._metrics = metrics
        self._refresh_interval = refresh_interval
        self._min_interval = min_interval
        self._fetch_requested = asyncio.Event()
        self._within_min_interval = False
        self._rejected: list[str] = []
        self._fetched = asyncio.Event()

    def reload_for_unknown_key(self) -> bool:
        """Return False: new keys need a fetch, which ``wait_for_keys`` awaits."""
        return False

    async def wait_for_keys(self) -> bool:
        """Request one fetch for all waiting requests and wait for it; return whether it ended in time."""
        if self._within_min_interval:
            return False
        fetched = self._fetched
        self._fetch_requested.set()
        try:
            await asyncio.wait_for(fetched.wait(), KEY_WAIT_TIMEOUT)
        except TimeoutError:
            return False
        return True

    async def run(self, on_change: Callable[[], None]) -> None:
        """Fetch until cancelled; call *on_change* when the keys have changed."""
        while True:
            self._within_min_interval = True
            await asyncio.sleep(self._min_interval)
            self._fetch_requested.clear()
            self._within_min_interval = False
            try:
                delay = max(0.0, self._refresh_interval - self._min_interval)
                await asyncio.wait_for(self._fetch_requested.wait(), delay)
            except TimeoutError:
                pass
            if await self.fetch():
                on_change()
            self._fetched.set()
            self._fetched = asyncio.Event()

    async def fetch(self) -> bool:
        """Fetch once; return whether the keys have changed. A failed fetch leaves the keys as they are."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                keys, rejected = parse_jwks(await self._fetch(), self._algorithms)
        except Exception as error:  # any network or format error of the issuer
            self._metrics.fetch_failure.inc()
            if not self.last_error:
                logger.warning("JWKS of %s not fetched, the last keys stay in use: %s", self.issuer, _name(error))
            self.last_error = f"JWKS of {self.issuer} cannot be fetched: {_name(error)}"
            return False
        self._log_rejected(rejected)
        self._metrics.fetch_success.inc()
        self.last_error = ""
        self.fetched_at = time.time()
        changed = [key.public() for key in keys.keys] != [key.public() for key in self.current.keys]
        self.current = keys
        return changed

    def _log_rejected(self, rejected: list[str]) -> None:
        """Log rejected keys, once until they change."""
        if rejected and rejected != self._rejected:
            logger.warning("keys of %s ignored: %s", self.issuer, "; ".join(rejected))
        self._rejected = rejected


def parse_jwks(document: Mapping[str, Any], algorithms: Sequence[str]) -> tuple[KeySet, list[str]]:
    """Return the keys of a JWK set that are suitable for *algorithms*, and the faults of the others.

    A key without ``alg`` serves all *algorithms* of its type and curve. Raises ValueError without a suitable key.
    """
    found: dict[tuple[str, str], list[SigningKey]] = {}
    rejected: list[str] = []
    for index, member in enumerate(list(document["keys"])[:MAX_KEYS]):
        loaded, faults = _load(member, algorithms)
        if not loaded and faults:
            rejected.append(f"keys[{index}]: {faults[0]}")
        for key in loaded:
            candidates = found.setdefault((key.kid, key.algorithm), [])
            if all(key.key.thumbprint() != other.key.thumbprint() for other in candidates):
                candidates.append(key)
    # A kid shared by different keys is ambiguous, so none of them verifies.
    ambiguous = sorted({kid for (kid, _), keys in found.items() if len(keys) > 1})
    rejected += [f"different keys have the kid {kid!r}" for kid in ambiguous]
    unambiguous = [keys[0] for keys in found.values() if len(keys) == 1]
    if not unambiguous:
        raise ValueError("; ".join([f"no key for {', '.join(algorithms)}", *rejected]))
    return KeySet(unambiguous), rejected


def _load(member: object, algorithms: Sequence[str]) -> tuple[list[SigningKey], list[str]]:
    """Return *member* as a key for each of *algorithms* that it declares or allows, and the faults found."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig":
        return [], []
    declared = member.get("alg")
    keys: list[SigningKey] = []
    faults: list[str] = []
    for algorithm in algorithms:
        if KEY_TYPES[algorithm] != member.get("kty") or (declared is not None and declared != algorithm):
            continue
        if declared is None and algorithm in CURVES and member.get("crv") not in CURVES[algorithm]:
            continue
        try:
            keys.append(SigningKey.load(member, algorithm))
        except Exception as error:  # the issuer's input: one unsuitable key must not hide the others
            faults.append(str(error) if isinstance(error, ValueError) else _name(error))
    return keys, faults


def _name(error: Exception) -> str:
    return type(error).__name__
