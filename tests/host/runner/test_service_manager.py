from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.runner.service_manager import ServiceManager
from tests.processes import Box

pytestmark = pytest.mark.anyio


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=400))
def test_any_variables_are_accepted(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            patch.setenv(name, text)
        ServiceManager()


async def test_without_a_manager_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager()
    manager.ready("serving")
    manager.stopping()
    await manager.keep_alive(lambda: True)
    assert not manager.exists
    assert not caplog.records


async def test_a_manager_that_is_gone_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    ServiceManager().ready("serving")
    assert "the service manager does not receive READY=1: " in caplog.text


async def test_the_watchdog_reports_only_while_the_service_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with Box("notify") as box, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        address = str(box.directory / "notify")
        receiver.bind(address)
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        answers = iter([False, True])
        asked = asyncio.Event()

        def is_alive() -> bool:
            alive = next(answers, None)
            if alive is None:
                asked.set()
            return bool(alive)

        reports = asyncio.create_task(ServiceManager().keep_alive(is_alive))
        async with asyncio.timeout(60):
            await asked.wait()
        reports.cancel()
        assert receiver.recv(100) == b"WATCHDOG=1"
        with pytest.raises(BlockingIOError):
            receiver.recv(100)
