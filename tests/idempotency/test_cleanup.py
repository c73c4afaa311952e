from __future__ import annotations

import asyncio
import logging

import pytest

from scalekit import Unavailable
from scalekit.telemetry import Telemetry
from scalekit_idempotency import cleanup
from scalekit_idempotency.cleanup import CleanUp
from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.metrics import ERRORS, KEYS, IdempotencyMetrics
from scalekit_idempotency.recorded_response import NOT_STORED
from scalekit_idempotency.stores.memory import MemoryIdempotencyStore

pytestmark = pytest.mark.anyio


class FailingStore(MemoryIdempotencyStore):
    """A store whose clean-up fails once."""

    failures = 1

    async def clean_up(self) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        return await super().clean_up()


async def test_a_failed_clean_up_is_logged_and_shown_by_the_check_until_one_succeeds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry(100)
    store = FailingStore(60, 2)
    cleaning = CleanUp(store, IdempotencyMetrics(telemetry))
    with caplog.at_level(logging.WARNING, "scalekit.idempotency"):
        await cleaning.clean_up()
    assert "could not be deleted, will retry in 60s: the disk is full" in caplog.text
    assert telemetry.series(ERRORS).value == 1
    with pytest.raises(Unavailable) as raised:
        await cleaning.check()
    assert "the disk is full" in raised.value.reason
    store.put(KeyedRequest("a", "", "POST", "/", ""), NOT_STORED)
    await cleaning.clean_up()
    await cleaning.check()
    assert telemetry.series(KEYS).value == 1


async def test_it_repeats_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "INTERVAL", 0.001)
    store = FailingStore(60, 2)
    store.failures = 3
    async with CleanUp(store, IdempotencyMetrics(Telemetry(100))):
        while store.failures:
            await asyncio.sleep(0.001)
