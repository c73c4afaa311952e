from __future__ import annotations

import pytest

from scalekit.health.check import Check
from scalekit.health.monitor import HISTORY, Monitor
from scalekit.host_pages.health import health_page
from scalekit.pages import Badge, Chart, DataTable, PageRegistry, Tone
from scalekit.runner.workers.worker_queries import WorkerQueries
from tests.console.clients import console_app
from tests.host.host_pages.page_json import blocks_of

pytestmark = pytest.mark.anyio


async def test_the_page_has_results_latencies_and_changes() -> None:
    broken = False

    async def probe() -> None:
        if broken:
            raise ConnectionError("refused")

    monitor = Monitor({"database": Check("database", probe)}, 5.0, str)
    registry = PageRegistry(WorkerQueries(), [])
    page = health_page(monitor)
    registry.add(page, "host")
    await registry.act(page, page.actions[0], {})
    broken = True
    (result,) = await registry.act(page, page.actions[0], {})
    assert result.message == "not healthy: database"
    _, (results, _, latencies, changes) = await registry.render(page, {})
    assert isinstance(results, DataTable)
    assert results.rows[0][:4] == ("1", "database", Badge("unhealthy", Tone.BAD), True)
    assert results.rows[0][-1] == "ConnectionError: refused"
    assert isinstance(latencies, Chart)
    assert latencies.series[0].points[1] is None
    assert isinstance(changes, DataTable)
    assert [row[3:] for row in changes.rows] == [
        (Badge("unhealthy", Tone.BAD), "ConnectionError: refused"),
        (Badge("healthy", Tone.GOOD), ""),
    ]


async def test_the_history_is_bounded() -> None:
    async def probe() -> None:
        """Return."""

    monitor = Monitor({"database": Check("database", probe)}, 5.0, str)
    for _ in range(HISTORY + 5):
        await monitor.check_once()
    assert len(monitor.results["database"].latencies) == HISTORY
    assert len(monitor.results["database"].changes) == 1


async def test_the_page_is_json_whose_numbers_of_the_configuration_are_plain() -> None:
    async with console_app({"logging": {"console": "off"}}) as browser:
        charts = [block for block in await blocks_of(browser, "health") if block["type"] == "chart"]
    assert [(chart["title"], chart["interval"]) for chart in charts] == [("Latency of logging", 5.0)]
