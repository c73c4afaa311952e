from __future__ import annotations

from collections.abc import Mapping

import pytest

from scalekit.host_pages.log_level import ALL, log_level_page
from scalekit.log_level.overrides import GROUP, LEVELS, LevelOverrides
from scalekit.log_level.page import TOO_MANY
from scalekit.overrides import ProcessOverrides
from scalekit.pages import ActionForm, DataTable, Notice, PageRegistry
from scalekit.runner.workers.worker_queries import WorkerQueries
from tests.console.clients import console_app

pytestmark = pytest.mark.anyio


def level_overrides() -> LevelOverrides:
    return LevelOverrides(ProcessOverrides().group(GROUP))


class Levels:
    def __init__(self) -> None:
        self.configured = {"": "info", "noisy": "error"}
        self.overridden: Mapping[str, str] = {}

    def override(self, levels: Mapping[str, str]) -> None:
        self.overridden = levels


async def test_levels_are_shown_set_and_reset() -> None:
    overrides, levels = level_overrides(), Levels()
    registry, page = PageRegistry(WorkerQueries(), []), log_level_page(overrides)
    registry.add(page, "host")
    to_set, to_reset = page.actions
    with overrides.applied_to(levels):
        (result,) = await registry.act(page, to_set, {"level": "debug", "logger": "shop", "for": ""})
        assert (result.message, levels.overridden) == ("debug for shop, for 10m", {"shop": "debug"})
        _, (overridden, form, configured) = await registry.render(page, {})
        assert isinstance(overridden, DataTable)
        assert isinstance(configured, DataTable)
        ((name, level, remaining, button),) = overridden.rows
        assert (name, level, button) == ("shop", "debug", ActionForm("reset", {"logger": "shop"}))
        assert isinstance(remaining, float)
        assert 590 < remaining <= 600
        assert form == ActionForm("set")
        assert configured.rows == [(ALL, "info"), ("noisy", "error")]
        await registry.act(page, to_set, {"level": "error", "logger": "", "for": "1h"})
        await registry.act(page, to_reset, {"logger": "shop"})
        assert levels.overridden == {"": "error"}
        await registry.act(page, to_reset, {"logger": ""})
        assert levels.overridden == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"level": "loud", "logger": "", "for": ""}, f"level: expected {', '.join(LEVELS)} or reset, got 'loud'"),
        ({"level": "debug", "logger": "a b", "for": ""}, "logger: expected a name such as shop.orders, got 'a b'"),
        (
            {"level": "debug", "logger": "", "for": "25h"},
            "for: expected a duration above zero and up to 1d, got '25h'",
        ),
    ],
)
async def test_an_invalid_value_is_refused(values: Mapping[str, str], message: str) -> None:
    overrides = level_overrides()
    page = log_level_page(overrides)
    with overrides.applied_to(Levels()), pytest.raises(ValueError, match=r".") as refusal:
        await page.actions[0].run(values)
    assert str(refusal.value) == message


async def test_overrides_are_bounded() -> None:
    overrides = level_overrides()
    (to_set, _) = log_level_page(overrides).actions
    with overrides.applied_to(Levels()):
        for number in range(100):
            await to_set.run({"level": "debug", "logger": f"l{number}", "for": ""})
        with pytest.raises(ValueError, match=TOO_MANY):
            await to_set.run({"level": "debug", "logger": "one-more", "for": ""})
        await to_set.run({"level": "error", "logger": "l7", "for": ""})


async def test_without_levels_the_remedy_is_shown() -> None:
    registry, page = PageRegistry(WorkerQueries(), []), log_level_page(level_overrides())
    _, (notice,) = await registry.render(page, {})
    assert isinstance(notice, Notice)
    assert notice.remedy == "Add the table [plugins.logging]."


async def test_browsers_see_the_page_where_others_get_the_levels_as_before() -> None:
    async with console_app({"logging": {"console": "off"}}) as browser:
        assert b"Levels of the file" in (await browser.get("/-/log-level")).body
        assert b'"overrides": {}' in (await browser.get("/-/log-level", {"accept": "application/json"})).body
        done = await browser.submit("/-/log-level/set", {}, **{"level": "debug", "logger": "shop", "for": "5m"})
        assert b"debug for shop, for 5m" in done.body
        changed = await browser.post_json("/-/log-level", {"level": "reset"}, {"accept": "text/html"})
        assert b'"overrides": {}' in changed.body
